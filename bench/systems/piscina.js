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
    open: async (threads) => open(await import('piscina'), threads, options),
  })),
}

/** The same interface over corelane. @type {import('../support/contract.js').System} */
export const piscinaDoor = {
  name: 'piscina-door',
  title: 'corelane/piscina',
  modes: [100, 1].map((concurrentTasksPerWorker) => ({
    name: `${concurrentTasksPerWorker} per worker`,
    open: async (threads) =>
      open(await import('corelane/piscina'), threads, { concurrentTasksPerWorker }, 'system'),
  })),
}

/**
 * @param {{ readonly Piscina: any }} door
 * @param {number} threads
 * @param {object} options
 * @param {string} [lane] - Of urgent tasks, where there are lanes.
 * @returns {Promise<import('../support/contract.js').Pool>}
 */
async function open({ Piscina }, threads, options, lane) {
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
    ...(lane && { runUrgent: (type, payload) => pool.run(payload, { name: type, lane }) }),
    runAbortable: (type, payload, signal) => pool.run(payload, { name: type, signal }),
    close: () => pool.destroy(),
  }
}
