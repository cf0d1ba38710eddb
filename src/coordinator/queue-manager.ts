// Queue manager: the public class. It checks what callers give and hands it to the runtime.
// Must not: keep state besides its plan and its runtime.

import { getEnvironmentData } from 'node:worker_threads'
import { outside } from '../base/async-context.ts'
import { laneError, show } from '../base/errors.ts'
import { checkGiven, checkOptions, invalidOption } from '../base/options.ts'
import { type CommandOptions, type CommandOutcome, PARTITION_MARKER } from '../model/command.ts'
import type {
  AnyHandlers,
  ChunkOf,
  Cloned,
  PayloadArguments,
  PayloadGiven,
  PayloadOf,
  ResultOf,
  RunName,
  StreamName,
} from '../model/handler-module.ts'
import type { DefaultLaneName, LanePlan } from '../model/lane.ts'
import type { EventFilter, LaneEvent, LaneEventName, LaneEventOf } from '../model/lane-event.ts'
import type { PartitionStrategy } from '../model/partition-config.ts'
import type { Dashboard, DashboardManager, DashboardOptions } from '../operations/dashboard.ts'
import { serveDashboardOf } from '../operations/serve-dashboard.ts'
import { createHandlersProxy, type HandlersProxy, type RunOptions } from './handlers-proxy.ts'
import type { LaneControl } from './lane-control.ts'
import type { ManagerPort } from './manager-port.ts'
import {
  checkSource,
  type MapOptions,
  type MapOutcome,
  mapCommands,
  planMap,
} from './map-commands.ts'
import {
  type BroadcastOptions,
  DRAIN_RULES,
  handlersUrl,
  type ManagerPlan,
  PROFILE_RULES,
  type ProfileOptions,
  planBroadcast,
  planManager,
  type QueueManagerOptions,
  RELOAD_RULES,
} from './options.ts'
import type { QueueMetrics } from './queue-metrics.ts'
import type { DeadLetterQueue } from './results/dead-letter-queue.ts'
import type { EventSubscription } from './results/event-hub.ts'
import { StreamReader } from './results/stream-reader.ts'
import { Runtime } from './runtime.ts'
import { Batch } from './settlement.ts'
import type { QueueStats } from './stats.ts'

/** A symbol, since a worker pool may be of another copy of the package than its manager. */
const PORT: unique symbol = Symbol.for('corelane.manager-port.3') as never

/**
 * The port of a manager, for worker pools.
 *
 * @param manager - Any.
 */
// biome-ignore lint/suspicious/noExplicitAny: a manager of whatever handler module.
export function managerPort(manager: QueueManager<any>): ManagerPort {
  const port = (manager as Partial<QueueManager> | undefined)?.[PORT]
  if (port !== undefined) return port
  throw invalidOption('WorkerPool.manager', show(manager), 'a queue manager')
}

/** What a {@link QueueManager} is. */
class Manager<M, L extends string> {
  readonly #plan: ManagerPlan
  readonly #runtime: Runtime

  constructor(options: QueueManagerOptions<M, L>) {
    const plan = planManager(options)
    const partition = getEnvironmentData(PARTITION_MARKER) as number | undefined
    if (partition !== undefined && !plan.allowNested) {
      throw laneError('CORELANE_NESTED_MANAGER', { partition })
    }
    this.#plan = plan
    this.#runtime = outside(() => new Runtime(plan))
  }

  /** @internal */
  get [PORT](): ManagerPort {
    return this.#runtime
  }

  /**
   * The constructor as a function.
   *
   * @param options - All but `handlers` have defaults.
   */
  static create<M, L extends string>(options: QueueManagerOptions<M, L>): QueueManager<M, L> {
    return new Manager(options)
  }

  /**
   * Starts the threads and loads the handler module in each. A command, broadcast or reload does so
   * too if need be: a command waits for one thread that is ready, the others for all. With
   * `balanced` one command starts one thread, and the others follow once that is ready or another
   * call waits. A failure rejects what waits, with its error, and what runs, with
   * `CORELANE_COMMAND_DROPPED`.
   *
   * @returns When every partition is ready. Calling it again gives the same promise.
   * @throws (as a rejection) ConfigError `CORELANE_HANDLERS_FAILED`; the manager is closed then.
   * @throws (as a rejection) ClosedError `CORELANE_CLOSED` if `shutdown` or `close` came before the
   * first call.
   */
  start(): Promise<void> {
    return this.#runtime.start()
  }

