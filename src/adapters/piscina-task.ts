// Piscina task: one call of run, how it settles, and the thread that runs it, with its times.
// Owns: the settlement of the task.

import { AsyncResource } from 'node:async_hooks'
import type { Abortable, AnySignal } from '../base/abort-listeners.ts'
import { LaneError } from '../base/errors.ts'
import { Histogram } from '../base/histogram.ts'
import type { Command } from '../coordinator/command.ts'
import { Rejection, type Settler } from '../coordinator/settlement.ts'
import type { Incarnation } from '../coordinator/threads/incarnation.ts'
import type { CommandOptions } from '../model/command.ts'
import { movedBy, transferableSymbol, valueSymbol } from '../model/transferable.ts'
import { portRefusal } from '../wire/side-payload.ts'
import { queueOptionsSymbol, type Task } from './task-queues.ts'

/** Why a task ended that was given up. */
export class AbortError extends Error {
  constructor(reason?: unknown) {
    super('The task has been aborted', { cause: reason })
  }

  override get name(): string {
    return 'AbortError'
  }
}

/** A task, as balancers see it. */
export interface PiscinaTask extends Task {
  /** Its number in the process. */
  readonly taskId: number
  readonly filename: string
  readonly name: string
  /** When it was submitted, milliseconds of `performance.now()`. */
  readonly created: number
  readonly isAbortable: boolean
}

/** Options of one task: Piscina's, and where it is to run. */
export interface RunOptions
  extends Pick<CommandOptions, 'priority' | 'group' | 'deadlineMs' | 'timeoutMs' | 'transferList'> {
  /** Name of its lane. Default: that of a queue manager. */
  readonly lane?: string | undefined
  /** Tasks with the same key run one at a time, in order. Default: none. */
  readonly key?: string | undefined
  /** Module of this task. Default: that of the pool. */
  filename?: string | null | undefined
  /** Its abort ends the task, and its thread if it runs. Default: none. */
  signal?: AnySignal | null | undefined
  /** Export that runs. Default: that of the pool. */
  name?: string | null | undefined
}

let taskCount = 0

// A promise's resolver is taken without a closure per task.
let resolver!: (value: unknown) => void
function capture(resolve: (value: unknown) => void): void {
  resolver = resolve
}

/** Takes the end of the command of a task; the pool. */
export type TaskEnd = (task: PoolTask, ...end: Parameters<Settler['settled']>) => void

/** One task. Custom queues hold these. */
export class PoolTask extends AsyncResource implements PiscinaTask, Settler, Abortable {
  task: unknown
  readonly transferList: readonly object[] | undefined
  readonly filename: string
  readonly name: string
  readonly taskId: number = taskCount++
  readonly abortSignal: AnySignal | null
  readonly isAbortable: boolean
  /** That ends it at once. */
  readonly isBound = true
  readonly created: number
  /** Where it is to run, if it says so. */
  readonly lanes: RunOptions | undefined
  /** The promise of its result. */
  readonly result: Promise<unknown> = new Promise(capture)
  #resolve: ((value: unknown) => void) | undefined = resolver
  readonly #ended: TaskEnd
  command: Command | undefined = undefined
  /** Where a balancer gave it to. */
  worker: PoolWorker | undefined = undefined
  /** Called when its signal aborts. */
  abort!: (reason: unknown) => void
  /** Called once its promise is settled. */
  onEnd: (() => void) | undefined = undefined
  older: PoolTask | undefined = undefined
  younger: PoolTask | undefined = undefined

