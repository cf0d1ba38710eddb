// Piscina: the public class of Piscina 5, over the runtime.
// Thread: main, and any thread for its static members.   Owns: its pool.

import { EventEmitterAsyncResource } from 'node:events'
import { getEnvironmentData, workerData as threadData, type Worker } from 'node:worker_threads'
import { nowMs } from '../base/clock.ts'
import { PARTITION_MARKER } from '../model/command.ts'
import type { PiscinaHistogram } from './piscina-histogram.ts'
import {
  checkPoolOptions,
  type FilledOptions,
  fillPoolOptions,
  type Options,
  ownOf,
} from './piscina-options.ts'
import { ThreadPool } from './piscina-pool.ts'
import { ArrayTaskQueue, FixedQueue, LaneTaskQueue, queueOptionsSymbol } from './piscina-queues.ts'
import {
  type AbortSignalAny,
  type LaneRunOptions,
  move,
  PoolTask,
  transferableSymbol,
  valueSymbol,
} from './piscina-task.ts'

/** The version of Piscina whose interface this is. */
export const version = '5.3.2'

/** Whether this thread is one of a pool's. */
export const isWorkerThread: boolean = getEnvironmentData(PARTITION_MARKER) !== undefined

/** What the pool's option of this name was, in its threads; undefined elsewhere. */
// biome-ignore lint/suspicious/noExplicitAny: as Piscina's
export const workerData: any = isWorkerThread ? threadData : undefined

/** Options of one task: Piscina's, and where it is to run. */
export interface RunOptions extends LaneRunOptions {
  transferList?: readonly object[] | undefined
  filename?: string | null | undefined
  signal?: AbortSignalAny | null | undefined
  name?: string | null | undefined
}

/** Options of `close`. */
export interface CloseOptions {
  force?: boolean | undefined
}

const LANE_OPTIONS = ['lane', 'priority', 'key', 'group', 'deadlineMs', 'timeoutMs'] as const

/** A pool of threads with the interface of Piscina 5. */
// biome-ignore lint/suspicious/noExplicitAny: as Piscina's
export class Piscina<T = any, R = any> extends EventEmitterAsyncResource {
  readonly #pool: ThreadPool
  readonly #histogram: PiscinaHistogram
  readonly #triggerId: number

