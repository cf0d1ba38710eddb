// Leases: keeps what a worker has for a time: deliveries, partitions, and its announced names.
// Thread: main.   Owns: one timer for all of them, and the queue's last answer about partitions.
// Deliveries that cannot be extended are given up in time. A handler never blocks this: handlers
// run on other threads.

import { nowMs, timers } from '../../base/clock.ts'
import { isPortableName } from '../../base/portable-name.ts'
import { stableHash } from '../../schedule/hash.ts'
import type { LeasedQueue, NameRegistry } from '../contract/distributed-queue.ts'
import { BATCH_MAX } from '../contract/lease-request.ts'
import type { IncidentListener } from '../incident.ts'
import type { HeldCommand } from './held.ts'
import type { Runner } from './run.ts'

/** So long between two looks for lanes without a worker, times the partitions it has to look at. */
const STRAYS_MS = 2000

/** Announces. */
export class Announcer {
  readonly #queue: LeasedQueue
  readonly #laneIds: readonly string[]
  /** Lanes of its manager that it leaves to other workers. */
  readonly #others: readonly string[]
  readonly #handlers: () => readonly string[]
  readonly #tell: IncidentListener
  readonly #failed: (error: unknown) => void
  #told: ReadonlySet<string> = new Set()
  #nextLookMs = 0
  #isBusy = false

  /**
   * @param queue - Where.
   * @param laneIds - The lanes that this worker takes.
   * @param others - Other lanes that its manager has.
   * @param handlers - Names of the handlers that it has now.
   * @param tell - Told of lanes that have commands and no worker.
   * @param failed - Told of calls that failed; they are repeated.
   */
  constructor(
    queue: LeasedQueue,
    laneIds: readonly string[],
    others: readonly string[],
    handlers: () => readonly string[],
    tell: IncidentListener,
    failed: (error: unknown) => void,
  ) {
    this.#queue = queue
    this.#laneIds = laneIds
    this.#others = others.filter(isPortableName)
    this.#handlers = handlers
    this.#tell = tell
    this.#failed = failed
  }

