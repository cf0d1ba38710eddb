// Piscina: the public class of Piscina 5, over a runtime.
// Thread: main, and any thread for its static members.
// Owns: the tasks that are open, and the runtime they run in.
// Must not: run anything itself. Without a queue or a balancer of the user's, the runtime's backlog
// is the queue; with one, a task is submitted when a thread is free for it.

import { EventEmitterAsyncResource } from 'node:events'
import { getEnvironmentData, workerData as threadData, type Worker } from 'node:worker_threads'
import { AbortListeners } from '../base/abort-listeners.ts'
import { TURN_END } from '../base/async-context.ts'
import { TIMER_MS_MAX } from '../base/bounds.ts'
import { Chain } from '../base/chain.ts'
import { callListener, nowMs, timers } from '../base/clock.ts'
import { Histogram } from '../base/histogram.ts'
import { ANY_PARTITION } from '../coordinator/command.ts'
import type { ManagerPlan } from '../coordinator/options.ts'
import type { Runtime } from '../coordinator/runtime.ts'
import type { Incarnation } from '../coordinator/threads/incarnation.ts'
import { type CommandOptions, PARTITION_MARKER } from '../model/command.ts'
import { move, transferableSymbol, valueSymbol } from '../model/transferable.ts'
import { LaneTaskQueue } from './lane-task-queue.ts'
import { checkRun, type FilledOptions, fillPoolOptions, type Options } from './piscina-options.ts'
import {
  AbortError,
  type PiscinaHistogram,
  PoolTask,
  PoolWorker,
  type RunOptions,
  summaryOf,
  type TaskEnd,
} from './piscina-task.ts'
import { openPool, pathOf, planPool } from './pool-runtime.ts'
import { ArrayTaskQueue, FixedQueue, queueOptionsSymbol, type TaskQueue } from './task-queues.ts'

