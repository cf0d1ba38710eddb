// Mixed: 99 % of 10 µs and 1 % of 10 ms. A short command must not wait behind a long one.
// @ts-check

import { cpuSince, readCpu } from '../support/cpu-clock.js'
import { COST_COLUMNS } from '../support/metered.js'
import { MIX_MEAN_US, mixedClosed, mixedPaced } from '../support/mixed-load.js'

/** A tail of one command in a hundred needs a longer look than a mean. */
const SPAN = 2
const THREADS = 2
const IN_FLIGHT = 100
/** Of what the threads could do if nothing else took their cores. */
const PACED_LOAD = 0.5

/** @type {readonly import('../support/contract.js').Column[]} */
const COLUMNS = [
  { metric: 'waitP99Ms', title: 'p99 wait ms', better: 'less', digits: 3 },
  { metric: 'waitP50Ms', title: 'p50 wait ms', better: 'less', digits: 3 },
  { metric: 'perSecond', title: 'per second', better: 'more', digits: 0 },
  ...COST_COLUMNS.slice(0, 2),
]

/** @type {readonly import('../support/contract.js').PoolRow[]} */
export const rows = [
  {
    id: 'mixed-closed',
    title: `99 % of 10 µs and 1 % of 10 ms, ${IN_FLIGHT} in flight: wait of the short ones`,
    threads: THREADS,
    columns: COLUMNS,
    measure: (pool, ms) => costed(() => mixedClosed(pool, IN_FLIGHT, ms * SPAN)),
  },
  {
    id: 'mixed-lanes',
    title: 'the same, the short ones in a lane of their own where there are lanes',
    threads: THREADS,
    columns: COLUMNS,
    measure: (pool, ms) => costed(() => mixedClosed(pool, IN_FLIGHT, ms * SPAN, true)),
  },
  {
    id: 'mixed-reserved',
    title: 'the same, and the long ones leave a thread to the short ones where there are lanes',
    threads: THREADS,
    columns: COLUMNS,
    async measure(pool, ms) {
      const open = (await pool.withReserve?.()) ?? pool
      return costed(() => mixedClosed(open, IN_FLIGHT, ms * SPAN, true))
    },
  },
  {
    id: 'mixed-paced',
    title: `the same mix at ${PACED_LOAD * 100} % load, submitted every ms: wait of the short ones`,
    threads: THREADS,
    columns: COLUMNS,
    measure(pool, ms) {
      const perSecond = (PACED_LOAD * THREADS * 1e6) / MIX_MEAN_US
      return costed(() => mixedPaced(pool, perSecond, ms * SPAN))
    },
  },
]

/**
 * @param {() => Promise<{ waitP99Ms: number, waitP50Ms: number, perSecond: number, commands: number }>} run
 * @returns {Promise<import('../support/contract.js').Sample>}
 */
async function costed(run) {
  const before = readCpu()
  const { commands, ...sample } = await run()
  const { processUs, mainUs } = cpuSince(before)
  return { ...sample, cpuUs: processUs / commands, mainUs: mainUs / commands }
}
