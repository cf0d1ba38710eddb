// Dequeued: deliveries that `dequeue` of an engine gave, until `complete` names them.
// Owns: those deliveries.

import { nowMs } from '../../base/clock.ts'
import { laneError } from '../../base/errors.ts'
import type { SettleStatus } from './distributed-queue.ts'
import type { CommandEnvelope } from './envelope.ts'

/** As much of a delivery as is needed here. */
interface Taken {
  readonly envelope: CommandEnvelope
  /** Monotonic milliseconds. */
  readonly leasedUntilMs: number
}

/** Deliveries that are known by the id of their command alone. */
export class Dequeued<Delivery extends Taken> {
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
