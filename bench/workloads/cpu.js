// CPU: handlers that burn a fixed amount of work, beside the same work on bare threads.
// @ts-check

import { closedLoop } from '../support/closed-loop.js'
import { spin } from '../support/handlers.js'
import { COST_COLUMNS, metered, RATE_COLUMN } from '../support/metered.js'
import { iterationsFor } from '../support/spin-rate.js'
import { SYSTEMS } from '../systems/table.js'

const IN_FLIGHT = 1000
const THREADS = 2

/** @type {readonly import('../support/contract.js').Column[]} */
const COLUMNS = [
  { metric: 'share', title: 'share of ideal', better: 'more', digits: 3 },
  RATE_COLUMN,
  ...COST_COLUMNS,
]

const LENGTHS = [
  { us: 10, title: '10 µs' },
  { us: 100, title: '100 µs' },
  { us: 1_000, title: '1 ms' },
  { us: 10_000, title: '10 ms' },
]

/** @type {readonly import('../support/contract.js').PoolRow[]} */
export const rows = LENGTHS.map(({ us, title }) => ({
  id: `cpu-${title.replaceAll(' ', '-').replace('µ', 'u')}`,
  title: `${title} of work each, ${IN_FLIGHT.toLocaleString('en')} in flight`,
  threads: THREADS,
  columns: COLUMNS,
  systems: SYSTEMS.map(({ name }) => name),
  async measure(pool, ms) {
    const iterations = iterationsFor(us)
    const commands = Math.max(THREADS * 2, Math.round((ms * 1000 * THREADS) / us))
    if (pool.split !== undefined) return metered(() => split(pool, iterations, commands))
    const result = spin(iterations)
    return metered(() =>
      closedLoop(pool, {
        type: 'spin',
        values: [iterations],
        digest: (value) => value,
        expected: () => result,
        inFlight: IN_FLIGHT,
        ms,
        commands,
      }),
    )
  },
}))

/**
 * @param {import('../support/contract.js').Pool} pool @param {number} iterations
 * @param {number} commands
 */
async function split(pool, iterations, commands) {
  const expected = Math.imul(spin(iterations), commands)
  const startedAt = performance.now()
  const sums = /** @type {number[]} */ (await pool.split?.('spin', iterations, commands))
  const ms = performance.now() - startedAt
  const sum = sums.reduce((total, part) => (total + part) | 0, 0)
  if (sum !== expected) throw new Error(`the ideal split gave ${sum} instead of ${expected}`)
  return { commands, ms }
}
