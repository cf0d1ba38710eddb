// Handlers URL: where the handlers lie, and their names in the order that indexes them.
// Thread: any.   Owns: nothing.
// @ts-check

/** The module of handlers that every system runs. */
export const HANDLERS_URL = new URL('./handlers.js', import.meta.url)

/**
 * Loads the handlers.
 *
 * @returns {Promise<{ names: string[], byName: Record<string, (payload: any) => unknown> }>}
 */
export async function loadHandlers() {
  const byName = { ...(await import(HANDLERS_URL.href)) }
  return { names: Object.keys(byName).sort(), byName }
}