  /**
   * @param options - As Piscina's, and `lanes`.
   * @throws TypeError or RangeError for an option that does not fit.
   */
  constructor(options: Options = {}) {
    const own = ownOf(options)
    super({ name: 'Piscina' })
    checkPoolOptions(own)
    this.#pool = new ThreadPool(this, fillPoolOptions(own), own)
    this.#triggerId = this.asyncResource.asyncId()
    const { times } = this.#pool
    this.#histogram = times ?? {
      runTime: undefined,
      waitTime: undefined,
      resetRunTime() {},
      resetWaitTime() {},
    }
  }

  /**
   * Runs a task on a thread.
   *
   * @param task - What the handler is called with.
   * @param options - Which handler, and how.
   * @returns The handler's result.
   */
  run(task: T, options?: RunOptions): Promise<R> {
    if (options === undefined)
      return this.#pool.run(new PoolTask(task, this.#triggerId)) as Promise<R>
    if (options === null || typeof options !== 'object') {
      return Promise.reject(new TypeError('options must be an object'))
    }
    const own = ownOf(options)
    const { transferList, filename = null, name = null, signal = null } = own
    if (transferList !== undefined && !Array.isArray(transferList)) {
      return Promise.reject(new TypeError('transferList argument must be an Array'))
    }
    if (filename !== null && typeof filename !== 'string') {
      return Promise.reject(new TypeError('filename argument must be a string'))
    }
    if (name !== null && typeof name !== 'string') {
      return Promise.reject(new TypeError('name argument must be a string'))
    }
    if (signal !== null && typeof signal !== 'object') {
      return Promise.reject(new TypeError('signal argument must be an object'))
    }
    const poolTask = new PoolTask(task, this.#triggerId, transferList)
    poolTask.filename = filename
    poolTask.name = name
    poolTask.abortSignal = signal
    if (LANE_OPTIONS.some((one) => own[one] !== undefined)) poolTask.lanes = own
    return this.#pool.run(poolTask) as Promise<R>
  }

  /**
   * The name that `run` had in Piscina 3.
   *
   * @param task - What the handler is called with.
   * @param transferList - Objects of it to move, or the options of `run`.
   * @param filename - The module of the handler.
   * @param signal - Aborts it.
   */
  runTask(
    task: T,
    transferList?: readonly object[] | RunOptions,
    filename?: string | null,
    signal?: AbortSignalAny | null,
  ): Promise<R> {
    if (transferList !== undefined && !Array.isArray(transferList)) {
      return this.run(task, transferList as RunOptions)
    }
    return this.run(task, { transferList, filename, signal } as RunOptions)
  }

  /**
   * Takes no further task, waits for those that it has, and ends the threads.
   *
   * @param options - `force` rejects tasks that have not started.
   */
  async close(options: CloseOptions = {}): Promise<void> {
    if (options === null || typeof options !== 'object') {
      throw new TypeError('options must be an object')
    }
    const { force = false } = ownOf(options)
    if (typeof force !== 'boolean') throw new TypeError('force argument must be a boolean')
    return this.#pool.close(force)
  }

  /** Ends the threads at once; tasks that have not ended are rejected. */
  destroy(): Promise<void> {
    return this.#pool.destroy()
  }

  /** Begins {@link Piscina.close}. */
  [Symbol.dispose](): void {
    void this.close()
  }

  /** {@link Piscina.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Most threads. */
  get maxThreads(): number {
    return this.#pool.options.maxThreads
  }

  /** Threads that stay when idle. */
  get minThreads(): number {
    return this.#pool.options.minThreads
  }

  /** The options, with defaults. */
  get options(): FilledOptions {
    return this.#pool.options
  }

  /** The threads that exist. */
  get threads(): Worker[] {
    return this.#pool.workers.map(({ incarnation }) => incarnation.worker)
  }

  /** Ready threads without a task. */
  get idleThreads(): number {
    return this.#pool.workers.filter(({ isReady, count }) => isReady && count === 0).length
  }

  /** Tasks that wait for a thread. */
  get queueSize(): number {
    return this.#pool.queueSize
  }

  /** Tasks that have ended. */
  get completed(): number {
    return this.#pool.completed
  }

  /** Run and wait times, in milliseconds. */
  get histogram(): PiscinaHistogram {
    return this.#histogram
  }

  /** Share of the time of all threads that tasks took, 0 to 1. */
  get utilization(): number {
    const run = this.#pool.times?.run
    if (run === undefined || run.count === 0) return 0
    return ((run.mean / 1000 / 1000) * run.count) / (this.duration * this.maxThreads)
  }

  /** Milliseconds since the pool was made. */
  get duration(): number {
    return nowMs() - this.#pool.startedAtMs
  }

  /** Whether as many tasks wait as may. */
  get needsDrain(): boolean {
    return this.#pool.needsDrain
  }

  static readonly Piscina: typeof Piscina = Piscina
  static readonly FixedQueue: typeof FixedQueue = FixedQueue
  static readonly ArrayTaskQueue: typeof ArrayTaskQueue = ArrayTaskQueue
  static readonly LaneTaskQueue: typeof LaneTaskQueue = LaneTaskQueue
  static readonly isWorkerThread: boolean = isWorkerThread
  // biome-ignore lint/suspicious/noExplicitAny: as Piscina's
  static readonly workerData: any = workerData
  static readonly version: string = version
  /** Marks a value to be moved instead of copied. */
  static readonly move: typeof move = move
  static readonly transferableSymbol: typeof transferableSymbol = transferableSymbol
  static readonly valueSymbol: typeof valueSymbol = valueSymbol
  static readonly queueOptionsSymbol: typeof queueOptionsSymbol = queueOptionsSymbol
}
