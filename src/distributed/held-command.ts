// Held command: a delivery from the moment a worker has it until the queue has its end.
// Thread: main.   Owns: what the worker knows of it; and it is its own signal.
// An AbortController costs 3 µs, and few commands are ever aborted: so this object is the signal.

import type { Delivery } from './distributed-queue.ts'
import type { CommandEnvelope } from './envelope.ts'
import type { WorkerLane } from './worker-lane.ts'

/** Where a held command is. */
export type HeldStage =
  /** It waits here for its turn, a permit or a place. */
  | 'waiting'
  /** The manager has it. */
  | 'submitted'
  /** How it ended is on its way to the queue. */
  | 'ended'

/** One delivery. Passed to the manager as the signal that ends it. */
export class HeldCommand {
  readonly delivery: Delivery
  readonly lane: WorkerLane
  stage: HeldStage = 'waiting'
  /** Whether it waits for another of its key. */
  isChained = false
  /** Whether it is among the ready ones of its lane. */
  isReady = false
  /** Whether its lease was given up: nothing about it counts any more. */
  isLost = false
  /** Whether it is leaving and keeps its place in the order of its key. */
  isLeaving = false
  /** Whether its start counts towards `maxDeliveries`, or need not. */
  isCounted: boolean
  /** Until when it is this worker's, monotonic milliseconds. */
  leasedUntilMs: number
  /** Its place among those of its lane that run anywhere, if it has one. */
  place: string | undefined
  /** Until when it may start by its permit, monotonic milliseconds; 0 if it needs none. */
  permitUntilMs = 0
  /** Why it was aborted; as a signal has it. */
  reason: unknown
  #listener: (() => void) | undefined

  /**
   * @param delivery - As it was given out.
   * @param lane - Its lane.
   */
  constructor(delivery: Delivery, lane: WorkerLane) {
    this.delivery = delivery
    this.lane = lane
    this.isCounted = !delivery.countsAtStart
    this.leasedUntilMs = delivery.leasedUntilMs
  }

  get envelope(): CommandEnvelope {
    return this.delivery.envelope
  }

  /** Itself, as the manager takes it: by what it can do. */
  get signal(): AbortSignal {
    return this as unknown as AbortSignal
  }

  /** As a signal has it. */
  get aborted(): boolean {
    return this.reason !== undefined
  }

  /** As a signal has it; the manager adds one listener and no more. */
  addEventListener(_type: 'abort', listener: () => void): void {
    this.#listener = listener
  }

  /** As a signal has it. */
  removeEventListener(): void {
    this.#listener = undefined
  }

  /**
   * Ends it in the manager, wherever it is.
   *
   * @param reason - Why.
   */
  abort(reason: unknown): void {
    this.reason = reason
    this.#listener?.()
  }
}
