// Cold: the first second of a fresh process after its first result, compilers and all.
// @ts-check

import { runAlone } from '../support/live-once.js'
import { RATE_COLUMNS } from '../support/metered.js'

const THREADS = 2
const IN_FLIGHT = 1000

const LENGTHS = [
  { us: 0, id: 'cold-number', title: 'a number' },
  { us: 100, id: 'cold-100-us', title: '100 µs of work' },
  { us: 1_000, id: 'cold-1-ms', title: '1 ms of work' },
]

/** @type {readonly import('../support/contract.js').LoneRow[]} */
export const rows = LENGTHS.map(({ us, id, title }) => ({
  id,
  title: `the first second of a fresh process, ${title} each, 1,000 in flight`,
  threads: THREADS,
  columns: RATE_COLUMNS,
  measureAlone(system, mode, ms, { inFlightMax }) {
    const inFlight = Math.min(IN_FLIGHT, inFlightMax)
    return runAlone('cold-process.js', system.name, mode.name, THREADS, us, ms, inFlight)
  },
}))
