// Leased engine: the base of all engines: the facts of their queue, and the members that take
// commands one by one.
// Owns: deliveries that `dequeue` gave, until `complete` names them.

import { nowMs } from '../../base/clock.ts'
import { laneError } from '../../base/errors.ts'
import type { PartitionStrategy } from '../../model/partition-config.ts'
import type { Delivery, EnqueueStatus, LeasedQueue, SettleStatus } from './distributed-queue.ts'
import type { CommandEnvelope, CommandResult } from './envelope.ts'
import { checkWhole } from './lease-request.ts'

/** Deliveries that are known by the id of their command alone. */
export class Dequeued {
  readonly #workerId: string
  readonly #byId = new Map<string, Delivery>()

  constructor(workerId: string) {
    this.#workerId = workerId
  }

  /** Remembers a delivery. One that was never completed is forgotten: its lease is over. */
  add(delivery: Delivery): void {
    const now = nowMs()
    for (const [id, { leasedUntilMs }] of this.#byId) {
      // The oldest are in front, and leases all take the same time.
      if (leasedUntilMs > now) break
      this.#byId.delete(id)
    }
    this.#byId.set(delivery.envelope.id, delivery)
  }

  /**
   * Ends a delivery.
   *
   * @param end - Tells the engine. The delivery stays known if that fails.
   * @throws LaneError `CORELANE_NOT_HELD` if it is not known, or is another worker's by now.
   */
  async end(id: string, end: (delivery: Delivery) => Promise<SettleStatus>): Promise<void> {
    const delivery = this.#byId.get(id)
    if (delivery === undefined) {
      throw this.#notHeld(id, 'it was not dequeued here, or was completed, or its lease is over')
    }
    const status = await end(delivery)
    if (this.#byId.get(id) === delivery) this.#byId.delete(id)
    if (status === 'stale') throw this.#notHeld(id, 'its lease is over')
  }

  #notHeld(id: string, reason: string): Error {
    return laneError('CORELANE_NOT_HELD', { id, workerId: this.#workerId, reason })
  }
}

type Fact = 'numPartitions' | 'workerId' | 'strategy' | 'leaseMs' | 'maxDeliveries'
type Member = 'enqueue' | 'dequeue' | 'complete' | 'enqueueMany' | 'start' | 'completeMany'

export abstract class LeasedEngine implements Pick<LeasedQueue, Fact | Member> {
  readonly numPartitions: number
  readonly workerId: string
  readonly strategy: PartitionStrategy
  readonly leaseMs: number
  readonly maxDeliveries: number
  /** @internal */
  protected isClosed = false
  readonly #dequeued: Dequeued

  constructor(facts: Pick<LeasedQueue, Fact>) {
    this.numPartitions = facts.numPartitions
    this.workerId = facts.workerId
    this.strategy = facts.strategy
    this.leaseMs = facts.leaseMs
    this.maxDeliveries = facts.maxDeliveries
    this.#dequeued = new Dequeued(facts.workerId)
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
    this.#dequeued.add(delivery)
    return delivery.envelope
  }

  async complete(result: CommandResult): Promise<void> {
    this.checkOpen()
    await this.#dequeued.end(result.commandId, async (delivery) => {
      const [status] = await this.completeMany([{ delivery, result }])
      return status!
    })
  }
}
