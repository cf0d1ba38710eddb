// Redis queue: RedisDistributedQueue, the engine of queues on Redis Streams.
// Owns: its two connections, and the parts that do the work.

import { outside } from '../../base/async-context.ts'
import { callListener, nowMs } from '../../base/clock.ts'
import { refuseConstruction } from '../../base/options.ts'
import { takesKeys } from '../../model/partition-config.ts'
import type { QueueCounts } from '../../model/queue-standing.ts'
import type {
  CommandReference,
  CommandState,
  DeadCommands,
  Delivery,
  EnqueueStatus,
  GlobalLimits,
  LaneRegistry,
  LeasedQueue,
  LeaseExtension,
  LeaseRequest,
  NameRegistry,
  PartitionOwnership,
  QueueCapabilities,
  QueuedCommands,
  ReleaseOptions,
  SettleStatus,
  WorkerRegistry,
} from '../contract/distributed-queue.ts'
import { type CommandEnvelope, type CommandResult, checkName } from '../contract/envelope.ts'
import { checkCommands } from '../contract/lease-request.ts'
import { allCapabilities, LeasedEngine } from '../contract/leased-engine.ts'
import { Listeners } from '../contract/listeners.ts'
import { type Completion, RedisAcknowledger } from './acknowledger.ts'
import { RedisCaller } from './caller.ts'
import { ClientMaker } from './client-maker.ts'
import { RedisCommands } from './commands.ts'
import { RedisDeadLetters } from './dead-letters.ts'
import type { RedisEngine } from './engine.ts'
import { Enqueuer } from './enqueuer.ts'
import { decodeResult } from './envelope-codec.ts'
import { RedisFetcher } from './fetcher.ts'
import { Holdings } from './holdings.ts'
import { Janitor } from './janitor.ts'
import { laneOf, queueKeys, userLane } from './keys.ts'
import { RedisLanes, RedisNames, RedisWorkers } from './lanes.ts'
import { RedisLimits } from './limits.ts'
import { RedisLink } from './link.ts'
import {
  planRedisQueue,
  type RedisIncident,
  type RedisQueueOptions,
  type RedisQueuePlan,
} from './options.ts'
import { RedisOwnership } from './ownership.ts'
import { Registry } from './registry.ts'
import { checkServer, factsOf, fixMeta } from './start-check.ts'
import { framesOf, MEMBERS, Subscriptions, type Wake, wakeOf } from './subscriptions.ts'

/**
 * A queue on Redis 7.0 or newer: Streams with consumer groups, one for each partition and lane.
 * Delivers at least once; see docs/distributed.md for what is kept when.
 */
export class RedisDistributedQueue extends LeasedEngine implements LeasedQueue {
  readonly resultTtlMs: number
  readonly capabilities: QueueCapabilities
  readonly dead: DeadCommands
  readonly ownership: PartitionOwnership | undefined
  readonly limits: GlobalLimits
  readonly commands: QueuedCommands
  readonly lanes: LaneRegistry
  readonly handlers: NameRegistry
  readonly workers: WorkerRegistry
  readonly #engine: RedisEngine
  readonly #link: RedisLink
  readonly #subscriptions: Subscriptions
  readonly #enqueuer: Enqueuer
  readonly #acknowledger: RedisAcknowledger
  readonly #fetcher: RedisFetcher
  readonly #registry: Registry
  readonly #janitor: Janitor
  #receiving: Promise<unknown> | undefined
  /** Whether the channel of wakes was added. */
  #isSubscribed = false

