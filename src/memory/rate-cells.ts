// Rate cells: how many commands of a lane may start, counted exactly across threads.
// Thread: any number of partitions.
// Owns: the stamps of one limit.
// Time is a parameter. A start is one compare-and-swap, and nothing needs repair when a thread
// dies.

import { invariant } from '../base/errors.ts'
import { CURSOR_WORDS, type LanePlace, TERM_CELLS } from './layout.ts'
import type { CommonsViews } from './views.ts'

/** A rate limit in shared memory. */
export interface RateCells {
  /**
   * Takes the right to start one command.
   *
   * @param nowNs - A clock reading made by the caller just before.
   * @returns 0n if it may start, stamped `nowNs`; else the earliest moment at which one may.
   */
  take(nowNs: bigint): bigint
  /**
   * How many could start now. Stale at once.
   *
   * @param nowNs - Monotonic nanoseconds.
   */
  available(nowNs: bigint): number
}

/**
 * Tokens that were taken by higher terms, beyond those that there are by the present ones. They
 * come back evenly, in the time in which they would have by the higher terms.
 */
export interface Excess {
  readonly untilNs: bigint
  /** Tokens that come back in a nanosecond. */
  readonly perNs: number
}

/**
 * A token bucket, as the generic cell rate algorithm (ITU-T I.371) keeps it: one cell holds the
 * theoretical arrival time, which every start moves on by the interval between tokens. In any
 * interval d at most limit + limit * d / window starts are stamped, whichever thread stamped them:
 * each start moves the cell on by a full interval, and none is granted more than `limit - 1`
 * intervals ahead.
 */
export class TokenBucket implements RateCells {
  readonly #stamps: BigInt64Array
  readonly #cell: number
  readonly #intervalNs: bigint
  readonly #aheadNs: bigint
  readonly #limit: number

  /**
   * @param stamps - Shared memory.
   * @param cell - Index of its cell.
   * @param limit - Tokens it holds.
   * @param windowMs - Time in which it refills from empty to full.
   */
  constructor(stamps: BigInt64Array, cell: number, limit: number, windowMs: number) {
    this.#stamps = stamps
    this.#cell = cell
    this.#limit = limit
    // Rounded up: the bound must hold, at the price of less than a nanosecond in each interval.
    this.#intervalNs = BigInt(Math.ceil((windowMs * 1e6) / limit))
    this.#aheadNs = this.#intervalNs * BigInt(limit - 1)
  }

