// Holdings: the deliveries that this process knows it has, and the names of deliveries.
// Owns: the list; a delivery of this process that is not in it came in a lost answer.

import { nowMs } from '../../base/clock.ts'
import { RenewedMap } from '../../base/renewed-map.ts'
import type { Delivery } from '../contract/distributed-queue.ts'
import { userLane } from './keys.ts'

export interface Fence {
  /** The lane in Redis. */
  readonly lane: string
  /** Id of the entry in its stream. */
  readonly entry: string
  /** Delivery counter in the pending list. */
  readonly counter: string
}

/** As much of a delivery as its return takes. */
export type DeliveryName = Pick<Delivery, 'envelope' | 'fence'>

interface Held {
  readonly lane: string
  readonly entry: string
  readonly counter: number
  readonly untilMs: number
}

export class Holdings {
  readonly #workerId: string
  readonly #leaseMs: number
  /** By partition, the one that expires first in front: leases all take the same time. */
  readonly #held = new Map<number, RenewedMap<string, Held>>()

  /** @param leaseMs - How long one is held unless it is extended. */
  constructor(workerId: string, leaseMs: number) {
    this.#workerId = workerId
    this.#leaseMs = leaseMs
  }

  fence(partition: number, lane: string, entry: string, counter: number): string {
    return `${this.#workerId}/${partition}/${lane}/${entry}/${counter}`
  }

  /** A delivery of whose envelope only the place is known. */
  name(partition: number, lane: string, entry: string, counter: number): DeliveryName {
    const place = { id: entry, partitionId: partition, laneId: userLane(lane) }
    return {
      envelope: place as Delivery['envelope'],
      fence: this.fence(partition, lane, entry, counter),
    }
  }

  /** Reads a fence; undefined if it is not one of this worker's. */
  partsOf({ fence, envelope }: DeliveryName): Fence | undefined {
    const own = `${this.#workerId}/${envelope.partitionId}/`
    if (typeof fence !== 'string' || !fence.startsWith(own)) return undefined
    const match = /^([^/]+)\/(\d{1,20}-\d{1,20})\/(\d{1,16})$/.exec(fence.slice(own.length))
    if (match === null || userLane(match[1]!) !== envelope.laneId) return undefined
    return { lane: match[1]!, entry: match[2]!, counter: match[3]! }
  }

  /** The worker has an entry from now on. */
  take(partition: number, lane: string, entry: string, counter: number, untilMs: number): void {
    let held = this.#held.get(partition)
    if (held === undefined) {
      held = new RenewedMap()
      this.#held.set(partition, held)
    }
    // To the end, behind those that expire before it.
    held.delete(`${lane}/${entry}`)
    held.set(`${lane}/${entry}`, { lane, entry, counter, untilMs })
  }

  /** A delivery of an entry has ended; a later one, of the same entry, goes on. */
  drop(partition: number, lane: string, entry: string, counter: number): void {
    const held = this.#held.get(partition)
    const name = `${lane}/${entry}`
    if (held?.get(name)?.counter === counter) held.delete(name)
  }

  /** Names the delivery of an entry, if it knows that it has it. */
  fenceOf(partition: number, lane: string, entry: string): string | undefined {
    const held = this.#held.get(partition)?.get(`${lane}/${entry}`)
    return held && this.fence(partition, lane, entry, held.counter)
  }

  has(partition: number, lane: string, entry: string): boolean {
    return this.#held.get(partition)?.has(`${lane}/${entry}`) === true
  }

  /** Whether something of a partition will expire before long, if it is not extended. */
  isAgeing(partition: number): boolean {
    const [first] = this.#held.get(partition)?.values() ?? []
    return first !== undefined && first.untilMs - nowMs() < this.#leaseMs / 4
  }

  /**
   * Forgets what has expired, and names it.
   *
   * @param sinceMs - For how long at least. Default 0.
   */
  takeExpired(partition: number, sinceMs = 0): DeliveryName[] {
    const expired: DeliveryName[] = []
    const before = nowMs() - sinceMs
    for (const { lane, entry, counter, untilMs } of this.#held.get(partition)?.values() ?? []) {
      if (untilMs > before) break
      expired.push(this.name(partition, lane, entry, counter))
      this.drop(partition, lane, entry, counter)
    }
    return expired
  }
}
