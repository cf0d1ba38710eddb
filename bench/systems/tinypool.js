// tinypool, in each of its modes.
// Thread: main.   Owns: nothing.
// @ts-check

import { loadPeer } from '../peers/load-peer.js'
import { HANDLERS_URL } from '../support/handlers-url.js'
import { installedVersion, missingPeer } from './installed-version.js'

const MODES = [
  { concurrentTasksPerWorker: 1, useAtomics: true },
  { concurrentTasksPerWorker: 100, useAtomics: true },
  { concurrentTasksPerWorker: 1, useAtomics: false },
  { concurrentTasksPerWorker: 100, useAtomics: false },
]

/** @type {import('../support/contract.js').System} */
export const tinypool = {
  name: 'tinypool',
  title: 'tinypool',
  version: () => installedVersion('tinypool'),
  missing: () => missingPeer('tinypool'),
  modes: MODES.map((options) => ({
    name: `${options.concurrentTasksPerWorker} per worker, atomics ${options.useAtomics ? 'on' : 'off'}`,
    open: (threads) => open(threads, options),
  })),
}

/**
 * @param {number} threads
 * @param {(typeof MODES)[number]} options
 * @returns {Promise<import('../support/contract.js').Pool>}
 */
async function open(threads, options) {
  const { default: Tinypool } = await loadPeer('tinypool')
  const pool = new Tinypool({
    filename: HANDLERS_URL.href,
    runtime: 'worker_threads',
    minThreads: threads,
    maxThreads: threads,
    idleTimeout: 2 ** 30,
    ...options,
  })
  return {
    run: (type, payload) => pool.run(payload, { name: type }),
    runAbortable: (type, payload, signal) => pool.run(payload, { name: type, signal }),
    close: () => pool.destroy(),
  }
}
