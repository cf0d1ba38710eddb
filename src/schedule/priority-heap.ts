// Priority heap: the item that runs next, first-in first-out within equal priority.
// Owns: its items' order.
// Must not: know what an item is beyond its rank and sequence.
//
// Most commands arrive in order, so the heap keeps a run: a double-ended buffer of items that came
// in ascending order. Adding to its end and taking from its front cost a constant. Only an item
// that must overtake the run's end goes to a binary heap (J. W. J. Williams, 1964) beside it; the
// next item is the better of the two fronts.

import { Deque } from '../base/deque.ts'

/** What decides the order: rank first, then age. */
export interface Ranked {
  /** Urgency, less is more urgent: lane priority and command priority packed together. */
  readonly rank: number
  /**
   * Order of submission. Two items of a heap share it only if both are of one command, which was
   * taken back and came again.
   */
  readonly sequence: number
}

/**
 * Whether `a` runs before `b`.
 *
 * @param a - One item.
 * @param b - Another.
 */
export function precedes(a: Ranked, b: Ranked): boolean {
  return a.rank < b.rank || (a.rank === b.rank && a.sequence < b.sequence)
}

/**
 * A stable priority queue. Adding and taking cost O(1) for items that come in order, else O(log n).
 */
export class PriorityHeap<T extends Ranked> {
  readonly #run = new Deque<T>()
  readonly #heap: T[] = []

  /** How many items it holds. */
  get size(): number {
    return this.#run.length + this.#heap.length
  }

  /**
   * Adds an item.
   *
   * @param item - Its rank and sequence must not change while it is here.
   */
  push(item: T): void {
    const { last } = this.#run
    if (last !== undefined && precedes(item, last)) this.#siftIn(item)
    else this.#run.push(item)
  }

  /** The item that runs next, left in place; undefined if there is none. */
  peek(): T | undefined {
    const { first } = this.#run
    const top = this.#heap[0]
    if (first === undefined) return top
    return top !== undefined && precedes(top, first) ? top : first
  }

  /** Takes the item that runs next; undefined if there is none. */
  pop(): T | undefined {
    const item = this.peek()
    if (item === undefined) return undefined
    return item === this.#run.first ? this.#run.shift() : this.#siftOut()
  }

  /** All items, in no particular order, without taking them. */
  *[Symbol.iterator](): Generator<T> {
    yield* this.#run
    yield* this.#heap
  }

  #siftIn(item: T): void {
    const heap = this.#heap
    let index = heap.length
    heap.push(item)
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (!precedes(item, heap[parent]!)) break
      heap[index] = heap[parent]!
      index = parent
    }
    heap[index] = item
  }

  #siftOut(): T {
    const heap = this.#heap
    const top = heap[0]!
    const last = heap.pop()!
    const count = heap.length
    if (count === 0) return top
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= count) break
      if (child + 1 < count && precedes(heap[child + 1]!, heap[child]!)) child++
      if (!precedes(heap[child]!, last)) break
      heap[index] = heap[child]!
      index = child
    }
    heap[index] = last
    return top
  }
}
