// Uncaught: takes what listeners of the application's throw, which would end the process.

/**
 * Runs a function, and waits until what was thrown in turns of their own has been.
 *
 * @returns The errors that nothing caught, in order.
 */
export async function uncaughtBy(run: () => unknown): Promise<unknown[]> {
  const thrown: unknown[] = []
  const before = process.listeners('uncaughtException')
  const take = (error: unknown) => thrown.push(error)
  process.removeAllListeners('uncaughtException')
  process.on('uncaughtException', take)
  try {
    await run()
    await new Promise((resolve) => setImmediate(resolve))
  } finally {
    process.off('uncaughtException', take)
    for (const listener of before) process.on('uncaughtException', listener)
  }
  return thrown
}
