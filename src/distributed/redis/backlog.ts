// Backlog: a worker's beliefs about waiting commands by partition and lane, so that one round
// trip leases from the right partitions, and an idle worker need not ask.
// Owns: the beliefs.
//
// While announcements are received, a belief holds until the next one: commands that come to an
// empty lane, come back or are delayed are announced. Else it expires.

import { nowMs } from '../../base/clock.ts'
import type { LaneDemand } from '../contract/distributed-queue.ts'
import { isGroupedLane } from './keys.ts'

const NEVER = Number.POSITIVE_INFINITY

/** What is believed of a lane of a partition. */
interface Belief {
  /** How much there is; undefined if Redis was not asked. */
  count: number | undefined
  /** Whether an answer to the last question may lack something: it was announced, or doubted. */
  isOvertaken: boolean
  /** How much was announced after Redis was asked last. */
  more: number
  /** Whether the count is the answer to a question that nothing overtook. */
  isCurrent: boolean
}

interface PartitionBelief {
  readonly lanes: Map<string, Belief>
  /** When Redis said last what there is. */
  seenMs: number
  /** When something that is kept back is due. */
  dueMs: number
  /** When a lease may have expired. */
  reapMs: number
  /** The earliest of both that came up after Redis was asked last. */
  readonly since: { dueMs: number; reapMs: number }
}

type Lanes = readonly Pick<LaneDemand, 'laneId'>[]

export class Backlog {
  isReceiving = false
  /** How long a belief holds while they are not, in milliseconds. */
  holdsMs = 0
  readonly #partitions = new Map<number, PartitionBelief>()

  /** How much of a lane of a partition there is; unknown if Redis was not asked. */
  get(partition: number, lane: string): number | undefined {
    return this.#partitions.get(partition)?.lanes.get(lane)?.count
  }

  /** Redis is asked about some lanes of a partition: one question after the other. */
  asking(partition: number, lanes: Lanes): void {
    const one = this.#of(partition)
    Object.assign(one.since, { dueMs: NEVER, reapMs: NEVER })
    for (const { laneId } of lanes) {
      const { count, isCurrent = false } = one.lanes.get(laneId) ?? {}
      one.lanes.set(laneId, { count, isOvertaken: false, more: 0, isCurrent })
    }
  }

  /**
   * Redis says how much there is.
   *
   * @returns Whether that holds: nothing came up meanwhile that may be missing from it.
   */
  answered(partition: number, lanes: Lanes, counts: readonly number[]): boolean {
    const one = this.#of(partition)
    one.seenMs = nowMs()
    for (const [i, { laneId }] of lanes.entries()) {
      const belief = one.lanes.get(laneId)
      // Forgotten since: the answer may be older than what is announced from now on.
      if (belief === undefined) continue
      // Too much costs a question; too little may stay unseen while others have enough.
      belief.count = counts[i]! + belief.more
      belief.isCurrent = !belief.isOvertaken
    }
    return lanes.every(({ laneId }) => one.lanes.get(laneId)?.isCurrent)
  }

  /**
   * Commands of a lane were announced: so many came; 0: some were kept back.
   *
   * @returns Whether anybody here asks for the lane.
   */
  announced(partition: number, lane: string, count: number): boolean {
    const belief = this.#partitions.get(partition)?.lanes.get(lane)
    if (belief === undefined) return false
    belief.isOvertaken = true
    belief.more += count
    if (belief.count !== undefined) belief.count += count
    return true
  }

  /** Whether what is believed of some lanes of a partition holds. */
  isCurrent(partition: number, lanes: Lanes): boolean {
    const one = this.#partitions.get(partition)
    if (one === undefined) return false
    if (!this.isReceiving) return nowMs() - one.seenMs < this.holdsMs
    return lanes.every(({ laneId }) => one.lanes.get(laneId)?.isCurrent)
  }

  /** Whether partitions are not known to have anything of some lanes. */
  isEmpty(partitions: readonly number[], lanes: Lanes): boolean {
    return partitions.every((partition) =>
      lanes.every(({ laneId }) => !this.get(partition, laneId)),
    )
  }

