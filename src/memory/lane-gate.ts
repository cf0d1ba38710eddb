// Lane gate: takes a lane's slot and token for a command that is about to start.
// Thread: partition.
// Owns: what this thread holds and waits for in the commons.
// Exact over all partitions: a slot is a word with one owner, a token one compare-and-swap.

import { nowMs } from '../base/clock.ts'
import type { AttachedCommons } from './commons.ts'
import { bellNumber, CommonsWord, type LaneCells, type LanePlace } from './layout.ts'
import { type RateCells, type RateTerms, rateCells, readTerms } from './rate-cells.ts'
import type { CommonsViews } from './views.ts'
import { handOn, hasWaiters, isWaiting, joinWaiters, leaveWaiters, ownerOf } from './waiters.ts'

/** No slot of the lane is held, since its number of running commands has no bound. */
const NO_SLOT = -1

/**
 * For so long a partition takes the slots that it frees again without waking who waits for them: a
 * wake costs as much as many short commands. Then it lets the next one have its turn.
 */
const SLICE_MS = 1

/** One lane as this partition sees it. */
interface GatedLane {
  readonly place: LanePlace
  readonly min: number
  /** Version of its limits as this thread knows them. */
  version: number
  /** Slots that may be taken: the first ones. */
  limit: number
  /** Whether no slot beyond those was held when this thread looked, under the present version. */
  isSettled: boolean
  rate: RateCells | undefined
  readonly terms: RateTerms | undefined
  /** Whether each partition has a limit of its own. */
  readonly isOwnRate: boolean
  /** Before this moment the limit refuses, others can only make it later; 0 if it let one in. */
  dueMs: number
  /** Where the search for a free slot starts. */
  hint: number
  running: number
  /** Until when freed slots are kept from the waiters; 0 before the first is taken. */
  sliceEndsMs: number
  /** Until when this thread takes none, since it is another's turn; 0 if it is its own. */
  yieldUntilMs: number
  /** Slots freed without waking a waiter, since this thread is about to take them again. */
  untold: number
  /** Refused in the present look. */
  isRefused: boolean
  /** Refused then by the rate limit; otherwise for want of a slot. */
  awaitsToken: boolean
  /** Where its bit among the waiters is, as far as this thread knows; 0 if it does not wait. */
  waiters: number
  /** It was woken in the set of waiters that it was in before. */
  hasWake: boolean
  /** Joined them to wait for a token: it has the timer, or another partition does. */
  hasJoinedForToken: boolean
}

/** Lets commands of lanes start. */
export class LaneGate {
  /** Clock reading with which the last command was let in. */
  startedAtMs = 0
  /** Slot that the last command let in holds; give it back with {@link LaneGate.leave}. */
  slot: number = NO_SLOT
  readonly #commons: AttachedCommons
  readonly #views: CommonsViews
  readonly #partition: number
  readonly #bell: number
  readonly #owner: number
  readonly #lanes: readonly GatedLane[]
  /** Lanes that refused in the present look. */
  readonly #refused: GatedLane[] = []
  /** Lanes in which this thread is among the waiters or holds the timer. */
  #waitingCount = 0
  /** Slots of all lanes that were freed without waking a waiter. */
  #untoldCount = 0

