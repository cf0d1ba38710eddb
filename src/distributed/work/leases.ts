// Leases: extends all that a worker has for a time: deliveries, partitions, its announced names.
// Owns: one timer for all of them, and the queue's last answer about partitions.
//
// Deliveries that cannot be extended are given up in time. A handler never blocks this: handlers
// run on other threads.

import { nowMs, timers } from '../../base/clock.ts'
import { isPortableName } from '../../base/portable-name.ts'
import type { WorkerStanding } from '../../model/queue-standing.ts'
import { stableHash } from '../../schedule/hash.ts'
import type { LaneRegistry, PartitionOwnership } from '../contract/distributed-queue.ts'
import { CALL_MAX } from '../contract/engine-checks.ts'
import { Outbox } from '../outbox.ts'
import type { HeldCommand, WorkerCore } from './held.ts'
import type { LimitWatch } from './limits.ts'
import { leaseMarginMs, type Runner } from './run.ts'

/** The span between two looks for unserved lanes, times the partitions that the look costs. */
const UNSERVED_MS = 2000

/** Announces a worker, its lanes and its handlers, and reports lanes that have no worker. */
export class Announcer {
  readonly #core: WorkerCore
  readonly #laneIds: readonly string[]
  readonly #others: readonly string[]
  readonly #standing: () => WorkerStanding
  #leaving: Promise<void> | undefined
  #known: ReadonlySet<string> = new Set()
  #nextLookMs = 0
  /** Wishes to announce. Those that come meanwhile lead to one more announcement. */
  readonly #announcements: Outbox<'announce'>

  /**
   * @param managed - All lanes of its manager; it leaves those that are not its own to others.
   * @param standing - Says how the worker stands.
   */
  constructor(
    core: WorkerCore,
    managed: readonly { readonly name: string }[],
    standing: () => WorkerStanding,
  ) {
    this.#core = core
    this.#standing = standing
    const { failed } = core.events
    this.#announcements = new Outbox({ send: () => this.#announceAll(), failed })
    this.#laneIds = core.lanes.map(({ plan }) => plan.name)
    const names = managed.map(({ name }) => name)
    this.#others = names.filter((name) => !this.#laneIds.includes(name) && isPortableName(name))
  }

  /** Announces for another lease; to be called every third of one, and as its standing changes. */
  announce(): void {
    this.#announcements.add('announce')
  }

  leave(): Promise<void> {
    this.#announcements.giveUp()
    const leave = async () => this.#core.queue.workers?.leave()
    // Where the queue does not learn it now, that is when the lease has ended.
    this.#leaving ??= leave().catch(() => {})
    return this.#leaving
  }

  async #announceAll(): Promise<void> {
    const { queue, held } = this.#core
    // One that takes nothing at the moment leaves its lanes to others.
    if (queue.lanes !== undefined && held.isAccepting) await this.#announceNames(queue.lanes)
    if (this.#leaving === undefined) await queue.workers?.announce(this.#standing())
  }

  async #announceNames(lanes: LaneRegistry): Promise<void> {
    const { queue, port } = this.#core
    const { handlers, leaseMs, numPartitions } = queue
    await lanes.announce(this.#laneIds, this.#others)
    // A command can name no others.
    const names = port.handlers.filter(isPortableName)
    for (let from = 0; from < names.length; from += CALL_MAX) {
      await handlers?.announce(names.slice(from, from + CALL_MAX))
    }
    const now = nowMs()
    // Not at once: others may be about to announce theirs.
    if (this.#nextLookMs === 0) this.#nextLookMs = now + 1
    else if (now >= this.#nextLookMs) {
      this.#nextLookMs = now + Math.max(leaseMs, UNSERVED_MS * numPartitions)
      this.#report(await lanes.unserved())
    }
  }

  #report(unserved: readonly string[]): void {
    const laneIds = unserved.filter((laneId) => !this.#known.has(laneId))
    this.#known = new Set(unserved)
    if (laneIds.length > 0) this.#core.events.incident({ what: 'lane-unserved', laneIds })
  }
}

/** Part of a lease after which ownership is renewed. A look may come a little late. */
const HEARTBEAT = 1 / 4

/** Knows which partitions are this worker's, where each has one worker at a time. */
export class PartitionAssignment {
  readonly #core: WorkerCore
  readonly #runner: Runner
  /** Partitions that are this worker's until another one gets them. */
  #surplus = new Set<number>()
  readonly #releasing = new Set<number>()
  #isBusy = false
  #answer: ReturnType<PartitionOwnership['heartbeat']> | undefined
  /** Whether another heartbeat is due at once, since something has changed meanwhile. */
  #mustRepeat = false
  #heartbeatAtMs = Number.NEGATIVE_INFINITY
  #unwatch: (() => void) | undefined
  #isTaking = true
  #hasLeft = false
  /** The partition to look at first. */
  #first: number