  take(nowNs: bigint): bigint {
    for (;;) {
      const arrival = Atomics.load(this.#stamps, this.#cell)
      const due = arrival - this.#aheadNs
      if (nowNs < due) return due
      const next = (arrival > nowNs ? arrival : nowNs) + this.#intervalNs
      // PUBLISH(rate-stamp): a failed swap means that another thread started one.
      // OBSERVE(rate-stamp): the swap reads what all threads wrote.
      if (Atomics.compareExchange(this.#stamps, this.#cell, arrival, next) === arrival) return 0n
    }
  }

  /**
   * Counts the tokens that are taken by other terms, before those hold: starts in between move the
   * cell on by the present interval.
   *
   * @param terms - The others.
   * @param before - Tokens that are taken beyond those that the cell says.
   * @returns The same by the other terms.
   */
  carry(nowNs: bigint, terms: TokenBucket, before: Excess | undefined): Excess | undefined {
    for (;;) {
      const arrival = Atomics.load(this.#stamps, this.#cell)
      const until = before !== undefined && before.untilNs > arrival ? before.untilNs : arrival
      if (until <= nowNs) return undefined
      const cellNs = Math.max(0, Number(arrival - nowNs))
      const excess = before === undefined ? 0 : Number(before.untilNs - nowNs) * before.perNs
      const taken = cellNs / Number(this.#intervalNs) + Math.max(0, excess)
      const intervalNs = Number(terms.#intervalNs)
      let next = nowNs + BigInt(Math.ceil(Math.min(terms.#limit, taken) * intervalNs))
      // Earlier than it was, it would let more start by the present terms than by the others.
      if (next < arrival && terms.#intervalNs >= this.#intervalNs) next = arrival
      // PUBLISH(rate-stamp): a failed swap means that another thread started one.
      if (Atomics.compareExchange(this.#stamps, this.#cell, arrival, next) !== arrival) continue
      const left = taken - Number(next - nowNs) / intervalNs
      return left > 0 ? { untilNs: until, perNs: left / Number(until - nowNs) } : undefined
    }
  }

  available(nowNs: bigint): number {
    const lead = Atomics.load(this.#stamps, this.#cell) - nowNs
    return lead <= 0n ? this.#limit : this.#limit - this.#taken(lead)
  }

  /** Tokens that are taken: never more than there are, though a lower limit's intervals say so. */
  #taken(leadNs: bigint): number {
    return Math.min(this.#limit, Number((leadNs + this.#intervalNs - 1n) / this.#intervalNs))
  }
}

/**
 * A sliding window: a cell per start that the limit allows. A start swaps a stamp that is a window
 * old for its own. If limit + 1 starts lay in one window, two of them would share a cell, and the
 * later would have found the earlier less than a window old. Where there are more cells than the
 * limit allows starts, since it was lowered, the stamp of the start that lies `limit` starts back
 * must be a window old as well. A start in between changes the cell at the cursor, and the swap
 * fails.
 *
 * The cells are a ring; the cursor is at the oldest. Stamps ascend around the ring, but for the
 * moments by which threads' clock readings and swaps cross. A thread may die between its two swaps:
 * the next one finds the cell at the cursor to be the newest, and moves the cursor on in its place.
 */
export class SlidingWindow implements RateCells {
  readonly #views: CommonsViews
  readonly #cursor: number
  readonly #first: number
  readonly #count: number
  readonly #windowNs: bigint
  /** Cells that more starts would need than the limit allows. */
  readonly #spare: number

  /**
   * @param views - Shared memory.
   * @param cursor - Int32 index of the cursor.
   * @param first - Index of the first cell.
   * @param limit - Starts in a window.
   * @param windowMs - Length of the window.
   * @param count - Number of cells, at least `limit`.
   */
  constructor(
    views: CommonsViews,
    cursor: number,
    first: number,
    limit: number,
    windowMs: number,
    count = limit,
  ) {
    this.#views = views
    this.#cursor = cursor
    this.#first = first
    this.#count = count
    this.#spare = count - limit
    this.#windowNs = BigInt(Math.ceil(windowMs * 1e6))
  }

  take(nowNs: bigint): bigint {
    const { words, stamps } = this.#views
    for (;;) {
      const at = Atomics.load(words, this.#cursor)
      const after = at + 1 === this.#count ? 0 : at + 1
      const oldest = Atomics.load(stamps, this.#first + at)
      const dueNs = this.#dueNs(at, oldest)
      if (dueNs <= nowNs) {
        // PUBLISH(rate-stamp): a failed swap means that another thread started one.
        if (Atomics.compareExchange(stamps, this.#first + at, oldest, nowNs) !== oldest) continue
        // PUBLISH(rate-cursor): a thread that finds it not moved on moves it.
        Atomics.compareExchange(words, this.#cursor, at, after)
        return 0n
      }
      if (!this.#isBehind(at, after, oldest)) return dueNs
      // OBSERVE(rate-cursor): the thread that stamped this cell has not moved the cursor yet.
      Atomics.compareExchange(words, this.#cursor, at, after)
    }
  }

  /** When one may start, if the cell at the cursor is the oldest; 0n if it was never used. */
  #dueNs(at: number, oldest: bigint): bigint {
    let newest = oldest
    if (this.#spare > 0) {
      const stamp = Atomics.load(
        this.#views.stamps,
        this.#first + ((at + this.#spare) % this.#count),
      )
      if (stamp > newest) newest = stamp
    }
    return newest === 0n ? 0n : newest + this.#windowNs
  }

  /**
   * Whether the cell at the cursor is the newest, not the oldest. Compared with the one before it
   * too: a thread that read its clock a little early leaves a stamp below its neighbours', and no
   * cell may be passed over for that.
   */
  #isBehind(at: number, after: number, stamp: bigint): boolean {
    const { stamps } = this.#views
    if (this.#count === 1 || stamp <= Atomics.load(stamps, this.#first + after)) return false
    const before = at === 0 ? this.#count - 1 : at - 1
    return stamp >= Atomics.load(stamps, this.#first + before)
  }

  available(nowNs: bigint): number {
    const { words, stamps } = this.#views
    const at = Atomics.load(words, this.#cursor)
    const isFree = (offset: number): boolean => {
      const stamp = Atomics.load(stamps, this.#first + ((at + offset) % this.#count))
      return stamp === 0n || stamp + this.#windowNs <= nowNs
    }
    // Stamps ascend from the cursor on, so the free cells come first.
    let free = 0
    let taken = this.#count
    while (free < taken) {
      const middle = (free + taken) >> 1
      if (isFree(middle)) free = middle + 1
      else taken = middle
    }
    return Math.max(0, free - this.#spare)
  }
}

/** What a limit allows. */
export interface RateTerms {
  readonly limit: number
  readonly windowMs: number
  readonly isSliding: boolean
  readonly isPerPartition: boolean
}

/**
 * The cells of a lane's limit as one partition sees them.
 *
 * @param place - Where the lane's cells are.
 * @param terms - What the limit allows.
 * @param partition - Index of the partition; it matters if each has a limit of its own.
 */
export function rateCells(
  views: CommonsViews,
  place: LanePlace,
  terms: RateTerms,
  partition: number,
): RateCells {
  const scope = terms.isPerPartition ? partition : 0
  const first = place.stamps + scope * place.stampCount
  const { limit, windowMs } = terms
  invariant(first + place.stampCount <= views.stamps.length, 'the stamps lie in the commons')
  if (!terms.isSliding) return new TokenBucket(views.stamps, first, limit, windowMs)
  const cursor = place.cursor + scope * CURSOR_WORDS
  return new SlidingWindow(views, cursor, first, limit, windowMs, place.stampCount)
}

/** What a lane allows. */
export interface LaneTerms {
  /** Commands that may run at once, if that is accounted. */
  readonly slots: number
  readonly limit: number
  readonly windowMs: number
}

/** The cells of the limits of a version. */
function termsAt({ terms }: LanePlace, version: number): number {
  return terms + (version & 1) * TERM_CELLS
}

/**
 * Writes what a lane allows under its next version, which holds once it is stored.
 *
 * @param place - Where the lane's cells are.
 * @param version - The next one.
 */
export function writeTerms(
  { stamps }: CommonsViews,
  place: LanePlace,
  version: number,
  { slots, limit, windowMs }: LaneTerms,
): void {
  const at = termsAt(place, version)
  const cells = [slots, limit, Math.round(windowMs * 1e6)]
  // PUBLISH(lane-terms): before the version, so that who sees that sees these.
  for (const [i, value] of cells.entries()) Atomics.store(stamps, at + i, BigInt(value))
}

/**
 * Reads what a lane allows. Load the version once more after it: if it has changed, this is torn.
 *
 * @param place - Where the lane's cells are.
 * @param version - The present one, not 0.
 */
export function readTerms({ stamps }: CommonsViews, place: LanePlace, version: number): LaneTerms {
  const at = termsAt(place, version)
  // OBSERVE(lane-terms): those of this version, unless the one after the next is being written.
  const cell = (index: number): number => Number(Atomics.load(stamps, at + index))
  return { slots: cell(0), limit: cell(1), windowMs: cell(2) / 1e6 }
}
