// Piscina pool: Piscina's queue, threads and events, over a runtime.
// Owns: the tasks that are open, and the runtime they run in.
// Must not: run anything itself. Without a queue or a balancer of the user's, the runtime's backlog
// is the queue; with one, a task is submitted when the balancer has chosen its thread.

import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { MessageChannel } from 'node:worker_threads'
import { outside } from '../base/async-context.ts'
import { TIMER_MS_MAX } from '../base/bounds.ts'
import { nowMs, timers } from '../base/clock.ts'
import { LaneError } from '../base/errors.ts'
import { type ManagerPlan, planManager } from '../coordinator/options.ts'
import { Runtime } from '../coordinator/runtime.ts'
import type { ExitReport, Incarnation } from '../coordinator/threads/incarnation.ts'
import type { CommandOptions } from '../model/command.ts'
import { PARTITION_COUNT_MAX } from '../model/partition-config.ts'
import { type PiscinaHistogramSummary, record, summaryOf, Times } from './piscina-histogram.ts'
import type { FilledOptions, Options } from './piscina-options.ts'
import { FixedQueue, queueOptionsSymbol, type TaskQueue } from './piscina-queues.ts'
import {
  AbortError,
  type LaneRunOptions,
  type PiscinaTask,
  type PiscinaWorker,
  type PoolTask,
  type TaskOwner,
} from './piscina-task.ts'

/** Handlers that a thread may run at once. */
const CONCURRENCY_MAX = 1024

const back: unique symbol = Symbol('Piscina.kWorkerData')

/** What the public class gives its pool. */
export interface PoolHost {
  emit(event: string, ...values: unknown[]): boolean
  readonly asyncResource: { asyncId(): number }
}

