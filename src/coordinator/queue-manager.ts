// Queue manager: the public face of the runtime; wiring only.
// Thread: main.   Owns: its rooms' instances and its own state.

import { getEnvironmentData } from 'node:worker_threads'
import { nowMs, timers } from '../base/clock.ts'
import { laneError } from '../base/errors.ts'
import { checkGiven, checkOptions } from '../base/options.ts'
import { createCommons } from '../memory/region.ts'
import {
  COMMAND_RULES,
  type CommandOptions,
  type CommandOutcome,
  PARTITION_MARKER,
} from '../model/command.ts'
import type {
  AnyHandlers,
  HandlerName,
  PayloadArguments,
  PayloadOf,
  ResultOf,
} from '../model/handler-module.ts'
import { rankOf } from '../model/lane.ts'
import { fromSideValue, toSideValue } from '../wire/side-value.ts'
import { Backlog } from './backlog.ts'
import { Binder } from './binder.ts'
import { createHandlersProxy, type HandlersProxy, type RunOptions } from './handlers-proxy.ts'
import { LaneTable } from './lane-table.ts'
import { MAP_RULES, type MapOptions, mapCommands } from './map-commands.ts'
import {
  BROADCAST_RULES,
  type BroadcastOptions,
  DRAIN_RULES,
  type ManagerPlan,
  planManager,
  type QueueManagerOptions,
} from './options.ts'
import { PartitionHandle } from './partition-handle.ts'
import { createPlacer, isShared, type Placer, takesKeys } from './partitioners.ts'
import { type CommandExtras, PendingCommand } from './pending-command.ts'
import { ResultPump } from './result-pump.ts'
import { type QueueStats, takeStats } from './stats.ts'
import { closedError, Supervisor } from './supervisor.ts'
import { TypeTable } from './type-table.ts'

const DEFAULT_PRIORITY = COMMAND_RULES.priority.default as number

/** Its reactions run at the end of the current turn; cheaper than `queueMicrotask`. */
const TURN_END: Promise<void> = Promise.resolve()

// A promise's resolver is captured without a closure per command.
let captured: (value: unknown) => void
function capture(resolve: (value: unknown) => void): void {
  captured = resolve
}

/**
 * Runs commands across partitions, one thread each, by lanes.
 *
 * @typeParam M - The handler module: `typeof import('./handlers.js')`.
 */
export class QueueManager<M = AnyHandlers> {
  readonly #plan: ManagerPlan
  readonly #lanes: LaneTable
  readonly #partitions: readonly PartitionHandle[]
  readonly #backlog: Backlog
  readonly #binder: Binder
  readonly #pump: ResultPump
  readonly #supervisor: Supervisor
  readonly #place: Placer
  readonly #isShared: boolean
  readonly #takesKeys: boolean
  readonly #drainWaiters = new Set<() => void>()
  #types: TypeTable = new TypeTable([])
  #state: QueueStats['state'] = 'created'
  #sequence = 0
  #broadcasts = 0
  #isFlushQueued = false
  #starting: Promise<void> | undefined
  #closing: Promise<void> | undefined