  /**
   * Submits a command: {@link QueueManager.run} with the lane first.
   *
   * @param lane - Name of its lane.
   * @param type - Name of its handler.
   * @param rest - The payload, copied when the command is bound to a partition, and options.
   * @returns What the handler returns; rejects with what it throws.
   * @throws (as a rejection) ConfigError for an unknown lane or type or a bad option; ClosedError
   * after `shutdown`; QueueFullError at a bound that rejects; DeadlineExceededError if it did not
   * start in time; TimeoutError; AbortError; SerializationError if the payload or result cannot
   * cross threads; PartitionLostError if the thread died while the handler ran.
   */
  submit<K extends RunName<M>, P = unknown>(
    lane: L,
    type: K,
    ...rest: PayloadArguments<M, K, CommandOptions, P>
  ): Promise<ResultOf<M, K>>
  submit(
    lane: string,
    type: string,
    payload?: unknown,
    options?: CommandOptions,
  ): Promise<unknown> {
    return this.#submit(lane, type, payload, options)
  }

  /**
   * Submits a command and tells how it ended, where and when. A handler's failure is an outcome
   * too.
   *
   * @param lane - Name of its lane.
   * @param type - Name of its handler.
   * @param rest - The payload and options.
   * @returns The outcome; rejects only if the command was not accepted.
   * @throws (as a rejection) ConfigError and ClosedError, as {@link QueueManager.submit}.
   */
  execute<K extends RunName<M>, P = unknown>(
    lane: L,
    type: K,
    ...rest: PayloadArguments<M, K, CommandOptions, P>
  ): Promise<CommandOutcome<ResultOf<M, K>>>
  execute(
    lane: string,
    type: string,
    payload?: unknown,
    options?: CommandOptions,
  ): Promise<unknown> {
    return this.#submit(lane, type, payload, options, true)
  }

