// Serial: one command at a time, each round trip timed.
// Thread: main.   Owns: nothing.
// @ts-check

import { percentile } from './statistics.js'

const ROUND_TRIPS_MAX = 2_000_000

/**
 * Commands and how their results are checked: `expected` is the digest of a value's result.
 * Default: the value comes back.
 *
 * @typedef {import('./payloads.js').Payloads & {
 *   type: string, expected?: (value: any) => number }} Calls
 */

/**
 * Runs commands one after another.
 *
 * @param {import('./contract.js').Pool} pool
 * @param {Calls & { ms: number, pauseMs?: number }} load - `pauseMs` of quiet come before each
 * command. Default none.
 * @returns {Promise<import('./contract.js').Sample>} Percentiles in microseconds, and the rate.
 */
export async function serial(pool, { type, values, digest, expected = digest, ms, pauseMs }) {
  const digests = values.map((value) => expected(value))
  const roundTrips = new Float64Array(ROUND_TRIPS_MAX)
  let count = 0
  const startedAt = performance.now()
  let now = startedAt
  while (now < startedAt + ms && count < ROUND_TRIPS_MAX) {
    if (pauseMs !== undefined) await new Promise((resolve) => setTimeout(resolve, pauseMs))
    const index = count % values.length
    const sentAt = performance.now()
    const value = await pool.run(type, values[index])
    now = performance.now()
    roundTrips[count++] = (now - sentAt) * 1000
    if (digest(value) !== digests[index]) throw new Error(`a wrong result of ${type}`)
  }
  const sorted = roundTrips.subarray(0, count).sort()
  return {
    p50Us: percentile(sorted, 0.5),
    p99Us: percentile(sorted, 0.99),
    p999Us: percentile(sorted, 0.999),
    perSecond: (count / (now - startedAt)) * 1000,
  }
}
