// Renewed map: a Map for entries that come and go by the thousand.
// Owns: its present Map.
//
// V8 gives a Map a new table when deletions have used the old one up, and the old one refers to the
// new. Once a table has grown old, it keeps all later ones alive, garbage as it is, with what was
// in them when they were replaced, until a full collection: young collections then copy everything
// that passes through the Map. A fresh Map now and then, to which no table refers, ends the chain.

/** So many entries come at least before the Map is renewed. */
const RENEWAL_MIN = 1024

/** A Map for entries that come and go. */
export class RenewedMap<K, V> {
  #map = new Map<K, V>()
  /** How many entries come before it is renewed. */
  #left = RENEWAL_MIN

  /** How many entries it holds. */
  get size(): number {
    return this.#map.size
  }

  /** As of a Map. */
  has(key: K): boolean {
    return this.#map.has(key)
  }

  /** As of a Map. */
  get(key: K): V | undefined {
    return this.#map.get(key)
  }

  /** As of a Map, but for the result; it costs O(1) on average. */
  set(key: K, value: V): void {
    if (this.#left-- === 0) this.#renew()
    this.#map.set(key, value)
  }

  /** As of a Map. */
  delete(key: K): boolean {
    return this.#map.delete(key)
  }

  /** As of a Map; nothing may be added meanwhile. */
  values(): IterableIterator<V> {
    return this.#map.values()
  }

  #renew(): void {
    const renewed = new Map<K, V>()
    for (const [key, value] of this.#map) renewed.set(key, value)
    this.#map = renewed
    this.#left = Math.max(RENEWAL_MIN, 2 * renewed.size)
  }
}