  /**
   * Submits a command, to the default lane unless the options name another.
   *
   * @param type - Name of its handler.
   * @param rest - The payload and options.
   * @returns As {@link QueueManager.submit}.
   */
  run<K extends RunName<M>, P = unknown>(
    type: K,
    ...rest: PayloadArguments<M, K, RunOptions<L>, P>
  ): Promise<ResultOf<M, K>>
  run(type: string, payload?: unknown, options?: RunOptions): Promise<unknown> {
    const { defaultLane } = this.#plan
    if (options == null || !Object.hasOwn(options, 'lane')) {
      return this.#submit(defaultLane, type, payload, options)
    }
    const { lane = defaultLane, ...others } = options
    return this.#submit(lane, type, payload, others)
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
   * @throws (as a rejection) What {@link QueueManager.submit} rejects with.
   */
  async submitMany<K extends RunName<M>, P = unknown>(
    lane: L,
    type: K,
    payloads: Iterable<PayloadGiven<M, K, P>>,
    options?: CommandOptions,
  ): Promise<ResultOf<M, K>[]> {
    checkSource('submitMany.payloads', payloads, false)
    const { intake } = this.#runtime
    const submitAll = async (calledAtMs?: number) => {
      const batch = new Batch()
      // If the source fails half-way, the commands that were submitted run on.
      for (const payload of payloads)
        intake.submitInto(batch, lane, type, payload, options, calledAtMs)
      return batch.results() as Promise<ResultOf<M, K>[]>
    }
    return this.#runtime.whenStarted(submitAll, false, lane, options) ?? submitAll()
  }

  /**
   * Runs a handler over everything a source yields, in bounded memory: the source is read only as
   * fast as results are taken.
   *
   * @param lane - Name of the commands' lane.
   * @param type - Name of their handler.
   * @param source - Payloads.
   * @param options - `concurrency`, `ordered`, `settle`, and options of every command.
   * @returns The results. A failed command ends the iteration with its failure, which has its input
   * under the symbol `mapInput`. With `settle: true` every command gives a
   * {@link MapOutcome} instead. Whatever ends the iteration early closes the source, and up to
   * `concurrency` commands in flight run on; a `signal` ends them.
   * @throws ConfigError `CORELANE_INVALID_OPTION`, when the iteration starts.
   */
  map<K extends RunName<M>, P = unknown>(
    lane: L,
    type: K,
    source: AsyncIterable<PayloadGiven<M, K, P>> | Iterable<PayloadGiven<M, K, P>>,
    options: MapOptions & { readonly settle: true },
  ): AsyncGenerator<MapOutcome<Cloned<PayloadOf<M, K>>, ResultOf<M, K>>, void, undefined>
  map<K extends RunName<M>, P = unknown>(
    lane: L,
    type: K,
    source: AsyncIterable<PayloadGiven<M, K, P>> | Iterable<PayloadGiven<M, K, P>>,
    options?: MapOptions,
  ): AsyncGenerator<ResultOf<M, K>, void, undefined>
  async *map(
    lane: string,
    type: string,
    source: AsyncIterable<unknown> | Iterable<unknown>,
    options?: MapOptions,
  ): AsyncGenerator<unknown, void, undefined> {
    const { plan, others } = planMap(options)
    yield* mapCommands(source, plan, (payload) => this.#submit(lane, type, payload, others))
  }

  /**
   * Runs a handler that is a generator, or gives anything that can be iterated, and hands on its
   * values as they come. A slow reader slows the generator down: about a thousand small values, or
   * a megabyte, are on their way at most. Leaving the loop ends the generator.
   *
   * @param lane - Name of its lane.
   * @param type - Name of its handler.
   * @param rest - The payload and options. It is never retried.
   * @returns To be iterated once. The command is submitted when the first value is asked for.
   * @throws (when it is iterated) What {@link QueueManager.submit} rejects with, after the values
   * that came before; ConfigError `CORELANE_NO_STREAM` if the handler gives nothing to iterate.
   */
  stream<K extends StreamName<M>, P = unknown>(
    lane: L,
    type: K,
    ...rest: PayloadArguments<M, K, CommandOptions, P>
  ): AsyncGenerator<ChunkOf<M, K>, unknown, undefined>
  stream(
    lane: string,
    type: string,
    payload?: unknown,
    options?: CommandOptions,
  ): AsyncGenerator<unknown, unknown, undefined> {
    const { intake } = this.#runtime
    return new StreamReader((reader) => intake.submit(lane, type, payload, options, false, reader))
  }

  /**
   * The handlers as asynchronous functions, on the default lane unless a call names another. Once
   * the module is loaded, the object has one member for each of its handlers and no others.
   *
   * @typeParam T - The handler module, if the manager was not given it.
   */
  handlers<T = M>(): HandlersProxy<T, L> {
    const { types } = this.#runtime.intake
    return createHandlersProxy<T, L>(
      (type, payload, options) => (this as unknown as QueueManager).run(type, payload, options),
      () => types.byName,
    )
  }

  /**
   * Runs a handler once on every partition, outside lanes. There it waits until every handler that
   * has started has ended, waits for a command of its own, or is a stream between two values.
   *
   * @param type - Name of the handler.
   * @param rest - The payload, copied to each, and options: `sticky` runs it on every new thread
   * too, before its first command; the latest of its type is kept, or the latest with its `key`.
   * Default false.
   * @returns The results, by partition. One that has no thread at the moment is left out.
   * @throws (as a rejection) What a handler throws; PartitionLostError; LaneError
   * `CORELANE_CONTROL_TIMEOUT`. It may have run on some partitions then, and is not kept.
   */
  broadcast<K extends RunName<M>, P = unknown>(
    type: K,
    ...rest: PayloadArguments<M, K, BroadcastOptions, P>
  ): Promise<ResultOf<M, K>[]>
  async broadcast(type: string, payload?: unknown, options?: BroadcastOptions): Promise<unknown[]> {
    return this.#runtime.broadcast(type, payload, planBroadcast(options))
  }

  /**
   * Replaces every thread by one that loads the handler module afresh, without losing a command.
   * New threads load for all partitions first, so there are twice as many for a while; then the
   * partitions change over one at a time.
   *
   * @param handlers - Another module from now on: a URL or a path. Default: the present one.
   * @returns When every thread is new. Handlers that the module has gained can be used then.
   * @throws (as a rejection) ConfigError `CORELANE_HANDLERS_FAILED`: a new thread did not load, and
   * nothing has changed; ClosedError `CORELANE_CLOSED`: the manager was closed meanwhile;
   * PartitionLostError: native code holds eight threads of a partition.
   */
  async reload(handlers?: URL | string): Promise<void> {
    checkGiven('reload', { handlers }, RELOAD_RULES)
    return this.#runtime.reload(handlers && handlersUrl(handlers))
  }

  /** The lanes, as checked, with their present limits, in the order they were given. */
  get lanes(): readonly LanePlan[] {
    return this.#runtime.lanePlans
  }

  /**
   * How commands find their partition, how many there are, and how many asynchronous handlers may
   * run at once in each.
   */
  get partitioning(): {
    readonly strategy: PartitionStrategy
    readonly count: number
    readonly concurrency: number
  } {
    const { strategy, partitionCount, concurrency } = this.#plan
    return { strategy, count: partitionCount, concurrency }
  }

  /** Commands that failed for good after another run was tried: to look at, run again, or drop. */
  get deadLetters(): DeadLetterQueue {
    return this.#runtime.deadLetters
  }

  /**
   * A lane, to be paused and resumed, and to have its limits changed.
   *
   * @param lane - Its name.
   * @throws ConfigError `CORELANE_UNKNOWN_LANE`.
   */
  lane(lane: L): LaneControl {
    return this.#runtime.lane(lane)
  }

  /**
   * Waits until a lane has room for another command.
   *
   * @param lane - Name of the lane.
   * @returns At once if nothing bounds the lane or its bounds are not reached.
   * @throws (as a rejection) ConfigError `CORELANE_UNKNOWN_LANE`; ClosedError after `shutdown`.
   */
  room(lane: L): Promise<void> {
    return this.#runtime.intake.roomIn(lane)
  }

  /**
   * Tells what happens: commands submitted, started, completed, failed, retried, timed out, dead;
   * what handlers report; lanes under pressure and idle; partitions lost, replaced and given up;
   * the manager's end. Starts are reported only while somebody listens for them.
   *
   * @param filter - Which events, of which lanes, and how many are kept for a slow reader.
   * @returns To be iterated; leaving the loop ends it. `missed` counts what a slow reader lost.
   * @throws ConfigError `CORELANE_INVALID_OPTION`.
   */
  subscribe(filter?: EventFilter<L>): EventSubscription {
    return this.#runtime.events.subscribe(filter)
  }

  /**
   * Calls a function with every event of a name, soon after it happened.
   *
   * @param event - Name of the event.
   * @param listener - What it throws is an uncaught exception of the process.
   * @throws ConfigError `CORELANE_INVALID_OPTION`.
   */
  on<N extends LaneEventName>(event: N, listener: (event: LaneEventOf<N>) => void): this {
    this.#runtime.events.on(event, listener as (event: LaneEvent) => void)
    return this
  }

  /**
   * Ends what {@link QueueManager.on} began.
   *
   * @param event - Name of the event.
   * @param listener - The same function.
   */
  off<N extends LaneEventName>(event: N, listener: (event: LaneEventOf<N>) => void): this {
    this.#runtime.events.off(event, listener as (event: LaneEvent) => void)
    return this
  }

  /** What the option `metrics` was given. */
  get metrics(): QueueMetrics | undefined {
    return this.#plan.metrics
  }

  /**
   * Serves a page that shows lanes, partitions, waits, events and dead letters while they change,
   * and lets those who have its token pause lanes and redrive dead letters. With the option
   * `queue` it does the same for a queue and its workers.
   *
   * @param options - Port, host, token, and what may be done. Default: a free port of loopback.
   * @returns Its `url`, with the token, and `close()`. It keeps no process alive.
   * @throws (as a rejection) ConfigError `CORELANE_INVALID_OPTION`, also without metrics.
   */
  serveDashboard(options?: DashboardOptions): Promise<Dashboard> {
    return serveDashboardOf(this as unknown as DashboardManager, options)
  }

  /**
   * Takes a CPU profile of a partition's thread, which goes on with its work, a little slower. On
   * Node 22.20, 24.8 and later a handler that never ends is profiled too; before, the profile
   * begins when the thread's event loop turns.
   *
   * @param index - Of the partition.
   * @param options - `durationMs`: how long it lasts. Default 1,000.
   * @returns The profile as JSON: a `.cpuprofile` file, as Chromium's tools and editors open it.
   * @throws (as a rejection) ConfigError `CORELANE_INVALID_OPTION`, also where the partition has no
   * thread; PartitionLostError; LaneError `CORELANE_CONTROL_TIMEOUT`.
   */
  async profilePartition(index: number, options?: ProfileOptions): Promise<string> {
    const { durationMs } = checkOptions<ProfileOptions>('profilePartition', options, PROFILE_RULES)
    return this.#runtime.profile(index, durationMs!)
  }

  /** One consistent snapshot of lanes, partitions and host. Cheap enough for once a second. */
  stats(): QueueStats {
    return this.#runtime.stats()
  }

  /** Refuses new commands from now on; what was submitted goes on. */
  shutdown(): void {
    this.#runtime.shutdown()
  }

  /**
   * Refuses new commands and waits for those that were submitted.
   *
   * @param timeoutMs - How long to wait, in milliseconds. Default: `drainTimeoutMs`.
   * @throws (as a rejection) LaneError `CORELANE_DRAIN_TIMEOUT` with what is left, by lane, in
   * `details.lanes`; it goes on running until `close`.
   */
  async drain(timeoutMs: number = this.#plan.drainTimeoutMs): Promise<void> {
    checkGiven('drain', { timeoutMs }, DRAIN_RULES)
    return this.#runtime.drain(timeoutMs)
  }

  /**
   * Ends everything: commands that have not finished reject, threads tear down and end.
   *
   * @returns When every thread has ended. Calling it again gives the same promise.
   * @throws (as a rejection) AggregateError of the errors that `teardown` threw, once every thread
   * has ended.
   */
  close(): Promise<void> {
    return this.#runtime.close()
  }

  /** Resolves when every thread has ended, however that came about; never rejects. */
  get closed(): Promise<void> {
    return this.#runtime.closed
  }

  /** Finishes what was submitted, at most for `drainTimeoutMs`, and closes. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.drain()
    } finally {
      await this.close()
    }
  }

  #submit(
    lane: string,
    type: string,
    payload: unknown,
    options: CommandOptions | undefined,
    isDetailed = false,
  ): Promise<unknown> {
    return this.#runtime.intake.submit(lane, type, payload, options, isDetailed)
  }
}

// A log shows the public name.
Object.defineProperty(Manager, 'name', { value: 'QueueManager' })

/**
 * Runs commands across partitions, one thread each, by lanes.
 *
 * @typeParam M - The handler module: `typeof import('./handlers.js')`.
 * @typeParam L - Names of its lanes. Default: any.
 */
// biome-ignore lint/suspicious/noExplicitAny: a parameter takes a manager whatever its lanes.
export interface QueueManager<M = AnyHandlers, L extends string = any> extends Manager<M, L> {}

/** Makes managers. */
export interface QueueManagerConstructor {
  /**
   * Makes a manager; its threads start with `start()` or the first command.
   *
   * @typeParam M - The handler module: `typeof import('./handlers.js')`, or inferred from
   * {@link handlersAt}.
   * @typeParam L - Names of its lanes, inferred from `lanes`. Default: those of `DEFAULT_LANES`.
   * @param options - All but `handlers` have defaults.
   * @throws ConfigError `CORELANE_INVALID_OPTION`, or `CORELANE_NESTED_MANAGER` inside a partition.
   */
  new <M = AnyHandlers, L extends string = DefaultLaneName>(
    options: QueueManagerOptions<M, L>,
  ): QueueManager<M, L>
  /** The constructor as a function. */
  create<M = AnyHandlers, L extends string = DefaultLaneName>(
    options: QueueManagerOptions<M, L>,
  ): QueueManager<M, L>
  readonly prototype: QueueManager
}

/** Makes managers: `new QueueManager(options)`. */
export const QueueManager: QueueManagerConstructor = Manager
