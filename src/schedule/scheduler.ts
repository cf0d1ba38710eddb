// Scheduler: holds what waits, a heap per lane, and says what runs next across lanes.
// Thread: any: the coordinator's backlog and a partition's window are both one.   Owns: its heaps.
// Must not: read a clock, count slots or tokens, know threads.

import { PriorityHeap, precedes, type Ranked } from './priority-heap.ts'

/** What a scheduler must know of an item beyond its place in the order. */
export interface Schedulable extends Ranked {
  /** Index of its lane. */
  readonly laneIndex: number
}

/** Orders items by rank, then sequence, over all lanes. Choosing looks at lanes that hold something. */
export class Scheduler<T extends Schedulable> {
  readonly #lanes: PriorityHeap<T>[]
  /** Indices of the lanes that hold something, in no particular order. */
  readonly #active: number[] = []
  #size = 0

  /**
   * @param laneCount - Lanes have the indices from 0 to this, exclusive.
   */
  constructor(laneCount: number) {
    this.#lanes = Array.from({ length: laneCount }, () => new PriorityHeap<T>())
  }

  /** How many items wait. */
  get size(): number {
    return this.#size
  }

  /**
   * How many items of one lane wait.
   *
   * @param laneIndex - A lane.
   */
  sizeOf(laneIndex: number): number {
    return this.#lanes[laneIndex]!.size
  }

  /**
   * Adds an item.
   *
   * @param item - Its rank, sequence and lane must not change while it is here.
   */
  offer(item: T): void {
    const lane = this.#lanes[item.laneIndex]!
    if (lane.size === 0) this.#active.push(item.laneIndex)
    lane.push(item)
    this.#size++
  }

  /** The item that runs next, left in place; undefined if there is none. */
  peek(): T | undefined {
    if (this.#size === 0) return undefined
    return this.#lanes[this.#active[this.#best()]!]!.peek()
  }

  /** Takes the item that runs next; undefined if there is none. */
  next(): T | undefined {
    if (this.#size === 0) return undefined
    const best = this.#best()
    const lane = this.#lanes[this.#active[best]!]!
    const item = lane.pop()
    this.#size--
    if (lane.size === 0) {
      this.#active[best] = this.#active[this.#active.length - 1]!
      this.#active.pop()
    }
    return item
  }

  /** Index into the active lanes of the one whose head runs next. */
  #best(): number {
    let best = 0
    if (this.#active.length === 1) return best
    let head = this.#lanes[this.#active[0]!]!.peek()!
    for (let i = 1; i < this.#active.length; i++) {
      const other = this.#lanes[this.#active[i]!]!.peek()!
      if (precedes(other, head)) {
        best = i
        head = other
      }
    }
    return best
  }
}
