// Dequeued: what `dequeue` of an engine gave, until `complete` names it.
// Thread: main.   Owns: those deliveries.

import { nowMs } from '../base/clock.ts'
import type { Delivery } from './distributed-queue.ts'

/** Deliveries that are known by the id of their command alone. */
export class Dequeued {
  readonly #byId = new Map<string, Delivery>()

  /**
   * Remembers a delivery. What was never completed is forgotten: its lease is over.
   *
   * @param delivery - Just given out.
   */
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
   * @param id - Of its command. Nothing happens if it is not known.
   * @param end - Tells the engine. The delivery stays known if that fails.
   */
  async end(id: string, end: (delivery: Delivery) => Promise<unknown>): Promise<void> {
    const delivery = this.#byId.get(id)
    if (delivery === undefined) return
    await end(delivery)
    if (this.#byId.get(id) === delivery) this.#byId.delete(id)
  }
}
