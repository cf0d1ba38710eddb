// Alert manager: compares metrics with thresholds, and reports changes of level.
// Owns: its timer, the level of each rule and lane. Nothing runs before `start`.

import { TIMER_MS_MAX } from '../base/bounds.ts'
import { callListener, epochMs, timers } from '../base/clock.ts'
import { show } from '../base/errors.ts'
import {
  anything,
  checkGiven,
  checkOptions,
  invalidOption,
  isObject,
  milliseconds,
  type OptionRules,
} from '../base/options.ts'
import { unknownLane } from '../model/lane.ts'
import type { LaneMetrics, MetricsSnapshot } from '../model/metrics.ts'
import { metricsOf, type Watched } from './watched.ts'

/** What can be watched, with the thresholds that hold unless others are given. */
export const ALERT_MEASURES = Object.freeze({
  /** Commands of a lane that wait. */
  queued: { warning: 10_000, critical: 100_000 },
  /** Age of the oldest command of a lane that could start and has not, in milliseconds. */
  oldestMs: { warning: 10_000, critical: 60_000 },
  /** 99th percentile of the waits of a lane since the last look, in milliseconds. */
  waitP99Ms: { warning: 5_000, critical: 30_000 },
  /** Share of the commands of a lane that failed, of those that ended since the last look. */
  errorRate: { warning: 0.05, critical: 0.25 },
  /** Share of a lane's `maxConcurrency` that runs. */
  limitSaturation: { warning: 0.95, critical: 2 },
  /** Threads that died, were given up or did not load since the last look, in all partitions. */
  restarts: { warning: 1, critical: 3 },
  /** Runnable processes of the machine for each of its cores, over the last minute. */
  hostLoad: { warning: 1.5, critical: 4 },
})

/** Something that can be watched. */
export type AlertMeasure = keyof typeof ALERT_MEASURES

/** How urgent an alert is. */
export type AlertLevel = 'ok' | 'warning' | 'critical'

/** The values at which a measure becomes a warning, and critical. */
export interface AlertThresholds {
  /** Least value of a warning, in the unit of the measure. */
  readonly warning: number
  /** Least value that is critical, in the same unit; at least `warning`. */
  readonly critical: number
}

/** A level that has changed. */
export interface Alert {
  readonly measure: AlertMeasure
  /** Undefined for measures of the whole manager. */
  readonly lane: string | undefined
  readonly level: AlertLevel
  /** The measured value, in the unit of the measure. */
  readonly value: number
  readonly message: string
  /** Milliseconds since 1970. */
  readonly atMs: number
}

/** Options of an alert manager. */
export interface AlertOptions {
  /** How often it looks, 10 to 2^31 - 1 ms. Default 5,000. */
  readonly intervalMs?: number | undefined
  /** Thresholds by measure; `false` leaves one out. Default: those of `ALERT_MEASURES`. */
  readonly thresholds?:
    | Readonly<Partial<Record<AlertMeasure, AlertThresholds | false | undefined>>>
    | undefined
  /** Is called with each change; its errors are uncaught. Default: none. */
  readonly onAlert?: ((alert: Alert) => void) | undefined
}

/** The rules of {@link AlertOptions}. */
export const ALERT_RULES = Object.freeze({
  intervalMs: milliseconds(5_000, 10, TIMER_MS_MAX),
  thresholds: anything({}, 'an object of { warning, critical } or false by measure', isObject),
  onAlert: anything(undefined, 'a function', (value) => typeof value === 'function'),
}) satisfies OptionRules

/** A level goes down once the value is a tenth below its threshold, so that it does not flicker. */
const HYSTERESIS = 0.1

/** Fewer ended commands than this say nothing about a rate of errors. */
const ENDED_MIN = 10

const LEVELS: readonly AlertLevel[] = ['ok', 'warning', 'critical']

function levelOf(value: number, before: AlertLevel, thresholds: AlertThresholds): AlertLevel {
  const bound = (level: 'warning' | 'critical') => {
    const isHeld = LEVELS.indexOf(before) >= LEVELS.indexOf(level)
    return thresholds[level] * (isHeld ? 1 - HYSTERESIS : 1)
  }
  if (value >= bound('critical')) return 'critical'
  return value >= bound('warning') ? 'warning' : 'ok'
}

/** Watches a manager with metrics. */
export class AlertManager {
  readonly #manager: Watched
  readonly #intervalMs: number
  /** By measure, or by measure and lane. */
  readonly #thresholds = new Map<string, AlertThresholds | false>()
  readonly #alerts = new Map<string, Alert>()
  readonly #listeners = new Set<(alert: Alert) => void>()
  #before: MetricsSnapshot
  #timer: NodeJS.Timeout | undefined

