// Piscina: the public class of Piscina 5, over a runtime.
// Thread: main, and any thread for its static members.   Owns: the tasks that are open, and the
// runtime they run in.
// Must not: run anything itself. Without a queue or a balancer of the user's, the runtime's backlog
// is the queue; with one, a task is submitted when the balancer has chosen its thread.

import { EventEmitterAsyncResource } from 'node:events'
import { getEnvironmentData, workerData as threadData, type Worker } from 'node:worker_threads'
import { TIMER_MS_MAX, TURN_END } from '../base/bounds.ts'
import { nowMs, timers } from '../base/clock.ts'
import type { ManagerPlan } from '../coordinator/options.ts'
import type { Runtime } from '../coordinator/runtime.ts'
import type { Incarnation } from '../coordinator/threads/incarnation.ts'
import { type CommandOptions, PARTITION_MARKER } from '../model/command.ts'
import { PARTITION_COUNT_MAX } from '../model/partition-config.ts'
import { move, transferableSymbol, valueSymbol } from '../model/transferable.ts'
import { LaneTaskQueue } from './lane-task-queue.ts'
import {
  type FilledOptions,
  fillPoolOptions,
  type Options,
  type PiscinaLoadBalancer,
  pathOf,
  runMisfit,
} from './piscina-options.ts'
import { AbortError, ownOptions, PoolTask, type RunOptions, type TaskEnd } from './piscina-task.ts'
import {
  histogramOf,
  leastBusy,
  type PiscinaHistogram,
  PoolWorker,
  Times,
} from './piscina-worker.ts'
import { openPool, planPool } from './pool-runtime.ts'
import { ArrayTaskQueue, FixedQueue, queueOptionsSymbol, type TaskQueue } from './task-queues.ts'

/** Handlers that a thread may run at once. */
const CONCURRENCY_MAX = 1024

/** The version of Piscina whose interface this is. */
export const version = '5.3.2'

/** Whether this thread is one of a pool's. */
export const isWorkerThread: boolean = getEnvironmentData(PARTITION_MARKER) !== undefined

/** What the pool's option of this name was, in its threads; undefined elsewhere. */
// biome-ignore lint/suspicious/noExplicitAny: as Piscina's
export const workerData: any = isWorkerThread ? threadData : undefined

/** Options of `close`. */
export interface CloseOptions {
  /** Whether tasks that wait are rejected. Default false. */
  force?: boolean | undefined
}

/** A pool of threads with the interface of Piscina 5. */
// biome-ignore lint/suspicious/noExplicitAny: as Piscina's
export class Piscina<T = any, R = any> extends EventEmitterAsyncResource {
  readonly #options: FilledOptions
  // Each task reads these; an object without a prototype takes longer.
  readonly #filename: string | null
  readonly #name: string
  readonly #isBounded: boolean
  readonly #hasThreadTimes: boolean
  readonly #plan: ManagerPlan
  /** The queue, if it is not the runtime's backlog. */
  readonly #queue: TaskQueue | undefined
  readonly #balance: PiscinaLoadBalancer
  readonly #run: Times | undefined
  readonly #wait: Times | undefined
  readonly #histogram: PiscinaHistogram
  readonly #triggerId: number
  readonly #startedAtMs: number = nowMs()
  #runtime: Runtime | undefined
  readonly #workers = new Map<Incarnation, PoolWorker>()
  /** Tasks that have not ended, in no order. */
  readonly #open: PoolTask[] = []
  /** By key: the end of the last task. */
  readonly #keys = new Map<string, Promise<unknown>>()
  #completed = 0
  /** Partition of the task that is being submitted. */
  #chosen = 0
  /** The options of most commands, one object for all of a module. */
  #common: CommandOptions = {}
  #isStarting = true
  #isClosing = false
  #isDestroying = false
  #isDrainQueued = false
  #needsDrain = false
  /** Called when no task is open any more: calls of `close`. */
  readonly #onEmpty = new Set<() => void>()