  private constructor(parts: Omit<RedisEngine, 'receive'>, link: RedisLink, maker: ClientMaker) {
    const instead = 'await RedisDistributedQueue.open(options)'
    refuseConstruction(maker !== undefined, 'RedisDistributedQueue', instead)
    super(parts.plan)
    const engine = Object.freeze({ ...parts, receive: () => this.#receive() })
    const { plan, caller } = engine
    const isOwned = takesKeys(plan.strategy)
    this.resultTtlMs = plan.resultTtlMs
    this.#engine = engine
    this.#link = link
    this.#subscriptions = new Subscriptions(maker, caller, plan.commandTimeoutMs, (isUp) =>
      this.#setReceiving(isUp),
    )
    this.#enqueuer = new Enqueuer(engine)
    this.#acknowledger = new RedisAcknowledger(engine)
    const ownership = isOwned
      ? new RedisOwnership(engine, (partition) => this.#fetcher.gained(partition))
      : undefined
    this.#registry = new Registry(engine)
    const commands = new RedisCommands(engine, this.#registry, this.#subscriptions)
    this.commands = commands
    this.#fetcher = new RedisFetcher(engine, this.#acknowledger, ownership, commands)
    this.#janitor = new Janitor(engine, this.#registry)
    this.ownership = ownership
    this.limits = new RedisLimits(engine, this.#subscriptions)
    this.lanes = new RedisLanes(engine, this.#registry)
    this.handlers = new RedisNames(engine, engine.keys.handlers)
    this.workers = new RedisWorkers(engine)
    this.dead = new RedisDeadLetters(engine)
    this.capabilities = allCapabilities({
      keyOrder: isOwned,
      ownership: isOwned,
      commandPriority: false,
      boost: 'lane',
      durable: true,
    })
  }

  /**
   * Opens a queue, making it if it is new.
   *
   * @throws ConfigError `CORELANE_INVALID_OPTION`; `CORELANE_QUEUE_MISMATCH` if it was made with
   * other partitions; `CORELANE_QUEUE_REFUSED` if Redis is too old, or not durable and must be.
   * @throws LaneError `CORELANE_QUEUE_UNAVAILABLE` if Redis cannot be reached in `openTimeoutMs`.
   */
  static open(options?: RedisQueueOptions): Promise<RedisDistributedQueue> {
    // Its connections outlive the request that opens it.
    return outside(() => RedisDistributedQueue.#open(options))
  }

  static async #open(options?: RedisQueueOptions): Promise<RedisDistributedQueue> {
    const asked = planRedisQueue(options)
    const { queue, commandTimeoutMs, openTimeoutMs, onIncident } = asked
    const report = (kind: RedisIncident['kind'], detail: string): void => {
      if (onIncident !== undefined) callListener(onIncident, Object.freeze({ kind, detail }))
    }
    const maker = new ClientMaker(asked, commandTimeoutMs)
    const { place } = maker
    let plan: RedisQueuePlan | undefined
    const link = new RedisLink({
      maker,
      commandTimeoutMs,
      pingMs: 0,
      onUp: async (client) => {
        // From the second connection on, the queue must be what it was on the first.
        if (plan !== undefined) await fixMeta((args) => client.sendCommand(args), plan, report)
      },
      onUnreachable: (reason) =>
        report('unreachable', `${place}: ${reason}; trying for ${openTimeoutMs} ms`),
      onLost: (detail) => report('connection-lost', detail),
      onBack: () => report('connection-back', `queue ${queue}`),
    })
    const caller = new RedisCaller(link, { queue, place }, asked.callTimeoutMs, report)
    const untilMs = nowMs() + openTimeoutMs
    try {
      await link.open(untilMs)
      const send = (args: readonly string[]) => link.send(args)
      const facts = await caller.repeat(() => factsOf(send), { untilMs })
      checkServer(facts, queue, asked.durability, report)
      const found = await caller.repeat(() => fixMeta(send, asked), { untilMs })
      plan = Object.freeze({ ...asked, ...found, required: found })
    } catch (error) {
      link.close()
      throw openingError(error, caller, maker)
    }
    const parts = {
      plan,
      keys: queueKeys(queue, plan.numPartitions),
      caller,
      report,
      wakes: new Listeners<[Wake]>(),
      holdings: new Holdings(plan.workerId, plan.leaseMs),
      consumer: `${plan.workerId}~${plan.leaseMs}`,
    }
    return new RedisDistributedQueue(parts, link, maker)
  }

  enqueueMany(envelopes: readonly CommandEnvelope[]): Promise<EnqueueStatus[]> {
    return this.#enqueuer.add(envelopes)
  }

  async lease(request: LeaseRequest): Promise<Delivery[]> {
    if (request.waitMs > 0) {
      this.#receive()
      this.#janitor.start()
    }
    return this.#fetcher.lease(request)
  }

  start(deliveries: readonly Delivery[]): Promise<SettleStatus[]> {
    return this.#acknowledger.keep(deliveries, 'start')
  }

  async extend(deliveries: readonly Delivery[]): Promise<LeaseExtension> {
    const leasedUntilMs = nowMs() + this.leaseMs
    const statuses = await this.#acknowledger.keep(deliveries, 'keep')
    const lost = deliveries.filter((_, i) => statuses[i] === 'stale')
    return { lost: lost.map(({ fence }) => fence), leasedUntilMs }
  }

  completeMany(completions: readonly Completion[]): Promise<SettleStatus[]> {
    return this.#acknowledger.complete(completions)
  }

  async release(deliveries: readonly Delivery[], options: ReleaseOptions): Promise<SettleStatus[]> {
    const statuses = await this.#acknowledger.release(deliveries, options)
    const { delayMs = 0 } = options
    if (delayMs > 0) {
      // Announced as well, but a caller that does not wait receives nothing.
      for (const { envelope } of deliveries) {
        this.#fetcher.keptBack(envelope.partitionId, laneOf(envelope), delayMs)
      }
    }
    return statuses
  }

  deadLetter(delivery: Delivery, reason: string, result: CommandResult): Promise<SettleStatus> {
    return this.#acknowledger.deadLetter(delivery, reason, result)
  }

  async announce(
    submitter: string,
    listener: (result: CommandResult) => void,
  ): Promise<() => Promise<void>> {
    checkName('submitter', submitter)
    const { keys, plan } = this.#engine
    return this.#subscriptions.add(keys.results(submitter), (bytes) => {
      for (const result of framesOf(bytes, (frame) => decodeResult(frame, plan.maxBytes))) {
        callListener(listener, result)
      }
    })
  }

  async look(commands: readonly CommandReference[]): Promise<CommandState[]> {
    checkCommands(commands, this.numPartitions)
    return this.#registry.look(commands)
  }

  async forget(commands: readonly CommandReference[]): Promise<void> {
    checkCommands(commands, this.numPartitions)
    await this.#registry.forget(commands)
  }

  counts(): Promise<QueueCounts> {
    return this.#registry.counts()
  }

  async close(): Promise<void> {
    this.#engine.caller.close()
    this.#janitor.stop()
    this.#fetcher.wakeAll()
    this.#subscriptions.close()
    this.#link.close()
  }

  /** {@link RedisDistributedQueue.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** @internal */
  protected override checkOpen(): void {
    this.#engine.caller.checkOpen()
  }

  /** @internal */
  protected async next(partitionId: number): Promise<Delivery | undefined> {
    const names = new Set((await this.#registry.lanesOf(partitionId)).map(userLane))
    const lanes = Array.from(names, (laneId) => ({ laneId, max: 1, priority: 0, boost: [] }))
    return (await this.#fetcher.lease({ partitions: [partitionId], lanes, max: 1, waitMs: 0 }))[0]
  }

  /** Listens to wakes from now on. Until they arrive the fetcher polls, so this is not awaited. */
  #receive(): void {
    this.#receiving ??= this.#subscriptions
      .add(this.#engine.keys.wakes, (bytes) => {
        const wake = wakeOf(bytes)
        if (wake !== undefined) this.#engine.wakes.call(wake.kind, wake)
      })
      .then(() => {
        this.#isSubscribed = true
        this.#setReceiving(this.#subscriptions.isUp)
      })
      .catch(() => {
        // The next lease tries again.
        this.#receiving = undefined
      })
  }

  #setReceiving(isUp: boolean): void {
    if (!this.#isSubscribed) return
    this.#fetcher.setReceiving(isUp)
    // Such an announcement may have been missed.
    if (isUp) for (const kind of ['!', 'l']) this.#engine.wakes.call(kind, MEMBERS)
  }
}

/** What `open` fails with: nothing of it may hold a secret. */
function openingError(error: unknown, caller: RedisCaller, maker: ClientMaker): Error {
  const { code } = error as { code?: unknown }
  if (typeof code === 'string' && code.startsWith('CORELANE_')) return error as Error
  return caller.unavailable(maker.textOf(error))
}
