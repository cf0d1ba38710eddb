// Commons: the memory that all threads of a manager share, and the coordinator's steps on it.
// Thread: main creates it; partitions attach.
// Owns: the coordinator's view on bells and lanes.

import { invariant, laneError } from '../base/errors.ts'
import { Bell, BellRinger, BellSleeper } from './doorbell.ts'
import {
  BELLS_PER_PARTITION,
  bellWord,
  type CommonsLayout,
  CommonsWord,
  LAYOUT_VERSION,
  type LaneCells,
  layOutCommons,
} from './layout.ts'
import {
  type Excess,
  type LaneTerms,
  type RateCells,
  rateCells,
  TokenBucket,
  writeTerms,
} from './rate-cells.ts'
import type { CommonsViews, SharedMemory } from './views.ts'
import { ownerOf, wakeAll } from './waiters.ts'

/** The commons, seen by any thread. */
export interface AttachedCommons {
  readonly views: CommonsViews
  readonly layout: CommonsLayout
}

/**
 * Maps the commons.
 *
 * @param memory - Made by {@link CoordinatorCommons}.
 * @param partitions - How many there are.
 * @param lanes - What each lane needs.
 * @throws LaneError `CORELANE_LAYOUT_MISMATCH` if another version made the memory.
 */
export function attachCommons(
  memory: SharedMemory,
  partitions: number,
  lanes: readonly LaneCells[],
): AttachedCommons {
  const views = { words: new Int32Array(memory), stamps: new BigInt64Array(memory) }
  const received = views.words[CommonsWord.VERSION]
  if (received !== LAYOUT_VERSION) {
    throw laneError('CORELANE_LAYOUT_MISMATCH', { received, expected: LAYOUT_VERSION })
  }
  return { views, layout: layOutCommons(partitions, lanes) }
}

/**
 * Lets a lane go by other limits, and partitions that wait for it look again.
 *
 * @param terms - The limits.
 */
export function publishTerms(
  { views, layout }: AttachedCommons,
  laneIndex: number,
  terms: LaneTerms,
): void {
  const place = layout.lanes[laneIndex]!
  const version = (views.words[place.version]! + 1) | 0 || 2
  writeTerms(views, place, version, terms)
  // PUBLISH(lane-limits): after the terms, and before the waiters are looked at; pairs with
  // joinWaiters.
  Atomics.store(views.words, place.version, version)
  wakeAll(views, layout, place)
}

/** What the coordinator does with the commons. */
export class CoordinatorCommons {
  /** To be sent to the threads. */
  readonly memory: SharedMemory
  readonly #views: CommonsViews
  readonly #layout: CommonsLayout
  /** What each lane needs, with its present limits. */
  readonly #lanes: LaneCells[]
  /** Words of the bells of living threads. */
  readonly #openBells = new Set<number>()
  /** Global limits, by lane; undefined where there is none or each partition has its own. */
  readonly #rates: (RateCells | undefined)[]
  /** Of token buckets, by lane and partition, or by lane where all partitions share one. */
  readonly #excess: (Excess | undefined)[][]

  /**
   * @param partitions - How many there are.
   * @param lanes - What each lane needs.
   */
  constructor(partitions: number, lanes: readonly LaneCells[]) {
    this.memory = new SharedArrayBuffer(layOutCommons(partitions, lanes).words * 4)
    new Int32Array(this.memory)[CommonsWord.VERSION] = LAYOUT_VERSION
    const { views, layout } = attachCommons(this.memory, partitions, lanes)
    this.#views = views
    this.#layout = layout
    this.#lanes = [...lanes]
    this.#rates = lanes.map((_, index) => this.#rateOf(index))
    this.#excess = lanes.map(() => [])
  }