  /**
   * @param manager - With metrics.
   * @param options - Thresholds, the interval, a callback.
   * @throws ConfigError `CORELANE_INVALID_OPTION`.
   */
  constructor(manager: Watched, options?: AlertOptions) {
    const checked = checkOptions<AlertOptions>('AlertManager', options, ALERT_RULES)
    this.#manager = manager
    this.#before = metricsOf(manager, 'AlertManager').snapshot()
    this.#intervalMs = checked.intervalMs!
    const thresholds = Object.entries({ ...ALERT_MEASURES, ...checked.thresholds })
    for (const [name, both] of thresholds) {
      const measure = name as AlertMeasure
      this.setThresholds(measure, both === undefined ? ALERT_MEASURES[measure] : both)
    }
    if (checked.onAlert !== undefined) this.onAlert(checked.onAlert)
  }

  /** Looks once per interval from now on. */
  start(): this {
    this.#timer ??= timers.setInterval(() => this.check(), this.#intervalMs).unref()
    return this
  }

  /** Looks no more. */
  stop(): void {
    timers.clearInterval(this.#timer)
    this.#timer = undefined
  }

  /**
   * Changes the thresholds of a measure; the next look goes by them.
   *
   * @param measure - The measure.
   * @param thresholds - The new ones; `false` leaves the measure out.
   * @param lane - For one lane alone. Default: for all that have none of their own.
   * @throws ConfigError `CORELANE_INVALID_OPTION`, `CORELANE_UNKNOWN_LANE`.
   */
  setThresholds(measure: AlertMeasure, thresholds: AlertThresholds | false, lane?: string): void {
    const { warning, critical } = (thresholds || {}) as Partial<AlertThresholds>
    const areNumbers = typeof warning === 'number' && typeof critical === 'number'
    const isFit = thresholds === false || (areNumbers && warning <= critical)
    if (!Object.hasOwn(ALERT_MEASURES, measure) || !isFit) {
      const measures = Object.keys(ALERT_MEASURES).join(', ')
      const allowed = `{ warning, critical } with warning <= critical, or false, for ${measures}`
      throw invalidOption(`AlertManager.thresholds.${String(measure)}`, show(thresholds), allowed)
    }
    const { lanes } = this.#manager
    const isKnown = lane === undefined || lanes.some(({ name }) => name === lane)
    if (!isKnown) throw unknownLane(lane, lanes)
    this.#thresholds.set(nameOf(measure, lane), thresholds)
  }

  /**
   * Calls a function with each change of a level.
   *
   * @param listener - The function.
   * @returns Ends that.
   * @throws ConfigError `CORELANE_INVALID_OPTION`.
   */
  onAlert(listener: (alert: Alert) => void): () => void {
    checkGiven('AlertManager', { onAlert: listener ?? null }, ALERT_RULES)
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** What is a warning or critical at the moment. */
  get active(): readonly Alert[] {
    return [...this.#alerts.values()].filter(({ level }) => level !== 'ok')
  }

  /**
   * Looks now.
   *
   * @returns The levels that have changed.
   */
  check(): Alert[] {
    const metrics = metricsOf(this.#manager, 'AlertManager')
    const now = metrics.snapshot()
    const delta = metrics.delta(this.#before, now)
    const changed: Alert[] = []
    for (const plan of this.#manager.lanes) {
      const lane = delta.lanes[plan.name]!
      for (const [measure, value] of measuresOf(lane, plan.maxConcurrency)) {
        this.#judge(changed, measure, value, plan.name)
      }
    }
    const { cores, loadAverage } = this.#manager.stats().host
    this.#judge(changed, 'restarts', restartsOf(now) - restartsOf(this.#before))
    this.#judge(changed, 'hostLoad', loadAverage / cores)
    this.#before = now
    for (const alert of changed) {
      // One that throws keeps the alert from no other: it is not told again.
      for (const listener of this.#listeners) callListener(listener, alert)
    }
    return changed
  }

  #judge(changed: Alert[], measure: AlertMeasure, value: number, lane?: string): void {
    const thresholds =
      this.#thresholds.get(nameOf(measure, lane)) ?? this.#thresholds.get(measure) ?? false
    const name = nameOf(measure, lane)
    const before = this.#alerts.get(name)?.level ?? 'ok'
    const level = thresholds === false ? 'ok' : levelOf(value, before, thresholds)
    if (level === before) return
    const where = lane === undefined ? 'the manager' : `lane ${lane}`
    const message = `${level}: ${measure} of ${where} is ${Number(value.toPrecision(4))}`
    const alert = { measure, lane, level, value, message, atMs: epochMs() }
    this.#alerts.set(name, alert)
    changed.push(alert)
  }
}

function nameOf(measure: AlertMeasure, lane: string | undefined): string {
  return lane === undefined ? measure : `${measure}/${lane}`
}

function restartsOf({ partitions }: MetricsSnapshot): number {
  return partitions.reduce((sum, { restarts }) => sum + restarts, 0)
}

function measuresOf(
  { queued, oldestMs, wait, completed, failed, running }: LaneMetrics,
  maxConcurrency: number | undefined,
): [AlertMeasure, number][] {
  const ended = completed + failed
  return [
    ['queued', queued],
    ['oldestMs', oldestMs],
    ['waitP99Ms', wait.p99],
    ['errorRate', ended < ENDED_MIN ? 0 : failed / ended],
    ['limitSaturation', maxConcurrency === undefined ? 0 : running / maxConcurrency],
  ]
}
