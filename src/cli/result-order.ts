// Result order: lets results through as they come, or holds them back into the order of the input.
// Owns: the results that are done before an earlier one.

/** A place in the output, taken when a line is read. */
export type Place = number

/** Where results go. */
export type Emit = (text: string) => void

export class ResultOrder {
  readonly #emit: Emit
  readonly #isOrdered: boolean
  readonly #early = new Map<Place, string>()
  #taken: Place = 0
  #next: Place = 0
  #earlyLength = 0

  constructor(isOrdered: boolean, emit: Emit) {
    this.#isOrdered = isOrdered
    this.#emit = emit
  }

  /** Results that are done and wait for an earlier one. */
  get early(): number {
    return this.#early.size
  }

  /** Length of their text, in UTF-16 units. */
  get earlyLength(): number {
    return this.#earlyLength
  }

  /** Takes the next place; {@link ResultOrder.fill} must follow, once. */
  take(): Place {
    return this.#taken++
  }

  /** Gives the result of a place. */
  fill(place: Place, text: string): void {
    if (!this.#isOrdered) {
      this.#emit(text)
      return
    }
    if (place !== this.#next) {
      this.#early.set(place, text)
      this.#earlyLength += text.length
      return
    }
    this.#next++
    this.#emit(text)
    for (;;) {
      const early = this.#early.get(this.#next)
      if (early === undefined) return
      this.#early.delete(this.#next++)
      this.#earlyLength -= early.length
      this.#emit(early)
    }
  }
}
