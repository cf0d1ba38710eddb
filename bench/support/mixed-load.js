// Mixed load: many short commands and a few long ones, and how long the short ones wait.
// Thread: main.   Owns: nothing.
// @ts-check

import { randomFrom } from '../../build/base/random.js'
import { iterationsFor } from './spin-rate.js'
import { percentile } from './statistics.js'

/** @typedef {import('./contract.js').Pool} Pool */

const SHORT_US = 10
const LONG_US = 10_000
const LONG_SHARE = 0.01
/** Mean run time of a command. */
export const MIX_MEAN_US = SHORT_US * (1 - LONG_SHARE) + LONG_US * LONG_SHARE
const SEED = 20_260_101

/** One run of a mix: submits commands and keeps the waits of the short ones. */
class Mix {
  /** @type {number[]} */
  waitsMs = []
  submitted = 0
  settled = 0
  #random = randomFrom(SEED)
  #short = iterationsFor(SHORT_US)
  #long = iterationsFor(LONG_US)
  #runLong
  #runShort

  /** @param {Pool} pool @param {boolean} hasLanes */
  constructor(pool, hasLanes) {
    this.#runLong = pool.run.bind(pool)
    this.#runShort = ((hasLanes ? pool.runUrgent : undefined) ?? pool.run).bind(pool)
  }

  async submit() {
    const isLong = this.#random() < LONG_SHARE
    this.submitted++
    const submittedAt = performance.timeOrigin + performance.now()
    const startedAt = isLong
      ? await this.#runLong('long', this.#long)
      : await this.#runShort('short', this.#short)
    this.settled++
    const waitMs = /** @type {number} */ (startedAt) - submittedAt
    // Clocks of two threads agree within microseconds.
    if (!(waitMs > -1)) throw new Error(`a command started ${waitMs} ms after it was submitted`)
    if (!isLong) this.waitsMs.push(Math.max(0, waitMs))
  }

  /** @param {number} startedAt */
  sample(startedAt) {
    const tookMs = performance.now() - startedAt
    if (this.settled !== this.submitted) throw new Error('a command was lost')
    const sorted = Float64Array.from(this.waitsMs).sort()
    return {
      waitP99Ms: percentile(sorted, 0.99),
      waitP50Ms: percentile(sorted, 0.5),
      perSecond: (this.settled / tookMs) * 1000,
      commands: this.settled,
    }
  }
}

/**
 * Keeps a number of commands in flight.
 *
 * @param {Pool} pool
 * @param {number} inFlight
 * @param {number} ms - How long.
 * @param {boolean} [hasLanes] - Whether the short ones go before the long ones, where that can be.
 */
export async function mixedClosed(pool, inFlight, ms, hasLanes = false) {
  const mix = new Mix(pool, hasLanes)
  const startedAt = performance.now()
  const callers = Array.from({ length: inFlight }, async () => {
    do await mix.submit()
    while (performance.now() < startedAt + ms)
  })
  await Promise.all(callers)
  return mix.sample(startedAt)
}

/**
 * Submits at a rate, whatever has come back, every millisecond what is due.
 *
 * @param {Pool} pool
 * @param {number} perSecond - Commands.
 * @param {number} ms - How long.
 */
export async function mixedPaced(pool, perSecond, ms) {
  const mix = new Mix(pool, false)
  /** @type {Promise<void>[]} */
  const callers = []
  const startedAt = performance.now()
  for (let now = startedAt; now < startedAt + ms; now = performance.now()) {
    // One at least, however late the first turn ends.
    const due = 1 + Math.floor(((now - startedAt) * perSecond) / 1000)
    while (callers.length < due) callers.push(mix.submit())
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  await Promise.all(callers)
  return mix.sample(startedAt)
}