  /** Whether Redis was never asked about some lane of a partition. */
  isUnknown(partition: number, lanes: Lanes): boolean {
    return lanes.some(({ laneId }) => this.get(partition, laneId) === undefined)
  }

  /** What is believed of a partition does not hold: it is asked before anybody waits again. */
  distrust(partition: number): void {
    for (const belief of this.#of(partition).lanes.values()) {
      belief.isCurrent = false
      belief.isOvertaken = true
    }
  }

  /** A partition is to be looked after now, whatever is believed of it. */
  doubt(partition: number): void {
    this.distrust(partition)
    this.add(partition, 'reapMs', 0)
  }

  forget(): void {
    for (const one of this.#partitions.values()) one.lanes.clear()
  }

  /** Redis says when something of a partition is due, and when a lease of it may have expired. */
  setTimes(partition: number, dueMs: number, reapMs: number): void {
    const one = this.#of(partition)
    one.dueMs = Math.min(dueMs, one.since.dueMs)
    one.reapMs = Math.min(reapMs, one.since.reapMs)
  }

  /** Something is due, or a lease may have expired, then: perhaps before all that is known of. */
  add(partition: number, what: 'dueMs' | 'reapMs', atMs: number): void {
    const one = this.#of(partition)
    one[what] = Math.min(one[what], atMs)
    one.since[what] = Math.min(one.since[what], atMs)
  }

  /** When one of some partitions must be looked after next. */
  nextMs(partitions: readonly number[]): number {
    let next = NEVER
    for (const partition of partitions) {
      const one = this.#partitions.get(partition)
      if (one !== undefined) next = Math.min(next, one.dueMs, one.reapMs)
    }
    return next
  }

  #of(partition: number): PartitionBelief {
    let one = this.#partitions.get(partition)
    if (one === undefined) {
      const times = { dueMs: NEVER, reapMs: NEVER }
      one = { lanes: new Map(), seenMs: -NEVER, ...times, since: times }
      this.#partitions.set(partition, one)
    }
    return one
  }
}

export interface Share {
  readonly partition: number
  readonly max: number
  /** Most of each lane, in the order of the lanes. */
  readonly lanes: number[]
}

/**
 * Divides a demand among partitions by what they are believed to have: the first get what they
 * have, the next what is then left.
 *
 * @param partitions - In the order of preference.
 */
export function divide(
  backlog: Backlog,
  partitions: readonly number[],
  wishes: readonly Pick<LaneDemand, 'laneId' | 'max'>[],
  max: number,
  batchMax: number,
): Share[] {
  // Commands of a lane with and without groups stand side by side, and share its most.
  const owner = wishes.map(({ laneId }, i) => (isGroupedLane(laneId) ? i - 1 : i))
  const left = wishes.map((wish) => wish.max)
  let total = max
  const shares: Share[] = []
  for (const partition of partitions) {
    if (total === 0) break
    const has = left.map(() => 0)
    for (const [i, { laneId }] of wishes.entries()) {
      const of = owner[i]!
      has[of] = Math.min(has[of]! + (backlog.get(partition, laneId) ?? 0), left[of]!)
    }
    const sum = has.reduce((a, b) => a + b, 0)
    if (sum === 0) continue
    const quota = Math.min(sum, total, batchMax)
    // One that takes all that is left may choose freely, by urgency, among its lanes.
    const lanes = (quota === total ? left : has).slice()
    shares.push({ partition, max: quota, lanes })
    total -= quota
    for (let i = 0; i < left.length; i++) {
      if (owner[i] === i) left[i]! -= Math.min(lanes[i]!, quota)
    }
  }
  // Beliefs lag behind: the unclaimed rest goes to the first, which may have more by now.
  const [first] = shares
  if (first !== undefined && total > 0) {
    const more = Math.min(total, batchMax - first.max)
    shares[0] = {
      partition: first.partition,
      max: first.max + more,
      lanes: first.lanes.map((count, i) => count + Math.max(0, left[i]!)),
    }
  }
  for (const { lanes } of shares) for (const i of owner.keys()) lanes[i] = lanes[owner[i]!]!
  return shares
}
