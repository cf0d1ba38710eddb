// Metrics reader: reads what lanes, windows and threads have counted.
// It runs on demand only, so that the hot path pays nothing.

import { epochMs, nowMs } from '../base/clock.ts'
import { Histogram } from '../base/histogram.ts'
import { readCounter } from '../memory/counters.ts'
import { Counter } from '../memory/layout.ts'
import type { Tallies } from '../memory/tallies.ts'
import type {
  LaneMetrics,
  MetricsSnapshot,
  PartitionMetrics,
  RunMetrics,
} from '../model/metrics.ts'
import type { Backpressure } from './admission/backpressure.ts'
import type { Command } from './command.ts'
import type { Backlog } from './dispatch/backlog.ts'
import { type Lane, type LaneTable, openCountOf } from './lane-table.ts'
import type { LifeCycle } from './life-cycle.ts'
import type { ManagerPlan } from './options.ts'
import { partitionState } from './stats.ts'
import { TallyBook } from './tally-book.ts'
import type { PartitionHandle } from './threads/partition-handle.ts'

/** What is read. */
export interface MetricsSources {
  readonly life: Pick<LifeCycle, 'state'>
  readonly lanes: LaneTable
  readonly backpressure: Backpressure
  readonly backlog: Backlog
  readonly partitions: readonly PartitionHandle[]
  readonly deadLetters: { readonly size: number }
}

/** When a command of a lane could have started first, and how many run. */
interface Standing {
  oldestAtMs: number
  running: number
}

/**
 * Keeps the metrics of a manager, if it is to have some.
 *
 * @param closed - Resolves when it has ended.
 * @param sources - What is read.
 * @returns Takes what is counted.
 */
export function meter(
  { metrics, partitionCount, lanes }: ManagerPlan,
  closed: Promise<void>,
  sources: MetricsSources,
): TallyBook | undefined {
  if (metrics === undefined) return undefined
  const tallies = new TallyBook(partitionCount, lanes.length)
  const reader = new MetricsReader(sources, tallies)
  metrics.attach(() => reader.read())
  void closed.then(() => metrics.detach())
  return tallies
}

class MetricsReader {
  readonly #sources: MetricsSources
  readonly #tallies: TallyBook
  readonly #startedMs = nowMs()

  constructor(sources: MetricsSources, tallies: TallyBook) {
    this.#sources = sources
    this.#tallies = tallies
  }

  /** Everything that was counted, and how things stand. */
  read(): MetricsSnapshot {
    const { lanes, partitions, deadLetters } = this.#sources
    const now = nowMs()
    const standing = lanes.all.map((): Standing => {
      return { oldestAtMs: Number.POSITIVE_INFINITY, running: 0 }
    })
    const runs = partitions.map((partition) => this.#runsOf(partition, standing, now))
    const threads = partitions.map(({ index }) => this.#tallies.threadsOf(index))
    const read = lanes.all.map((lane) => {
      return [lane.name, this.#lane(lane, standing[lane.index]!, threads, now)]
    })
    const laneMetrics: Record<string, LaneMetrics> = Object.fromEntries(read)
    return {
      atMs: epochMs(),
      spanMs: now - this.#startedMs,
      deadLetters: deadLetters.size,
      lanes: laneMetrics,
      partitions: partitions.map((partition, i) => {
        let busyMs = 0
        for (const { partitions: shares } of Object.values(laneMetrics))
          busyMs += shares[i]!.run.sum
        return this.#partition(partition, runs[i]!, busyMs, new Histogram(threads[i]!.delays))
      }),
    }
  }

  #lane(
    lane: Lane,
    { oldestAtMs, running }: Standing,
    threads: readonly Tallies[],
    now: number,
  ): LaneMetrics {
    const { backlog, partitions, backpressure } = this.#sources
    const { submitted, completed, failed, timedOut, retried, deadLettered } = lane
    const shares = partitions.map(({ index }, i) => {
      return this.#tallies.read(index, lane.index, threads[i]!)
    })
    const wait = new Histogram()
    const run = new Histogram()
    let limited = 0
    for (const share of shares) {
      wait.add(share.wait)
      run.add(share.run)
      limited += share.limited
    }
    let oldest = oldestAtMs
    for (const command of backlog.oldestOf(lane.index)) oldest = earlier(oldest, command)
    const unsettled = openCountOf(lane)
    return {
      submitted,
      started: run.count + running + this.#tallies.adriftIn(lane.index),
      completed,
      failed,
      timedOut,
      retried,
      deadLettered,
      limited,
      wait,
      run,
      queued: unsettled - running,
      running,
      unsettled,
      waiting: backpressure.waitingIn(lane),
      oldestMs: oldest === Number.POSITIVE_INFINITY ? 0 : Math.max(0, now - oldest),
      isPaused: lane.isPaused,
      groups: backlog.turns.longestWaiting(lane.index, partitions),
      partitions: shares,
    }
  }

  /** What runs in a partition; notes how its lanes stand. */
  #runsOf(partition: PartitionHandle, standing: readonly Standing[], now: number): RunMetrics[] {
    const runs: RunMetrics[] = []
    const window = partition.incarnation?.window
    for (const { command, started } of window?.snapshot() ?? []) {
      const lane = standing[command.lane.index]!
      if (!started) {
        lane.oldestAtMs = earlier(lane.oldestAtMs, command)
        continue
      }
      lane.running++
      const { id, type, group } = command
      const runningMs = Math.max(0, now - window!.startedAtMs(command.slot))
      runs.push({ id, lane: command.lane.name, type: type.name, group, runningMs })
    }
    return runs
  }

  #partition(
    partition: PartitionHandle,
    runs: readonly RunMetrics[],
    busyMs: number,
    loopDelay: Histogram,
  ): PartitionMetrics {
    const { index, losses, incarnation } = partition
    const window = incarnation?.window
    const views = window?.end.views
    return {
      index,
      state: partitionState(partition, this.#sources.life.state),
      restarts: losses,
      running: runs.length,
      bound: window === undefined ? 0 : window.load.count + window.load.restingCount,
      busyMs,
      utilisation: incarnation?.utilisation ?? 0,
      parked: views ? readCounter(views, Counter.PARKED) : 0,
      stalled: views ? readCounter(views, Counter.STALLED) : 0,
      sidePosts: window?.sidePosts ?? 0,
      commandRingFill: window?.end.commandRingFill ?? 0,
      resultRingFill: window?.end.resultRingFill ?? 0,
      heapMb: views ? readCounter(views, Counter.HEAP_KIB) / 1024 : 0,
      loopDelay,
      runs,
    }
  }
}

function earlier(atMs: number, command: Command): number {
  return command.isSettled ? atMs : Math.min(atMs, command.manager.atMs!)
}
