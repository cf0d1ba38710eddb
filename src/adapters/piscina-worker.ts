// Piscina worker: a thread and its times, as Piscina's interface shows them.
// Owns: the tasks that were given to the thread by name.

import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'
import type { Incarnation } from '../coordinator/threads/incarnation.ts'
import type { PiscinaTask, PoolTask } from './piscina-task.ts'

const PERCENTILES = [
  ...(['p0_001', 'p0_01', 'p0_1', 'p1', 'p2_5', 'p10', 'p25', 'p50'] as const),
  ...(['p75', 'p90', 'p97_5', 'p99', 'p99_9', 'p99_99', 'p99_999'] as const),
] as const

/** Times of many tasks, in milliseconds. */
export type PiscinaHistogramSummary = Record<
  'average' | 'mean' | 'stddev' | 'min' | 'max' | (typeof PERCENTILES)[number],
  number
>

/** What a pool shows of its times. */
export interface PiscinaHistogram {
  /** How long tasks ran, in milliseconds; undefined without the option `recordTiming`. */
  readonly runTime: PiscinaHistogramSummary | undefined
  /** How long tasks waited, as `runTime`. */
  readonly waitTime: PiscinaHistogramSummary | undefined
  /** Forgets the run times. */
  resetRunTime(): void
  /** Forgets the wait times. */
  resetWaitTime(): void
}

/** Times of a pool or a thread. */
export class Times {
  /** In microseconds. */
  readonly native: RecordableHistogram = createHistogram()

  /** @param ms - Milliseconds. */
  record(ms: number): void {
    this.native.record(Math.max(1, Math.trunc(ms * 1000)))
  }

  get summary(): PiscinaHistogramSummary {
    const { mean, stddev, min, max } = this.native
    const figures: Record<string, number> = { average: mean, mean, stddev, min, max }
    for (const name of PERCENTILES) {
      figures[name] = this.native.percentile(Number(name.slice(1).replace('_', '.')))
    }
    for (const name of Object.keys(figures)) figures[name]! /= 1000
    return figures as PiscinaHistogramSummary
  }
}

/** The histogram of a pool; without arguments, of one that records no times. */
export function histogramOf(run?: Times, wait?: Times): PiscinaHistogram {
  return {
    get runTime() {
      return run?.summary
    },
    get waitTime() {
      return wait?.summary
    },
    resetRunTime: () => run?.native.reset(),
    resetWaitTime: () => wait?.native.reset(),
  }
}

/** A thread, as balancers and events show it. */
export interface PiscinaWorker {
  /** Its number in the pool. */
  readonly id: number
  /** Tasks that it runs. */
  readonly currentUsage: number
  readonly isRunningAbortableTask: boolean
  readonly histogram: PiscinaHistogramSummary | null
  readonly terminating: boolean
  readonly destroyed: boolean
}

/** One thread. */
export class PoolWorker implements PiscinaWorker {
  readonly incarnation: Incarnation
  readonly id: number
  readonly times: Times | undefined
  /** Whether tasks may be given to it: Piscina does not wait for its first threads. */
  isReady: boolean
  destroyed = false
  readonly terminating = false
  /** Tasks that were given to it by name. */
  readonly tasks = new Set<PoolTask>()

  constructor(incarnation: Incarnation, isReady: boolean, hasHistogram: boolean) {
    this.incarnation = incarnation
    this.id = incarnation.threadId
    this.isReady = isReady
    this.times = hasHistogram ? new Times() : undefined
  }

  /** Handlers that run; Infinity while an abortable task does. */
  get currentUsage(): number {
    return this.isRunningAbortableTask ? Number.POSITIVE_INFINITY : this.count
  }

  get count(): number {
    return this.tasks.size > 0 ? this.tasks.size : this.incarnation.window.load.count
  }

  get isRunningAbortableTask(): boolean {
    const [task] = this.tasks
    return this.tasks.size === 1 && task!.isAbortable
  }

  get histogram(): PiscinaHistogramSummary | null {
    return this.times?.summary ?? null
  }
}

/** Chooses the thread with the fewest tasks. */
export function leastBusy(maximum: number) {
  return ({ isAbortable }: PiscinaTask, workers: readonly PiscinaWorker[]) => {
    const bound = isAbortable ? 1 : maximum
    const usage = Math.min(...workers.map(({ currentUsage }) => currentUsage))
    return usage < bound ? workers.find(({ currentUsage }) => currentUsage === usage)! : null
  }
}
