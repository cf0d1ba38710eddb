// Metered: the rate of a load, and the processor time that it cost.
// Thread: main.   Owns: nothing.
// @ts-check

import { cpuSince, readCpu } from './cpu-clock.js'

/** @typedef {import('./contract.js').Column} Column */

/**
 * Runs a load and adds up what it cost.
 *
 * @param {() => Promise<{ commands: number, ms: number }>} load
 * @returns {Promise<import('./contract.js').Sample>} The columns {@link RATE_COLUMNS}.
 */
export async function metered(load) {
  const before = readCpu()
  const { commands, ms } = await load()
  const { processUs, mainUs } = cpuSince(before)
  return {
    perSecond: (commands / ms) * 1000,
    cpuUs: processUs / commands,
    mainUs: mainUs / commands,
    busyCores: processUs / 1000 / ms,
  }
}

/** @type {readonly Column[]} */
export const COST_COLUMNS = [
  { metric: 'cpuUs', title: 'CPU µs/command', better: 'less', digits: 2 },
  { metric: 'mainUs', title: 'main thread µs', better: 'less', digits: 2 },
  { metric: 'busyCores', title: 'busy cores', better: 'less', digits: 2 },
]

/** @type {Column} */
export const RATE_COLUMN = { metric: 'perSecond', title: 'per second', better: 'more', digits: 0 }

/** @type {readonly Column[]} */
export const RATE_COLUMNS = [RATE_COLUMN, ...COST_COLUMNS]
