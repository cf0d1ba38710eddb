// Piscina worker: a thread and its times, as Piscina's interface shows them.
// Owns: the tasks that were given to the thread by name.

import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'
import type { Incarnation } from '../coordinator/threads/incarnation.ts'
import type { PiscinaTask, PoolTask } from './piscina-task.ts'

const PERCENTILES = [
  0.001, 0.01, 0.1, 1, 2.5, 10, 25, 50, 75, 90, 97.5, 99, 99.9, 99.99, 99.999,
] as const

type PercentileName =
  | `p0_${'001' | '01' | '1'}`
  | `p${'1' | '2_5' | '10' | '25' | '50' | '75' | '90' | '97_5'}`
  | `p99${'' | '_9' | '_99' | '_999'}`

/** Times of many tasks, in milliseconds. */
export type PiscinaHistogramSummary = Record<
  'average' | 'mean' | 'stddev' | 'min' | 'max' | PercentileName,
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

/** The figures of a histogram, which has microseconds. */
function summaryOf(histogram: RecordableHistogram): PiscinaHistogramSummary {
  const { mean, stddev, min, max } = histogram
  const figures: Record<string, number> = { average: mean, mean, stddev, min, max }
  for (const percent of PERCENTILES) {
    figures[`p${String(percent).replace('.', '_')}`] = histogram.percentile(percent)
  }
  for (const name of Object.keys(figures)) figures[name]! /= 1000
  return figures as PiscinaHistogramSummary
}

/**
 * Records a time.
 *
 * @param histogram - Where.
 * @param ms - The time in milliseconds.
 */
export function record(histogram: RecordableHistogram, ms: number): void {
  histogram.record(Math.max(1, Math.trunc(ms * 1000)))
}

/**
 * The histogram of a pool.
 *
 * @param run - Undefined, like the other, in a pool that records no times.
 */
export function histogramOf(
  run?: RecordableHistogram,
  wait?: RecordableHistogram,
): PiscinaHistogram {
  return {
    get runTime() {
      return run && summaryOf(run)
    },
    get waitTime() {
      return wait && summaryOf(wait)
    },
    resetRunTime: () => run?.reset(),
    resetWaitTime: () => wait?.reset(),
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

const back: unique symbol = Symbol('Piscina.kWorkerData')

/** One thread. */
export class PoolWorker implements PiscinaWorker {
  readonly [back]: this = this
  readonly incarnation: Incarnation
  readonly id: number
  readonly times: RecordableHistogram | undefined
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
    this.times = hasHistogram ? createHistogram() : undefined
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
    return this.tasks.size === 1 && task!.abortSignal !== null
  }

  get histogram(): PiscinaHistogramSummary | null {
    return this.times === undefined ? null : summaryOf(this.times)
  }
}

/** The thread that a balancer has chosen; undefined if that is none of the pool's. */
export function chosenBy(choice: PiscinaWorker | null): PoolWorker | undefined {
  return (choice as Partial<PoolWorker> | null)?.[back]
}

/** Chooses the thread with the fewest tasks. */
export function leastBusy(maximum: number) {
  return (task: PiscinaTask, workers: readonly PiscinaWorker[]): PiscinaWorker | null => {
    let best: PiscinaWorker | null = null
    let bound = maximum
    for (const worker of workers) {
      if (worker.currentUsage === 0) return worker
      if (task.isAbortable || worker.currentUsage >= bound) continue
      best = worker
      bound = worker.currentUsage
    }
    return best
  }
}
