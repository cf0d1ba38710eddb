// Indexed heap: a binary heap whose items know where they are, so one can be moved or removed.
// Owns: its items' order.

/** Where an item is in each heap that may hold it; -1 if it is not there. */
export interface HeapPlace {
  place: number
}

/** A binary heap (J. W. J. Williams, 1964); adding, moving and removing cost O(log n). */
export class IndexedHeap<T> {
  readonly #items: T[] = []
  readonly #precedes: (a: T, b: T) => boolean
  readonly #placeOf: (item: T) => HeapPlace

  /**
   * @param precedes - Whether `a` comes before `b`.
   * @param placeOf - Where the item keeps its place in this heap; starts as -1.
   */
  constructor(precedes: (a: T, b: T) => boolean, placeOf: (item: T) => HeapPlace) {
    this.#precedes = precedes
    this.#placeOf = placeOf
  }

  /** How many items it holds. */
  get size(): number {
    return this.#items.length
  }

  /** All items, in no order. */
  values(): IterableIterator<T> {
    return this.#items.values()
  }

  /** The first item, left in place; undefined if there is none. */
  peek(): T | undefined {
    return this.#items[0]
  }

  /** Adds an item, or moves one that is here to where it now belongs. */
  put(item: T): void {
    const { place } = this.#placeOf(item)
    if (place < 0) {
      this.#items.push(item)
      this.#up(this.#items.length - 1, item)
    } else if (this.#up(place, item) === place) this.#down(place, item)
  }

  /** Removes an item; nothing happens if it is not here. */
  remove(item: T): void {
    const home = this.#placeOf(item)
    const { place } = home
    if (place < 0) return
    home.place = -1
    const last = this.#items.pop()!
    if (last === item) return
    if (this.#up(place, last) === place) this.#down(place, last)
  }

  /** Takes the first item; undefined if there is none. */
  pop(): T | undefined {
    const first = this.#items[0]
    if (first !== undefined) this.remove(first)
    return first
  }

  #set(place: number, item: T): void {
    this.#items[place] = item
    this.#placeOf(item).place = place
  }

  #up(from: number, item: T): number {
    let place = from
    while (place > 0) {
      const parent = (place - 1) >> 1
      if (!this.#precedes(item, this.#items[parent]!)) break
      this.#set(place, this.#items[parent]!)
      place = parent
    }
    this.#set(place, item)
    return place
  }

  #down(from: number, item: T): void {
    const count = this.#items.length
    let place = from
    for (;;) {
      let child = 2 * place + 1
      if (child >= count) break
      if (child + 1 < count && this.#precedes(this.#items[child + 1]!, this.#items[child]!)) child++
      if (!this.#precedes(this.#items[child]!, item)) break
      this.#set(place, this.#items[child]!)
      place = child
    }
    this.#set(place, item)
  }
}
