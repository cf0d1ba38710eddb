// poolifier's fixed pool, with and without its queues.
// Thread: main.   Owns: nothing.
// @ts-check

import { fileURLToPath } from 'node:url'
import { loadPeer } from '../peers/load-peer.js'
import { installedVersion, missingPeer } from './installed-version.js'

/** @type {import('../support/contract.js').System} */
export const poolifier = {
  name: 'poolifier',
  title: 'poolifier',
  version: () => installedVersion('poolifier'),
  missing: () => missingPeer('poolifier'),
  modes: [
    { name: 'fixed', open: (threads) => open(threads, {}) },
    {
      name: 'fixed, queues of 100',
      open: (threads) =>
        open(threads, { enableTasksQueue: true, tasksQueueOptions: { concurrency: 100 } }),
    },
  ],
}

/**
 * @param {number} threads
 * @param {object} options
 * @returns {Promise<import('../support/contract.js').Pool>}
 */
async function open(threads, options) {
  const { FixedThreadPool, PoolEvents } = await loadPeer('poolifier')
  const worker = fileURLToPath(new URL('../support/poolifier-worker.js', import.meta.url))
  const pool = new FixedThreadPool(threads, worker, {
    /** @param {Error} error */
    errorHandler: (error) => process.emitWarning(error),
    ...options,
  })
  if (!pool.info.ready) {
    await new Promise((resolve) => pool.emitter.once(PoolEvents.ready, resolve))
  }
  return {
    run: (type, payload) => pool.execute(payload, type),
    close: () => pool.destroy(),
  }
}
