// Metrics: figures of lanes and partitions at one moment, and the changes between two moments.
// Owns: nothing; data only.

import { callListener } from '../base/clock.ts'
import type { Histogram } from '../base/histogram.ts'

/** What the threads of one partition have run of a lane. */
export interface LaneShareMetrics {
  /** Runs that failed. */
  readonly failed: number
  /** Looks in which a limit of the lane let none of its commands start. */
  readonly limited: number
  /** From the moment at which a command could have started to that at which it did. */
  readonly wait: Histogram
  /** From its start to its end, the pauses of a stream left out. `count` is the number of runs. */
  readonly run: Histogram
}

/** Groups of a lane that are listed: those that have waited longest. */
export const GROUPS_LISTED = 10

/** A group of a lane at one moment. */
export interface GroupMetrics {
  readonly group: string
  /** Its commands that wait for their turn. */
  readonly queued: number
  /**
   * Its commands that have had their turn and not ended; where the lane does not limit groups,
   * those that are bound to a partition.
   */
  readonly released: number
  /** How long the oldest that waits has waited, in milliseconds. */
  readonly oldestMs: number
}

/** A lane. */
export interface LaneMetrics extends LaneShareMetrics {
  /** Commands submitted since the start of the manager. */
  readonly submitted: number
  /** Handlers entered. */
  readonly started: number
  /** Commands whose handler gave a result. */
  readonly completed: number
  /** Commands that failed for good. */
  readonly failed: number
  /** Runs that took longer than they may; retried ones count each time. */
  readonly timedOut: number
  /** Runs that were followed by another of the same command. */
  readonly retried: number
  /** Failed commands that were kept as dead letters. */
  readonly deadLettered: number
  /** Commands that wait: in the backlog, for a delay, or bound to a partition. */
  readonly queued: number
  /** Commands whose handler runs. */
  readonly running: number
  /** `queued + running`. */
  readonly unsettled: number
  /** Submits that wait for room. */
  readonly waiting: number
  /** Age of the oldest command that could start and has not, in milliseconds; 0 without one. */
  readonly oldestMs: number
  /** Whether it is paused. */
  readonly isPaused: boolean
  /** The groups that have waited longest for a turn: ten at most, that one first. */
  readonly groups: readonly GroupMetrics[]
  /** By partition. */
  readonly partitions: readonly LaneShareMetrics[]
}

/** A handler that runs. */
export interface RunMetrics {
  readonly id: string
  readonly lane: string
  readonly type: string
  /** Undefined if it has no group. */
  readonly group: string | undefined
  /** Milliseconds since its handler was entered. */
  readonly runningMs: number
}

/** A partition. */
export interface PartitionMetrics {
  /** Its number, from 0. */
  readonly index: number
  readonly state: 'starting' | 'ready' | 'draining' | 'dormant' | 'failed' | 'ended'
  /** Threads of it that died, were given up or did not load. */
  readonly restarts: number
  /** Handlers that run. */
  readonly running: number
  /** Commands bound to it, running ones included. */
  readonly bound: number
  /** Time that its handlers have run, in milliseconds. */
  readonly busyMs: number
  /** Share of its present thread's life in which its event loop was at work, 0 to 1. */
  readonly utilisation: number
  /** Times its present thread went to sleep. */
  readonly parked: number
  /** Times it found the result ring full. */
  readonly stalled: number
  /** Payloads that took the side port to its present thread. */
  readonly sidePosts: number
  /** Share of its command ring that is in use, 0 to 1. */
  readonly commandRingFill: number
  /** The same share of its result ring. */
  readonly resultRingFill: number
  /** Heap in use when its thread last looked, in MiB. */
  readonly heapMb: number
  /** How late its event loops have come to a timer that is set ten times a second. */
  readonly loopDelay: Histogram
  /** The handlers that run. */
  readonly runs: readonly RunMetrics[]
}

/** A manager at one moment, or what happened between two. */
export interface MetricsSnapshot {
  /** Milliseconds since 1970. */
  readonly atMs: number
  /** Time that the counts and histograms are of, in milliseconds, by a clock that nothing sets. */
  readonly spanMs: number
  /** Dead letters that are kept. */
  readonly deadLetters: number
  readonly lanes: Readonly<Record<string, LaneMetrics>>
  readonly partitions: readonly PartitionMetrics[]
}