  /**
   * @param lanes - What each lane needs.
   * @param partition - Index of this partition.
   * @param incarnation - Number of this thread.
   * @param bell - Int32 index of its bell.
   */
  constructor(
    commons: AttachedCommons,
    lanes: readonly LaneCells[],
    partition: number,
    incarnation: number,
    bell: number,
  ) {
    this.#commons = commons
    this.#views = commons.views
    this.#partition = partition
    this.#bell = bellNumber(bell)
    this.#owner = ownerOf(partition, incarnation)
    this.#lanes = lanes.map((cells, index) => {
      const place = commons.layout.lanes[index]!
      const { owners, rate, minConcurrency } = cells
      return {
        place,
        min: minConcurrency,
        version: 0,
        limit: owners,
        isSettled: true,
        terms: rate,
        rate: rate && rateCells(commons.views, place, rate, partition),
        isOwnRate: rate?.isPerPartition === true,
        dueMs: 0,
        hint: 0,
        running: 0,
        sliceEndsMs: 0,
        yieldUntilMs: 0,
        untold: 0,
        isRefused: false,
        awaitsToken: false,
        waiters: 0,
        hasWake: false,
        hasJoinedForToken: false,
      }
    })
  }

  /** Whether anybody wants to know when handlers start. */
  get hasListeners(): boolean {
    // OBSERVE(start-listeners): a start in between goes unreported.
    return Atomics.load(this.#views.words, CommonsWord.LISTENERS) !== 0
  }

  /**
   * Whether a lane runs fewer commands than it is promised. May be off by those that start or end
   * at this moment.
   */
  isUnderMin(laneIndex: number): boolean {
    const { min, place } = this.#lanes[laneIndex]!
    if (min === 0) return false
    let running = 0
    for (let i = 0; i < this.#commons.layout.partitions; i++) {
      // OBSERVE(lane-running): each partition counts its own.
      running += Atomics.load(this.#views.words, place.running + i)
      if (running >= min) return false
    }
    return true
  }

  /** Starts a look for something to run: which lanes refused before is forgotten. */
  beginLook(): void {
    if (this.#refused.length === 0) return
    for (const lane of this.#refused) lane.isRefused = false
    this.#refused.length = 0
  }

  /**
   * Takes a slot and a token of a lane.
   *
   * @returns Whether a command of it may start now; then `startedAtMs` and `slot` are set.
   */
  enter(laneIndex: number): boolean {
    const lane = this.#lanes[laneIndex]!
    for (;;) {
      if (!this.#isCurrent(lane)) this.#refresh(lane)
      if (lane.dueMs > 0 && nowMs() < lane.dueMs) return this.#refuse(lane, true)
      let slot = NO_SLOT
      if (lane.place.ownerCount > 0) {
        if (this.#isYielding(lane)) return this.#refuse(lane, false)
        slot = this.#takeSlot(lane)
        if (slot === NO_SLOT) return this.#refuse(lane, false)
      }
      // Read once the slot is held: by its stamp, too, no command starts before another has ended.
      const now = nowMs()
      const { rate } = lane
      if (rate !== undefined) {
        const dueNs = rate.take(toNs(now))
        lane.dueMs = Number(dueNs) / 1e6
        if (dueNs > 0n) {
          if (slot !== NO_SLOT) this.#giveBackUnused(lane, slot)
          return this.#refuse(lane, true)
        }
      }
      if (this.#isCurrent(lane)) {
        this.#enter(lane, slot, now)
        return true
      }
      // Taken by limits that do not hold any more; a token that was taken is lost.
      if (slot !== NO_SLOT) this.#giveBackUnused(lane, slot)
    }
  }

  #enter(lane: GatedLane, slot: number, now: number): void {
    if (slot !== NO_SLOT && lane.sliceEndsMs === 0) lane.sliceEndsMs = now + SLICE_MS
    this.slot = slot
    this.startedAtMs = now
    if (lane.min > 0) this.#countRunning(lane, 1)
    if (lane.rate !== undefined) this.#passOnTimer(lane)
  }

  /**
   * Gives back what a command held. Call it once its result can be read.
   *
   * @param slot - As {@link LaneGate.enter} set it.
   */
  leave(laneIndex: number, slot: number): void {
    const lane = this.#lanes[laneIndex]!
    if (lane.min > 0) this.#countRunning(lane, -1)
    if (slot !== NO_SLOT) this.#freeSlot(lane, slot)
  }

  /**
   * Joins the waiters of every lane that refused in the present look, and leaves all others. Look
   * once more after it.
   *
   * @param isBusy - Whether handlers are under way in this thread, so that it may not look for long
   * though it is rung.
   * @returns When this thread must look again by itself; Infinity if others see to that.
   */
  joinWaiters(isBusy: boolean): number {
    this.#tell()
    if (this.#waitingCount > 0) this.#leave((lane) => !lane.isRefused)
    const { words } = this.#views
    let dueMs = Number.POSITIVE_INFINITY
    for (const lane of this.#refused) {
      this.#join(lane, isBusy ? lane.place.busyWaiters : lane.place.waiters)
      lane.hasJoinedForToken = lane.awaitsToken
      // The thread whose turn it is may not take it: then none would ring. One that awaits a token
      // does not look at the slots, so its turn to keep off them would never be over.
      if (lane.yieldUntilMs > 0 && !lane.awaitsToken) dueMs = Math.min(dueMs, lane.yieldUntilMs)
      if (lane.rate === undefined) continue
      // Where each partition has a limit of its own, no other knows when this one's token comes.
      if (lane.isOwnRate) {
        if (lane.awaitsToken) dueMs = Math.min(dueMs, lane.dueMs)
        continue
      }
      // It waits for a slot: the thread that frees one wakes it, and those that wait for the token
      // need the timer. A busy one may hold the timer up: it sets one of its own.
      if (!lane.awaitsToken || isBusy) {
        if (this.#giveUpTimer(lane)) this.#handOn(lane)
        if (lane.awaitsToken) dueMs = Math.min(dueMs, lane.dueMs)
        continue
      }
      // PUBLISH(lane-timer): one partition waits for the next token; the others it hands on to.
      // OBSERVE(lane-timer): 0 means that none does.
      const holder = Atomics.compareExchange(words, lane.place.timer, 0, this.#owner)
      if (holder === 0 || holder === this.#owner) dueMs = Math.min(dueMs, lane.dueMs)
    }
    return dueMs
  }

  /** Whether this thread waits for what every lane that refused in the present look refused it. */
  get hasJoinedAll(): boolean {
    return this.#refused.every(
      (lane) => lane.waiters !== 0 && (lane.hasJoinedForToken || !lane.awaitsToken),
    )
  }

  /**
   * Leaves all waiters, since this thread has something to run, and passes on wakes it was given.
   */
  leaveWaiters(): void {
    this.#tell()
    if (this.#waitingCount > 0) this.#leave(() => true)
  }

  #join(lane: GatedLane, waiters: number): void {
    const { words } = this.#views
    const before = lane.waiters
    if (before === 0) this.#waitingCount++
    lane.waiters = waiters
    joinWaiters(words, waiters, this.#bell)
    if (before === 0 || before === waiters) return
    // It must still take or pass on what the other set woke it for.
    if (!leaveWaiters(words, before, this.#bell)) lane.hasWake = true
  }

  #leave(isLeft: (lane: GatedLane) => boolean): void {
    const { words } = this.#views
    for (const lane of this.#lanes) {
      if (lane.waiters === 0 || !isLeft(lane)) continue
      const wasWoken = !leaveWaiters(words, lane.waiters, this.#bell) || lane.hasWake
      lane.waiters = 0
      lane.hasWake = false
      this.#waitingCount--
      const held = this.#giveUpTimer(lane)
      // It may have taken another slot than the one it was woken for.
      if (held || (wasWoken && this.#isOpen(lane))) this.#handOn(lane)
    }
  }

  /** Whether another partition could take something of the lane. */
  #isOpen(lane: GatedLane): boolean {
    const { place } = lane
    if (place.ownerCount === 0) return true
    if (!this.#isCurrent(lane)) this.#refresh(lane)
    const usable = this.#usable(lane)
    for (let slot = 0; slot < usable; slot++) {
      // OBSERVE(lane-slot): freed before this thread's bit was cleared, so it is seen free here.
      if (Atomics.load(this.#views.words, place.owners + slot) === 0) return true
    }
    return false
  }

  #refuse(lane: GatedLane, awaitsToken: boolean): false {
    lane.awaitsToken = awaitsToken
    if (!lane.isRefused) this.#refused.push(lane)
    lane.isRefused = true
    return false
  }

  /** Whether the limits of a lane are those that this thread knows. */
  #isCurrent({ place, version }: GatedLane): boolean {
    // OBSERVE(lane-limits): loaded after what was taken, so that a start by limits that are gone
    // was before them.
    return Atomics.load(this.#views.words, place.version) === version
  }

  /** Learns the present limits of a lane. */
  #refresh(lane: GatedLane): void {
    const { place, terms } = lane
    do {
      lane.version = Atomics.load(this.#views.words, place.version)
      const { slots, limit, windowMs } = readTerms(this.#views, place, lane.version)
      lane.limit = slots
      if (terms !== undefined && this.#isCurrent(lane)) {
        const changed = { ...terms, limit, windowMs }
        lane.rate = rateCells(this.#views, place, changed, this.#partition)
      }
    } while (!this.#isCurrent(lane))
    lane.isSettled = false
    lane.dueMs = 0
    lane.hint = 0
  }

  /**
   * How many of the first slots may be taken: so many that they and those that are held beyond are
   * within the limit. It only grows while a limit holds, since those beyond are not taken.
   */
  #usable(lane: GatedLane): number {
    const { limit, place } = lane
    if (lane.isSettled) return limit
    let held = 0
    for (let slot = place.ownerCount - 1; slot >= 0; slot--) {
      if (slot < limit - held) {
        lane.isSettled = held === 0
        return slot + 1
      }
      // OBSERVE(lane-slot): 0 means that its owner gave it back.
      if (Atomics.load(this.#views.words, place.owners + slot) !== 0) held++
    }
    return 0
  }

  #takeSlot(lane: GatedLane): number {
    const { owners } = lane.place
    const { words } = this.#views
    const usable = this.#usable(lane)
    if (lane.hint >= usable) lane.hint = 0
    for (let step = 0; step < usable; step++) {
      const slot = lane.hint + step < usable ? lane.hint + step : lane.hint + step - usable
      if (Atomics.load(words, owners + slot) !== 0) continue
      // OBSERVE(lane-slot): 0 means that its owner gave it back.
      if (Atomics.compareExchange(words, owners + slot, 0, this.#owner) !== 0) continue
      lane.hint = slot
      if (lane.untold > 0) {
        lane.untold--
        this.#untoldCount--
      }
      return slot
    }
    return NO_SLOT
  }

  /** Gives back a slot for which there was no token: somebody else may have known of none. */
  #giveBackUnused(lane: GatedLane, slot: number): void {
    // PUBLISH(lane-slot): given back before the waiters are looked at; pairs with joinWaiters.
    Atomics.store(this.#views.words, lane.place.owners + slot, 0)
    this.#handOn(lane)
  }

  #freeSlot(lane: GatedLane, slot: number): void {
    const { words } = this.#views
    // PUBLISH(lane-slot): given back before the waiters are looked at; pairs with joinWaiters.
    Atomics.store(words, lane.place.owners + slot, 0)
    if (!hasWaiters(words, lane.place, this.#commons.layout.partitions)) return
    const now = nowMs()
    if (now < lane.sliceEndsMs) {
      lane.untold++
      this.#untoldCount++
      return
    }
    lane.sliceEndsMs = 0
    lane.yieldUntilMs = now + SLICE_MS
    this.#handOn(lane)
  }

  /** Whether the lane's slots are another's to take for the moment. */
  #isYielding(lane: GatedLane): boolean {
    if (lane.yieldUntilMs === 0) return false
    const now = nowMs()
    const { words } = this.#views
    const isWoken =
      lane.hasWake || (lane.waiters !== 0 && !isWaiting(words, lane.waiters, this.#bell))
    if (now < lane.yieldUntilMs && !isWoken) return true
    lane.yieldUntilMs = 0
    return false
  }

  /** Hands on the slots that were freed and not taken again in the look that has just ended. */
  #tell(): void {
    if (this.#untoldCount === 0) return
    this.#untoldCount = 0
    for (const lane of this.#lanes) {
      if (lane.untold === 0) continue
      lane.untold = 0
      if (this.#isOpen(lane)) this.#handOn(lane)
    }
  }

  /** After a token was taken the next one is for a waiter: this thread is busy now. */
  #passOnTimer(lane: GatedLane): void {
    if (lane.isOwnRate) return
    if (this.#giveUpTimer(lane)) this.#handOn(lane)
  }

  /** Stops waiting for the next token on behalf of all; whether this thread did. */
  #giveUpTimer(lane: GatedLane): boolean {
    const { words } = this.#views
    // PUBLISH(lane-timer): given up before the next one is looked for.
    return Atomics.compareExchange(words, lane.place.timer, this.#owner, 0) === this.#owner
  }

  #handOn(lane: GatedLane): void {
    handOn(this.#views, this.#commons.layout, lane.place, this.#bell)
  }

  #countRunning(lane: GatedLane, change: 1 | -1): void {
    lane.running += change
    // PUBLISH(lane-running): this thread is the only writer.
    Atomics.store(this.#views.words, lane.place.running + this.#partition, lane.running)
  }
}

/** A clock reading in the unit of the stamps. */
export function toNs(ms: number): bigint {
  return BigInt(Math.floor(ms * 1e6))
}