  /** Announces for another lease; to be called every third of one. */
  async announce(): Promise<void> {
    const { lanes, handlers, leaseMs, numPartitions } = this.#queue
    if (lanes === undefined || this.#isBusy) return
    this.#isBusy = true
    try {
      await announceAll(lanes, this.#laneIds, this.#others)
      // A command can name no others.
      await announceAll(handlers, this.#handlers().filter(isPortableName), [])
      const now = nowMs()
      // Not at once: others may be about to announce theirs.
      if (this.#nextLookMs === 0) this.#nextLookMs = now + 1
      else if (now >= this.#nextLookMs) {
        this.#nextLookMs = now + Math.max(leaseMs, STRAYS_MS * numPartitions)
        this.#tellOf(await lanes.strays())
      }
    } catch (error) {
      this.#failed(error)
    }
    this.#isBusy = false
  }

  #tellOf(strays: readonly string[]): void {
    const laneIds = strays.filter((laneId) => !this.#told.has(laneId))
    this.#told = new Set(strays)
    if (laneIds.length > 0) this.#tell({ what: 'lane-unserved', laneIds })
  }
}

async function announceAll(
  registry: NameRegistry | undefined,
  names: readonly string[],
  others: readonly string[],
): Promise<void> {
  const count = Math.max(names.length, others.length)
  for (let from = 0; from < count; from += BATCH_MAX) {
    const to = from + BATCH_MAX
    await registry?.announce(names.slice(from, to), others.slice(from, to))
  }
}

/** Part of a lease after which what is owned is renewed. A look may come a little late. */
const BEAT = 1 / 4

/** What claims work with. */
export interface PartitionClaimsParts {
  readonly queue: LeasedQueue
  readonly runner: () => Runner
  /** Whether commands of a partition may be on their way here. */
  readonly isAskedFor: (partitionId: number) => boolean
  /** Other partitions may be asked for. */
  readonly changed: () => void
  /** A call failed; it is repeated. */
  readonly failed: (error: unknown) => void
}

/** Knows a worker's partitions. */
export class PartitionClaims {
  readonly #parts: PartitionClaimsParts
  /** Present where each partition has one worker at a time. */
  #owned: ReadonlySet<number> | undefined
  #surplus: ReadonlySet<number> = new Set()
  readonly #yielding = new Set<number>()
  #isBeating = false
  /** Whether it has to be renewed again, since something has changed meanwhile. */
  #mustBeatAgain = false
  #beatenAtMs = Number.NEGATIVE_INFINITY
  /** Ends the news of changes. */
  #unwatch: (() => void) | undefined
  /** Whether it wants partitions. */
  #isTaking = true
  #hasLeft = false
  #first: number

  constructor(parts: PartitionClaimsParts) {
    const { queue } = parts
    this.#parts = parts
    this.#owned = queue.ownership === undefined ? undefined : new Set()
    // Workers begin at different partitions, so that they do not all look at the same one first.
    this.#first = stableHash(queue.workerId) % queue.numPartitions
  }

  /** How many partitions are this worker's alone; undefined where partitions have no owners. */
  get ownedCount(): number | undefined {
    return this.#owned?.size
  }

  /** The partitions to ask for now, in the order in which they are to be looked at. */
  next(): number[] {
    const { numPartitions } = this.#parts.queue
    const partitions: number[] = []
    const first = this.#first
    this.#first = first + 1 === numPartitions ? 0 : first + 1
    for (let i = 0; i < numPartitions; i++) {
      const partition = (first + i) % numPartitions
      if (!this.isReturning(partition)) partitions.push(partition)
    }
    return partitions
  }

  /**
   * Whether commands of a partition are given back instead of started.
   *
   * @param partitionId - Which.
   */
  isReturning(partitionId: number): boolean {
    if (this.#owned === undefined) return false
    return !this.#owned.has(partitionId) || this.#surplus.has(partitionId)
  }

  /** Renews what is owned, and learns what is to be given up. */
  async beat(): Promise<void> {
    const { queue, failed } = this.#parts
    const { ownership } = queue
    if (ownership === undefined || this.#hasLeft) return
    this.#mustBeatAgain = this.#isBeating
    if (this.#isBeating) return
    this.#isBeating = true
    this.#unwatch ??= ownership.onChange?.(() => void this.beat())
    do {
      this.#mustBeatAgain = false
      this.#beatenAtMs = nowMs()
      try {
        this.#learn(await ownership.beat(this.#isTaking))
      } catch (error) {
        failed(error)
      }
    } while (this.#mustBeatAgain && !this.#hasLeft)
    this.#isBeating = false
  }

  /** Renews what is owned if it is time; to be called a few times in each lease. */
  look(): void {
    const isTold = this.#unwatch !== undefined
    const everyMs = isTold ? this.#parts.queue.leaseMs * BEAT : 0
    if (nowMs() - this.#beatenAtMs >= everyMs) void this.beat()
  }

  /**
   * Wants partitions from now on, or gives up all that it owns as it becomes free.
   *
   * @param isTaking - Which of both.
   */
  take(isTaking: boolean): void {
    this.#isTaking = isTaking
    void this.beat()
  }

  /** Yields what is to be given up and of which nothing is left here. */
  check(): void {
    const { runner, isAskedFor } = this.#parts
    for (const partition of this.#surplus) {
      const isFree = runner().holdings.countIn(partition) === 0 && !isAskedFor(partition)
      if (isFree && !this.#yielding.has(partition)) void this.#yield(partition)
    }
  }

  /** Gives everything up. */
  async leave(): Promise<void> {
    const { queue, failed } = this.#parts
    if (queue.ownership === undefined || this.#hasLeft) return
    this.#hasLeft = true
    this.#unwatch?.()
    this.#owned = new Set()
    try {
      await queue.ownership.leave()
    } catch (error) {
      // It expires then.
      failed(error)
    }
  }

  #learn({ owned, surplus }: { owned: readonly number[]; surplus: readonly number[] }): void {
    if (this.#hasLeft) return
    const before = this.#owned!
    this.#owned = new Set(owned.filter((partition) => !this.#yielding.has(partition)))
    this.#surplus = new Set(surplus)
    const runner = this.#parts.runner()
    const taken = [...runner.holdings.values()].filter(
      ({ envelope }) => !owned.includes(envelope.partitionId),
    )
    runner.lose(taken, 'taken')
    if (this.#surplus.size > 0) {
      runner.giveBack(({ envelope }) => this.#surplus.has(envelope.partitionId))
    }
    if (this.#surplus.size > 0 || owned.length !== before.size) this.#parts.changed()
    else if (owned.some((partition) => !before.has(partition))) this.#parts.changed()
    this.check()
  }

  async #yield(partition: number): Promise<void> {
    const { queue, failed } = this.#parts
    this.#yielding.add(partition)
    try {
      await queue.ownership!.yield(partition)
      this.#surplus = new Set([...this.#surplus].filter((each) => each !== partition))
      this.#owned = new Set([...this.#owned!].filter((each) => each !== partition))
    } catch (error) {
      failed(error)
    }
    this.#yielding.delete(partition)
  }
}

/** Part of a lease before whose end it is given up: what runs must have stopped by then. */
const MARGIN = 1 / 6

/** Part of a lease after which it is extended, and other things are renewed. */
const RENEWAL = 1 / 3

/** Looks within a lease. */
const LOOKS = 12

const LOOK_MS_MIN = 5
const LOOK_MS_MAX = 5_000

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