/** Emitted to calls of `close` when no task is open. */
const EMPTIED = Symbol('corelane.emptied')

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
  readonly #times: Record<'run' | 'wait', Histogram> | undefined
  readonly #histogram: PiscinaHistogram
  readonly #startedAtMs: number = nowMs()
  #runtime: Runtime | undefined
  readonly #workers = new Map<Incarnation, PoolWorker>()
  readonly #open = new Chain<PoolTask>()
  readonly #signals = new AbortListeners()
  /** By key: the end of the last task. */
  readonly #keys = new Map<string, Promise<unknown>>()
  #completed = 0
  #submitted = 0
  /** Partition of the task that is being submitted. */
  #chosen = 0
  /** The options of most commands, one object for all of a module. */
  #common: CommandOptions = {}
  /** Calls of `close` and `destroy` that have not ended. */
  #endings = 0
  #isDrainQueued = false
  #needsDrain = false

  /**
   * @param options - As Piscina's, and `lanes`.
   * @throws TypeError or RangeError for an option that does not fit.
   */
  constructor(options: Options = {}) {
    // Own members alone, so that nothing comes from a polluted prototype.
    const given: Options = Object.assign(Object.create(null), options)
    super(Object.assign(Object.create(null), given, { name: 'Piscina' }))
    const filled = fillPoolOptions(given)
    this.#options = filled
    const { recordTiming, argv, trackUnmanagedFds, idleTimeout } = filled
    const { workerData, env, execArgv, resourceLimits, lanes, loadBalancer } = filled
    const { concurrentTasksPerWorker: concurrencyPerPartition } = filled
    this.#queue = given.taskQueue ?? (loadBalancer && new FixedQueue())
    const times = recordTiming ? { run: new Histogram(), wait: new Histogram() } : undefined
    this.#times = times
    this.#histogram = {
      get runTime() {
        return times && summaryOf(times.run)
      },
      get waitTime() {
        return times && summaryOf(times.wait)
      },
      resetRunTime: () => times?.run.clear(),
      resetWaitTime: () => times?.wait.clear(),
    }
    this.#plan = planPool(
      { concurrencyPerPartition, workerData, env, execArgv, resourceLimits, lanes },
      'payload',
      // As a timer of 0 ms does: a thread whose next task comes in the same turn stays.
      { min: filled.minThreads, max: filled.maxThreads, idleTimeoutMs: Math.max(idleTimeout, 1) },
      loadBalancer && (() => this.#chosen),
      { trackUnmanagedFds, ...(argv && { argv }) },
    )
    this.#begin()
  }

  /**
   * Runs a task on a thread.
   *
   * @param task - What the handler is called with.
   * @param options - Which handler, and how.
   * @returns The handler's result.
   */
  run(task: T, options?: RunOptions): Promise<R> {
    try {
      return this.#take(task, checkRun(options)).result as Promise<R>
    } catch (refusal) {
      return Promise.reject(refusal)
    } finally {
      this.#drainLater()
    }
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
    const isList = Array.isArray(transferList ?? [])
    const options = isList ? { transferList, filename, signal } : transferList
    return this.run(task, options as RunOptions)
  }

  /** Lets a task in, or throws why not. */
  #take(task: T, options: RunOptions): PoolTask {
    const { filename, name, signal } = options
    const file = filename == null ? this.#options.filename : pathOf(filename)
    if (typeof file !== 'string') {
      throw new Error('filename must be provided to run() or in options object')
    }
    if (this.#endings > 0) throw new AbortError('queue is being terminated')
    if (signal?.aborted) throw new AbortError(signal.reason)
    if (this.#runtime === undefined) this.#begin()
    this.#refuseIfFull()
    const exported = name ?? this.#options.name ?? 'default'
    // Queue options of a queue of the user's are that queue's.
    const isLaned = this.#queue === undefined
    const created = isLaned && this.#times === undefined ? 0 : nowMs()
    const pool = this.asyncResource.asyncId()
    const one = new PoolTask(this.#ended, task, file, exported, options, isLaned, created, pool)
    if (signal) this.#listen(one, signal)
    this.#open.add(one)
    const key = one.lanes?.key
    if (key === undefined) this.#enter(one)
    else this.#enterInTurn(one, key)
    // The runtime does so at the end of the turn in any case; the user may look, or block, before.
    this.#runtime?.hasten()
    return one
  }

  #refuseIfFull(): void {
    const { maxQueue, concurrentTasksPerWorker, maxThreads } = this.#options
    if (maxQueue === Number.POSITIVE_INFINITY) return
    const count = this.#present.length
    const threads = Math.max(Math.min(count + 1, Math.ceil(maxThreads)), count)
    if (this.#open.size >= threads * concurrentTasksPerWorker + maxQueue) {
      const busy = 'No task queue available and all Workers are busy'
      throw new Error(maxQueue === 0 ? busy : 'Task queue is at limit')
    }
  }

  /** Lets a task enter once those of its key have ended. */
  #enterInTurn(task: PoolTask, key: string): void {
    const untilEnd = (resolve: (value?: unknown) => void) => {
      task.onEnd = resolve
      if (task.isDone) resolve()
      else this.#enter(task)
    }
    const before = this.#keys.get(key) ?? TURN_END
    const turn = before.then(() => new Promise(untilEnd))
    this.#keys.set(key, turn)
    void turn.then(() => this.#keys.get(key) === turn && this.#keys.delete(key))
  }

  /** Submits a task, or puts it into the user's queue until a thread is free for it. */
  #enter(task: PoolTask): void {
    const queue = this.#queue
    if (queue === undefined) this.#submit(task)
    else if (queue.size > 0 || !this.#give(task, this.#ready)) {
      try {
        queue.push(task)
      } catch (error) {
        this.#finish(task, false, error)
      }
    }
  }

  /** Gives what waits in the user's queue to threads as long as there is one. */
  readonly #dispatch = (): void => {
    const queue = this.#queue
    const ready = this.#ready
    while (queue !== undefined && queue.size > 0) {
      const task = queue.shift() as PoolTask | null
      if (task === null) break
      if (task.isDone || this.#give(task, ready)) continue
      if (this.#options.stricterFIFO && queue.unshift !== undefined) queue.unshift(task)
      else queue.push(task)
      break
    }
  }

  /** Gives a task to a thread, or ends it if there will be none; false if none takes it now. */
  #give(task: PoolTask, workers: PoolWorker[]): boolean {
    const { loadBalancer, concurrentTasksPerWorker } = this.#options
    const refusal = workers.length === 0 ? this.#runtime?.refusal(ANY_PARTITION) : undefined
    if (refusal !== undefined) {
      this.#finish(task, false, task.reasonOf(refusal))
      return true
    }
    try {
      if (loadBalancer !== undefined) {
        const choice = loadBalancer(task, workers)
        const worker = choice && workers.find(({ id }) => id === choice.id)
        if (!worker || worker.destroyed) return false
        worker.tasks.add(task)
        task.worker = worker
        this.#chosen = worker.incarnation.partition
      } else if (this.#submitted >= workers.length * concurrentTasksPerWorker) return false
      this.#submit(task)
    } catch (error) {
      this.#finish(task, false, error)
    }
    return true
  }

  #submit(task: PoolTask): void {
    const { intake } = this.#runtime!
    const { filename: file, name, transferList, lanes } = task
    if (this.#common.file !== file) this.#common = Object.setPrototypeOf({ file }, null)
    let options = this.#common
    if (transferList !== undefined || lanes !== undefined) {
      const { priority, group, deadlineMs, timeoutMs } = lanes ?? this.#common
      options = { file, transferList, priority, group, deadlineMs, timeoutMs }
      Object.setPrototypeOf(options, null)
    }
    const lane = lanes?.lane ?? this.#plan.defaultLane
    const isChecked = options === this.#common
    this.#submitted++
    try {
      task.command = intake.make(lane, name, task.task, options, false, undefined, isChecked)
      intake.enter(task.command, task)
    } catch (error) {
      this.#ended(task, 0, false, error, 0, 0, -1)
    }
  }

  readonly #ended: TaskEnd = (task, _, isOk, value, startedAtMs, durationMs, partition) => {
    this.#submitted--
    task.worker?.tasks.delete(task)
    if (!task.isDone) {
      if (startedAtMs > 0) {
        this.#times?.wait.record(startedAtMs - task.created)
        this.#times?.run.record(durationMs)
        if (this.#options.workerHistogram) {
          const at = ({ incarnation }: PoolWorker) => incarnation.partition === partition
          this.#present.find(at)?.times?.record(durationMs)
        }
      }
      this.#finish(task, isOk, isOk ? value : task.reasonOf(value))
    }
    // Queues and balancers are the user's: they may call anything.
    if (this.#queue !== undefined) void TURN_END.then(this.#dispatch)
  }

  #finish(task: PoolTask, isOk: boolean, value: unknown, isCounted = true): void {
    this.#open.remove(task)
    if (isCounted) this.#completed++
    task.settle(isOk, value)
    if (task.isAbortable) this.#signals.remove(task.abortSignal!, task)
    this.#drainLater()
    if (this.#endings > 0 && this.#open.size === 0) this.emit(EMPTIED)
  }

  /** Apart from `run`: a function that makes a closure allocates for it at each call. */
  #listen(task: PoolTask, signal: NonNullable<RunOptions['signal']>): void {
    task.abort = (reason) => this.#giveUp(task, reason, true)
    this.#signals.add(signal, task)
  }

  /** Rejects a task; one that has started, only if its thread may end for that. */
  #giveUp(task: PoolTask, reason: unknown, endsThread: boolean): boolean {
    if (task.isDone) return false
    const { command } = task
    const hasStarted = command !== undefined && !command.revoke()
    if (hasStarted && !endsThread) return false
    if (command === undefined) this.#queue?.remove(task)
    this.#finish(task, false, new AbortError(reason), hasStarted || !endsThread)
    if (command !== undefined) this.#runtime?.kill(command, reason)
    return true
  }

  #begin(): void {
    this.#runtime = openPool(this.#plan, {
      spawned: (incarnation) => {
        // One that starts with the pool, or after `destroy`.
        const isFirst = this.#runtime === undefined
        const worker = new PoolWorker(incarnation, isFirst, this.#options.workerHistogram)
        this.#workers.set(incarnation, worker)
        incarnation.worker.on('message', (message: { readonly corelane?: unknown } | null) => {
          // What its program says first is not the user's.
          if (message?.corelane === undefined) this.emit('message', message)
        })
        if (isFirst) timers.queueMicrotask(() => this.emit('workerCreate', worker))
      },
      loaded: (incarnation) => {
        const worker = this.#workers.get(incarnation)!
        // What listeners throw here is no fault of the thread.
        if (!worker.isFirst) callListener((one) => this.emit('workerCreate', one), worker)
        // It takes commands once it is the present one of its partition.
        void TURN_END.then(this.#dispatch)
        this.#drainLater()
      },
      exited: (incarnation, { cause }) => {
        const worker = this.#workers.get(incarnation)!
        this.#workers.delete(incarnation)
        while (!incarnation.isTerminating && incarnation.window.drain() > 0);
        const hasRunning = [...incarnation.window.snapshot()].some(({ started }) => started)
        for (const { command } of worker.tasks) {
          // It was bound to this thread; once the runtime has queued it again it is refused.
          timers.queueMicrotask(() => command && this.#runtime?.withdraw(command, cause))
        }
        worker.destroyed = true
        callListener((one) => this.emit('workerDestroy', one), worker)
        if (cause !== undefined && !hasRunning && this.#runtime) this.emit('error', cause)
      },
      gaveUp: () => void TURN_END.then(this.#dispatch),
      demand: () => Math.ceil(this.#open.size / this.#options.concurrentTasksPerWorker),
    })
  }

  get #present(): PoolWorker[] {
    return (this.#runtime?.threads ?? []).flatMap((one) => this.#workers.get(one) ?? [])
  }

  get #ready(): PoolWorker[] {
    return this.#present.filter(({ isReady }) => isReady)
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
    const isFull = this.#open.size >= maxThreads * concurrentTasksPerWorker
    const isNews = isFull ? this.#ready.length >= maxThreads : this.#needsDrain
    if (!isNews) return
    this.#needsDrain = isFull
    this.emit(isFull ? 'needsDrain' : 'drain')
  }

  /**
   * Takes no further task, waits for those that it has, and ends the threads.
   *
   * @param options - `force` rejects tasks that have not started.
   */
  async close(options: CloseOptions = {}): Promise<void> {
    if (typeof (options ?? 0) !== 'object') throw new TypeError('options must be an object')
    const { force = false } = { force: undefined, ...options }
    if (typeof force !== 'boolean') throw new TypeError('force argument must be a boolean')
    this.#endings++
    if (force) {
      // As many go on as threads can run: they have those, or take them as they start.
      const capacity = this.#ready.length * this.#options.concurrentTasksPerWorker
      let count = this.#open.size - Math.min(this.#submitted, capacity)
      for (const task of this.#open.values().reverse()) {
        if (count > 0 && this.#giveUp(task, 'pool is closed', false)) count--
      }
    }
    const timeoutMs = Math.min(this.#options.closeTimeout, TIMER_MS_MAX)
    const isLate = await new Promise<boolean>((resolve) => {
      const timer = timers.setTimeout(resolve, timeoutMs, true).unref()
      this.once(EMPTIED, () => {
        timers.clearTimeout(timer)
        resolve(false)
      })
      if (this.#open.size === 0) this.emit(EMPTIED)
    })
    try {
      if (isLate) this.emit('error', new Error('Close operation timed out'))
    } finally {
      await this.destroy()
      this.emit('close')
      this.#endings--
    }
  }

  /** Ends the threads at once; tasks that have not ended are rejected. */
  async destroy(): Promise<void> {
    this.#endings++
    const runtime = this.#runtime
    this.#runtime = undefined
    while (this.#queue !== undefined && this.#queue.size > 0) this.#queue.shift()
    for (const task of this.#open.values()) {
      this.#finish(task, false, new Error('Terminating worker thread'))
    }
    await runtime?.close()
    this.#endings--
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
    const counts = this.#ready.map(({ count }) => count)
    const unbound = counts.reduce((left, count) => left - count, this.#submitted)
    const idle = counts.filter((count) => count === 0).length
    return Math.max(idle - Math.max(unbound, 0), 0)
  }

  /** Tasks that wait for a thread. */
  get queueSize(): number {
    const { concurrentTasksPerWorker } = this.#options
    const ready = this.#ready.length * concurrentTasksPerWorker
    const waiting = this.#queue?.size ?? Math.max(this.#open.size - ready, 0)
    return Math.max(waiting + ready - this.#present.length * concurrentTasksPerWorker, 0)
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
    return (this.#times?.run.sum ?? 0) / (this.duration * this.maxThreads)
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
  static readonly workerData: typeof workerData = workerData
  static readonly version: string = version
  /** Marks a value to be moved instead of copied. */
  static readonly move: typeof move = move
  static readonly transferableSymbol: typeof transferableSymbol = transferableSymbol
  static readonly valueSymbol: typeof valueSymbol = valueSymbol
  static readonly queueOptionsSymbol: typeof queueOptionsSymbol = queueOptionsSymbol
}
