// Held command: a delivery from the moment a worker has it until the queue has its end.
// Thread: main.   Owns: its state in this worker.

import type { PortCommand } from '../coordinator/queue-manager.ts'
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

/** One delivery. */
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
  /** Whether its run was aborted. */
  isAborted = false
  /** The manager's command, once it has been submitted. */
  command: PortCommand | undefined

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

  /**
   * Ends it in the manager, wherever it is.
   *
   * @param reason - Why.
   */
  abort(reason: unknown): void {
    this.isAborted = true
    this.command?.abort(reason)
  }
}
