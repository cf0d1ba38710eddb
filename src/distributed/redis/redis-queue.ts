// Redis queue: RedisDistributedQueue, the engine of queues on Redis Streams.
// Owns: its two connections, and the parts that do the work.

import { outside } from '../../base/async-context.ts'
import { callListener, nowMs } from '../../base/clock.ts'
import { refuseConstruction } from '../../base/options.ts'
import { takesKeys } from '../../model/partition-config.ts'
import type {
  LaneRegistry,
  LeasedQueue,
  NameRegistry,
  QueuedCommands,
  WorkerRegistry,
} from '../contract/distributed-queue.ts'
import { allCapabilities, type EngineCore, LeasedEngine } from '../contract/leased-engine.ts'
import { complete, deadLetter, extend, keep, release } from './acknowledger.ts'
import { RedisCaller } from './caller.ts'
import { ClientMaker } from './client-maker.ts'
import { commandsIn, onResult } from './commands.ts'
import { deadIn } from './dead-letters.ts'
import { Enqueuer } from './enqueuer.ts'
import { RedisFetcher } from './fetcher.ts'
import { Holdings } from './holdings.ts'
import { Janitor } from './janitor.ts'
import { queueKeys } from './keys.ts'
import { lanesIn, namesIn, workersIn } from './lanes.ts'
import { limitsIn } from './limits.ts'
import { RedisLink } from './link.ts'
import {
  planRedisQueue,
  type RedisIncident,
  type RedisQueueOptions,
  type RedisQueuePlan,
} from './options.ts'
import { RedisOwnership } from './ownership.ts'
import { countsOf, forget, lanesOf, statesOf } from './registry.ts'
import { checkServer, checkSlots, factsOf, fixMeta } from './start-check.ts'
import { Subscriptions, Wakes } from './subscriptions.ts'

/**
 * A queue on Redis 7.0 or newer: Streams with consumer groups, one for each partition and lane.
 * Delivers at least once; see docs/distributed.md for what is kept when.
 */
export class RedisDistributedQueue extends LeasedEngine implements LeasedQueue {
  declare readonly commands: QueuedCommands
  declare readonly lanes: LaneRegistry
  declare readonly handlers: NameRegistry
  declare readonly workers: WorkerRegistry

  private constructor(core: EngineCore) {
    const instead = 'await RedisDistributedQueue.open(options)'
    refuseConstruction(core?.dead !== undefined, 'RedisDistributedQueue', instead)
    super(core)
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
    let isAway = false
    const link = new RedisLink({
      maker,
      commandTimeoutMs,
      pingMs: 0,
      onUp: async (client) => {
        // From the second connection on, the queue must be what it was on the first.
        if (plan !== undefined) await fixMeta((args) => client.sendCommand(args), plan, report)
      },
      onUnreachable: (reason) => {
        isAway = true
        report('unreachable', `${place}: ${reason}; trying for ${openTimeoutMs} ms`)
      },
      onLost: (detail) => {
        // Until the queue is open a replica is tried again and again, which one incident tells.
        isAway = plan !== undefined
        if (isAway) report('connection-lost', detail)
      },
      onBack: () => {
        if (isAway) report('connection-back', `queue ${queue}`)
        isAway = false
      },
    })
    const caller = new RedisCaller(link, { queue, place }, asked.callTimeoutMs, report)
    const untilMs = nowMs() + openTimeoutMs
    try {
      await link.open(untilMs)
      const send = (args: readonly string[]) => link.send(args)
      const facts = await caller.repeat(() => factsOf(send), { untilMs })
      checkServer(facts, queue, asked.durability, report)
      const found = await caller.repeat(() => fixMeta(send, asked), { untilMs })
      const { isCluster } = facts
      const opened = Object.freeze({ ...asked, ...found, required: found, isCluster })
      if (isCluster) await caller.repeat(() => checkSlots(send, opened), { untilMs })
      plan = opened
    } catch (error) {
      link.close()
      throw openingError(error, caller, maker)
    }
    return new RedisDistributedQueue(coreOf(plan, caller, link, maker, report))
  }

  /** {@link RedisDistributedQueue.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** The parts of a queue that was opened, and what each does. */
function coreOf(
  plan: RedisQueuePlan,
  caller: RedisCaller,
  link: RedisLink,
  maker: ClientMaker,
  report: (kind: RedisIncident['kind'], detail: string) => void,
): EngineCore {
  const { workerId, leaseMs, commandTimeoutMs } = plan
  const keys = queueKeys(plan.queue, plan.numPartitions)
  const subscriptions = new Subscriptions(maker, link, caller, commandTimeoutMs, (isUp) =>
    wakes.changed(isUp),
  )
  const wakes = new Wakes(subscriptions, keys.wakes, (isUp) => fetcher.setReceiving(isUp))
  const holdings = new Holdings(workerId, leaseMs)
  const consumer = `${workerId}~${leaseMs}`
  const links = { caller, subscriptions, wakes }
  const engine = Object.freeze({ plan, keys, holdings, consumer, report, ...links })
  const isOwned = takesKeys(plan.strategy)
  const ownership = isOwned ? new RedisOwnership(engine, (p) => fetcher.gained(p)) : undefined
  const enqueuer = new Enqueuer(engine)
  const fetcher = new RedisFetcher(engine, ownership)
  const janitor = new Janitor(engine)
  return {
    ...selfOf(plan),
    get isClosed() {
      return caller.isClosed
    },
    enqueueMany: (envelopes) => enqueuer.add(envelopes),
    lease: (request) => {
      if (request.waitMs > 0) {
        wakes.receive()
        janitor.start()
      }
      return fetcher.lease(request)
    },
    next: async (partition) => fetcher.next(partition, await lanesOf(engine, partition)),
    start: (deliveries) => keep(engine, deliveries, 'start'),
    extend: (deliveries) => extend(engine, deliveries),
    completeMany: (completions) => complete(engine, completions),
    release: async (deliveries, options) => {
      const statuses = await release(engine, deliveries, options)
      fetcher.released(deliveries, options)
      return statuses
    },
    deadLetter: (...letter) => deadLetter(engine, ...letter),
    announce: (submitter, listener) => onResult(engine, submitter, listener),
    look: (all) => statesOf(engine, all),
    forget: (all) => forget(engine, all),
    counts: () => countsOf(engine),
    close: async () => {
      caller.isClosed = true
      janitor.stop()
      fetcher.wakeAll()
      subscriptions.close()
      link.close()
    },
    ownership,
    dead: deadIn(engine),
    commands: commandsIn(engine),
    limits: limitsIn(engine),
    lanes: lanesIn(engine),
    handlers: namesIn(engine, keys.handlers),
    workers: workersIn(engine),
  }
}

/** What it says of itself: nothing else of its options may be seen, which hold secrets. */
function selfOf({ numPartitions, workerId, leaseMs, ...plan }: RedisQueuePlan) {
  const { strategy, maxDeliveries, resultTtlMs } = plan
  const isOwned = takesKeys(strategy)
  const capabilities = allCapabilities({
    keyOrder: isOwned,
    ownership: isOwned,
    commandPriority: false,
    boost: 'lane',
    durable: true,
  })
  const times = { leaseMs, maxDeliveries, resultTtlMs }
  return { numPartitions, workerId, strategy, capabilities, ...times }
}

/** What `open` fails with: nothing of it may hold a secret. */
function openingError(error: unknown, caller: RedisCaller, maker: ClientMaker): Error {
  const { code } = error as { code?: unknown }
  if (typeof code === 'string' && code.startsWith('CORELANE_')) return error as Error
  return caller.unavailable(maker.textOf(error))
}
