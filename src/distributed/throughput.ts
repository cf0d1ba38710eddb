// Throughput: how many commands a worker ends in a millisecond while it has any.
// Thread: main.   Owns: a moving average.

import { nowMs } from '../base/clock.ts'

/** Shorter spans say little; only the very first is believed, since it is better than nothing. */
const SPAN_MS = 5

/** After so long without one its commands are of another kind. */
const FORGET_MS = 1000

/** Weight of the newest span. */
const NEWEST_WEIGHT = 1 / 4

/** Measures. Time in which it has nothing to do is left out. */
export class Throughput {
  /** Commands per millisecond; 0 until the first has ended. */
  perMs = 0
  #count = 0
  #spanMs = 0
  #sinceMs = nowMs()

  /**
   * Commands have come after there were none: the time between is no measure.
   *
   * @param now - Monotonic milliseconds.
   */
  resume(now: number): void {
    if (now - this.#sinceMs > FORGET_MS) {
      this.perMs /= 2
      this.#count = 0
      this.#spanMs = 0
    }
    this.#sinceMs = now
  }

  /**
   * A command has ended.
   *
   * @param now - Monotonic milliseconds.
   */
  ended(now: number): void {
    this.#count++
    this.#spanMs += now - this.#sinceMs
    this.#sinceMs = now
    if (this.#spanMs < SPAN_MS && this.perMs > 0) return
    const newest = this.#count / Math.max(this.#spanMs, 1)
    this.perMs = this.perMs === 0 ? newest : this.perMs + (newest - this.perMs) * NEWEST_WEIGHT
    this.#count = 0
    this.#spanMs = 0
  }
}
