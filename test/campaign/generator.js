// Generator: seeded chance, so that a campaign can be run again.

import { randomFrom } from '../../build/base/random.js'

/** A small seeded generator. */
export class Generator {
  #next

  /** @param {number} seed - An integer. */
  constructor(seed) {
    this.#next = randomFrom(seed)
  }

  /** An integer from 0 to `below`, exclusive. */
  below(below) {
    return Math.floor(this.#next() * below)
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
