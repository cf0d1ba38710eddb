// Watched: the members of a manager that operations look at and act on.
// Owns: nothing; types only. A QueueManager has this shape.

import { show } from '../base/errors.ts'
import { invalidOption } from '../base/options.ts'
import type { LanePlan } from '../model/lane.ts'
import type { MetricsSnapshot } from '../model/metrics.ts'

/** Metrics as they are read. */
export interface WatchedMetrics {
  /** All counts and histograms now. */
  snapshot(): MetricsSnapshot
  /** What happened between two snapshots; `now` is taken by default. */
  delta(before: MetricsSnapshot, now?: MetricsSnapshot): MetricsSnapshot
}

/** A lane as `stats()` has it. */
export interface WatchedLane {
  /** Commands that wait. */
  readonly queued: number
  /** Commands whose handler runs. */
  readonly running: number
}

/** What is watched of a manager. */
export interface Watched {
  readonly lanes: readonly LanePlan[]
  /** Undefined unless the manager has the option `metrics`. */
  readonly metrics: WatchedMetrics | undefined
  /** Counts of lanes, and the load of the host. */
  stats(): {
    readonly host: { readonly cores: number; readonly loadAverage: number }
    readonly lanes: Readonly<Record<string, WatchedLane>>
  }
}

/**
 * The metrics of a manager.
 *
 * @param manager - The manager.
 * @param owner - What needs them, for the message.
 * @throws ConfigError `CORELANE_INVALID_OPTION` if it keeps none.
 */
export function metricsOf(manager: Pick<Watched, 'metrics'>, owner: string): WatchedMetrics {
  const metrics = manager?.metrics
  if (metrics !== undefined) return metrics
  const received = manager ? 'a manager without metrics' : show(manager)
  const allowed = 'a manager with the option metrics: QueueMetrics.local()'
  throw invalidOption(`${owner}.manager`, received, allowed)
}
