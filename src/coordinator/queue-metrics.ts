// Queue metrics: the metrics of one manager, as users read them.
// Owns: the baseline of the last reset, and the timer of a backend.
// Must not: count anything: partitions and lanes do.

import { TIMER_MS_MAX } from '../base/bounds.ts'
import { callListener, timers } from '../base/clock.ts'
import { show } from '../base/errors.ts'
import { checkOptions, invalidOption, milliseconds, type OptionRules } from '../base/options.ts'
import {
  type MetricsBackend,
  type MetricsSnapshot,
  metricsSince,
  pushMetrics,
} from '../model/metrics.ts'

/** Options of metrics with a backend. */
export interface MetricsOptions {
  /** How often the backend is given what happened, 10 to 2^31 - 1 ms. Default 1,000. */
  readonly intervalMs?: number | undefined
}

/** The rules of {@link MetricsOptions}. */
export const METRICS_RULES = Object.freeze({
  intervalMs: milliseconds(1000, 10, TIMER_MS_MAX),
}) satisfies OptionRules

/** The metrics of one manager; give it to the manager's option `metrics`. */
export class QueueMetrics {
  readonly #backend: MetricsBackend | undefined
  readonly #intervalMs: number
  #read: (() => MetricsSnapshot) | undefined
  #baseline: MetricsSnapshot | undefined
  /** By snapshot since a reset: the same since the manager was made. */
  readonly #whole = new WeakMap<MetricsSnapshot, MetricsSnapshot>()
  #pushed: MetricsSnapshot | undefined
  #timer: NodeJS.Timeout | undefined

  /**
   * @param backend - Is given what happened, besides. Default: none. An error of its own is thrown
   * in a turn of its own, as an event listener's.
   * @param options - How often.
   * @throws ConfigError `CORELANE_INVALID_OPTION`.
   */
  constructor(backend?: MetricsBackend, options?: MetricsOptions) {
    for (const name of backend === undefined ? [] : (['increment', 'set', 'record'] as const)) {
      if (typeof backend?.[name] === 'function') continue
      throw invalidOption(`QueueMetrics.backend.${name}`, show(backend?.[name]), 'a function')
    }
    this.#backend = backend
    this.#intervalMs = checkOptions<MetricsOptions>('QueueMetrics', options, METRICS_RULES)
      .intervalMs!
  }

  /** Metrics that are kept in this process alone. */
  static local(): QueueMetrics {
    return new QueueMetrics()
  }

  /**
   * Everything since the manager was made, or since the last {@link QueueMetrics.reset}.
   *
   * @returns A copy that no later command changes; `JSON.stringify` takes it.
   * @throws ConfigError `CORELANE_INVALID_OPTION` if no manager was given these metrics.
   */
  snapshot(): MetricsSnapshot {
    const now = this.#now()
    if (this.#baseline === undefined) return now
    const since = metricsSince(now, this.#baseline)
    this.#whole.set(since, now)
    return since
  }

  /**
   * What happened between two snapshots, or since one, whether or not there was a reset meanwhile.
   *
   * @param before - The earlier one.
   * @param now - The later one. Default: taken now.
   */
  delta(before: MetricsSnapshot, now: MetricsSnapshot = this.snapshot()): MetricsSnapshot {
    return metricsSince(this.#whole.get(now) ?? now, this.#whole.get(before) ?? before)
  }

  /** Starts all counts and histograms from 0. Gauges stay. */
  reset(): void {
    this.#push()
    this.#baseline = this.#now()
    callListener(() => this.#backend?.reset?.(), undefined)
  }

  /**
   * Joins a manager.
   *
   * @param read - Reads the manager's metrics.
   * @internal
   */
  attach(read: () => MetricsSnapshot): void {
    if (this.#read !== undefined) {
      const received = 'metrics of another manager'
      const allowed = 'metrics of its own for each manager'
      throw invalidOption('QueueManager.metrics', received, allowed)
    }
    this.#read = read
    if (this.#backend === undefined) return
    this.#timer = timers.setInterval(() => this.#push(), this.#intervalMs).unref()
  }

  /**
   * The manager has ended; what it counted can still be read.
   *
   * @internal
   */
  detach(): void {
    timers.clearInterval(this.#timer)
    this.#push()
  }

  #now(): MetricsSnapshot {
    if (this.#read !== undefined) return this.#read()
    const received = 'metrics that were given to no manager'
    throw invalidOption('QueueManager.metrics', received, 'QueueManager.create({ metrics })')
  }

  #push(): void {
    if (this.#backend === undefined) return
    const now = this.#now()
    const before = this.#pushed
    this.#pushed = now
    pushMetrics(this.#backend, before === undefined ? now : metricsSince(now, before))
  }
}
