// Pacing: the measured rate of a worker, and the quarantine in which suspects run alone.
// Owns: a moving average; whether the worker takes nothing, and which suspects it
// comes back for.
//
// A process that dies takes down all that it has started. A command lost beside a killer so often
// that the next death would dead-letter it is a suspect, and so is the killer: alone, each answers
// for itself.

import { nowMs } from '../../base/clock.ts'
import type { ManagerHealth } from '../../coordinator/manager-health.ts'
import type { Delivery } from '../contract/distributed-queue.ts'

/** Shorter spans say little; only the very first is believed, since it is better than nothing. */
const SPAN_MS = 5

/** After so long without one its commands are of another kind. */
const FORGET_MS = 1000

const NEWEST_WEIGHT = 1 / 4

/** How fast a worker starts and ends commands. Time in which it has nothing to do is left out. */
export class Pace {
  readonly #health: Pick<ManagerHealth, 'working'>
  readonly #concurrency: number
  /** Commands per millisecond; 0 until the first has ended. */
  perMs = 0
  #count = 0
  #spanMs = 0
  /** When the last command ended, or came after there were none, monotonic milliseconds. */
  sinceMs: number = nowMs()

  /** @param concurrency - Handlers of one partition that may run at once. */
  constructor(health: Pick<ManagerHealth, 'working'>, concurrency: number) {
    this.#health = health
    this.#concurrency = concurrency
  }

  /** Handlers that can run at once. */
  get capacity(): number {
    return Math.max(this.#health.working, 1) * this.#concurrency
  }

  /** Commands have come after there were none: the time between is no measure. */
  resume(now: number): void {
    if (now - this.sinceMs > FORGET_MS) {
      this.perMs /= 2
      this.#count = 0
      this.#spanMs = 0
    }
    this.sinceMs = now
  }

  ended(now: number): void {
    this.#count++
    this.#spanMs += now - this.sinceMs
    this.sinceMs = now
    if (this.#spanMs < SPAN_MS && this.perMs > 0) return
    const newest = this.#count / Math.max(this.#spanMs, 1)
    this.perMs = this.perMs === 0 ? newest : this.perMs + (newest - this.perMs) * NEWEST_WEIGHT
    this.#count = 0
    this.#spanMs = 0
  }
}

/** What to ask for next: one command of these. */
export interface SuspectWhereabouts {
  readonly partitions: ReadonlySet<number>
  readonly lanes: ReadonlySet<string>
}

export class Quarantine {
  /** Suspects that were let start. */
  admitted = 0
  /** Whether nothing is to be taken until nothing is held. */
  isOn = false
  readonly #maxDeliveries: number
  readonly #partitions = new Set<number>()
  readonly #lanes = new Set<string>()
  #left = 0
  #alone: Delivery | undefined

  /**
   * @param maxDeliveries - How often the queue gives a command out. With 1 no command is a suspect:
   * each delivery is the last.
   */
  constructor(maxDeliveries: number) {
    this.#maxDeliveries = maxDeliveries
  }

  /**
   * Whether a delivery is to be given back if it has not started: all are but the one that runs
   * alone. Some may have to wait for long until they can start.
   */
  isInTheWay(delivery: Delivery): boolean {
    return this.isOn && delivery !== this.#alone
  }

  /**
   * Whether a delivery may start. One that may not is to be given back; for a suspect the worker
   * comes back with empty hands.
   *
   * @param isAlone - Whether the worker holds nothing else.
   */
  admits(delivery: Delivery, isAlone: boolean): boolean {
    const { deliveries, envelope } = delivery
    const isSuspect = deliveries > 1 && deliveries >= this.#maxDeliveries
    if (!isSuspect && !this.isOn) return true
    this.isOn = true
    if (isAlone) {
      this.#alone = delivery
      if (isSuspect) this.admitted++
      return true
    }
    if (!isSuspect) return false
    this.#left++
    this.#partitions.add(envelope.partitionId)
    this.#lanes.add(envelope.laneId)
    return false
  }

  /**
   * Nothing is held any more: where the next suspect is. Undefined if there is none, and then the
   * worker takes what it likes again.
   */
  next(): SuspectWhereabouts | undefined {
    if (this.#left > 0) return { partitions: this.#partitions, lanes: this.#lanes }
    this.end()
    return undefined
  }

  /**
   * The queue was asked for a suspect.
   *
   * @param count - How many commands it gave, 0 or 1; what comes in the place of a suspect runs
   * alone too. None: others have taken what was left.
   */
  took(count: number): void {
    if (count > 0) this.#left--
    else this.end()
  }

  /** No suspect can be had any more. */
  end(): void {
    this.#left = 0
    this.isOn = false
    this.#alone = undefined
    this.#partitions.clear()
    this.#lanes.clear()
  }
}
