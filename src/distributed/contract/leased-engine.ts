// Leased engine: the base of all engines: the facts of their queue, and the members that take
// commands one by one.
// Owns: deliveries that `dequeue` gave, until `complete` names them.

import { nowMs } from '../../base/clock.ts'
import { laneError } from '../../base/errors.ts'
import type { PartitionStrategy } from '../../model/partition-config.ts'
import type {
  Delivery,
  EnqueueStatus,
  LeasedQueue,
  QueueCapabilities,
  SettleStatus,
} from './distributed-queue.ts'
import type { CommandEnvelope, CommandResult } from './envelope.ts'
import { checkWhole } from './lease-request.ts'

type Fact = 'numPartitions' | 'workerId' | 'strategy' | 'leaseMs' | 'maxDeliveries'
type Member = 'enqueue' | 'dequeue' | 'complete' | 'enqueueMany' | 'start' | 'completeMany'

/** What an engine can do that does all, but for what it says itself. */
export function allCapabilities(
  own: Omit<QueueCapabilities, keyof typeof ALL> & Partial<QueueCapabilities>,
): QueueCapabilities {
  return Object.freeze({ ...ALL, ...own })
}

const ALL = Object.freeze({
  delivery: 'at-least-once',
  lanePriority: true,
  globalRate: Object.freeze(['token-bucket'] as const),
  globalConcurrency: true,
  groups: true,
  delay: true,
  results: true,
  ages: true,
  lanes: true,
  commands: true,
} as const)

export abstract class LeasedEngine implements Pick<LeasedQueue, Fact | Member> {
  readonly numPartitions: number
  readonly workerId: string
  readonly strategy: PartitionStrategy
  readonly leaseMs: number
  readonly maxDeliveries: number
  /** @internal */
  protected isClosed = false
  /** By id, the one that expires first in front: leases all take the same time. */
  readonly #dequeued = new Map<string, Delivery>()

  constructor(facts: Pick<LeasedQueue, Fact>) {
    this.numPartitions = facts.numPartitions
    this.workerId = facts.workerId
    this.strategy = facts.strategy
    this.leaseMs = facts.leaseMs
    this.maxDeliveries = facts.maxDeliveries
  }

  abstract enqueueMany(envelopes: readonly CommandEnvelope[]): Promise<EnqueueStatus[]>
  abstract start(deliveries: readonly Delivery[]): Promise<SettleStatus[]>
  abstract completeMany(
    ...completions: Parameters<LeasedQueue['completeMany']>
  ): Promise<SettleStatus[]>
  /**
   * Takes the next command of a partition, whatever its lane.
   *
   * @internal
   */
  protected abstract next(partitionId: number): Promise<Delivery | undefined>

  /** @internal */
  protected checkOpen(): void {
    if (this.isClosed) throw laneError('CORELANE_CLOSED', { state: 'closed' })
  }

  async enqueue(envelope: CommandEnvelope): Promise<void> {
    await this.enqueueMany([envelope])
  }

  async dequeue(partitionId: number): Promise<CommandEnvelope | null> {
    this.checkOpen()
    checkWhole('partitionId', partitionId, 0, this.numPartitions - 1)
    const delivery = await this.next(partitionId)
    if (delivery === undefined) return null
    // A worker that takes commands one by one reports no starts.
    if (delivery.countsAtStart) await this.start([delivery])
    const now = nowMs()
    for (const [id, { leasedUntilMs }] of this.#dequeued) {
      if (leasedUntilMs > now) break
      // It was never completed, and its lease is over.
      this.#dequeued.delete(id)
    }
    this.#dequeued.set(delivery.envelope.id, delivery)
    return delivery.envelope
  }

  async complete(result: CommandResult): Promise<void> {
    this.checkOpen()
    const { commandId: id } = result
    const delivery = this.#dequeued.get(id)
    if (delivery === undefined) {
      throw this.#notHeld(id, 'it was not dequeued here, or was completed, or its lease is over')
    }
    // It stays known if that fails.
    const [status] = await this.completeMany([{ delivery, result }])
    if (this.#dequeued.get(id) === delivery) this.#dequeued.delete(id)
    if (status === 'stale') throw this.#notHeld(id, 'its lease is over')
  }

  #notHeld(id: string, reason: string): Error {
    return laneError('CORELANE_NOT_HELD', { id, workerId: this.workerId, reason })
  }
}
