// Serial: one command at a time, as a caller that awaits each result sees it.
// @ts-check

import { numbers, smallObjects } from '../support/payloads.js'
import { serial } from '../support/serial.js'

/** @type {readonly import('../support/contract.js').Column[]} */
const COLUMNS = [
  { metric: 'p50Us', title: 'p50 µs', better: 'less', digits: 2 },
  { metric: 'p99Us', title: 'p99 µs', better: 'less', digits: 1 },
  { metric: 'p999Us', title: 'p99.9 µs', better: 'less', digits: 1 },
  { metric: 'perSecond', title: 'per second', better: 'more', digits: 0 },
]

const PAUSE_MS = 2

/** @type {readonly import('../support/contract.js').PoolRow[]} */
export const rows = [
  row('serial-number-1-thread', 'a number, hot', 1, numbers()),
  row('serial-number', 'a number, hot', 2, numbers()),
  row('serial-small-object', 'a small object, hot', 2, smallObjects()),
  row(
    'serial-number-after-pause',
    `a number, after ${PAUSE_MS} ms of quiet`,
    2,
    numbers(),
    PAUSE_MS,
  ),
]

/**
 * @param {string} id @param {string} title @param {number} threads
 * @param {import('../support/payloads.js').Payloads} payloads @param {number} [pauseMs]
 * @returns {import('../support/contract.js').PoolRow}
 */
function row(id, title, threads, payloads, pauseMs) {
  const pause = pauseMs === undefined ? {} : { pauseMs }
  return {
    id,
    title: `one at a time: ${title}`,
    threads,
    columns: COLUMNS,
    measure: (pool, ms) => serial(pool, { type: 'echo', ...payloads, ms, ...pause }),
  }
}
