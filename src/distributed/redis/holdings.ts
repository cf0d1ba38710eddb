// Holdings: the deliveries that this process knows it has, and the names of deliveries.
// Thread: main.   Owns: the list, by which what was given in a lost answer is found.

import { nowMs } from '../../base/clock.ts'
import type { Delivery } from '../distributed-queue.ts'

/** What a fence says. */
export interface FenceParts {
  /** Id of the entry in its stream. */
  readonly entry: string
  /** Delivery counter in the list of what is pending. */
  readonly counter: string
}

/** Deliveries of one worker. */
export class Holdings {
  readonly #workerId: string
  readonly #leaseMs: number
  readonly #untilMs = new Map<string, number>()

  /**
   * @param workerId - Whose.
   * @param leaseMs - How long one is held unless it is extended.
   */
  constructor(workerId: string, leaseMs: number) {
    this.#workerId = workerId
    this.#leaseMs = leaseMs
  }

  /** How many there are, those that were forgotten by their user included. */
  get size(): number {
    return this.#untilMs.size
  }

  /**
   * Names a delivery.
   *
   * @param partition - Where.
   * @param lane - In which lane.
   * @param entry - Its entry.
   * @param counter - Its counter.
   */
  fence(partition: number, lane: string, entry: string, counter: number): string {
    return `${this.#workerId}/${partition}/${lane}/${entry}/${counter}`
  }

  /**
   * Reads a fence.
   *
   * @param delivery - From anybody.
   * @returns Nothing if it is not one of this worker's.
   */
  partsOf({ fence, envelope }: Pick<Delivery, 'fence' | 'envelope'>): FenceParts | undefined {
    const own = `${this.#workerId}/${envelope.partitionId}/${envelope.laneId}/`
    if (typeof fence !== 'string' || !fence.startsWith(own)) return undefined
    const match = /^(\d{1,20}-\d{1,20})\/(\d{1,16})$/.exec(fence.slice(own.length))
    return match === null ? undefined : { entry: match[1]!, counter: match[2]! }
  }

  /** The worker has an entry from now on, for a lease. */
  take(partition: number, lane: string, entry: string): void {
    this.#untilMs.set(`${partition}/${lane}/${entry}`, nowMs() + this.#leaseMs)
  }

  /** It has it no more. */
  drop(partition: number, lane: string, entry: string): void {
    this.#untilMs.delete(`${partition}/${lane}/${entry}`)
  }

  /** Whether it knows that it has it. */
  has(partition: number, lane: string, entry: string): boolean {
    return this.#untilMs.has(`${partition}/${lane}/${entry}`)
  }

  /** Forgets those that expired long ago: their user never said what became of them. */
  prune(): void {
    const before = nowMs() - this.#leaseMs
    for (const [name, untilMs] of this.#untilMs) {
      if (untilMs < before) this.#untilMs.delete(name)
    }
  }
}
