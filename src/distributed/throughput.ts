// Throughput: how many commands a worker ends in a millisecond while it has any.
// Thread: main.   Owns: a moving average.

import { nowMs } from '../base/clock.ts'

/** Shorter spans say little. */
const SPAN_MS = 5

/** After so long without one its commands are of another kind. */
const FORGET_MS = 1000

/** Weight of the newest span. */
const NEWEST_WEIGHT = 1 / 4

/** Measures. */
export class Throughput {
  /** Commands per millisecond. */
  perMs = 0
  #count = 0
  #sinceMs = nowMs()

  /** Commands have come after there were none: what was before is no measure. */
  resume(): void {
    const now = nowMs()
    if (now - this.#sinceMs > FORGET_MS) this.perMs /= 2
    this.#sinceMs = now
    this.#count = 0
  }

  /**
   * Commands have ended.
   *
   * @param now - Monotonic milliseconds.
   */
  ended(now: number): void {
    this.#count++
    const spanMs = now - this.#sinceMs
    if (spanMs < SPAN_MS) return
    const newest = this.#count / spanMs
    this.perMs = this.perMs === 0 ? newest : this.perMs + (newest - this.perMs) * NEWEST_WEIGHT
    this.#sinceMs = now
    this.#count = 0
  }
}
