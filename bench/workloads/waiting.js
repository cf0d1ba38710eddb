// Waiting: asynchronous handlers that leave their thread free while they wait.
// @ts-check

import { statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { closedLoop } from '../support/closed-loop.js'
import { metered, RATE_COLUMNS } from '../support/metered.js'

const IN_FLIGHT = 100
const FILE = fileURLToPath(new URL('../../package.json', import.meta.url))

/** @type {readonly import('../support/contract.js').PoolRow[]} */
export const rows = [
  row('async-timer', 'a handler that awaits a timer of 1 ms', 'wait', 1, 1),
  row('async-file', 'a handler that reads a file', 'read', FILE, statSync(FILE).size),
]

/**
 * @param {string} id @param {string} title @param {string} type @param {unknown} payload
 * @param {number} result
 * @returns {import('../support/contract.js').PoolRow}
 */
function row(id, title, type, payload, result) {
  return {
    id,
    title: `${title}, ${IN_FLIGHT} in flight`,
    threads: 2,
    columns: RATE_COLUMNS,
    measure: (pool, ms) =>
      metered(() =>
        closedLoop(pool, {
          type,
          values: [payload],
          digest: (value) => value,
          expected: () => result,
          inFlight: IN_FLIGHT,
          ms,
        }),
      ),
  }
}
