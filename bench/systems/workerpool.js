// workerpool, which has one mode.
// Thread: main.   Owns: nothing.
// @ts-check

import { fileURLToPath } from 'node:url'
import { loadPeer } from '../peers/load-peer.js'
import { installedVersion, missingPeer } from './installed-version.js'

/** @type {import('../support/contract.js').System} */
export const workerpool = {
  name: 'workerpool',
  title: 'workerpool',
  version: () => installedVersion('workerpool'),
  missing: () => missingPeer('workerpool'),
  modes: [{ name: 'threads', open }],
}

/**
 * @param {number} threads
 * @returns {Promise<import('../support/contract.js').Pool>}
 */
async function open(threads) {
  const { default: api } = await loadPeer('workerpool')
  const worker = fileURLToPath(new URL('../support/workerpool-worker.js', import.meta.url))
  const pool = api.pool(worker, {
    workerType: 'thread',
    minWorkers: threads,
    maxWorkers: threads,
  })
  return {
    run: (type, payload) => pool.exec(type, [payload]),
    close: () => pool.terminate(true),
  }
}
