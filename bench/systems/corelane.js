// corelane, as its users get it: the built package, default lanes, balanced partitions; one handler at
// a time in a partition, or up to a hundred that wait.
// Thread: main.   Owns: nothing.
// @ts-check

import { HANDLERS_URL } from '../support/handlers-url.js'

/** @type {import('../support/contract.js').System} */
export const corelane = {
  name: 'corelane',
  title: 'corelane',
  modes: [
    { name: 'balanced', open: (threads) => open(threads, 1) },
    { name: 'balanced, 100 per partition', open: (threads) => open(threads, 100) },
  ],
}

/**
 * @param {number} threads
 * @param {number} concurrencyPerPartition - Asynchronous handlers that may wait at once.
 * @returns {Promise<import('../support/contract.js').Pool>}
 */
async function open(threads, concurrencyPerPartition) {
  const { PartitionConfig, QueueManager } = await import('corelane')
  const manager = QueueManager.create({
    handlers: HANDLERS_URL,
    partitions: PartitionConfig.balanced(threads),
    concurrencyPerPartition,
  })
  /** @type {Promise<import('../support/contract.js').Pool & { close(): Promise<void> }> | undefined} */
  let reserve
  return {
    start: () => manager.start(),
    run: (type, payload) => manager.submit('query', type, payload),
    runUrgent: (type, payload) => manager.submit('system', type, payload),
    runAbortable: (type, payload, signal) => manager.submit('query', type, payload, { signal }),
    withReserve: () => {
      reserve ??= openReserve(threads)
      return reserve
    },
    close: () => Promise.all([manager.close(), reserve?.then((pool) => pool.close())]),
  }
}

/**
 * @param {number} threads
 * @returns {Promise<import('../support/contract.js').Pool & { close(): Promise<void> }>}
 */
async function openReserve(threads) {
  const { QueueManager } = await import('corelane')
  const manager = QueueManager.create({
    handlers: HANDLERS_URL,
    partitions: threads,
    lanes: { short: { priority: 0 }, long: { priority: 9, maxConcurrency: threads - 1 } },
  })
  await manager.start()
  return {
    run: (type, payload) => manager.submit('long', type, payload),
    runUrgent: (type, payload) => manager.submit('short', type, payload),
    close: () => manager.close(),
  }
}
