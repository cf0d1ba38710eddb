// Reported: names that were reported, so that each is reported once.
// Owns: those names.

/** Past so many they are reported anew: names may come and go for ever. */
const REPORTED_MAX = 10_000

export class Reported {
  readonly #names = new Set<string>()

  /** @returns Whether it was not among them. */
  add(name: string): boolean {
    if (this.#names.has(name)) return false
    if (this.#names.size === REPORTED_MAX) this.#names.clear()
    this.#names.add(name)
    return true
  }

  delete(name: string): void {
    this.#names.delete(name)
  }
}
