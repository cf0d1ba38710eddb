// Ideal split: the same work on bare threads, each looping over its part; nothing crosses but the
// order to start. What a pool takes longer than this is its own cost.
// Thread: main.   Owns: its threads.
// @ts-check

import { once } from 'node:events'
import { Worker } from 'node:worker_threads'

/**
 * Opens it.
 *
 * @param {number} threads
 * @returns {Promise<import('./contract.js').Pool>}
 */
export async function openIdeal(threads) {
  const url = new URL('./ideal-worker.js', import.meta.url)
  const workers = Array.from({ length: threads }, () => new Worker(url))
  await Promise.all(workers.map((worker) => once(worker, 'message')))
  return {
    run() {
      throw new TypeError('the ideal split runs no single command')
    },
    async split(type, payload, count) {
      const replies = workers.map(async (worker, index) => {
        const share = Math.floor((count + index) / threads)
        const reply = once(worker, 'message')
        worker.postMessage({ type, payload, count: share })
        return (await reply)[0]
      })
      return Promise.all(replies)
    },
    close: () => Promise.all(workers.map((worker) => worker.terminate())),
  }
}
