// Priority heap: what runs next, first-in first-out within equal priority.
// Thread: any.   Owns: its items' order.
// Must not: know what an item is beyond its rank and sequence.
//
// Most commands arrive in order, so the heap keeps a run: a double-ended buffer of items that came
// in ascending order. Adding to its end and taking from its front cost a constant. Only an item
// that must overtake the run's end goes to a binary heap (J. W. J. Williams, 1964) beside it; the
// next item is the better of the two fronts.

/** What decides the order: rank first (0 is the most urgent), then age. */
export interface Ranked {
  /** Urgency, 0 the most urgent: lane priority and command priority packed together. */
  readonly rank: number
  /** Order of submission; no two items of a heap share it. */
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

const RUN_CAPACITY_MIN = 16

/**
 * A stable priority queue. Adding and taking cost O(1) for items that come in order, else O(log n).
 */
export class PriorityHeap<T extends Ranked> {
  #run: (T | undefined)[] = new Array(RUN_CAPACITY_MIN).fill(undefined)
  #runStart = 0
  #runCount = 0
  #heap: T[] = []

  /** How many items it holds. */
  get size(): number {
    return this.#runCount + this.#heap.length
  }

  /**
   * Adds an item.
   *
   * @param item - Its rank and sequence must not change while it is here.
   */
  push(item: T): void {
    if (this.#runCount > 0 && precedes(item, this.#runAt(this.#runCount - 1))) this.#siftIn(item)
    else this.#append(item)
  }

  /** The item that runs next, left in place; undefined if there is none. */
  peek(): T | undefined {
    if (this.#heap.length === 0) return this.#runCount === 0 ? undefined : this.#runAt(0)
    const top = this.#heap[0]!
    if (this.#runCount === 0) return top
    const front = this.#runAt(0)
    return precedes(top, front) ? top : front
  }

  /** Takes the item that runs next; undefined if there is none. */
  pop(): T | undefined {
    if (this.#heap.length === 0) return this.#runCount === 0 ? undefined : this.#shift()
    if (this.#runCount === 0 || precedes(this.#heap[0]!, this.#runAt(0))) return this.#siftOut()
    return this.#shift()
  }

  /** All items, in no particular order, without taking them. */
  *[Symbol.iterator](): Generator<T> {
    for (let i = 0; i < this.#runCount; i++) yield this.#runAt(i)
    yield* this.#heap
  }

  #runAt(index: number): T {
    return this.#run[(this.#runStart + index) & (this.#run.length - 1)]!
  }

  #append(item: T): void {
    if (this.#runCount === this.#run.length) this.#resize(this.#run.length * 2)
    this.#run[(this.#runStart + this.#runCount++) & (this.#run.length - 1)] = item
  }

  #shift(): T {
    const item = this.#run[this.#runStart]!
    this.#run[this.#runStart] = undefined
    this.#runStart = (this.#runStart + 1) & (this.#run.length - 1)
    this.#runCount--
    if (this.#run.length > 1024 && this.#runCount < this.#run.length >> 3) {
      this.#resize(this.#run.length >> 1)
    }
    return item
  }

  #resize(capacity: number): void {
    const run: (T | undefined)[] = new Array(capacity).fill(undefined)
    for (let i = 0; i < this.#runCount; i++) run[i] = this.#runAt(i)
    this.#run = run
    this.#runStart = 0
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
