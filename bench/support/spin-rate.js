// Spin rate: how much of the handler `spin` makes a microsecond on this machine.
// Thread: main.   Owns: the rate, measured once per process.
// @ts-check

import { spin } from './handlers.js'

const TRIALS = 7
const TRIAL_ITERATIONS = 2_000_000

/** @type {number | undefined} */
let perMicrosecond

/**
 * Iterations of `spin` that take a time on a core of its own.
 *
 * @param {number} us - Microseconds.
 */
export function iterationsFor(us) {
  perMicrosecond ??= measureRate()
  return Math.round(us * perMicrosecond)
}

function measureRate() {
  // The fastest trial: whatever else ran meanwhile only made others slower.
  let bestMs = Number.POSITIVE_INFINITY
  for (let trial = 0; trial < TRIALS; trial++) {
    const startedAt = performance.now()
    spin(TRIAL_ITERATIONS + trial)
    bestMs = Math.min(bestMs, performance.now() - startedAt)
  }
  return TRIAL_ITERATIONS / (bestMs * 1000)
}
