// Scheduler: holds waiting commands, a queue per lane, and picks the next one across lanes.
// The coordinator's backlog and a partition's window are both one.
// Owns: its queues.
// Must not: read a clock, count slots or tokens, know threads: it asks an admission.

import type { SharedLanePlan } from '../model/lane.ts'
import { LaneQueue, type Queueable } from './lane-queue.ts'
import { precedes, type Ranked } from './priority-heap.ts'

/** What a scheduler must know of an item beyond its place in the order. */
export interface Schedulable extends Queueable {
  /** Index of its lane. */
  readonly laneIndex: number
}

/** Decides whether what is next may go. */
export interface Admission<T> {
  /**
   * Whether a lane runs fewer commands than its minimum, so that it goes before lanes that do not.
   *
   * @param laneIndex - A lane with something waiting.
   */
  isUnderMin(laneIndex: number): boolean
  /**
   * Takes what the item needs to go.
   *
   * @param item - The front of its lane.
   * @param rank - How urgent it is at this moment.
   * @returns Whether it goes. False: its lane is passed over this time.
   */
  admits(item: T, rank: number): boolean
}

/** Lets everything go, in order. */
export const ADMIT_ALL: Admission<unknown> = { isUnderMin: () => false, admits: () => true }

/**
 * Orders items by rank, then sequence, over all lanes. Choosing looks at lanes that hold something.
 */
export class Scheduler<T extends Schedulable> {
  readonly #lanes: LaneQueue<T>[]
  readonly #hasMins: boolean
  /** Indices of the lanes that hold something, in no particular order. */
  readonly #active: number[] = []
  /** By lane: the call of `next` in which it was passed over. */
  readonly #passedIn: Float64Array
  #call = 0
  #size = 0

  constructor(lanes: readonly SharedLanePlan[]) {
    this.#lanes = lanes.map((lane) => new LaneQueue<T>(lane))
    this.#hasMins = lanes.some((lane) => lane.minConcurrency > 0)
    this.#passedIn = new Float64Array(lanes.length)
  }

  /** How many items wait. */
  get size(): number {
    return this.#size
  }

  /** How many items of one lane wait. */
  sizeOf(laneIndex: number): number {
    return this.#lanes[laneIndex]!.size
  }

  /** The items of a lane among which is the oldest. */
  oldestOf(laneIndex: number): Iterable<T> {
    return this.#lanes[laneIndex]!.oldest()
  }

  /**
   * Adds an item.
   *
   * @param item - New, or back from where it was taken: its sequence puts it where it was.
   */
  offer(item: T, nowMs: number): void {
    const lane = this.#lanes[item.laneIndex]!
    if (lane.size === 0) this.#active.push(item.laneIndex)
    lane.offer(item, nowMs)
    this.#size++
  }

  /**
   * Whether an item is the front of its lane.
   *
   * @param item - One that waits here.
   */
  isFront(item: T, nowMs: number): boolean {
    const lane = this.#lanes[item.laneIndex]!
    lane.front(nowMs)
    return lane.peek() === item
  }

  /** The rank of the most urgent item; undefined if nothing waits. */
  frontRank(nowMs: number): number | undefined {
    let rank: number | undefined
    for (const laneIndex of this.#active) {
      const own = this.#lanes[laneIndex]!.front(nowMs)!.rank
      if (rank === undefined || own < rank) rank = own
    }
    return rank
  }

  /** When the order may change by itself; Infinity if only by offering and taking. */
  get changesAtMs(): number {
    let atMs = Number.POSITIVE_INFINITY
    for (const laneIndex of this.#active) {
      atMs = Math.min(atMs, this.#lanes[laneIndex]!.changesAtMs)
    }
    return atMs
  }

  /**
   * Takes the most urgent item of the lanes under their minimum, or of all if there are none,
   * passing over lanes whose front is not admitted.
   *
   * @param admission - Decides whether it may go.
   * @returns The item; undefined if nothing waits or nothing may go.
   */
  next(admission: Admission<T>, nowMs: number): T | undefined {
    if (this.#size === 0) return undefined
    this.#call++
    for (;;) {
      const index = this.#best(admission, nowMs)
      if (index < 0) return undefined
      const laneIndex = this.#active[index]!
      const lane = this.#lanes[laneIndex]!
      if (admission.admits(lane.peek()!, lane.rank)) return this.#take(index, nowMs)
      this.#passedIn[laneIndex] = this.#call
    }
  }

  /**
   * Takes everything.
   *
   * @returns The items in the order in which they would run.
   */
  takeAll(nowMs: number): T[] {
    const taken: T[] = []
    while (this.#size > 0) taken.push(this.next(ADMIT_ALL, nowMs)!)
    return taken
  }

  /**
   * Removes items; the others keep their places. Costs as much as taking and offering them all.
   *
   * @param stays - Whether an item stays.
   */
  retain(stays: (item: T) => boolean, nowMs: number): void {
    for (const item of this.takeAll(nowMs)) if (stays(item)) this.offer(item, nowMs)
  }

  #take(index: number, nowMs: number): T {
    const lane = this.#lanes[this.#active[index]!]!
    const item = lane.take(nowMs)
    this.#size--
    if (lane.size === 0) {
      this.#active[index] = this.#active[this.#active.length - 1]!
      this.#active.pop()
    }
    return item
  }

  /** Index into the active lanes of the one that goes next; -1 if every lane was passed over. */
  #best(admission: Admission<T>, nowMs: number): number {
    let best = -1
    let front: Ranked | undefined
    let isFrontPromised = false
    for (let i = 0; i < this.#active.length; i++) {
      const laneIndex = this.#active[i]!
      if (this.#passedIn[laneIndex] === this.#call) continue
      const own = this.#lanes[laneIndex]!.front(nowMs)!
      const isBehind = front !== undefined && !precedes(own, front)
      if (isBehind && isFrontPromised) continue
      const isPromised = this.#hasMins && admission.isUnderMin(laneIndex)
      if (isPromised === isFrontPromised ? isBehind : isFrontPromised) continue
      best = i
      front = own
      isFrontPromised = isPromised
    }
    return best
  }
}
