// Urgency timer: fires when the order of what waits changes by itself.
// Thread: main.   Owns: the timer.

import { nowMs, timers } from '../base/clock.ts'

/** One timer, moved about. */
export class UrgencyTimer {
  readonly #onChange: () => void
  #timer: NodeJS.Timeout | undefined
  #atMs = Number.POSITIVE_INFINITY

  /**
   * @param onChange - Called when something that waits is more urgent than it was.
   */
  constructor(onChange: () => void) {
    this.#onChange = onChange
  }

  /**
   * Says when the order changes next; cheap where that is what it was.
   *
   * @param atMs - Monotonic milliseconds; Infinity: never.
   */
  plan(atMs: number): void {
    if (atMs === this.#atMs) return
    this.#atMs = atMs
    timers.clearTimeout(this.#timer)
    if (atMs === Number.POSITIVE_INFINITY) return
    const delayMs = Math.max(1, Math.ceil(atMs - nowMs()))
    this.#timer = timers.setTimeout(this.#onChange, delayMs).unref()
  }
}
