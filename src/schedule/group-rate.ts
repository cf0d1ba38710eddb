// Group rate: when a group may release its next command, as its rate limit says.
// Owns: the starts of one group that still count. Pure: time is a parameter.
//
// The limit is about the moments at which commands start, and those are known later than the
// commands are released. Until then a released command counts as if it started at any moment from
// now on, so no order and no delay of starts can break the limit.

import { Deque } from '../base/deque.ts'
import type { RatePlan } from '../model/lane.ts'

/** The starts of one group that count. */
export interface GroupRate {
  /**
   * When one more command may be released. If that depends on starts that are not known yet: the
   * earliest moment at which they can allow it.
   *
   * @param pending - Released commands whose start is not known.
   * @returns At most `nowMs` if one may be released now.
   */
  nextAtMs(nowMs: number, pending: number): number
  /** Counts a start, whenever it becomes known. */
  started(atMs: number): void
  /** When no start counts any more; never more than the moment of the last look where none does. */
  readonly idleAtMs: number
}

/** Makes what counts the starts of a group by a plan; undefined without one. */
export function groupRatesOf(plan: RatePlan | undefined): (() => GroupRate) | undefined {
  if (plan === undefined) return undefined
  if (plan.isSliding) return () => new WindowRate(plan)
  // Whole nanoseconds, rounded up.
  const intervalMs = Math.ceil((plan.windowMs * 1e6) / plan.limit) / 1e6
  const terms = { limit: plan.limit, intervalMs }
  return () => new BucketRate(terms)
}

/** What all buckets of a plan share. */
interface BucketTerms {
  readonly limit: number
  readonly intervalMs: number
}

/**
 * A token bucket, kept as the moment at which it is full: the generic cell rate algorithm (ITU-T
 * I.371). A start that becomes known late only moves that moment on.
 */
class BucketRate implements GroupRate {
  readonly #terms: BucketTerms
  idleAtMs = Number.NEGATIVE_INFINITY

  constructor(terms: BucketTerms) {
    this.#terms = terms
  }

  nextAtMs(nowMs: number, pending: number): number {
    const { limit, intervalMs } = this.#terms
    return Math.max(this.idleAtMs, nowMs) + (pending + 1 - limit) * intervalMs
  }

  started(atMs: number): void {
    this.idleAtMs = Math.max(this.idleAtMs, atMs) + this.#terms.intervalMs
  }
}

/** The starts of the window before now. */
class WindowRate implements GroupRate {
  readonly #limit: number
  readonly #windowMs: number
  readonly #ends = new Deque<number>()

  constructor({ limit, windowMs }: RatePlan) {
    this.#limit = limit
    this.#windowMs = windowMs
  }

  get idleAtMs(): number {
    return this.#ends.last ?? Number.NEGATIVE_INFINITY
  }

  nextAtMs(nowMs: number, pending: number): number {
    const ends = this.#ends
    while (ends.length > 0 && ends.first! <= nowMs) ends.shift()
    // A pending command may start now, and then counts for a whole window.
    if (pending >= this.#limit) return nowMs + this.#windowMs
    return ends.length + pending < this.#limit ? nowMs : ends.first!
  }

  started(atMs: number): void {
    // In order: a start that becomes known after a later one counts as long as that one.
    this.#ends.push(Math.max(this.idleAtMs, atMs + this.#windowMs))
  }
}
