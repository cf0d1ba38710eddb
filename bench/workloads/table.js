// Table of workloads: every row of the benchmark, in the order of the report.
// Thread: main.   Owns: nothing.
// @ts-check

import * as cold from './cold.js'
import * as completion from './completion.js'
import * as cpu from './cpu.js'
import * as echo from './echo.js'
import * as factorial from './factorial.js'
import * as life from './life.js'
import * as mixed from './mixed.js'
import * as queue from './queue.js'
import * as serial from './serial.js'
import * as urgent from './urgent.js'
import * as waiting from './waiting.js'

/** @type {readonly import('../support/contract.js').Row[]} */
export const ROWS = [
  ...echo.rows,
  ...serial.rows,
  ...cpu.rows,
  ...cold.rows,
  ...mixed.rows,
  ...urgent.rows,
  ...waiting.rows,
  ...factorial.rows,
  ...queue.rows,
  ...completion.rows,
  ...life.rows,
]

/**
 * Finds a row.
 *
 * @param {string} id
 */
export function rowNamed(id) {
  const found = ROWS.find((row) => row.id === id)
  if (found === undefined) throw new RangeError(`no row "${id}"`)
  return found
}