function shareSince(now: LaneShareMetrics, before: LaneShareMetrics): LaneShareMetrics {
  return {
    failed: now.failed - before.failed,
    limited: now.limited - before.limited,
    wait: now.wait.since(before.wait),
    run: now.run.since(before.run),
  }
}

function laneSince(now: LaneMetrics, before: LaneMetrics): LaneMetrics {
  return {
    ...now,
    ...shareSince(now, before),
    submitted: now.submitted - before.submitted,
    started: now.started - before.started,
    completed: now.completed - before.completed,
    timedOut: now.timedOut - before.timedOut,
    retried: now.retried - before.retried,
    deadLettered: now.deadLettered - before.deadLettered,
    partitions: now.partitions.map((share, i) => shareSince(share, before.partitions[i]!)),
  }
}

/**
 * What happened between two snapshots of one manager: counts and histograms are differences, the
 * rest is that of the later one.
 *
 * @param now - The later one.
 * @param before - The earlier one.
 */
export function metricsSince(now: MetricsSnapshot, before: MetricsSnapshot): MetricsSnapshot {
  const lanes = Object.entries(now.lanes).map(([name, lane]) => {
    const isNew = !Object.hasOwn(before.lanes, name)
    return [name, isNew ? lane : laneSince(lane, before.lanes[name]!)] as const
  })
  const partitions = now.partitions.map((partition, i) => {
    const earlier = before.partitions[i]
    if (earlier === undefined) return partition
    const { busyMs, loopDelay } = partition
    const delay = loopDelay.since(earlier.loopDelay)
    return { ...partition, busyMs: busyMs - earlier.busyMs, loopDelay: delay }
  })
  const spanMs = now.spanMs - before.spanMs
  return { ...now, spanMs, lanes: Object.fromEntries(lanes), partitions }
}

/**
 * Where counts and durations go, besides the manager's own. All members are called on the main
 * thread, once per interval and not per command.
 */
export interface MetricsBackend {
  /**
   * Adds to a counter.
   *
   * @param name - `lane.commands.submitted` and so on.
   * @param value - More than 0.
   * @param labels - The lane.
   */
  increment(name: string, value: number, labels: MetricLabels): void
  /**
   * Sets a gauge.
   *
   * @param name - `lane.queue.depth` and so on.
   * @param value - The reading.
   * @param labels - The lane.
   */
  set(name: string, value: number, labels: MetricLabels): void
  /**
   * Takes durations.
   *
   * @param name - `lane.command.latency` or `lane.command.wait_time`.
   * @param ms - In milliseconds, at most 1/32 off.
   * @param times - How many there were.
   * @param labels - The lane.
   */
  record(name: string, ms: number, times: number, labels: MetricLabels): void
  /** Forgets everything; called by `QueueMetrics.reset`. */
  reset?(): void
}

/** Labels of a metric. */
export interface MetricLabels {
  readonly lane: string
}

/** Counters of a lane, with the names that backends get. */
const COUNTERS = [
  ['submitted', 'lane.commands.submitted'],
  ['started', 'lane.commands.started'],
  ['completed', 'lane.commands.completed'],
  ['failed', 'lane.commands.failed'],
  ['timedOut', 'lane.commands.timeout'],
  ['retried', 'lane.commands.retried'],
  ['deadLettered', 'lane.commands.dead_lettered'],
  ['limited', 'lane.commands.limited'],
] as const

const GAUGES = [
  ['queued', 'lane.queue.depth'],
  ['running', 'lane.queue.active'],
  ['oldestMs', 'lane.queue.oldest_ms'],
] as const

/**
 * Gives a backend what happened. An error of one call keeps none of the others from it.
 *
 * @param backend - The backend.
 * @param delta - Since it was last given something.
 */
export function pushMetrics(backend: MetricsBackend, delta: MetricsSnapshot): void {
  for (const [lane, metrics] of Object.entries(delta.lanes)) {
    const labels = { lane }
    const give = (call: () => void) => callListener(call, undefined)
    for (const [field, name] of COUNTERS) {
      if (metrics[field] > 0) give(() => backend.increment(name, metrics[field], labels))
    }
    for (const [field, name] of GAUGES) give(() => backend.set(name, metrics[field], labels))
    for (const [ms, times] of metrics.wait.buckets()) {
      give(() => backend.record('lane.command.wait_time', ms, times, labels))
    }
    for (const [ms, times] of metrics.run.buckets()) {
      give(() => backend.record('lane.command.latency', ms, times, labels))
    }
  }
}