  /** @param runner - Gives back the commands of partitions that go to another worker. */
  constructor(core: WorkerCore, runner: Runner) {
    const { queue, held } = core
    this.#core = core
    this.#runner = runner
    if (queue.ownership !== undefined) held.partitions = new Set()
    // Workers begin at different partitions, so that they do not all look at the same one first.
    this.#first = stableHash(queue.workerId) % queue.numPartitions
  }

  /** How many partitions are this worker's alone; undefined where partitions have no owners. */
  get ownedCount(): number | undefined {
    const { queue, held } = this.#core
    return queue.ownership && held.partitions!.size + this.#surplus.size
  }

  /** The partitions to ask for now, in the order in which they are to be looked at. */
  next(): number[] {
    const { queue, held } = this.#core
    const { numPartitions } = queue
    const partitions: number[] = []
    const first = this.#first
    this.#first = first + 1 === numPartitions ? 0 : first + 1
    for (let i = 0; i < numPartitions; i++) {
      const partition = (first + i) % numPartitions
      if (held.partitions?.has(partition) !== false) partitions.push(partition)
    }
    return partitions
  }

  /** Renews ownership, and learns which partitions are to be given up. */
  async heartbeat(): Promise<void> {
    const { ownership } = this.#core.queue
    if (ownership === undefined || this.#hasLeft) return
    this.#mustRepeat = this.#isBusy
    if (this.#isBusy) return
    this.#isBusy = true
    this.#unwatch ??= ownership.onChange?.(() => void this.heartbeat())
    do {
      this.#mustRepeat = false
      this.#heartbeatAtMs = nowMs()
      try {
        this.#answer = ownership.heartbeat(this.#isTaking)
        this.#learn(await this.#answer)
      } catch (error) {
        this.#core.events.failed(error)
      }
    } while (this.#mustRepeat && !this.#hasLeft)
    this.#isBusy = false
  }

  /** Renews ownership if it is time; to be called a few times in each lease. */
  look(): void {
    const everyMs = this.#unwatch === undefined ? 0 : this.#core.queue.leaseMs * HEARTBEAT
    if (nowMs() - this.#heartbeatAtMs >= everyMs) void this.heartbeat()
  }

  /** Wants partitions from now on, or gives up all that it owns as it becomes free. */
  take(isTaking: boolean): void {
    this.#isTaking = isTaking
    void this.heartbeat()
  }

  /** Releases surplus partitions of which nothing is left here. */
  check(): void {
    if (this.#surplus.size === 0) return
    const { held } = this.#core
    for (const partition of this.#surplus) {
      const isFree = held.countIn(partition) === 0 && !held.isAskedFor(partition)
      if (isFree && !this.#releasing.has(partition)) void this.#release(partition)
    }
  }

  async leave(): Promise<void> {
    const { queue, held, events } = this.#core
    if (queue.ownership === undefined || this.#hasLeft) return
    this.#hasLeft = true
    this.#unwatch?.()
    held.partitions = new Set()
    this.#surplus.clear()
    // It may take partitions still. Its failure is reported where it was called.
    await Promise.allSettled([this.#answer])
    try {
      await queue.ownership.leave()
    } catch (error) {
      // It expires then.
      events.failed(error)
    }
  }

  #learn({ owned, surplus }: { owned: readonly number[]; surplus: readonly number[] }): void {
    if (this.#hasLeft) return
    const { held, events } = this.#core
    const before = held.partitions!
    this.#surplus = new Set(surplus)
    const kept = owned.filter((each) => !this.#surplus.has(each) && !this.#releasing.has(each))
    held.partitions = new Set(kept)
    const taken = held.values().filter(({ envelope }) => !owned.includes(envelope.partitionId))
    this.#runner.lose(taken, 'taken')
    if (this.#surplus.size > 0) {
      this.#runner.giveBack(({ envelope }) => this.#surplus.has(envelope.partitionId))
    }
    const isOther = kept.length !== before.size || kept.some((each) => !before.has(each))
    if (this.#surplus.size > 0 || isOther) events.reassigned()
    this.check()
  }

  async #release(partition: number): Promise<void> {
    const { queue, events } = this.#core
    this.#releasing.add(partition)
    try {
      await queue.ownership!.release(partition)
      this.#surplus.delete(partition)
    } catch (error) {
      events.failed(error)
    }
    this.#releasing.delete(partition)
  }
}

/** Part of a lease after which it is extended, and other things are renewed. */
const RENEWAL = 1 / 3

const LOOKS = 12
const LOOK_MS_MIN = 5
const LOOK_MS_MAX = 5_000

export class LeaseKeeper {
  readonly #core: WorkerCore
  readonly #runner: Runner
  readonly #assignment: PartitionAssignment
  readonly #announcer: Announcer
  readonly #limits: LimitWatch
  readonly #lookMs: number
  readonly #marginMs: number
  #timer: NodeJS.Timeout | undefined
  #dueMs = 0
  #wasHeldUp = false
  #renewedAtMs = 0
  #extending: Promise<void> | undefined

  constructor(
    core: WorkerCore,
    runner: Runner,
    assignment: PartitionAssignment,
    announcer: Announcer,
    limits: LimitWatch,
  ) {
    const { leaseMs } = core.queue
    this.#core = core
    this.#runner = runner
    this.#assignment = assignment
    this.#announcer = announcer
    this.#limits = limits
    this.#lookMs = Math.min(Math.max(leaseMs / LOOKS, LOOK_MS_MIN), LOOK_MS_MAX)
    this.#marginMs = leaseMarginMs(leaseMs)
  }

  /** Whether this thread's event loop turns too slowly to take on more. */
  get isHeldUp(): boolean {
    return this.#wasHeldUp || nowMs() - this.#dueMs > this.#toleranceMs
  }

  start(): void {
    const now = nowMs()
    this.#dueMs = now + this.#lookMs
    this.#renewedAtMs = now
    // A worker keeps its process alive, whether its queue would or not.
    this.#timer = timers.setInterval(this.#look, this.#lookMs)
  }

  stop(): void {
    timers.clearInterval(this.#timer)
  }

  get #toleranceMs(): number {
    return Math.max(this.#marginMs, this.#lookMs)
  }

  readonly #look = (): void => {
    const { queue, held: all, events } = this.#core
    const now = nowMs()
    const wasHeldUp = now - this.#dueMs > this.#toleranceMs
    if (wasHeldUp && !this.#wasHeldUp) events.incident({ what: 'loop-held-up' })
    this.#wasHeldUp = wasHeldUp
    this.#dueMs = now + this.#lookMs
    const gone: HeldCommand[] = []
    const ageing: HeldCommand[] = []
    const freshMs = queue.leaseMs * (1 - RENEWAL)
    for (const held of all.values()) {
      const leftMs = held.leasedUntilMs - now
      if (leftMs <= this.#marginMs && held.state !== 'ENDING') gone.push(held)
      else if (leftMs <= freshMs) ageing.push(held)
    }
    this.#runner.lose(gone, 'expired')
    if (ageing.length > 0) this.#extending ??= this.#extend(ageing)
    this.#assignment.look()
    if (now - this.#renewedAtMs < queue.leaseMs * RENEWAL) return
    this.#renewedAtMs = now
    this.#runner.keepSlots()
    this.#limits.read()
    this.#announcer.announce()
  }

  async #extend(all: readonly HeldCommand[]): Promise<void> {
    try {
      for (let from = 0; from < all.length; from += CALL_MAX) {
        await this.#extendBatch(all.slice(from, from + CALL_MAX))
      }
    } catch (error) {
      this.#core.events.failed(error)
    }
    this.#extending = undefined
  }

  async #extendBatch(batch: readonly HeldCommand[]): Promise<void> {
    const answer = await this.#core.queue.extend(batch.map(({ delivery }) => delivery))
    const lost = new Set(answer.lost)
    const taken: HeldCommand[] = []
    for (const held of batch) {
      // One that ended meanwhile is not this worker's any more either.
      if (lost.has(held.delivery.fence)) taken.push(held)
      else held.leasedUntilMs = Math.max(held.leasedUntilMs, answer.leasedUntilMs)
    }
    this.#runner.lose(taken, 'taken')
  }
}
