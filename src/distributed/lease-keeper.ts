// Lease keeper: extends what a worker holds, and gives it up in time when it cannot.
// Thread: main.   Owns: one timer, for leases and for whatever else must be renewed like them.
// A handler never blocks it: handlers run on other threads.

import { nowMs, timers } from '../base/clock.ts'
import type { LeasedQueue } from './distributed-queue.ts'
import type { HeldCommand } from './held-command.ts'
import type { Runner } from './runner.ts'

/** Part of a lease before whose end it is given up: what runs must have stopped by then. */
const MARGIN = 1 / 6

/** Part of a lease after which it is extended, and other things are renewed. */
const RENEWAL = 1 / 3

/** Looks within a lease. */
const LOOKS = 12

const LOOK_MS_MIN = 5
const LOOK_MS_MAX = 5_000

const BATCH_MAX = 4096

/** What a lease keeper works with. */
export interface LeaseKeeperParts {
  readonly queue: LeasedQueue
  readonly runner: Runner
  /** Called at every look: whose partitions are whose changes as workers come and go. */
  readonly beat: () => void
  /** Called every third of a lease: for places that expire like leases. */
  readonly renew: () => void
  /** The event loop was held up for a good part of a lease. */
  readonly heldUp: () => void
  /** An extension failed; it is tried again soon. */
  readonly failed: (error: unknown) => void
}

/**
 * So long before its end a lease is given up.
 *
 * @param leaseMs - Its length.
 */
export function leaseMarginMs(leaseMs: number): number {
  return Number.isFinite(leaseMs) ? leaseMs * MARGIN : 0
}

/** Keeps leases. */
export class LeaseKeeper {
  readonly #parts: LeaseKeeperParts
  readonly #lookMs: number
  readonly #marginMs: number
  #timer: NodeJS.Timeout | undefined
  #dueMs = 0
  #wasHeldUp = false
  #renewedAtMs = 0
  #isExtending = false

  constructor(parts: LeaseKeeperParts) {
    const { leaseMs } = parts.queue
    this.#parts = parts
    this.#lookMs = Math.min(Math.max(leaseMs / LOOKS, LOOK_MS_MIN), LOOK_MS_MAX)
    this.#marginMs = leaseMarginMs(leaseMs)
  }

  /** Whether this thread's event loop turns too slowly to take on more. */
  get isHeldUp(): boolean {
    return this.#wasHeldUp || nowMs() - this.#dueMs > this.#toleranceMs
  }

  /** Begins. */
  start(): void {
    const now = nowMs()
    this.#dueMs = now + this.#lookMs
    this.#renewedAtMs = now
    // A worker keeps its process alive, whether its queue would or not.
    this.#timer = timers.setInterval(this.#look, this.#lookMs)
  }

  /** Ends. */
  stop(): void {
    timers.clearInterval(this.#timer)
  }

  get #toleranceMs(): number {
    return Math.max(this.#marginMs, this.#lookMs)
  }

  readonly #look = (): void => {
    const { runner, heldUp, beat, renew, queue } = this.#parts
    const now = nowMs()
    const wasHeldUp = now - this.#dueMs > this.#toleranceMs
    if (wasHeldUp && !this.#wasHeldUp) heldUp()
    this.#wasHeldUp = wasHeldUp
    this.#dueMs = now + this.#lookMs
    const gone: HeldCommand[] = []
    const ageing: HeldCommand[] = []
    const freshMs = queue.leaseMs * (1 - RENEWAL)
    for (const held of runner.holdings.values()) {
      const leftMs = held.leasedUntilMs - now
      if (leftMs <= this.#marginMs && held.stage !== 'ended') gone.push(held)
      else if (leftMs <= freshMs) ageing.push(held)
    }
    runner.lose(gone, 'expired')
    if (ageing.length > 0 && !this.#isExtending) void this.#extend(ageing)
    beat()
    if (now - this.#renewedAtMs < queue.leaseMs * RENEWAL) return
    this.#renewedAtMs = now
    renew()
  }

  async #extend(all: readonly HeldCommand[]): Promise<void> {
    this.#isExtending = true
    try {
      for (let from = 0; from < all.length; from += BATCH_MAX) {
        await this.#extendBatch(all.slice(from, from + BATCH_MAX))
      }
    } catch (error) {
      this.#parts.failed(error)
    }
    this.#isExtending = false
  }

  async #extendBatch(batch: readonly HeldCommand[]): Promise<void> {
    const { queue, runner } = this.#parts
    const answer = await queue.extend(batch.map(({ delivery }) => delivery))
    const lost = new Set(answer.lost)
    const taken: HeldCommand[] = []
    for (const held of batch) {
      // One that ended meanwhile is not this worker's any more either.
      if (lost.has(held.delivery.fence)) taken.push(held)
      else held.leasedUntilMs = Math.max(held.leasedUntilMs, answer.leasedUntilMs)
    }
    runner.lose(taken, 'taken')
  }
}
