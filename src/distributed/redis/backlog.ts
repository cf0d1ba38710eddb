// Backlog: what this worker believes there is to be had, so that one round trip leases from the
// right partitions.
// Thread: main.   Owns: the beliefs. They may be wrong either way: unless they are fresh, what they
// say is looked at before anybody waits, and at every poll.

import { nowMs } from '../../base/clock.ts'

/**
 * So long what Redis said is as good as looking again for somebody who will wait: what comes to an
 * empty lane is announced, and one that waits is told. Announcements that are lost are what polls
 * are for, and those are further apart.
 */
const FRESH_MS = 25

/** Beliefs about partitions and lanes. */
export class Backlog {
  readonly #counts = new Map<string, number>()
  readonly #dueMs = new Map<number, number>()
  readonly #reapMs = new Map<number, number>()
  readonly #seenMs = new Map<number, number>()

  /** How much of a lane of a partition there is; unknown if nobody has looked. */
  get(partition: number, lane: string): number | undefined {
    return this.#counts.get(`${partition} ${lane}`)
  }

  /** So much there is. */
  set(partition: number, lane: string, count: number): void {
    this.#counts.set(`${partition} ${lane}`, count)
  }

  /** So much came. */
  add(partition: number, lane: string, count: number): void {
    const known = this.get(partition, lane)
    if (known !== undefined) this.set(partition, lane, known + count)
  }

  /** Redis said just now what there is of a partition. */
  saw(partition: number): void {
    this.#seenMs.set(partition, nowMs())
  }

  /** Whether Redis said a moment ago what there is of a partition. */
  isFresh(partition: number): boolean {
    return nowMs() - (this.#seenMs.get(partition) ?? Number.NEGATIVE_INFINITY) < FRESH_MS
  }

  /** Nothing is known any more. */
  forget(): void {
    this.#counts.clear()
    this.#seenMs.clear()
  }

  /** Something of the partition that is kept back is due then; `undefined`: nothing. */
  setDue(partition: number, atMs: number | undefined): void {
    if (atMs === undefined) this.#dueMs.delete(partition)
    else this.#dueMs.set(partition, atMs)
  }

  /** Something that is kept back is due then, perhaps before what is known of. */
  addDue(partition: number, atMs: number): void {
    const known = this.#dueMs.get(partition)
    if (known === undefined || atMs < known) this.#dueMs.set(partition, atMs)
  }

  /** When something that is kept back is due, the earliest of some partitions. */
  dueMs(partitions: readonly number[]): number {
    let earliest = Number.POSITIVE_INFINITY
    for (const partition of partitions) {
      earliest = Math.min(earliest, this.#dueMs.get(partition) ?? Number.POSITIVE_INFINITY)
    }
    return earliest
  }

  /** Whether it is time to look for expired leases; then the next time is set. */
  takeReap(partition: number, everyMs: number): boolean {
    const now = nowMs()
    if ((this.#reapMs.get(partition) ?? 0) > now) return false
    this.#reapMs.set(partition, now + everyMs)
    return true
  }

  /** Whether a partition must be looked after before it is leased from. */
  isStale(partition: number): boolean {
    const now = nowMs()
    return (
      (this.#dueMs.get(partition) ?? Number.POSITIVE_INFINITY) <= now ||
      (this.#reapMs.get(partition) ?? 0) <= now
    )
  }
}

/** What is asked of one partition. */
export interface Share {
  readonly partition: number
  readonly max: number
  /** Most of each lane, in the order of the lanes. */
  readonly lanes: number[]
}

/** How much of a lane is wanted in all. */
export interface LaneWish {
  readonly laneId: string
  readonly max: number
}

/**
 * Divides a demand among partitions by what they are believed to have: the first get what they
 * have, the next what is then left.
 *
 * @param backlog - The beliefs.
 * @param partitions - In the order of preference.
 * @param wishes - Per lane.
 * @param max - In all.
 * @param batchMax - Most for one partition.
 */
export function divide(
  backlog: Backlog,
  partitions: readonly number[],
  wishes: readonly LaneWish[],
  max: number,
  batchMax: number,
): Share[] {
  const left = wishes.map((wish) => wish.max)
  let total = max
  const shares: Share[] = []
  for (const partition of partitions) {
    if (total === 0) break
    const has = wishes.map(({ laneId }, i) =>
      Math.min(backlog.get(partition, laneId) ?? 0, left[i]!),
    )
    const sum = has.reduce((a, b) => a + b, 0)
    if (sum === 0) continue
    const quota = Math.min(sum, total, batchMax)
    // One that takes all that is left may choose freely, by urgency, among its lanes.
    const lanes = quota === total ? [...left] : has
    shares.push({ partition, max: quota, lanes })
    total -= quota
    for (let i = 0; i < left.length; i++) left[i]! -= Math.min(lanes[i]!, quota)
  }
  // Beliefs lag behind: what nobody claims goes to the first, which may have more by now.
  const [first] = shares
  if (first === undefined || total === 0) return shares
  const more = Math.min(total, batchMax - first.max)
  shares[0] = {
    partition: first.partition,
    max: first.max + more,
    lanes: first.lanes.map((count, i) => count + Math.max(0, left[i]!)),
  }
  return shares
}
