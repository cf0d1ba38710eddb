// Lifted queue: makes an engine of the five members that the least queue has.
// Owns: what this process has taken from the queue and not ended, what it knows of commands that
// went through it, their listeners; which queues were lifted.

import { TIMER_MS_MAX } from '../../base/bounds.ts'
import { epochMs, nowMs, timers } from '../../base/clock.ts'
import { type LaneError, show } from '../../base/errors.ts'
import {
  type Complete,
  checkOptions,
  integer,
  invalidOption,
  milliseconds,
  type OptionRules,
  oneOf,
} from '../../base/options.ts'
import { isPortableName } from '../../base/portable-name.ts'
import {
  PARTITION_COUNT_MAX,
  type PartitionStrategy,
  type PartitionStrategyName,
  PORTABLE_STRATEGIES,
  STRATEGY_SYNONYMS,
} from '../../model/partition-config.ts'
import {
  type CommandReference,
  type CommandState,
  type Delivery,
  type DistributedQueue,
  type EnqueueStatus,
  isLeased,
  type LeasedQueue,
  type LeaseExtension,
  type LeaseRequest,
  type QueueCapabilities,
  type ReleaseOptions,
  type SettleStatus,
} from '../contract/distributed-queue.ts'
import { checkWhole, degraded } from '../contract/engine-checks.ts'
import {
  type CommandEnvelope,
  type CommandResult,
  checkEnvelope,
  checkName,
} from '../contract/envelope.ts'
import { type EngineCore, LeasedEngine } from '../contract/leased-engine.ts'
import { Listeners } from '../contract/listeners.ts'
import { failedResult, poisonedResult } from '../contract/poison.ts'
import { LiftedPolls } from './lifted-polls.ts'

/** Nothing takes a command away from the worker that has it. */
const LEASE_MS = TIMER_MS_MAX

/** Options of `liftQueue`. */
export interface LiftOptions {
  /** How submitters choose partitions; no strategy takes keys here. Default `roundRobin`. */
  readonly strategy?: PartitionStrategyName | undefined
  /** How soon an empty queue is asked again, 1 to 60,000 ms; doubles each time. Default 5. */
  readonly pollMs?: number | undefined
  /** How seldom an empty queue is asked at least, 1 to 60,000 ms. Default 500. */
  readonly maxPollMs?: number | undefined
  /**
   * Commands of which is remembered that they were enqueued here and how they ended; past it the
   * oldest is forgotten. 0 to 10,000,000. Default 100,000.
   */
  readonly maxKnown?: number | undefined
}

/** The rules of {@link LiftOptions}. */
export const LIFT_RULES = Object.freeze({
  strategy: oneOf('roundRobin', PORTABLE_STRATEGIES, STRATEGY_SYNONYMS),
  pollMs: milliseconds(5, 1, 60_000),
  maxPollMs: milliseconds(500, 1, 60_000),
  maxKnown: integer(100_000, 0, 10_000_000),
}) satisfies OptionRules

const CAPABILITIES: QueueCapabilities = Object.freeze({
  delivery: 'at-most-once',
  keyOrder: false,
  ownership: false,
  lanePriority: false,
  commandPriority: false,
  boost: 'none',
  globalRate: Object.freeze([]),
  globalConcurrency: false,
  groups: false,
  delay: false,
  results: true,
  ages: false,
  lanes: false,
  commands: false,
  durable: false,
})

/**
 * Makes a {@link LeasedQueue} of a queue with the five members. It delivers at most once: what a
 * worker has taken and not completed when its process dies is gone, and what was running when a
 * thread died is dead. Results reach submitters that use the same lifted queue. All that the five
 * members cannot do is refused with `CORELANE_DEGRADED`: keys, delays, shared limits, dead
 * commands, counts.
 *
 * @throws ConfigError `CORELANE_INVALID_OPTION`.
 */
export function liftQueue(queue: DistributedQueue, options?: LiftOptions): LeasedQueue {
  checkWhole('numPartitions', queue.numPartitions, 1, PARTITION_COUNT_MAX)
  checkName('workerId', queue.workerId)
  const checked = checkOptions<Complete<LiftOptions>>('liftQueue', options, LIFT_RULES)
  return new LeasedEngine(new LiftedQueue(queue, checked))
}

/** A submitter and a worker of the same object share what was lifted: so results arrive. */
const lifted = new WeakMap<DistributedQueue, LeasedQueue>()

/** The engine that a queue is, or is made into. */
export function leasedQueueOf(queue: DistributedQueue): LeasedQueue {
  if (typeof queue?.enqueue !== 'function') {
    throw invalidOption('queue', show(queue), 'a distributed queue')
  }
  if (isLeased(queue)) return queue
  const engine = lifted.get(queue) ?? liftQueue(queue)
  lifted.set(queue, engine)
  return engine
}

