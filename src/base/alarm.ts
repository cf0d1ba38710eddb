// Alarm: one timer that calls back at a moment, never before it.
// Owns: the timer.
//
// A timer of Node.js may fire up to a millisecond early, and a delay beyond 2^31 - 1 ms makes it
// fire at once. The alarm looks at the clock when its timer fires and sets it again if the moment
// has not come.

import { TIMER_MS_MAX } from './bounds.ts'
import { nowMs, timers } from './clock.ts'

/** A callback at a moment that may change. It does not keep the process alive. */
export class Alarm {
  readonly #onDue: () => void
  #timer: NodeJS.Timeout | undefined
  #atMs = Number.POSITIVE_INFINITY
  /** When the timer fires; Infinity if none is set. */
  #timerAtMs = Number.POSITIVE_INFINITY
  #isStopped = false

  /**
   * @param onDue - Called once for each moment; it may set the next one.
   */
  constructor(onDue: () => void) {
    this.#onDue = onDue
  }

  /**
   * Replaces the moment. A later moment leaves the timer as it is, so it costs nothing.
   *
   * @param atMs - Monotonic milliseconds; Infinity clears the alarm.
   */
  set(atMs: number): void {
    if (this.#isStopped) return
    this.#atMs = atMs
    if (atMs === Number.POSITIVE_INFINITY) this.clear()
    else if (atMs < this.#timerAtMs) this.#arm()
  }

  /** Forgets the moment. */
  clear(): void {
    this.#atMs = Number.POSITIVE_INFINITY
    if (this.#timerAtMs === Number.POSITIVE_INFINITY) return
    this.#timerAtMs = Number.POSITIVE_INFINITY
    timers.clearTimeout(this.#timer)
  }

  /** Forgets the moment, and every later {@link Alarm.set} does nothing. */
  stop(): void {
    this.clear()
    this.#isStopped = true
  }

  #arm(): void {
    timers.clearTimeout(this.#timer)
    this.#timerAtMs = this.#atMs
    // Rounded up: Node.js cuts fractions off.
    const delayMs = Math.min(Math.max(1, Math.ceil(this.#atMs - nowMs())), TIMER_MS_MAX)
    this.#timer = timers.setTimeout(this.#fired, delayMs).unref()
  }

  readonly #fired = (): void => {
    this.#timerAtMs = Number.POSITIVE_INFINITY
    if (this.#atMs === Number.POSITIVE_INFINITY) return
    if (nowMs() < this.#atMs) {
      this.#arm()
      return
    }
    this.#atMs = Number.POSITIVE_INFINITY
    this.#onDue()
  }
}