  /**
   * @param options - As Piscina's, and `lanes`.
   * @throws TypeError or RangeError for an option that does not fit.
   */
  constructor(options: Options = {}) {
    super({ name: 'Piscina' })
    // Own members alone, so that nothing comes from a polluted prototype.
    const given: Options = Object.assign(Object.create(null), options)
    this.#options = fillPoolOptions(given)
    const { loadBalancer, taskQueue } = given
    const isHeld = taskQueue !== undefined || loadBalancer !== undefined
    const { filename, name, maxQueue, recordTiming, concurrentTasksPerWorker } = this.#options
    this.#filename = filename
    this.#name = name ?? 'default'
    this.#isBounded = maxQueue !== Number.POSITIVE_INFINITY
    this.#hasThreadTimes = this.#options.workerHistogram
    const concurrency = Math.min(concurrentTasksPerWorker, CONCURRENCY_MAX)
    this.#queue = isHeld ? (taskQueue ?? new FixedQueue()) : undefined
    this.#balance = loadBalancer ?? leastBusy(concurrency)
    this.#run = recordTiming ? new Times() : undefined
    this.#wait = recordTiming ? new Times() : undefined
    this.#histogram = histogramOf(this.#run, this.#wait)
    this.#triggerId = this.asyncResource.asyncId()
    this.#plan = this.#planOf(Math.floor(concurrency), isHeld)
    this.#begin()
    this.#isStarting = false
  }