  private constructor(plan: ManagerPlan) {
    const commons = createCommons()
    this.#plan = plan
    this.#lanes = new LaneTable(plan.lanes)
    this.#isShared = isShared(plan.strategy)
    this.#takesKeys = takesKeys(plan.strategy)
    this.#place = createPlacer(plan)
    this.#partitions = Array.from(
      { length: plan.partitionCount },
      (_, index) => new PartitionHandle(index),
    )
    this.#backlog = new Backlog(this.#lanes.all.length, this.#isShared ? 1 : plan.partitionCount)
    this.#binder = new Binder(this.#backlog, this.#partitions, this.#isShared)
    this.#pump = new ResultPump(commons, {
      drain: () => this.#drainRings(),
      progressed: (now) => this.#progressed(now),
      isBusy: () => this.#lanes.openCount > 0,
      idled: (now) => this.#binder.rebalance(now),
    })
    this.#supervisor = new Supervisor(
      {
        commons,
        handlers: plan.handlers,
        lanes: this.#lanes.all.map((lane) => lane.name),
        ringBytes: plan.ringBytes,
        inlineBytesMax: plan.ringBytes >> 3,
        worker: plan.worker,
      },
      this.#partitions,
      plan.startTimeoutMs,
      {
        ready: () => this.#progressed(nowMs()),
        requeue: (commands) => {
          for (const command of commands) this.#backlog.offer(command)
          this.#progressed(nowMs())
        },
        failed: (partition, reason) => this.#giveUp(partition, reason),
        settled: () => this.#checkDrained(),
      },
    )
  }

  /**
   * Makes a manager; its threads start with {@link QueueManager.start}.
   *
   * @param options - All but `handlers` have defaults.
   * @throws ConfigError `CORELANE_INVALID_OPTION`, or `CORELANE_NESTED_MANAGER` inside a partition.
   */
  static create<M = AnyHandlers>(options: QueueManagerOptions): QueueManager<M> {
    const plan = planManager(options)
    const partition = getEnvironmentData(PARTITION_MARKER)
    if (partition !== undefined && !plan.allowNested) {
      throw laneError('CORELANE_NESTED_MANAGER', { partition })
    }
    return new QueueManager<M>(plan)
  }

  /**
   * Starts the threads and loads the handler module in each.
   *
   * @returns When every partition is ready. Calling it again gives the same promise.
   * @throws ConfigError `CORELANE_HANDLERS_FAILED`; the manager is closed then.
   * @throws ClosedError `CORELANE_CLOSED` after `shutdown` or `close`.
   */
  start(): Promise<void> {
    this.#starting ??= this.#start()
    return this.#starting
  }

  /**
   * Submits a command.
   *
   * @param lane - Name of its lane.
   * @param type - Name of its handler.
   * @param rest - The payload, copied when the command is bound to a partition, and options.
   * @returns What the handler returns; rejects with what it throws.
   * @throws (as a rejection) ConfigError for an unknown lane or type or a bad option; ClosedError
   * after `shutdown`; SerializationError if the payload or result cannot cross threads;
   * PartitionLostError if the thread died while the handler ran.
   */
  submit<K extends HandlerName<M>>(
    lane: string,
    type: K,
    ...rest: PayloadArguments<M, K, CommandOptions>
  ): Promise<ResultOf<M, K>>
  submit(
    lane: string,
    type: string,
    payload?: unknown,
    options?: CommandOptions,
  ): Promise<unknown> {
    return this.#submitAny(lane, type, payload, options)
  }

  /**
   * Submits a command and tells how it ended, where and when. A handler's failure is an outcome too.
   *
   * @param lane - Name of its lane.
   * @param type - Name of its handler.
   * @param rest - The payload and options.
   * @returns The outcome; rejects only if the command was not accepted.
   * @throws (as a rejection) ConfigError and ClosedError, as {@link QueueManager.submit}.
   */
  execute<K extends HandlerName<M>>(
    lane: string,
    type: K,
    ...rest: PayloadArguments<M, K, CommandOptions>
  ): Promise<CommandOutcome<ResultOf<M, K>>>
  execute(
    lane: string,
    type: string,
    payload?: unknown,
    options?: CommandOptions,
  ): Promise<unknown> {
    return this.#submitAny(lane, type, payload, options, true)
  }

  /**
   * Submits a command to the default lane.
   *
   * @param type - Name of its handler.
   * @param rest - The payload and options, which may name another lane.
   * @returns As {@link QueueManager.submit}.
   */
  run<K extends HandlerName<M>>(
    type: K,
    ...rest: PayloadArguments<M, K, RunOptions>
  ): Promise<ResultOf<M, K>>
  run(type: string, payload?: unknown, options?: RunOptions): Promise<unknown> {
    if (options?.lane === undefined) {
      return this.#submitAny(this.#plan.defaultLane, type, payload, options)
    }
    const { lane, ...others } = options
    return this.#submitAny(lane, type, payload, others)
  }

  /**
   * Submits a command of one type for each payload.
   *
   * @param lane - Name of their lane.
   * @param type - Name of their handler.
   * @param payloads - One for each command.
   * @param options - Of every command.
   * @returns The results in the order of the payloads; rejects with the first failure, while the
   * others run on.
   */
  async submitMany<K extends HandlerName<M>>(
    lane: string,
    type: K,
    payloads: Iterable<PayloadOf<M, K>>,
    options?: CommandOptions,
  ): Promise<ResultOf<M, K>[]> {
    const results: Promise<unknown>[] = []
    try {
      for (const payload of payloads) results.push(this.#submitAny(lane, type, payload, options))
    } catch (error) {
      // The source failed half-way: what was submitted runs on, and nobody learns how it ended.
      for (const result of results) result.catch(() => {})
      throw error
    }
    return Promise.all(results) as Promise<ResultOf<M, K>[]>
  }

  /**
   * Runs a handler over everything a source yields, in bounded memory: the source is read only as
   * fast as results are taken.
   *
   * @param lane - Name of the commands' lane.
   * @param type - Name of their handler.
   * @param source - Payloads.
   * @param options - `concurrency`, `ordered`, and options of every command.
   * @returns The results. A failed command ends the iteration with its failure.
   * @throws ConfigError `CORELANE_INVALID_OPTION`, when the iteration starts.
   */
  async *map<K extends HandlerName<M>>(
    lane: string,
    type: K,
    source: AsyncIterable<PayloadOf<M, K>> | Iterable<PayloadOf<M, K>>,
    options: MapOptions = {},
  ): AsyncGenerator<ResultOf<M, K>, void, undefined> {
    const { concurrency, ordered, ...others } = options
    const bounds = checkOptions<Required<MapOptions>>('map', { concurrency, ordered }, MAP_RULES)
    yield* mapCommands(
      source,
      bounds.concurrency!,
      bounds.ordered!,
      (payload) => this.#submitAny(lane, type, payload, others) as Promise<ResultOf<M, K>>,
    )
  }

  /**
   * The handlers as asynchronous functions, on the default lane unless a call names another.
   *
   * @typeParam T - The handler module, if the manager was not given it.
   */
  handlers<T = M>(): HandlersProxy<T> {
    return createHandlersProxy<T>((type, payload, options) =>
      (this as unknown as QueueManager).run(type, payload, options),
    )
  }

  /**
   * Runs a handler once on every partition, between two commands, outside lanes.
   *
   * @param type - Name of the handler.
   * @param payload - Copied to each.
   * @param options - `sticky` runs it on every replacement of a dead thread too, before its first
   * command. Default false.
   * @returns The results, by partition. One that has no thread at the moment is left out.
   * @throws What a handler throws; PartitionLostError; LaneError `CORELANE_CONTROL_TIMEOUT`.
   */
  async broadcast<K extends HandlerName<M>>(
    type: K,
    payload?: PayloadOf<M, K>,
    options?: BroadcastOptions,
  ): Promise<ResultOf<M, K>[]> {
    const { sticky } = checkOptions<BroadcastOptions>('broadcast', options, BROADCAST_RULES)
    this.#refuseUnlessRunning()
    const { name } = this.#types.get(type)
    const id = `broadcast-${++this.#broadcasts}`
    const broadcast = { id, type: name, payload: toSideValue(payload, 'payload') }
    if (sticky) this.#supervisor.stick(broadcast)
    const timeoutMs = this.#plan.broadcastTimeoutMs
    const living = this.#partitions.flatMap(({ incarnation }) => incarnation?.living ?? [])
    const calls = living.map(async (incarnation) => {
      const report = await incarnation.call('broadcast', timeoutMs, (control) =>
        control.broadcast(broadcast),
      )
      if (!report.ok) throw fromSideValue(report.side)
      return fromSideValue(report.side) as ResultOf<M, K>
    })
    return Promise.all(calls)
  }

  /** One consistent snapshot of lanes, partitions and host. Cheap enough for once a second. */
  stats(): QueueStats {
    return takeStats(this.#state, this.#plan.strategy, this.#lanes, this.#partitions)
  }

  /** Refuses new commands from now on; what was submitted goes on. */
  shutdown(): void {
    if (this.#state !== 'closed') this.#state = 'shutdown'
  }

  /**
   * Refuses new commands and waits for those that were submitted.
   *
   * @param timeoutMs - How long to wait, in milliseconds. Default: `drainTimeoutMs`.
   * @throws LaneError `CORELANE_DRAIN_TIMEOUT` with what is left, by lane, in `details.lanes`; it goes
   * on running until `close`.
   */
  async drain(timeoutMs: number = this.#plan.drainTimeoutMs): Promise<void> {
    checkGiven('drain', { timeoutMs }, DRAIN_RULES)
    this.shutdown()
    if (this.#lanes.openCount === 0) return
    let finish!: () => void
    let timer!: NodeJS.Timeout
    const isDrained = await new Promise<boolean>((resolve) => {
      finish = () => resolve(true)
      timer = timers.setTimeout(resolve, timeoutMs, false)
      this.#drainWaiters.add(finish)
    })
    timers.clearTimeout(timer)
    this.#drainWaiters.delete(finish)
    if (isDrained) return
    const left = this.#lanes.all.filter((lane) => lane.submitted > lane.completed + lane.failed)
    const lanes = Object.fromEntries(
      left.map((lane) => [lane.name, lane.submitted - lane.completed - lane.failed]),
    )
    const words = Object.entries(lanes).map(([name, count]) => `${count} in ${name}`)
    throw laneError('CORELANE_DRAIN_TIMEOUT', { timeoutMs, left: words.join(', '), lanes })
  }

  /**
   * Ends everything: commands that have not finished reject, threads tear down and end.
   *
   * @returns When every thread has ended. Calling it again gives the same promise.
   * @throws AggregateError of what `teardown` threw, once every thread has ended.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** Finishes what was submitted, at most for `drainTimeoutMs`, and closes. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.drain()
    } finally {
      await this.close()
    }
  }

  async #start(): Promise<void> {
    if (this.#state !== 'created') throw laneError('CORELANE_CLOSED', { state: this.#state })
    this.#state = 'starting'
    try {
      this.#types = new TypeTable(await this.#supervisor.start())
    } catch (error) {
      const wasClosed = this.#closing !== undefined
      this.#state = 'closed'
      this.#pump.stop()
      throw wasClosed ? laneError('CORELANE_CLOSED', { state: 'closed' }, error) : error
    }
    // It may have been closed or shut down meanwhile.
    if (this.#closing !== undefined) throw laneError('CORELANE_CLOSED', { state: 'closed' })
    if (this.stats().state === 'starting') this.#state = 'running'
  }

  async #close(): Promise<void> {
    this.#state = 'closed'
    for (const command of this.#backlog.takeAll()) {
      command.fail(closedError(false), command.home)
    }
    const failures = await this.#supervisor.stop(this.#plan.closeTimeoutMs)
    this.#pump.stop()
    this.#checkDrained()
    if (failures.length > 0) {
      throw new AggregateError(failures, `teardown failed on ${failures.length} partitions`)
    }
  }

  #refuseUnlessRunning(): void {
    if (this.#state === 'running') return
    if (this.#state === 'created' || this.#state === 'starting') {
      throw laneError('CORELANE_NOT_STARTED')
    }
    throw laneError('CORELANE_CLOSED', { state: this.#state })
  }

  #submitAny(
    lane: string,
    type: string,
    payload: unknown,
    options: CommandOptions | undefined,
    isDetailed = false,
  ): Promise<unknown> {
    try {
      return this.#submit(lane, type, payload, options, isDetailed)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  #submit(
    laneName: string,
    typeName: string,
    payload: unknown,
    options: CommandOptions | undefined,
    isDetailed: boolean,
  ): Promise<unknown> {
    if (this.#state !== 'running') this.#refuseUnlessRunning()
    const lane = this.#lanes.get(laneName)
    const type = this.#types.get(typeName)
    let priority = DEFAULT_PRIORITY
    let extras: CommandExtras | undefined
    if (options !== undefined) {
      checkGiven('command', options, COMMAND_RULES)
      priority = options.priority ?? DEFAULT_PRIORITY
    }
    if (options !== undefined || isDetailed) extras = this.#extrasOf(options ?? {}, isDetailed)
    const home = this.#place(lane, type, extras?.key, payload)
    this.#refuseFailed(home)
    const promise = new Promise<unknown>(capture)
    const command = new PendingCommand(
      rankOf(lane.priority, priority),
      this.#sequence++,
      type,
      lane,
      payload,
      home,
      extras,
      captured,
    )
    lane.submitted++
    this.#binder.place(command)
    this.#pump.expect()
    if (!this.#isFlushQueued) {
      this.#isFlushQueued = true
      void TURN_END.then(this.#flush)
    }
    return promise
  }

  readonly #flush = (): void => {
    this.#isFlushQueued = false
    this.#binder.flush()
  }

  #extrasOf(options: CommandOptions, isDetailed: boolean): CommandExtras | undefined {
    const { key, transferList } = options
    if (key !== undefined && !this.#takesKeys) {
      throw laneError('CORELANE_INVALID_COMMAND', {
        field: 'key',
        received: `given under the strategy "${this.#plan.strategy}"`,
        allowed: 'a key under "hash", "custom" or "none", which keep its commands together',
      })
    }
    if (key === undefined && transferList === undefined && !isDetailed) return undefined
    return { key, transferList, isDetailed }
  }

  #drainRings(): number {
    let records = 0
    for (const { incarnation } of this.#partitions) records += incarnation?.window.drain() ?? 0
    return records
  }

  #progressed(now: number): void {
    this.#binder.refill()
    this.#binder.rebalance(now)
    this.#binder.flush()
    this.#checkDrained()
  }

  #checkDrained(): void {
    if (this.#drainWaiters.size === 0 || this.#lanes.openCount > 0) return
    for (const finish of this.#drainWaiters) finish()
  }

  /** Refuses a command whose partition was given up. */
  #refuseFailed(home: number): void {
    const failure = this.#isShared ? this.#partitions[0]!.failure : this.#partitions[home]!.failure
    if (failure === undefined) return
    if (this.#isShared && !this.#partitions.every((partition) => partition.failure)) return
    throw failure
  }

  /** Settles what waits for a partition that gets no thread any more. */
  #giveUp(partition: PartitionHandle, reason: Error): void {
    if (this.#isShared && !this.#partitions.every(({ failure }) => failure !== undefined)) return
    const stranded = this.#backlog.takeFrom(this.#isShared ? 0 : partition.index)
    const details = { partition: partition.index, reason: reason.message, stage: 'waiting' }
    for (const command of stranded) {
      const lost = laneError('CORELANE_PARTITION_LOST', { ...details, started: false }, reason)
      command.fail(lost, partition.index)
    }
    this.#checkDrained()
  }
}