  /**
   * The coordinator's own bell.
   *
   * @param onWake - Called when a partition rings.
   */
  sleeper(onWake: () => void): BellSleeper {
    return new BellSleeper(this.#views, CommonsWord.BELL, onWake)
  }

  /** A bell for a thread that is about to start: one that no living thread of its partition has. */
  openBell(partition: number): BellRinger {
    let bell = 0
    while (this.#openBells.has(bellWord(partition, bell))) bell++
    invariant(bell < BELLS_PER_PARTITION, `partition ${partition} has a bell left`)
    const word = bellWord(partition, bell)
    this.#openBells.add(word)
    // PUBLISH(bell-wake): no thread sleeps on it or rings it before its own has it.
    Atomics.store(this.#views.words, word, Bell.AWAKE)
    return new BellRinger(this.#views, word)
  }

  /** Gives back the bell of a thread that has exited. */
  closeBell(bell: BellRinger): void {
    this.#openBells.delete(bell.word)
  }

  /**
   * Whether handlers' starts are to be reported.
   *
   * @param isListening - Whether anybody wants to know.
   */
  listen(isListening: boolean): void {
    // PUBLISH(start-listeners): partitions look before each start; a start in between goes
    // unreported.
    Atomics.store(this.#views.words, CommonsWord.LISTENERS, isListening ? 1 : 0)
  }

  /**
   * How many slots of a lane are free. Stale at once.
   *
   * @returns Infinity if its slots are not accounted.
   */
  freeSlots(laneIndex: number): number {
    const { owners, ownerCount } = this.#layout.lanes[laneIndex]!
    if (ownerCount === 0) return Number.POSITIVE_INFINITY
    let free = this.#lanes[laneIndex]!.owners
    for (let i = 0; i < ownerCount; i++) {
      // OBSERVE(lane-slot): taken or freed at any moment.
      if (Atomics.load(this.#views.words, owners + i) !== 0) free--
    }
    return Math.max(0, free)
  }

  /**
   * Changes the limits of a lane: from the moment this returns no command starts by the old ones.
   * Partitions that wait for the lane look again.
   *
   * @param terms - Those to come; where the lane has no slots or no rate, theirs do not matter.
   * @param nowNs - Monotonic nanoseconds.
   */
  setLimits(laneIndex: number, terms: LaneTerms, nowNs: bigint): void {
    const { owners, ownersMax = owners, minConcurrency, rate } = this.#lanes[laneIndex]!
    const scopes = rate === undefined ? 0 : rate.isPerPartition ? this.#layout.partitions : 1
    const before = Array.from({ length: scopes }, (_, scope) => this.#cellsOf(laneIndex, scope))
    this.#lanes[laneIndex] = {
      owners: terms.slots,
      ownersMax,
      minConcurrency,
      rate: rate && { ...rate, limit: terms.limit, windowMs: terms.windowMs },
    }
    this.#rates[laneIndex] = this.#rateOf(laneIndex)
    const excess = this.#excess[laneIndex]!
    for (const [scope, cells] of before.entries()) {
      const after = this.#cellsOf(laneIndex, scope)
      if (cells instanceof TokenBucket) {
        excess[scope] = cells.carry(nowNs, after as TokenBucket, excess[scope])
      }
    }
    publishTerms({ views: this.#views, layout: this.#layout }, laneIndex, terms)
  }

  #cellsOf(laneIndex: number, scope: number): RateCells {
    const { rate } = this.#lanes[laneIndex]!
    return rateCells(this.#views, this.#layout.lanes[laneIndex]!, rate!, scope)
  }

  #rateOf(laneIndex: number): RateCells | undefined {
    const { rate } = this.#lanes[laneIndex]!
    return rate === undefined || rate.isPerPartition ? undefined : this.#cellsOf(laneIndex, 0)
  }

  /**
   * How many commands of a lane one partition could start within a moment, as far as its rate
   * allows.
   *
   * @param nowNs - Monotonic nanoseconds.
   * @param aheadMs - Length of that moment.
   * @returns Infinity if its rate is not limited.
   */
  startsAhead(laneIndex: number, nowNs: bigint, aheadMs: number): number {
    const { rate } = this.#lanes[laneIndex]!
    if (rate === undefined) return Number.POSITIVE_INFINITY
    const refill = Math.ceil((rate.limit * aheadMs) / rate.windowMs)
    const ready = this.#rates[laneIndex]?.available(nowNs)
    // Tokens that are ready now are shared by all partitions; any of them may get those to come.
    const share = ready === undefined ? rate.limit : Math.ceil(ready / this.#layout.partitions)
    return share + refill
  }

  /**
   * Gives back what a thread that has exited held: slots, the timer, and a wake it was given and
   * can no longer pass on. Each slot is freed once: its word names its owner.
   *
   * The number of commands that its partition runs goes back to 0. If a replacement runs some by
   * now, the lane counts as further below its minimum than it is until the next of them starts or
   * ends.
   */
  reclaim(partition: number, incarnation: number): void {
    const owner = ownerOf(partition, incarnation)
    const { words } = this.#views
    for (const lane of this.#layout.lanes) {
      for (let i = 0; i < lane.ownerCount; i++) {
        // PUBLISH(lane-slot): frees a slot as its owner would have.
        Atomics.compareExchange(words, lane.owners + i, owner, 0)
      }
      // PUBLISH(lane-running): the dead thread writes no more.
      Atomics.store(words, lane.running + partition, 0)
      // PUBLISH(lane-timer): no thread waits for the next token any more.
      Atomics.compareExchange(words, lane.timer, owner, 0)
      // It clears the bit of the bell, too, which another thread may have from now on.
      wakeAll(this.#views, this.#layout, lane)
    }
  }
}