function refuse(option: string, received: unknown, allowed: string): never {
  throw degraded(option, String(received), allowed)
}

const noDead = (): never => refuse('dead commands', 'a call', 'nothing with them')

const noLimit = (laneId: string): never =>
  refuse('a shared limit', `for lane ${laneId}`, 'limits of each worker')

interface Known {
  readonly submitter: string | undefined
  readonly acceptedAtMs: number
  result: CommandResult | undefined
  /** The call that added it, where it was enqueued here. */
  readonly added: Promise<void> | undefined
}

class LiftedQueue implements EngineCore {
  readonly numPartitions: number
  readonly workerId: string
  readonly strategy: PartitionStrategy
  readonly capabilities: QueueCapabilities = CAPABILITIES
  readonly leaseMs: number = LEASE_MS
  readonly maxDeliveries = 1
  readonly resultTtlMs: undefined
  readonly dead = { list: noDead, redrive: noDead, drop: noDead }
  readonly limits = { takeTokens: noLimit, takeSlots: noLimit, releaseSlots: noLimit }
  isClosed = false
  readonly #queue: DistributedQueue
  readonly #polls: LiftedPolls
  readonly #maxKnown: number
  /** Commands that were enqueued or taken here, by id, the oldest first. */
  readonly #known = new Map<string, Known>()
  /** To results, by submitter. */
  readonly #listeners = new Listeners<[CommandResult]>()
  /** What this worker has, by fence. */
  readonly #held = new Map<string, CommandEnvelope>()
  #fences = 0
  #closing: Promise<void> | undefined

