// Recovery: finds deliveries that came in lost answers, and gives them back.
// Owns: the places where such deliveries may be, and how long each is searched.

import { nowMs } from '../../base/clock.ts'
import { release } from './acknowledger.ts'
import { type Reply, textOf } from './caller.ts'
import { RedisPart } from './engine.ts'
import type { DeliveryName } from './holdings.ts'
import { HELD_BY } from './scripts/held-by.ts'

/** Recovers. To be used only while no lease is in flight: what that is given would look unknown. */
export class Recovery extends RedisPart {
  /** Lanes whose answers were lost, by partition. */
  readonly #lost = new Map<number, readonly string[]>()
  #untilMs = 0
  /** When it is to look next, on the monotonic clock; Infinity while it is sure. */
  nextMs: number = Number.POSITIVE_INFINITY

  /** The answer to a lease of some lanes was lost. */
  begin(partition: number, lanes: readonly string[]): void {
    this.nextMs = nowMs()
    this.#untilMs = this.nextMs + this.engine.plan.leaseMs
    this.#lost.set(partition, [...new Set([...(this.#lost.get(partition) ?? []), ...lanes])])
  }

  /** Gives back what Redis says this worker has and it knows nothing of, if it is time to look. */
  async look(): Promise<void> {
    const now = nowMs()
    if (now < this.nextMs) return
    await Promise.all(
      Array.from(this.#lost, ([partition, lanes]) => this.#lookAt(partition, lanes)),
    )
    // Again after a while: a request may reach Redis after its connection was given up, though not
    // as late as a lease takes.
    this.nextMs = now + Math.max(10, this.engine.plan.leaseMs / 4)
    if (now < this.#untilMs) return
    this.nextMs = Number.POSITIVE_INFINITY
    this.#lost.clear()
  }

  async #lookAt(partition: number, lanes: readonly string[]): Promise<void> {
    const { keys, caller, consumer, holdings, plan } = this.engine
    const names = keys.partition(partition)
    // The user of one that expired long ago never said what became of it.
    holdings.takeExpired(partition, plan.leaseMs)
    const reply = await caller.run<Reply[]>(HELD_BY, names.streams(lanes), [consumer])
    const unknown: DeliveryName[] = []
    for (let at = 0; at < reply.length; at += 3) {
      const lane = lanes[(reply[at] as number) - 1]!
      const entry = textOf(reply[at + 1]!)
      if (holdings.has(partition, lane, entry)) continue
      unknown.push(holdings.name(partition, lane, entry, reply[at + 2] as number))
    }
    if (unknown.length > 0) await release(this.engine, unknown, { reason: 'unstarted' })
  }
}