  #planOf(concurrencyPerPartition: number, isHeld: boolean): ManagerPlan {
    const { minThreads, maxThreads, idleTimeout, argv, trackUnmanagedFds } = this.#options
    const { workerData, env, execArgv, resourceLimits, lanes } = this.#options
    const count = Math.min(Math.ceil(maxThreads), PARTITION_COUNT_MAX)
    const plan = planPool(
      {
        partitions: count,
        concurrencyPerPartition,
        closeTimeoutMs: 0,
        workerData,
        env,
        execArgv,
        resourceLimits,
        lanes,
      },
      'payload',
      { min: Math.min(Math.ceil(minThreads), count), idleTimeoutMs: idleTimeout },
      isHeld ? () => this.#chosen : undefined,
    )
    return { ...plan, worker: { ...plan.worker, trackUnmanagedFds, ...(argv && { argv }) } }
  }

  /**
   * Runs a task on a thread.
   *
   * @param task - What the handler is called with.
   * @param options - Which handler, and how.
   * @returns The handler's result.
   */
  run(task: T, options?: RunOptions): Promise<R> {
    if (options === null || (options !== undefined && typeof options !== 'object')) {
      return Promise.reject(new TypeError('options must be an object'))
    }
    const own = ownOptions(options)
    const misfit = runMisfit(own)
    if (misfit !== undefined) return Promise.reject(new TypeError(misfit))
    const file = own.filename == null ? this.#filename : pathOf(own.filename)
    const refusal = this.#refusal(file, own)
    if (refusal !== undefined) {
      this.#drainLater()
      return Promise.reject(refusal)
    }
    const name = own.name ?? this.#name
    const queue = this.#queue
    const created = queue === undefined && this.#wait === undefined ? 0 : nowMs()
    const poolTask = new PoolTask(this.#ended, task, file!, name, own, created, this.#triggerId)
    if (poolTask.isAbortable) this.#listen(poolTask)
    poolTask.place = this.#open.push(poolTask) - 1
    const key = poolTask.lanes?.key
    if (queue !== undefined) {
      if (queue.size > 0 || !this.#give(poolTask, this.#ready)) queue.push(poolTask)
    } else if (key === undefined) this.#submit(poolTask)
    else this.#submitInTurn(poolTask, key)
    // The runtime grows at the end of the turn in any case; the user may look before.
    if (queue !== undefined || this.#workers.size < this.#plan.partitionCount) {
      this.#runtime!.grow()
    }
    this.#drainLater()
    return poolTask.result as Promise<R>
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
    signal?: RunOptions['signal'],
  ): Promise<R> {
    const isList = transferList === undefined || Array.isArray(transferList)
    const options = isList ? { transferList, filename, signal } : transferList
    return this.run(task, options as RunOptions)
  }

  /** Why a task is not taken; undefined if it is. */
  #refusal(filename: string | null, { signal }: RunOptions): Error | undefined {
    if (typeof filename !== 'string') {
      return new Error('filename must be provided to run() or in options object')
    }
    if (this.#isClosing || this.#isDestroying) return new AbortError('queue is being terminated')
    if (signal?.aborted) return new AbortError(signal.reason)
    if (this.#runtime === undefined) this.#begin()
    if (!this.#isBounded) return undefined
    const { maxQueue, concurrentTasksPerWorker, maxThreads } = this.#options
    const { waiting, coming, count } = this.#load
    const capacity = count * concurrentTasksPerWorker
    const isBusy = coming === 0 && count >= maxThreads && this.#open.length >= capacity
    if (waiting > 0 ? waiting < maxQueue + coming : maxQueue > 0 || !isBusy) return undefined
    const hasQueue = maxQueue !== 0
    return new Error(
      hasQueue ? 'Task queue is at limit' : 'No task queue available and all Workers are busy',
    )
  }

  /** Tasks that wait for a thread, how many of them those to come will take, and all threads. */
  get #load(): { readonly waiting: number; readonly coming: number; readonly count: number } {
    const { concurrentTasksPerWorker } = this.#options
    const count = this.#present.length
    const ready = this.#ready.length
    const waiting = this.#queue?.size ?? this.#open.length - ready * concurrentTasksPerWorker
    const coming = (count - ready) * concurrentTasksPerWorker
    return { waiting: Math.max(waiting, 0), coming, count }
  }

  /** Gives what waits in the user's queue to threads as long as the balancer finds one. */
  readonly #dispatch = (): void => {
    const queue = this.#queue
    if (queue === undefined || this.#runtime === undefined) return
    const ready = this.#ready
    while (queue.size > 0) {
      const task = queue.shift() as PoolTask | null
      if (task === null) break
      if (task.isDone || this.#give(task, ready)) continue
      if (this.#options.stricterFIFO && queue.unshift !== undefined) queue.unshift(task)
      else queue.push(task)
      break
    }
    this.#runtime.grow()
  }

  /** Gives a task to the thread that the balancer chooses; false if it chooses none of these. */
  #give(task: PoolTask, workers: PoolWorker[]): boolean {
    const choice = this.#balance(task, workers)
    const worker = choice && workers.find(({ id }) => id === choice.id)
    if (!worker || worker.destroyed) return false
    worker.tasks.add(task)
    task.worker = worker
    this.#chosen = worker.incarnation.partition
    this.#submit(task)
    return true
  }

  /** Submits a task once those of its key have ended. */
  #submitInTurn(task: PoolTask, key: string): void {
    const start = () => {
      if (!task.isDone) this.#submit(task)
      return task.result
    }
    const end = () => {
      if (this.#keys.get(key) === turn) this.#keys.delete(key)
    }
    const turn = Promise.resolve(this.#keys.get(key)).then(start).then(end, end)
    this.#keys.set(key, turn)
  }

  #submit(task: PoolTask): void {
    const { intake } = this.#runtime!
    const { filename: file, name, transferList, lanes } = task
    if (this.#common.file !== file) this.#common = { file }
    let options = this.#common
    if (transferList !== undefined || lanes !== undefined) {
      const { priority, group, deadlineMs, timeoutMs } = lanes ?? {}
      options = { file, transferList, priority, group, deadlineMs, timeoutMs }
    }
    const lane = lanes?.lane ?? this.#plan.defaultLane
    const isChecked = options === this.#common
    try {
      task.command = intake.make(lane, name, task.task, options, false, undefined, isChecked)
      intake.enter(task.command, task)
    } catch (error) {
      this.#ended(task, false, error)
    }
  }

  readonly #ended: TaskEnd = (task, isOk, value, startedAtMs = 0, durationMs = 0, partition) => {
    task.worker?.tasks.delete(task)
    if (!task.isDone) {
      if (!isOk && task.isBystander(value)) {
        this.#submit(task)
        return
      }
      if (startedAtMs > 0) {
        this.#wait?.record(startedAtMs - task.created)
        this.#run?.record(durationMs)
        if (this.#hasThreadTimes) this.#timesOf(partition)?.record(durationMs)
      }
      this.#finish(task, isOk, isOk ? value : task.reasonOf(value))
    }
    // Queues and balancers are the user's: they may call anything.
    if (this.#queue !== undefined) void TURN_END.then(this.#dispatch)
  }

  #timesOf(partition: number | undefined): Times | undefined {
    return this.#present.find(({ incarnation }) => incarnation.partition === partition)?.times
  }

  #finish(task: PoolTask, isOk: boolean, value: unknown, isCounted = true): void {
    const last = this.#open.pop()!
    if (task !== last) {
      this.#open[task.place] = last
      last.place = task.place
    }
    if (isCounted) this.#completed++
    task.settle(isOk, value)
    this.#drainLater()
    if (this.#open.length === 0) for (const end of this.#onEmpty) end()
  }

  /** Apart from `run`: a function that makes a closure allocates for it at each call. */
  #listen(task: PoolTask): void {
    task.listen(() => this.#giveUp(task, task.abortSignal!.reason, true))
  }

  /** Rejects a task; one that has started, only if its thread may end for that. */
  #giveUp(task: PoolTask, reason: unknown, endsThread: boolean): void {
    if (task.isDone) return
    const { command } = task
    const hasStarted = command !== undefined && !command.revoke()
    if (hasStarted && !endsThread) return
    if (command === undefined) this.#queue?.remove(task)
    this.#finish(task, false, new AbortError(reason), hasStarted || !endsThread)
    if (command !== undefined) this.#runtime?.kill(command, reason)
  }

  #begin(): void {
    this.#runtime = openPool(this.#plan, {
      spawned: (incarnation) => this.#spawned(incarnation),
      loaded: (incarnation) => this.#loaded(incarnation),
      exited: (incarnation, { cause }) => this.#exited(incarnation, cause),
      demand: () => Math.ceil(this.#open.length / this.#options.concurrentTasksPerWorker),
    })
  }

  /** The threads that there are. */
  get #present(): PoolWorker[] {
    return (this.#runtime?.threads ?? []).flatMap((one) => this.#workers.get(one) ?? [])
  }

  get #ready(): PoolWorker[] {
    return this.#present.filter(({ isReady }) => isReady)
  }

  #spawned(incarnation: Incarnation): void {
    const isFirst = this.#isStarting
    const worker = new PoolWorker(incarnation, isFirst, this.#hasThreadTimes)
    this.#workers.set(incarnation, worker)
    incarnation.worker.on('message', (message: { readonly corelane?: unknown } | null) => {
      // What its program says first is not the user's.
      if (typeof message === 'object' && message?.corelane !== undefined) return
      this.emit('message', message)
    })
    if (isFirst) timers.queueMicrotask(() => this.emit('workerCreate', worker))
  }

  #loaded(incarnation: Incarnation): void {
    const worker = this.#workers.get(incarnation)!
    if (!worker.isReady) {
      worker.isReady = true
      this.emit('workerCreate', worker)
    }
    // It takes commands once it is the present one of its partition.
    void TURN_END.then(this.#dispatch)
    this.#drainLater()
  }

  #exited(incarnation: Incarnation, cause: unknown): void {
    const worker = this.#workers.get(incarnation)!
    this.#workers.delete(incarnation)
    while (incarnation.window.drain() > 0);
    const hasRunning = [...incarnation.window.snapshot()].some(({ started }) => started)
    for (const { command } of worker.tasks) {
      // It was bound to this thread; once the runtime has queued it again it is refused.
      timers.queueMicrotask(() => command && this.#runtime?.withdraw(command, cause))
    }
    this.#destroyed(worker)
    if (cause !== undefined && !hasRunning && !this.#isDestroying) this.emit('error', cause)
  }

  #destroyed(worker: PoolWorker): void {
    if (worker.destroyed) return
    worker.destroyed = true
    this.emit('workerDestroy', worker)
  }

  #drainLater(): void {
    if (this.#isDrainQueued) return
    this.#isDrainQueued = true
    void TURN_END.then(this.#tellDrain)
  }

  /** Emits that every thread is full, or no longer. */
  readonly #tellDrain = (): void => {
    this.#isDrainQueued = false
    const { concurrentTasksPerWorker, maxThreads } = this.#options
    if (this.#open.length < maxThreads * concurrentTasksPerWorker) {
      if (!this.#needsDrain) return
      this.#needsDrain = false
      this.emit('drain')
    } else if (this.#ready.length >= maxThreads) {
      this.#needsDrain = true
      this.emit('needsDrain')
    }
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
    const { force = false } = { force: undefined, ...options }
    if (typeof force !== 'boolean') throw new TypeError('force argument must be a boolean')
    this.#isClosing = true
    if (force) for (const task of this.#inOrder) this.#giveUp(task, 'pool is closed', false)
    const timeoutMs = Math.min(this.#options.closeTimeout, TIMER_MS_MAX)
    let end = () => {}
    const isLate = await new Promise<boolean>((resolve) => {
      const timer = timers.setTimeout(resolve, timeoutMs, true).unref()
      end = () => {
        timers.clearTimeout(timer)
        resolve(false)
      }
      this.#onEmpty.add(end)
      if (this.#open.length === 0) end()
    })
    this.#onEmpty.delete(end)
    if (isLate) this.emit('error', new Error('Close operation timed out'))
    await this.destroy()
    this.emit('close')
    this.#isClosing = false
  }

  /** Ends the threads at once; tasks that have not ended are rejected. */
  async destroy(): Promise<void> {
    this.#isDestroying = true
    const runtime = this.#runtime
    this.#runtime = undefined
    while (this.#queue !== undefined && this.#queue.size > 0) this.#queue.shift()
    for (const task of this.#inOrder) {
      this.#finish(task, false, new Error('Terminating worker thread'))
    }
    for (const worker of this.#workers.values()) this.#destroyed(worker)
    await runtime?.close()
    this.#isDestroying = false
  }

  /** The open tasks, as they came. */
  get #inOrder(): PoolTask[] {
    return [...this.#open].sort((a, b) => a.taskId - b.taskId)
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
    return this.#options.maxThreads
  }

  /** Threads that stay when idle. */
  get minThreads(): number {
    return this.#options.minThreads
  }

  /** The options, with defaults. */
  get options(): FilledOptions {
    return this.#options
  }

  /** The threads that exist. */
  get threads(): Worker[] {
    return this.#present.map(({ incarnation }) => incarnation.worker)
  }

  /** Ready threads without a task. */
  get idleThreads(): number {
    return this.#ready.filter(({ count }) => count === 0).length
  }

  /** Tasks that wait for a thread. */
  get queueSize(): number {
    const { waiting, coming } = this.#load
    return Math.max(waiting - coming, 0)
  }

  /** Tasks that have ended. */
  get completed(): number {
    return this.#completed
  }

  /** Run and wait times, in milliseconds. */
  get histogram(): PiscinaHistogram {
    return this.#histogram
  }

  /** Share of the time of all threads that tasks took, 0 to 1. */
  get utilization(): number {
    const { count, mean } = this.#run?.native ?? { count: 0, mean: 0 }
    return count === 0 ? 0 : ((mean / 1e6) * count) / (this.duration * this.maxThreads)
  }

  /** Milliseconds since the pool was made. */
  get duration(): number {
    return nowMs() - this.#startedAtMs
  }

  /** Whether as many tasks wait as may. */
  get needsDrain(): boolean {
    return this.#needsDrain
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
