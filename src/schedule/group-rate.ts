// Group rate: when a group may release its next command, as the rate limit of its lane says.
// Owns: the starts that still count. Pure: time is a parameter, and a group is a number.
//
// The limit is about the moments at which commands start, and those are known later than the
// commands are released. Until then a released command counts as if it started at any moment from
// now on, so no order and no delay of starts can break the limit.

import { Deque } from '../base/deque.ts'
import { RenewedMap } from '../base/renewed-map.ts'
import type { RatePlan } from '../model/lane.ts'

/** The starts of the groups of one lane that count. */
export interface GroupRate {
  /**
   * When one more command may be released. If that depends on starts that are not known yet: the
   * earliest moment at which they can allow it.
   *
   * @param pending - Released commands of the group whose start is not known.
   * @returns At most `nowMs` if one may be released now.
   */
  nextAtMs(group: number, nowMs: number, pending: number): number
  /** Counts a start, whenever it becomes known. */
  started(group: number, atMs: number): void
  /** Forgets the starts of a group. */
  forget(group: number): void
}

/** When no start counts any more, by group; a moment that has passed where none does. */
interface RateBook {
  readonly idleAtMs: Float64Array
}

/** Counts the starts of groups by a plan; undefined without one. */
export function groupRateOf(plan: RatePlan | undefined, book: RateBook): GroupRate | undefined {
  if (plan === undefined) return undefined
  return plan.isSliding ? new WindowRate(plan, book) : new BucketRate(plan, book)
}

/**
 * Token buckets, each kept as the moment at which it is full: the generic cell rate algorithm
 * (ITU-T I.371). A start that becomes known late only moves that moment on.
 */
class BucketRate implements GroupRate {
  readonly #book: RateBook
  readonly #limit: number
  readonly #intervalMs: number

  constructor({ limit, windowMs }: RatePlan, book: RateBook) {
    this.#book = book
    this.#limit = limit
    // Whole nanoseconds, rounded up.
    this.#intervalMs = Math.ceil((windowMs * 1e6) / limit) / 1e6
  }

  nextAtMs(group: number, nowMs: number, pending: number): number {
    const fullAtMs = Math.max(this.#book.idleAtMs[group]!, nowMs)
    return fullAtMs + (pending + 1 - this.#limit) * this.#intervalMs
  }

  started(group: number, atMs: number): void {
    const { idleAtMs } = this.#book
    idleAtMs[group] = Math.max(idleAtMs[group]!, atMs) + this.#intervalMs
  }

  forget(group: number): void {
    this.#book.idleAtMs[group] = 0
  }
}

/** The starts of the window before now. */
class WindowRate implements GroupRate {
  readonly #book: RateBook
  readonly #limit: number
  readonly #windowMs: number
  /** When the starts of a group cease to count, in order. */
  readonly #ends = new RenewedMap<number, Deque<number>>()

  constructor({ limit, windowMs }: RatePlan, book: RateBook) {
    this.#book = book
    this.#limit = limit
    this.#windowMs = windowMs
  }

  nextAtMs(group: number, nowMs: number, pending: number): number {
    const ends = this.#ends.get(group)
    while (ends?.first !== undefined && ends.first <= nowMs) ends.shift()
    // A pending command may start now, and then counts for a whole window.
    if (pending >= this.#limit) return nowMs + this.#windowMs
    return (ends?.length ?? 0) + pending < this.#limit ? nowMs : ends!.first!
  }

  started(group: number, atMs: number): void {
    let ends = this.#ends.get(group)
    if (ends === undefined) {
      ends = new Deque()
      this.#ends.set(group, ends)
    }
    const { idleAtMs } = this.#book
    // In order: a start that becomes known after a later one counts as long as that one.
    const endMs = Math.max(idleAtMs[group]!, atMs + this.#windowMs)
    ends.push(endMs)
    idleAtMs[group] = endMs
  }

  forget(group: number): void {
    this.#ends.delete(group)
    this.#book.idleAtMs[group] = 0
  }
}
