// Bare postMessage: one message out and one back for every command, round-robin, nothing else.
// Thread: main.   Owns: its threads.
// @ts-check

import { Worker } from 'node:worker_threads'

/**
 * Opens it.
 *
 * @param {number} threads
 * @returns {Promise<import('./contract.js').Pool>}
 */
export async function openBarePost(threads) {
  /** @type {Map<number, (value: any) => void>} */
  const inFlight = new Map()
  const url = new URL('./bare-post-worker.js', import.meta.url)
  const workers = Array.from({ length: threads }, () => new Worker(url))
  await Promise.all(
    workers.map(
      (worker) =>
        new Promise((resolve, reject) => {
          worker.once('message', resolve)
          worker.once('error', reject)
        }),
    ),
  )
  for (const worker of workers) {
    worker.on('message', ({ id, value }) => {
      const resolve = /** @type {(value: unknown) => void} */ (inFlight.get(id))
      inFlight.delete(id)
      resolve(value)
    })
  }
  let nextId = 0
  return {
    run(type, payload) {
      const id = nextId++
      return new Promise((resolve) => {
        inFlight.set(id, resolve)
        workers[id % threads]?.postMessage({ id, type, payload })
      })
    },
    close: () => Promise.all(workers.map((worker) => worker.terminate())),
  }
}
