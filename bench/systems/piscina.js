// Piscina, in each of its modes. Its histograms are off: they are no part of the comparison.
// Thread: main.   Owns: nothing.
// @ts-check

import { HANDLERS_URL } from '../support/handlers-url.js'
import { installedVersion } from './installed-version.js'

const MODES = /** @type {const} */ ([
  { concurrentTasksPerWorker: 100, atomics: 'async' },
  { concurrentTasksPerWorker: 100, atomics: 'sync' },
  { concurrentTasksPerWorker: 100, atomics: 'disabled' },
  { concurrentTasksPerWorker: 1, atomics: 'async' },
  { concurrentTasksPerWorker: 1, atomics: 'sync' },
  { concurrentTasksPerWorker: 1, atomics: 'disabled' },
])

/** @type {import('../support/contract.js').System} */
export const piscina = {
  name: 'piscina',
  title: 'Piscina',
  version: () => installedVersion('piscina'),
  modes: MODES.map((options) => ({
    name: `${options.concurrentTasksPerWorker} per worker, atomics ${options.atomics}`,
    open: (threads) => open(threads, options),
  })),
}

/**
 * @param {number} threads
 * @param {(typeof MODES)[number]} options
 * @returns {Promise<import('../support/contract.js').Pool>}
 */
async function open(threads, options) {
  const { Piscina } = await import('piscina')
  const pool = new Piscina({
    filename: HANDLERS_URL.href,
    minThreads: threads,
    maxThreads: threads,
    idleTimeout: Number.POSITIVE_INFINITY,
    recordTiming: false,
    ...options,
  })
  return {
    run: (type, payload) => pool.run(payload, { name: type }),
    runAbortable: (type, payload, signal) => pool.run(payload, { name: type, signal }),
    close: () => pool.destroy(),
  }
}
