// Generator: seeded chance, so that a campaign can be run again.

/** A small seeded generator (mulberry32, T. Ettinger). */
export class Generator {
  #state

  /** @param {number} seed - An integer. */
  constructor(seed) {
    this.#state = seed | 0
  }

  /** An integer from 0 to `below`, exclusive. */
  below(below) {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }

  /** An integer from `least` to `most`, both included. */
  between(least, most) {
    return least + this.below(most - least + 1)
  }

  /** Whether a thing of so many per cent happens. */
  percent(chance) {
    return this.below(100) < chance
  }

  /** One of a list. */
  oneOf(list) {
    return list[this.below(list.length)]
  }

  /** The list in another order. */
  shuffled(list) {
    const copy = [...list]
    for (let last = copy.length - 1; last > 0; last--) {
      const other = this.below(last + 1)
      ;[copy[last], copy[other]] = [copy[other], copy[last]]
    }
    return copy
  }
}
