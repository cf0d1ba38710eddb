// Time limits: notices commands that run longer than they may, with one timer for all of them.
// Thread: main.   Owns: the timer.

import { Alarm } from '../../base/alarm.ts'
import { nowMs } from '../../base/clock.ts'
import type { BoundWindow } from './bound-window.ts'
import type { Incarnation } from './incarnation.ts'
import type { PartitionHandle } from './partition-handle.ts'
import type { OverdueRun } from './run-watch.ts'

/** What is done about them. */
export interface TimeLimitEvents {
  /** A command runs longer than it may. */
  timedOut(window: BoundWindow, run: OverdueRun): void
  /** A thread runs something that nobody waits for any more, past its grace. */
  stuck(incarnation: Incarnation, reason: Error): void
  /** Something was done. */
  acted(): void
}

/** Keeps time. */
export class TimeLimits {
  readonly #partitions: readonly PartitionHandle[]
  readonly #events: TimeLimitEvents
  // Commands in flight keep the process alive; the alarm need not.
  readonly #alarm = new Alarm(() => this.#look())

  constructor(partitions: readonly PartitionHandle[], events: TimeLimitEvents) {
    this.#partitions = partitions
    this.#events = events
  }

  /** Plans the next look. Call it after something was bound or given up; cheap. */
  plan(): void {
    let atMs = Number.POSITIVE_INFINITY
    for (const { incarnation } of this.#partitions) {
      if (incarnation !== undefined) atMs = Math.min(atMs, incarnation.window.watch.checkAtMs)
    }
    this.#alarm.set(atMs)
  }

  /** Looks no more. */
  stop(): void {
    this.#alarm.stop()
  }

  #look(): void {
    let hasActed = false
    for (const { incarnation } of this.#partitions) {
      if (incarnation === undefined || incarnation.window.watch.checkAtMs > nowMs()) continue
      const { window } = incarnation
      const { watch } = window
      // What has ended by now has ended in time, however late this thread is.
      while (window.drain() > 0) hasActed = true
      for (const run of window.overdue(nowMs())) {
        hasActed = true
        this.#events.timedOut(window, run)
      }
      const stuck = watch.stuckRun(nowMs())
      if (stuck === undefined) continue
      hasActed = true
      this.#events.stuck(incarnation, stuck.reason)
    }
    if (hasActed) this.#events.acted()
    this.plan()
  }
}
