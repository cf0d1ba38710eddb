// Deque: a queue whose both ends cost O(1), in a ring buffer that grows and shrinks.
// Owns: its items' order.
// `Array.prototype.shift` moves every element once an array has more than about 50,000.

const CAPACITY_MIN = 16

/** Larger buffers shrink once they are an eighth full. */
const KEPT_CAPACITY = 1024

/** A double-ended queue. */
export class Deque<T> {
  #items: (T | undefined)[] = new Array(CAPACITY_MIN).fill(undefined)
  #start = 0
  #length = 0

  /** How many items it holds. */
  get length(): number {
    return this.#length
  }

  /** The first item, left in place; undefined if there is none. */
  get first(): T | undefined {
    return this.#items[this.#start]
  }

  /** The last item, left in place; undefined if there is none. */
  get last(): T | undefined {
    return this.#items[(this.#start + this.#length - 1) & (this.#items.length - 1)]
  }

  /** Adds an item at the end. */
  push(item: T): void {
    if (this.#length === this.#items.length) this.#resize(this.#length * 2)
    this.#items[(this.#start + this.#length++) & (this.#items.length - 1)] = item
  }

  /** Adds an item before the first. */
  unshift(item: T): void {
    if (this.#length === this.#items.length) this.#resize(this.#length * 2)
    this.#start = (this.#start - 1) & (this.#items.length - 1)
    this.#items[this.#start] = item
    this.#length++
  }

  /** Takes the first item; undefined if there is none. */
  shift(): T | undefined {
    if (this.#length === 0) return undefined
    const item = this.#items[this.#start]
    this.#items[this.#start] = undefined
    this.#start = (this.#start + 1) & (this.#items.length - 1)
    this.#length--
    const capacity = this.#items.length
    if (capacity > KEPT_CAPACITY && this.#length < capacity >> 3) this.#resize(capacity >> 1)
    return item
  }

  /** Takes the last item; undefined if there is none. */
  pop(): T | undefined {
    const item = this.last
    if (this.#length === 0) return undefined
    this.#length--
    this.#items[(this.#start + this.#length) & (this.#items.length - 1)] = undefined
    return item
  }

  /**
   * Takes items from the front.
   *
   * @param count - How many at most. Default: all.
   */
  take(count: number = this.#length): T[] {
    const taken: T[] = new Array(Math.min(count, this.#length))
    for (let i = 0; i < taken.length; i++) taken[i] = this.shift()!
    return taken
  }

  /**
   * Removes the items that a test refuses; the others keep their order. It costs O(items).
   *
   * @param isKept - Whether an item stays.
   */
  filter(isKept: (item: T) => boolean): void {
    const items = [...this].filter(isKept)
    this.clear()
    for (const item of items) this.push(item)
  }

  /** Drops every item. */
  clear(): void {
    this.#items = new Array(CAPACITY_MIN).fill(undefined)
    this.#start = 0
    this.#length = 0
  }

  /** The items from the first to the last, without taking them. */
  *[Symbol.iterator](): Generator<T> {
    for (let i = 0; i < this.#length; i++) {
      yield this.#items[(this.#start + i) & (this.#items.length - 1)] as T
    }
  }

  #resize(capacity: number): void {
    const items: (T | undefined)[] = new Array(capacity).fill(undefined)
    for (let i = 0; i < this.#length; i++) {
      items[i] = this.#items[(this.#start + i) & (this.#items.length - 1)]
    }
    this.#items = items
    this.#start = 0
  }
}