/** One thread. */
class PoolWorker implements PiscinaWorker {
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

/** Chooses the thread with the fewest tasks. */
function leastBusy(maximum: number) {
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

/** The pool behind the class. */
export class ThreadPool implements TaskOwner {
  readonly options: FilledOptions
  readonly times: Times | undefined
  readonly startedAtMs: number = nowMs()
  completed = 0
  needsDrain = false
  readonly #host: PoolHost
  readonly #plan: ManagerPlan
  /** The queue, if it is not the runtime's backlog. */
  readonly #queue: TaskQueue | undefined
  readonly #balance: (task: PiscinaTask, workers: PiscinaWorker[]) => PiscinaWorker | null
  #runtime: Runtime | undefined
  readonly #workers = new Map<Incarnation, PoolWorker>()
  /** Tasks that have not ended. */
  readonly #open = new Set<PoolTask>()
  /** By key: the last task, which the next one waits for. */
  readonly #keys = new Map<string, Promise<void>>()
  #chosen = 0
  #common: CommandOptions = {}
  #isStarting = true
  #isClosing = false
  #isDestroying = false
  #isDrainQueued = false
  #onDone: (() => void) | undefined

  /**
   * @param host - The public object.
   * @param options - Filled in.
   * @param given - As they were given, for those that threads take.
   */
  constructor(host: PoolHost, options: FilledOptions, given: Options) {
    this.#host = host
    this.options = options
    const { loadBalancer, taskQueue } = given
    const isHeld = taskQueue !== undefined || loadBalancer !== undefined
    this.#queue = isHeld ? (taskQueue ?? new FixedQueue()) : undefined
    const concurrency = Math.min(options.concurrentTasksPerWorker, CONCURRENCY_MAX)
    this.#balance = loadBalancer ?? leastBusy(concurrency)
    this.times = options.recordTiming ? new Times() : undefined
    this.#plan = this.#planOf(given, concurrency)
    this.#begin()
    this.#isStarting = false
  }

  #planOf(given: Options, concurrency: number): ManagerPlan {
    const { minThreads, maxThreads, idleTimeout, closeTimeout } = this.options
    const partitionCount = Math.min(Math.ceil(maxThreads), PARTITION_COUNT_MAX)
    const { workerData, env, execArgv, resourceLimits, lanes } = given
    const plan = planManager({
      handlers: 'data:,',
      partitions: { count: partitionCount },
      concurrencyPerPartition: Math.floor(concurrency),
      floatingRejections: 'end',
      deadLetterCapacity: 0,
      closeTimeoutMs: 0,
      workerData,
      env,
      execArgv,
      resourceLimits,
      ...(lanes === undefined ? {} : { lanes }),
    })
    const { argv, trackUnmanagedFds = true } = given
    const worker = { ...plan.worker, trackUnmanagedFds, ...(argv === undefined ? {} : { argv }) }
    const min = Math.min(Math.ceil(minThreads), partitionCount)
    return {
      ...plan,
      handlers: undefined,
      fileCall: 'payload',
      worker,
      elastic: { min, idleTimeoutMs: idleTimeout },
      drainTimeoutMs: closeTimeout,
      ...(this.#queue && { strategy: 'custom', choose: () => this.#chosen }),
    }
  }

  /** Threads that are there, whether they are ready or not. */
  get workers(): PoolWorker[] {
    return (this.#runtime?.threads ?? []).flatMap((one) => this.#workers.get(one) ?? [])
  }

  /** Tasks that wait for a thread, less those that threads to come will take. */
  get queueSize(): number {
    const { concurrentTasksPerWorker } = this.options
    const { workers } = this
    const waiting = this.#waitingOf(workers)
    const coming = workers.filter(({ isReady }) => !isReady).length
    return Math.max(waiting - coming * concurrentTasksPerWorker, 0)
  }

  #waitingOf(workers: readonly PoolWorker[]): number {
    if (this.#queue !== undefined) return this.#queue.size
    const ready = workers.filter(({ isReady }) => isReady).length
    return Math.max(this.#open.size - ready * this.options.concurrentTasksPerWorker, 0)
  }

  /**
   * Runs a task.
   *
   * @param task - Its filename and name, if it has any, go before those of the pool.
   * @returns Its result.
   */
  run(task: PoolTask): Promise<unknown> {
    const filename = task.filename ?? this.options.filename
    const { abortSignal } = task
    task.name ??= this.options.name
    const refusal =
      typeof filename !== 'string'
        ? new Error('filename must be provided to run() or in options object')
        : this.#isClosing || this.#isDestroying
          ? new AbortError('queue is being terminated')
          : abortSignal?.aborted
            ? new AbortError(abortSignal.reason)
            : this.#refusal()
    if (refusal !== undefined) {
      task.settle(false, refusal)
      this.#drainLater()
      return task.promise
    }
    task.filename = filename!.startsWith('file:') ? fileURLToPath(filename!) : filename
    this.#open.add(task)
    if (abortSignal !== null) task.listen(() => this.#abort(task))
    if (this.#queue === undefined) this.#submitInTurn(task)
    else this.#enqueue(task, this.#queue)
    this.#runtime!.grow()
    this.#drainLater()
    return task.promise
  }

  /** Why no further task is taken; undefined if one is. */
  #refusal(): Error | undefined {
    if (this.#runtime === undefined) this.#begin()
    const { maxQueue, concurrentTasksPerWorker, maxThreads } = this.options
    if (maxQueue === Number.POSITIVE_INFINITY) return undefined
    const { workers } = this
    const waiting = this.#waitingOf(workers)
    const coming = workers.filter(({ isReady }) => !isReady).length * concurrentTasksPerWorker
    const isFull =
      waiting > 0
        ? waiting >= maxQueue + coming
        : maxQueue <= 0 &&
          coming === 0 &&
          workers.length >= maxThreads &&
          this.#open.size >= workers.length * concurrentTasksPerWorker
    if (!isFull) return undefined
    return new Error(
      maxQueue === 0
        ? 'No task queue available and all Workers are busy'
        : 'Task queue is at limit',
    )
  }

  // ── The user's queue and balancer ────────────────────────────────────────────────────────────

  #enqueue(task: PoolTask, queue: TaskQueue): void {
    const ready = this.workers.filter(({ isReady }) => isReady)
    if (queue.size > 0 || !this.#give(task, ready)) queue.push(task)
  }

  /** Gives waiting tasks to threads as long as the balancer finds one for the next. */
  #dispatch(): void {
    const queue = this.#queue
    if (queue === undefined || this.#runtime === undefined) return
    const ready = this.workers.filter(({ isReady }) => isReady)
    while (queue.size > 0) {
      const task = queue.shift() as PoolTask | null
      if (task === null) break
      if (task.isDone || this.#give(task, ready)) continue
      if (this.options.stricterFIFO && queue.unshift !== undefined) queue.unshift(task)
      else queue.push(task)
      break
    }
    this.#runtime.grow()
  }

  #give(task: PoolTask, workers: PiscinaWorker[]): boolean {
    const chosen = this.#balance(task.interface, workers) as Partial<PoolWorker> | null
    const worker = chosen?.[back]
    if (worker === undefined || worker.destroyed) return false
    worker.tasks.add(task)
    task.worker = worker
    this.#chosen = worker.incarnation.partition
    this.#submit(task)
    return true
  }

  // ── The runtime ──────────────────────────────────────────────────────────────────────────────

  #begin(): void {
    const runtime = outside(
      () =>
        new Runtime(this.#plan, {
          spawned: (incarnation) => this.#spawned(incarnation),
          loaded: (incarnation) => this.#loaded(incarnation),
          exited: (incarnation, report) => this.#exited(incarnation, report),
          demand: () => this.#demand(),
        }),
    )
    this.#runtime = runtime
    runtime.open()
  }

  /** Threads that have something to do. */
  #demand(): number {
    return Math.ceil(this.#open.size / this.options.concurrentTasksPerWorker)
  }

  /** Submits a task, after those of its key. */
  #submitInTurn(task: PoolTask): void {
    const key = this.#lanesOf(task)?.key
    if (key === undefined) {
      this.#submit(task)
      return
    }
    const before = this.#keys.get(key)
    const turn = new Promise<void>((resolve) => {
      const start = () => {
        if (task.isDone) return resolve()
        task.onEnd = resolve
        this.#submit(task)
      }
      if (before === undefined) start()
      else void before.then(start)
    }).then(() => {
      if (this.#keys.get(key) === turn) this.#keys.delete(key)
    })
    this.#keys.set(key, turn)
  }

  #lanesOf(task: PoolTask): LaneRunOptions | undefined {
    if (task.lanes !== undefined) return task.lanes
    return (task[queueOptionsSymbol] as LaneRunOptions | null) ?? undefined
  }

  #submit(task: PoolTask): void {
    const { intake } = this.#runtime!
    const { filename, name, transferList } = task
    const lanes = this.#lanesOf(task)
    let options = this.#optionsOf(filename!)
    if (transferList !== undefined) options = { ...options, transferList }
    if (lanes !== undefined) {
      const { priority, group, deadlineMs, timeoutMs } = lanes
      options = { ...options, priority, group, deadlineMs, timeoutMs }
    }
    const lane = lanes?.lane ?? this.#plan.defaultLane
    task.owner = this
    try {
      task.command = intake.make(lane, name!, task.task, options, false)
      intake.enter(task.command, task)
    } catch (error) {
      this.ended(task, false, error)
    }
  }

  /** The options of most tasks, one object for all of a module. */
  #optionsOf(file: string): CommandOptions {
    if (this.#common.file !== file) this.#common = { file }
    return this.#common
  }

  ended(
    task: PoolTask,
    isOk: boolean,
    value: unknown,
    startedAtMs = 0,
    durationMs = 0,
    partition = -1,
  ): void {
    task.worker?.tasks.delete(task)
    if (task.isDone) {
      this.#open.delete(task)
    } else if (isOk) {
      if (startedAtMs > 0) this.#record(task, partition, startedAtMs, durationMs)
      this.#finish(task, true, value)
    } else if (isBystander(value, task)) {
      this.#submit(task)
      return
    } else {
      if (startedAtMs > 0) this.#record(task, partition, startedAtMs, durationMs)
      this.#finish(task, false, reasonOf(value, task))
    }
    task.onEnd?.()
    // Queues and balancers are the user's: they may call anything.
    if (this.#queue !== undefined) timers.queueMicrotask(() => this.#dispatch())
  }

  #record(task: PoolTask, partition: number, startedAtMs: number, durationMs: number): void {
    const { times } = this
    if (times !== undefined) {
      record(times.wait, startedAtMs - task.created)
      record(times.run, durationMs)
    }
    if (!this.options.workerHistogram) return
    for (const { incarnation, times: own } of this.#workers.values()) {
      if (incarnation.partition === partition && own !== undefined) record(own, durationMs)
    }
  }

  #finish(task: PoolTask, isOk: boolean, value: unknown): void {
    this.#open.delete(task)
    this.completed++
    task.settle(isOk, value)
    this.#drainLater()
    this.#onDone?.()
  }

  #abort(task: PoolTask): void {
    if (task.isDone) return
    task.aborted = true
    const { command, abortSignal } = task
    const { reason } = abortSignal!
    if (command === undefined) this.#queue?.remove(task)
    this.#open.delete(task)
    task.settle(false, new AbortError(reason))
    if (command !== undefined) {
      this.#runtime?.kill(command, reason)
      if (command.holder === undefined) this.completed++
    }
    this.#drainLater()
    this.#onDone?.()
  }

