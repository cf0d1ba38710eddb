// Serial: one command at a time, as a caller that awaits each result sees it.
// @ts-check

import { spin } from '../support/handlers.js'
import { numbers, smallObjects } from '../support/payloads.js'
import { serial } from '../support/serial.js'
import { iterationsFor } from '../support/spin-rate.js'

/** @type {readonly import('../support/contract.js').Column[]} */
const COLUMNS = [
  { metric: 'p50Us', title: 'p50 µs', better: 'less', digits: 2 },
  { metric: 'p99Us', title: 'p99 µs', better: 'less', digits: 1 },
  { metric: 'p999Us', title: 'p99.9 µs', better: 'less', digits: 1 },
  { metric: 'perSecond', title: 'per second', better: 'more', digits: 0 },
]

const PAUSE_MS = 2

const WORK_US = 200

/** @type {readonly import('../support/contract.js').PoolRow[]} */
export const rows = [
  row('serial-number-1-thread', 'a number, hot', 1, echo(numbers())),
  row('serial-number', 'a number, hot', 2, echo(numbers())),
  row('serial-small-object', 'a small object, hot', 2, echo(smallObjects())),
  row(
    'serial-number-after-pause',
    `a number, after ${PAUSE_MS} ms of quiet`,
    2,
    echo(numbers()),
    PAUSE_MS,
  ),
  row(
    'serial-work-after-pause',
    `${WORK_US} µs of work, after ${PAUSE_MS} ms of quiet`,
    2,
    () => ({ type: 'spin', values: [iterationsFor(WORK_US)], digest: Number, expected: spin }),
    PAUSE_MS,
  ),
]

/** @param {import('../support/payloads.js').Payloads} payloads */
function echo(payloads) {
  return () => ({ type: 'echo', ...payloads })
}

/**
 * @param {string} id @param {string} title @param {number} threads
 * @param {() => import('../support/serial.js').Calls} calls @param {number} [pauseMs]
 * @returns {import('../support/contract.js').PoolRow}
 */
function row(id, title, threads, calls, pauseMs) {
  const pause = pauseMs === undefined ? {} : { pauseMs }
  return {
    id,
    title: `one at a time: ${title}`,
    threads,
    columns: COLUMNS,
    measure: (pool, ms) => serial(pool, { ...calls(), ms, ...pause }),
  }
}