  constructor(
    ended: TaskEnd,
    task: unknown,
    filename: string,
    name: string,
    options: RunOptions,
    isLaned: boolean,
    created: number,
    triggerAsyncId: number,
  ) {
    super('Piscina.Task', triggerAsyncId)
    const { transferList, signal, lane, priority, key, group, deadlineMs, timeoutMs } = options
    const moved = movedBy(task)
    this.#ended = ended
    this.task = moved === undefined ? task : moved[valueSymbol]
    this.transferList = moved
      ? (transferList ?? []).concat(moved[transferableSymbol])
      : transferList
    this.filename = filename
    this.name = name
    this.abortSignal = signal ?? null
    this.isAbortable = this.abortSignal !== null
    this.created = created
    const own = lane ?? priority ?? key ?? group ?? deadlineMs ?? timeoutMs
    this.lanes = own !== undefined ? options : (isLaned && this[queueOptionsSymbol]) || undefined
  }

  get [queueOptionsSymbol](): object | null {
    return (this.task as Partial<Task> | null | undefined)?.[queueOptionsSymbol] ?? null
  }

  /** Whether its promise is settled. */
  get isDone(): boolean {
    return this.#resolve === undefined
  }

  settled(...end: Parameters<Settler['settled']>): void {
    this.#ended(this, ...end)
  }

  /** Settles its promise, in the context in which it was made; once. */
  settle(isOk: boolean, value: unknown): void {
    const resolve = this.#resolve!
    this.#resolve = undefined
    this.task = undefined
    this.runInAsyncScope(resolve, undefined, isOk ? value : new Rejection(value))
    this.emitDestroy()
    this.onEnd?.()
  }

  /** The reason that Piscina would reject with, for the error of its command. */
  reasonOf(error: unknown): unknown {
    if (!(error instanceof LaneError)) return error
    const { code, cause, details } = error
    if (code === 'CORELANE_PARTITION_LOST') {
      return cause ?? new Error(`worker exited with code: ${details.exitCode}`)
    }
    if (code !== 'CORELANE_UNSERIALIZABLE' || details.role !== 'payload') return error
    return portRefusal(this.task, this.transferList) ?? error
  }
}

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

export function summaryOf(times: Histogram): PiscinaHistogramSummary {
  const { mean, stddev, min, max } = times
  const figures: Record<string, number> = { average: mean, mean, stddev, min, max }
  for (const name of PERCENTILES) {
    figures[name] = times.quantile(Number(name.slice(1).replace('_', '.')) / 100)
  }
  return figures as PiscinaHistogramSummary
}

/** A thread, as balancers and events show it. */
export interface PiscinaWorker {
  /** Its number in the process. */
  readonly id: number
  /** How many tasks it runs; Infinity while it runs one that has a signal. */
  readonly currentUsage: number
  readonly isRunningAbortableTask: boolean
  /** Of the times of its tasks; null without the option `workerHistogram`. */
  readonly histogram: PiscinaHistogramSummary | null
  /** Always false: a thread that ends is destroyed. */
  readonly terminating: boolean
  readonly destroyed: boolean
}

/** One thread. */
export class PoolWorker implements PiscinaWorker {
  readonly incarnation: Incarnation
  readonly id: number
  readonly times: Histogram | undefined
  /** Whether it starts with the pool: Piscina does not wait for those. */
  readonly isFirst: boolean
  destroyed = false
  readonly terminating: boolean = false
  /** Tasks that a balancer gave to it. */
  readonly tasks = new Set<PoolTask>()

  constructor(incarnation: Incarnation, isFirst: boolean, hasHistogram: boolean) {
    this.incarnation = incarnation
    this.id = incarnation.threadId
    this.isFirst = isFirst
    this.times = hasHistogram ? new Histogram() : undefined
  }

  /** Whether tasks may be given to it. */
  get isReady(): boolean {
    return this.isFirst || this.incarnation.isLoaded
  }

  get count(): number {
    return this.tasks.size || this.incarnation.window.load.count
  }

  get currentUsage(): number {
    return this.isRunningAbortableTask ? Number.POSITIVE_INFINITY : this.count
  }

  get isRunningAbortableTask(): boolean {
    const [task] = this.tasks
    return this.tasks.size === 1 && task!.isAbortable
  }

  get histogram(): PiscinaHistogramSummary | null {
    return this.times ? summaryOf(this.times) : null
  }
}