  // ── Threads ──────────────────────────────────────────────────────────────────────────────────

  #spawned(incarnation: Incarnation): void {
    const { workerHistogram } = this.options
    const isFirst = this.#isStarting
    const worker = new PoolWorker(incarnation, isFirst, workerHistogram)
    this.#workers.set(incarnation, worker)
    incarnation.worker.on('message', (message: { readonly corelane?: unknown } | null) => {
      // What its program says first is not the user's.
      if (typeof message === 'object' && message?.corelane !== undefined) return
      this.#host.emit('message', message)
    })
    if (isFirst) timers.queueMicrotask(() => this.#host.emit('workerCreate', worker))
  }

  #loaded(incarnation: Incarnation): void {
    const worker = this.#workers.get(incarnation)!
    if (!worker.isReady) {
      worker.isReady = true
      this.#host.emit('workerCreate', worker)
    }
    // It takes commands once it is the present one of its partition.
    timers.queueMicrotask(() => this.#dispatch())
  }

  #exited(incarnation: Incarnation, { cause }: ExitReport): void {
    const worker = this.#workers.get(incarnation)!
    this.#workers.delete(incarnation)
    while (incarnation.window.drain() > 0);
    const hasRunning = [...incarnation.window.snapshot()].some(({ started }) => started)
    for (const task of worker.tasks) {
      // It was bound to this thread; once the runtime has queued it again it is refused.
      const { command } = task
      timers.queueMicrotask(() => command && this.#runtime?.withdraw(command, cause))
    }
    if (!worker.destroyed) this.#host.emit('workerDestroy', worker)
    worker.destroyed = true
    if (cause !== undefined && !hasRunning && !this.#isDestroying) this.#host.emit('error', cause)
  }

  /** Says later in this turn whether every thread is full, or no longer. */
  #drainLater(): void {
    if (this.#isDrainQueued) return
    this.#isDrainQueued = true
    timers.queueMicrotask(() => {
      this.#isDrainQueued = false
      const { concurrentTasksPerWorker, maxThreads } = this.options
      const capacity = maxThreads * concurrentTasksPerWorker
      if (this.#open.size < capacity) {
        if (!this.needsDrain) return
        this.needsDrain = false
        this.#host.emit('drain')
      } else if (this.workers.filter(({ isReady }) => isReady).length >= maxThreads) {
        this.needsDrain = true
        this.#host.emit('needsDrain')
      }
    })
  }

  // ── The end ──────────────────────────────────────────────────────────────────────────────────

  /** Ends every thread at once; tasks that have not ended are rejected. */
  async destroy(): Promise<void> {
    this.#isDestroying = true
    const runtime = this.#runtime
    this.#runtime = undefined
    const queue = this.#queue
    while (queue !== undefined && queue.size > 0) queue.shift()
    for (const task of [...this.#open]) {
      this.#finish(task, false, new Error('Terminating worker thread'))
    }
    for (const worker of this.#workers.values()) {
      if (worker.destroyed) continue
      worker.destroyed = true
      this.#host.emit('workerDestroy', worker)
    }
    await runtime?.close()
    this.#isDestroying = false
  }

  /**
   * Waits for the tasks, and ends the threads.
   *
   * @param isForced - Whether tasks that have not started are rejected.
   */
  async close(isForced: boolean): Promise<void> {
    this.#isClosing = true
    if (isForced) {
      for (const task of [...this.#open]) this.#giveUp(task)
    }
    const { closeTimeout } = this.options
    const isLate = await new Promise<boolean>((resolve) => {
      const timer = timers.setTimeout(() => resolve(true), Math.min(closeTimeout, TIMER_MS_MAX))
      timer.unref()
      this.#onDone = () => {
        if (this.#open.size > 0) return
        timers.clearTimeout(timer)
        resolve(false)
      }
      this.#onDone()
    })
    this.#onDone = undefined
    if (isLate) this.#host.emit('error', new Error('Close operation timed out'))
    await this.destroy()
    this.#host.emit('close')
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
}

/** Whether a task was lost only because another was aborted that ran beside it. */
function isBystander(error: unknown, task: PoolTask): boolean {
  if (!(error instanceof LaneError) || error.code !== 'CORELANE_PARTITION_LOST') return false
  const { cause } = error
  const isAborted = cause instanceof LaneError && cause.code === 'CORELANE_ABORTED'
  return isAborted && task.transferList === undefined
}

/** What Piscina would reject with. */
function reasonOf(error: unknown, task: PoolTask): unknown {
  if (!(error instanceof LaneError)) return error
  const { code, cause, details } = error
  if (code === 'CORELANE_PARTITION_LOST') {
    return cause ?? new Error(`worker exited with code: ${details.exitCode}`)
  }
  if (code === 'CORELANE_UNSERIALIZABLE' && details.role === 'payload') {
    // The very error that a port gives.
    const { port1 } = new MessageChannel()
    try {
      port1.postMessage(task.task, [...(task.transferList ?? [])] as ArrayBuffer[])
    } catch (refusal) {
      return refusal
    } finally {
      port1.close()
    }
  }
  return error
}