  constructor(queue: DistributedQueue, options: Complete<LiftOptions>) {
    this.numPartitions = queue.numPartitions
    this.workerId = queue.workerId
    this.strategy = options.strategy as PartitionStrategy
    this.#queue = queue
    this.#maxKnown = options.maxKnown
    this.#polls = new LiftedPolls(
      (partition) => this.#take(partition),
      options.pollMs,
      Math.max(options.pollMs, options.maxPollMs),
    )
  }

  async enqueueMany(envelopes: readonly CommandEnvelope[]): Promise<EnqueueStatus[]> {
    for (const { key, group, options } of envelopes) {
      if (key !== undefined) refuse('a key', show(key), 'no keys')
      if (group !== undefined) refuse('a group', show(group), 'no groups')
      const delayMs = options?.delayMs ?? 0
      if (delayMs > 0) refuse('delayMs', delayMs, 'no delay')
    }
    const statuses: EnqueueStatus[] = []
    for (const envelope of envelopes) statuses.push(await this.#enqueueOnce(envelope))
    this.#polls.wake()
    return statuses
  }

  async lease(request: LeaseRequest): Promise<Delivery[]> {
    const taken = await this.#polls.take(request)
    return taken.map((envelope) => this.#give(envelope, nowMs() + LEASE_MS))
  }

  start(deliveries: readonly Delivery[]): SettleStatus[] {
    return deliveries.map(({ fence }) => (this.#held.has(fence) ? 'done' : 'stale'))
  }

  extend(deliveries: readonly Delivery[]): LeaseExtension {
    const fences = deliveries.map(({ fence }) => fence)
    return {
      lost: fences.filter((fence) => !this.#held.has(fence)),
      leasedUntilMs: nowMs() + LEASE_MS,
    }
  }

  async completeMany(
    completions: Parameters<LeasedQueue['completeMany']>[0],
  ): Promise<SettleStatus[]> {
    const statuses: SettleStatus[] = []
    for (const { delivery, result } of completions) {
      statuses.push(await this.#settle(delivery, () => this.#end(result)))
    }
    return statuses
  }

  async release(deliveries: readonly Delivery[], options: ReleaseOptions): Promise<SettleStatus[]> {
    const { reason, delayMs = 0 } = options
    if (delayMs > 0) refuse('a delay', `${delayMs} ms`, 'no delay')
    const statuses: SettleStatus[] = []
    for (const delivery of deliveries) {
      const { envelope } = delivery
      const retryCount = envelope.retryCount + (reason === 'retry' ? 1 : 0)
      const giveBack = async (): Promise<void> => {
        // Its run began and may have come to any point: at most once means not again.
        if (reason === 'crash') await this.#end(poisonedResult(envelope, 1, this.workerId))
        else await this.#queue.enqueue(Object.freeze({ ...envelope, retryCount }))
      }
      statuses.push(await this.#settle(delivery, giveBack))
    }
    this.#polls.wake()
    return statuses
  }

  deadLetter(delivery: Delivery, _reason: string, result: CommandResult): Promise<SettleStatus> {
    return this.#settle(delivery, () => this.#end(result))
  }

  announce(submitter: string, listener: (result: CommandResult) => void): () => Promise<void> {
    const end = this.#listeners.add(submitter, listener)
    return async () => end()
  }

  look(commands: readonly CommandReference[]): CommandState[] {
    return commands.map(({ commandId }) => {
      const known = this.#known.get(commandId)
      if (known === undefined) return { state: 'unknown' }
      const { result } = known
      return result === undefined ? { state: 'pending' } : { state: 'ended', result }
    })
  }

  forget(commands: readonly CommandReference[]): void {
    for (const { commandId } of commands) {
      if (this.#known.get(commandId)?.result !== undefined) this.#known.delete(commandId)
    }
  }

  counts(): never {
    return refuse('counts', 'a request', 'none')
  }

  /** Gives back what was taken from the queue and not given out. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.isClosed = true
    const failures: unknown[] = []
    for (const envelope of await this.#polls.close()) {
      try {
        await this.#queue.enqueue(envelope)
      } catch (error) {
        // It takes no others with it.
        failures.push(error)
      }
    }
    if (failures.length > 0) throw failures[0]
  }

  async next(partitionId: number): Promise<Delivery | undefined> {
    const envelope = await this.#polls.takeNext(partitionId)
    return envelope && this.#give(envelope, Number.POSITIVE_INFINITY)
  }

  #give(envelope: CommandEnvelope, leasedUntilMs: number): Delivery {
    const fence = `${this.workerId}.${++this.#fences}`
    this.#held.set(fence, envelope)
    const acceptedAtMs = this.#known.get(envelope.id)?.acceptedAtMs ?? estimateOf(envelope)
    return { envelope, fence, deliveries: 1, countsAtStart: false, leasedUntilMs, acceptedAtMs }
  }

  async #enqueueOnce(envelope: CommandEnvelope): Promise<EnqueueStatus> {
    const known = this.#known.get(envelope.id)
    if (known !== undefined) {
      // If that call fails the queue has neither.
      await known.added
      return 'duplicate'
    }
    const added = (async () => this.#queue.enqueue(envelope))()
    this.#remember(envelope, added)
    try {
      await added
    } catch (error) {
      this.#known.delete(envelope.id)
      throw error
    }
    return 'accepted'
  }

  /** Takes the next command of a partition, past those that cannot be read. */
  async #take(partitionId: number): Promise<CommandEnvelope | undefined> {
    for (;;) {
      const given = await this.#queue.dequeue(partitionId)
      if (given === null || given === undefined) return undefined
      try {
        return this.#remember(checkEnvelope(given, this.numPartitions))
      } catch (error) {
        await this.#refuse(given, partitionId, error as LaneError)
      }
    }
  }

  /** Ends what cannot be read as a failure, as far as it says what it is. */
  async #refuse(given: object, partitionId: number, error: LaneError): Promise<void> {
    const commandId = Object.hasOwn(given, 'id') ? (given as { id: unknown }).id : undefined
    if (!isPortableName(commandId)) return
    const { name, message, code } = error
    const command = { id: commandId, partitionId, retryCount: 0 }
    await this.#end(failedResult(command, this.workerId, { name, message, code }))
  }

  /** Does what ends a delivery, if it is this worker's; it stays his if that fails. */
  async #settle({ fence }: Delivery, act: () => Promise<void>): Promise<SettleStatus> {
    const envelope = this.#held.get(fence)
    if (envelope === undefined) return 'stale'
    this.#held.delete(fence)
    try {
      await act()
    } catch (error) {
      this.#held.set(fence, envelope)
      throw error
    }
    return 'done'
  }

  /** @returns The same. */
  #remember(envelope: CommandEnvelope, added?: Promise<void>): CommandEnvelope {
    const { id, submitter } = envelope
    if (this.#known.has(id)) return envelope
    const acceptedAtMs = estimateOf(envelope)
    this.#known.set(id, { submitter, acceptedAtMs, result: undefined, added })
    if (this.#known.size > this.#maxKnown) {
      const [oldest] = this.#known.keys()
      this.#known.delete(oldest!)
    }
    return envelope
  }

  /** Ends a command, and announces that to its submitter. */
  async #end(result: CommandResult): Promise<void> {
    await this.#queue.complete(result)
    const known = this.#known.get(result.commandId)
    if (known === undefined) return
    known.result = result
    const { submitter } = known
    if (submitter === undefined) return
    timers.queueMicrotask(() => this.#listeners.call(submitter, result))
  }
}

/**
 * When the queue accepted a command, monotonic milliseconds. The least queue measures no ages: an
 * estimate from the wall clocks of both machines.
 */
function estimateOf({ createdAt }: CommandEnvelope): number {
  return nowMs() - Math.max(0, epochMs() - createdAt)
}
