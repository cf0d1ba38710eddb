// Piscina: the public class of Piscina 5, over a runtime.
// Thread: main, and any thread for its static members.   Owns: the tasks that are open, and the
// runtime they run in.
// Must not: run anything itself. Without a queue or a balancer of the user's, the runtime's backlog
// is the queue; with one, a task is submitted when the balancer has chosen its thread.

import { EventEmitterAsyncResource } from 'node:events'
import { createHistogram } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { getEnvironmentData, workerData as threadData, type Worker } from 'node:worker_threads'
import { outside } from '../base/async-context.ts'
import { TIMER_MS_MAX, TURN_END } from '../base/bounds.ts'
import { nowMs, timers } from '../base/clock.ts'
import { type ManagerPlan, planManager } from '../coordinator/options.ts'
import { Runtime } from '../coordinator/runtime.ts'
import type { ExitReport, Incarnation } from '../coordinator/threads/incarnation.ts'
import { type CommandOptions, PARTITION_MARKER } from '../model/command.ts'
import { PARTITION_COUNT_MAX } from '../model/partition-config.ts'
import { LaneTaskQueue } from './lane-task-queue.ts'
import {
  type FilledOptions,
  fillPoolOptions,
  misfit,
  type Options,
  type PiscinaLoadBalancer,
  RUN_RULES,
} from './piscina-options.ts'
import { ArrayTaskQueue, FixedQueue, queueOptionsSymbol, type TaskQueue } from './piscina-queues.ts'
import {
  AbortError,
  type AbortSignalAny,
  isBystander,
  move,
  ownOptions,
  PoolTask,
  type RunOptions,
  reasonOf,
  type TaskOwner,
  transferableSymbol,
  valueSymbol,
} from './piscina-task.ts'
import {
  chosenBy,
  histogramOf,
  leastBusy,
  type PiscinaHistogram,
  PoolWorker,
  record,
} from './piscina-worker.ts'

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
  readonly #plan: ManagerPlan
  /** The queue, if it is not the runtime's backlog. */
  readonly #queue: TaskQueue | undefined
  readonly #balance: PiscinaLoadBalancer
  readonly #run = createHistogram()
  readonly #wait = createHistogram()
  readonly #histogram: PiscinaHistogram
  readonly #triggerId: number
  readonly #startedAtMs: number = nowMs()
  readonly #owner: TaskOwner = { ended: (...end) => this.#ended(...end) }
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
  #onDone: (() => void) | undefined

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
    const { recordTiming, concurrentTasksPerWorker } = this.#options
    const concurrency = Math.min(concurrentTasksPerWorker, CONCURRENCY_MAX)
    this.#queue = isHeld ? (taskQueue ?? new FixedQueue()) : undefined
    this.#balance = loadBalancer ?? leastBusy(concurrency)
    this.#histogram = recordTiming ? histogramOf(this.#run, this.#wait) : histogramOf()
    this.#triggerId = this.asyncResource.asyncId()
    this.#plan = this.#planOf(given, Math.floor(concurrency))
    this.#begin()
    this.#isStarting = false
  }

  #planOf(given: Options, concurrencyPerPartition: number): ManagerPlan {
    const { minThreads, maxThreads, idleTimeout } = this.#options
    const { workerData, env, execArgv, resourceLimits, lanes, argv, trackUnmanagedFds } = given
    const count = Math.min(Math.ceil(maxThreads), PARTITION_COUNT_MAX)
    const plan = planManager({
      handlers: 'data:,',
      partitions: { count },
      concurrencyPerPartition,
      floatingRejections: 'end',
      deadLetterCapacity: 0,
      closeTimeoutMs: 0,
      workerData,
      env,
      execArgv,
      resourceLimits,
      lanes,
    })
    const isTracked = trackUnmanagedFds ?? true
    return {
      ...plan,
      handlers: undefined,
      fileCall: 'payload',
      worker: { ...plan.worker, trackUnmanagedFds: isTracked, ...(argv && { argv }) },
      elastic: { min: Math.min(Math.ceil(minThreads), count), idleTimeoutMs: idleTimeout },
      ...(this.#queue && { strategy: 'custom', choose: () => this.#chosen }),
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
    if (options === null || (options !== undefined && typeof options !== 'object')) {
      return Promise.reject(new TypeError('options must be an object'))
    }
    const own = ownOptions(options)
    const filename = own.filename ?? this.#options.filename
    const refusal = misfit(own, RUN_RULES) ?? this.#refusal(filename, own.signal)
    if (refusal !== undefined) {
      this.#drainLater()
      return Promise.reject(refusal)
    }
    const name = own.name ?? this.#options.name ?? 'default'
    const file = filename!.startsWith('file:') ? fileURLToPath(filename!) : filename!
    const poolTask = new PoolTask(this.#owner, task, file, name, own, this.#triggerId)
    const result = poolTask.open()
    if (poolTask.abortSignal !== null) poolTask.listen(() => this.#abort(poolTask))
    poolTask.place = this.#open.push(poolTask) - 1
    if (this.#queue !== undefined) this.#enqueue(poolTask, this.#queue)
    else {
      const key = poolTask.lanes?.key
      if (key === undefined) this.#submit(poolTask)
      else this.#submitInTurn(poolTask, key, result)
    }
    this.#runtime!.grow()
    this.#drainLater()
    return result as Promise<R>
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
    const isList = transferList === undefined || Array.isArray(transferList)
    const options = isList ? { transferList, filename, signal } : transferList
    return this.run(task, options as RunOptions)
  }

  /** Why a task is not taken; undefined if it is. */
  #refusal(filename: string | null, signal?: AbortSignalAny | null): Error | undefined {
    if (typeof filename !== 'string') {
      return new Error('filename must be provided to run() or in options object')
    }
    if (this.#isClosing || this.#isDestroying) return new AbortError('queue is being terminated')
    if (signal?.aborted) return new AbortError(signal.reason)
    if (this.#runtime === undefined) this.#begin()
    const { maxQueue, concurrentTasksPerWorker, maxThreads } = this.#options
    if (maxQueue === Number.POSITIVE_INFINITY) return undefined
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
    return {
      waiting: Math.max(waiting, 0),
      coming: (count - ready) * concurrentTasksPerWorker,
      count,
    }
  }

  // ── The user's queue and balancer ────────────────────────────────────────────────────────────

  #enqueue(task: PoolTask, queue: TaskQueue): void {
    if (queue.size > 0 || !this.#give(task, this.#ready)) queue.push(task)
  }

  /** Gives waiting tasks to threads as long as the balancer finds one for the next. */
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

  #give(task: PoolTask, workers: PoolWorker[]): boolean {
    const worker = chosenBy(this.#balance(task.interface, workers))
    if (worker === undefined || worker.destroyed) return false
    worker.tasks.add(task)
    task.worker = worker
    this.#chosen = worker.incarnation.partition
    this.#submit(task)
    return true
  }

  // ── Commands ─────────────────────────────────────────────────────────────────────────────────

  /** Submits a task once those of its key have ended. */
  #submitInTurn(task: PoolTask, key: string, result: Promise<unknown>): void {
    const start = () => {
      if (!task.isDone) this.#submit(task)
      return result
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
      this.#ended(task, 0, false, error)
    }
  }

  #ended(
    task: PoolTask,
    _: number,
    isOk: boolean,
    value: unknown,
    startedAtMs = 0,
    durationMs = 0,
    partition = -1,
  ): void {
    task.worker?.tasks.delete(task)
    if (!task.isDone) {
      if (!isOk && isBystander(value, task)) {
        this.#submit(task)
        return
      }
      if (startedAtMs > 0) this.#record(task, partition, startedAtMs, durationMs)
      this.#finish(task, isOk, isOk ? value : reasonOf(value, task))
    }
    // Queues and balancers are the user's: they may call anything.
    if (this.#queue !== undefined) void TURN_END.then(this.#dispatch)
  }

  #record(task: PoolTask, partition: number, startedAtMs: number, durationMs: number): void {
    const { recordTiming, workerHistogram } = this.#options
    if (recordTiming) {
      record(this.#wait, startedAtMs - task.created)
      record(this.#run, durationMs)
    }
    if (!workerHistogram) return
    for (const { incarnation, times } of this.#workers.values()) {
      if (incarnation.partition === partition) record(times!, durationMs)
    }
  }

  #finish(task: PoolTask, isOk: boolean, value: unknown, isCounted = true): void {
    const last = this.#open.pop()!
    this.#open[task.place] = last
    last.place = task.place
    if (task === last) this.#open.length = task.place
    if (isCounted) this.#completed++
    task.settle(isOk, value)
    this.#drainLater()
    this.#onDone?.()
  }

  #abort(task: PoolTask): void {
    if (task.isDone) return
    task.aborted = true
    const { command, abortSignal } = task
    const { reason } = abortSignal!
    const hasStarted = command !== undefined && !command.revoke()
    if (command === undefined) this.#queue?.remove(task)
    this.#finish(task, false, new AbortError(reason), hasStarted)
    if (command !== undefined) this.#runtime?.kill(command, reason)
  }

  // ── Threads ──────────────────────────────────────────────────────────────────────────────────

  #begin(): void {
    const observer = {
      spawned: (incarnation: Incarnation) => this.#spawned(incarnation),
      loaded: (incarnation: Incarnation) => this.#loaded(incarnation),
      exited: (incarnation: Incarnation, report: ExitReport) => this.#exited(incarnation, report),
      demand: () => Math.ceil(this.#open.length / this.#options.concurrentTasksPerWorker),
    }
    this.#runtime = outside(() => new Runtime(this.#plan, observer))
    this.#runtime.open()
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
    const worker = new PoolWorker(incarnation, isFirst, this.#options.workerHistogram)
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

  #exited(incarnation: Incarnation, { cause }: ExitReport): void {
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

  // ── The end ──────────────────────────────────────────────────────────────────────────────────

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
    if (force) for (const task of this.#inOrder) this.#giveUp(task)
    const timeoutMs = Math.min(this.#options.closeTimeout, TIMER_MS_MAX)
    const isLate = await new Promise<boolean>((resolve) => {
      const timer = timers.setTimeout(resolve, timeoutMs, true)
      timer.unref()
      this.#onDone = () => {
        if (this.#open.length > 0) return
        timers.clearTimeout(timer)
        resolve(false)
      }
      this.#onDone()
    })
    this.#onDone = undefined
    if (isLate) this.emit('error', new Error('Close operation timed out'))
    await this.destroy()
    this.emit('close')
    this.#isClosing = false
  }

  /** Rejects a task unless it has started. */
  #giveUp(task: PoolTask): void {
    const { command } = task
    if (command !== undefined && !command.revoke()) return
    this.#queue?.remove(task)
    this.#finish(task, false, new AbortError('pool is closed'))
    if (command !== undefined) this.#runtime!.withdraw(command, undefined)
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

  // ── Properties ───────────────────────────────────────────────────────────────────────────────

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
    const { count, mean } = this.#run
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
