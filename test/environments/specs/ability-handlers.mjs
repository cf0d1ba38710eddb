// Handlers that abilities.mjs runs.

export const same = (value) => value

export function spin() {
  for (;;);
}

export const exit = () => process.exit(3)

export function hoard() {
  const kept = []
  for (;;) kept.push({ more: Array.from({ length: 1000 }, () => kept.length) })
}

export async function interval(ms) {
  const from = Date.now()
  await new Promise((resolve) => setTimeout(resolve, ms))
  return { from, to: Date.now() }
}

export const nested = async (n, context) => (await context.submit('query', 'same', n)) + 1

export function report(to, context) {
  for (let i = 0; i < to; i++) context.progress(i)
}
