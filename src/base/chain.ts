// Chain: a list in the order of arrival whose links are fields of its items, so each is removed at
// a constant cost.
// Owns: the links.

/** The links of an item, which is in one chain at a time. Written by {@link Chain} alone. */
export interface Linked<T> {
  /** Those that arrived before and after it. */
  older: T | undefined
  younger: T | undefined
}

/** A doubly linked list. */
export class Chain<T extends Linked<T>> {
  #oldest: T | undefined
  #youngest: T | undefined
  #size = 0

  /** How many items it holds. */
  get size(): number {
    return this.#size
  }

  /** The item that arrived first; undefined if there is none. */
  get oldest(): T | undefined {
    return this.#oldest
  }

  /** Adds an item at the end. */
  add(item: T): void {
    const before = this.#youngest
    item.older = before
    if (before === undefined) this.#oldest = item
    else before.younger = item
    this.#youngest = item
    this.#size++
  }

  /** Removes an item, which is in it. */
  remove(item: T): void {
    const { older, younger } = item
    if (older === undefined) this.#oldest = younger
    else older.younger = younger
    if (younger === undefined) this.#youngest = older
    else younger.older = older
    item.older = undefined
    item.younger = undefined
    this.#size--
  }

  /** All items, the oldest first. */
  values(): T[] {
    const all: T[] = []
    for (let each = this.#oldest; each !== undefined; each = each.younger) all.push(each)
    return all
  }
}
