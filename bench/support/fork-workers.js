// Fork workers: starts processes that say when they are ready, and ends them.
// Thread: main.   Owns: the processes.
// @ts-check

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const START_MS = 30_000

/**
 * Starts processes that end with this one.
 *
 * @param {URL} script - Sends a message when it is ready, and ends when its channel closes.
 * @param {object} plan - Its only argument, as JSON.
 * @param {number} count - How many.
 * @returns {Promise<() => Promise<void>>} Ends them.
 */
export async function forkWorkers(script, plan, count) {
  const children = Array.from({ length: count }, () =>
    fork(fileURLToPath(script), [JSON.stringify(plan)], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    }),
  )
  const end = async () => {
    await Promise.all(
      children.map(async (child) => {
        if (child.exitCode !== null || child.signalCode !== null) return
        const exited = once(child, 'exit')
        child.disconnect()
        await exited
      }),
    )
  }
  try {
    await Promise.all(
      children.map(async (child) => {
        const signal = AbortSignal.timeout(START_MS)
        const ended = once(child, 'exit', { signal }).then(([code]) => {
          throw new Error(`a worker process ended with ${code} before it was ready`)
        })
        await Promise.race([once(child, 'message', { signal }), ended])
        ended.catch(() => {})
      }),
    )
  } catch (error) {
    for (const child of children) child.kill('SIGKILL')
    throw error
  }
  return end
}
