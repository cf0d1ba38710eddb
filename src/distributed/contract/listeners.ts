// Listeners: functions of callers, each under a name.
// Owns: their order.

import { callListener } from '../../base/clock.ts'

export class Listeners<Given extends unknown[]> {
  readonly #byName = new Map<string, Set<(...given: Given) => void>>()

  /** @returns Ends it. */
  add(name: string, listener: (...given: Given) => void): () => void {
    // A function of its own for each call: the same listener may be given twice.
    const own = (...given: Given): void => listener(...given)
    const listeners = this.#byName.get(name) ?? new Set()
    this.#byName.set(name, listeners.add(own))
    return () => {
      listeners.delete(own)
      if (listeners.size === 0 && this.#byName.get(name) === listeners) this.#byName.delete(name)
    }
  }

  get names(): string[] {
    return [...this.#byName.keys()]
  }

  /** Calls those of a name, in their order. Their errors are not thrown here. */
  call(name: string, ...given: Given): void {
    for (const own of [...(this.#byName.get(name) ?? [])]) {
      callListener(() => own(...given), undefined)
    }
  }

  /** Those of a name, in their order; undefined if there are none. */
  get(name: string): Set<(...given: Given) => void> | undefined {
    return this.#byName.get(name)
  }
}
