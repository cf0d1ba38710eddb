// Queue monitor: looks at a manager's `stats()` at an interval, and warns of lanes that fill up.
// Owns: its timer and the last look. It needs no metrics.

import { COUNT_MAX, TIMER_MS_MAX } from '../base/bounds.ts'
import { callListener, timers } from '../base/clock.ts'
import { show } from '../base/errors.ts'
import {
  anything,
  checkOptions,
  integer,
  invalidOption,
  milliseconds,
  type OptionRules,
} from '../base/options.ts'
import type { Watched, WatchedLane } from './watched.ts'

/** A lane that has reached a threshold. */
export interface MonitorWarning {
  readonly lane: string
  readonly measure: 'queued' | 'running'
  /** Commands of the lane that wait or run. */
  readonly value: number
  /** The option that this has reached: `queuedWarning` or `runningWarning`. */
  readonly threshold: number
}

/** Options of a queue monitor. */
export interface MonitorOptions {
  /** How often it looks, 10 to 2^31 - 1 ms. Default 10,000. */
  readonly intervalMs?: number | undefined
  /** Waiting commands of a lane at which it warns, 1 to 2^31 - 1. Default 100. */
  readonly queuedWarning?: number | undefined
  /** Running commands of a lane at which it warns, 1 to 2^31 - 1. Default 50. */
  readonly runningWarning?: number | undefined
  /**
   * Is called once for each lane and measure, until it is below its threshold; its errors are
   * uncaught. Default: none.
   */
  readonly onWarning?: ((warning: MonitorWarning) => void) | undefined
}

/** The rules of {@link MonitorOptions}. */
export const MONITOR_RULES = Object.freeze({
  intervalMs: milliseconds(10_000, 10, TIMER_MS_MAX),
  queuedWarning: integer(100, 1, COUNT_MAX),
  runningWarning: integer(50, 1, COUNT_MAX),
  onWarning: anything(undefined, 'a function', (value) => typeof value === 'function'),
}) satisfies OptionRules

/** Watches a manager. */
export class QueueMonitor<S extends ReturnType<Watched['stats']>> {
  readonly #manager: { stats(): S }
  readonly #options: MonitorOptions
  readonly #warned = new Set<string>()
  #last: S | undefined
  #timer: NodeJS.Timeout | undefined

  /**
   * @param manager - The manager.
   * @param options - The interval, thresholds, and a callback.
   * @throws ConfigError `CORELANE_INVALID_OPTION`.
   */
  constructor(manager: { stats(): S }, options?: MonitorOptions) {
    if (typeof manager?.stats !== 'function') {
      throw invalidOption('QueueMonitor.manager', show(manager), 'a queue manager')
    }
    this.#manager = manager
    this.#options = checkOptions<MonitorOptions>('QueueMonitor', options, MONITOR_RULES)
  }

  /** Looks now, and once per interval from then on. */
  start(): this {
    if (this.#timer !== undefined) return this
    this.#timer = timers.setInterval(() => this.#look(), this.#options.intervalMs!).unref()
    this.#look()
    return this
  }

  /** Looks no more. */
  stop(): void {
    timers.clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** What the last look saw; undefined before the first. */
  stats(): S | undefined {
    return this.#last
  }

  #look(): void {
    this.#last = this.#manager.stats()
    for (const [name, lane] of Object.entries(this.#last.lanes)) {
      this.#judge(name, lane, 'queued', this.#options.queuedWarning!)
      this.#judge(name, lane, 'running', this.#options.runningWarning!)
    }
  }

  #judge(lane: string, seen: WatchedLane, measure: 'queued' | 'running', threshold: number): void {
    const value = seen[measure]
    const name = `${measure}/${lane}`
    if (value < threshold) this.#warned.delete(name)
    else if (!this.#warned.has(name)) {
      this.#warned.add(name)
      const { onWarning } = this.#options
      if (onWarning) callListener(onWarning, { lane, measure, value, threshold })
    }
  }
}
