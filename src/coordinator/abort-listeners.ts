// Abort listeners: one listener per distinct signal, whatever the number of commands.
// Thread: main.   Owns: the listeners.

/** Something that a signal can end. */
export interface Abortable {
  /**
   * Ends it.
   *
   * @param reason - The signal's.
   */
  abort(reason: unknown): void
}

interface Listener {
  readonly targets: Set<Abortable>
  readonly onAbort: () => void
}

/** Listens to signals. */
export class AbortListeners {
  readonly #listeners = new Map<AbortSignal, Listener>()

  /** How many signals it listens to. */
  get size(): number {
    return this.#listeners.size
  }

  /**
   * Lets a signal end something.
   *
   * @param signal - Not aborted.
   * @param target - What it ends, once.
   */
  add(signal: AbortSignal, target: Abortable): void {
    let listener = this.#listeners.get(signal)
    if (listener === undefined) {
      const targets = new Set<Abortable>()
      listener = { targets, onAbort: () => this.#aborted(signal, targets) }
      this.#listeners.set(signal, listener)
      signal.addEventListener('abort', listener.onAbort, { once: true })
    }
    listener.targets.add(target)
  }

  /**
   * Lets a signal go that has nothing to end any more.
   *
   * @param signal - The signal.
   * @param target - Ended by itself.
   */
  remove(signal: AbortSignal, target: Abortable): void {
    const listener = this.#listeners.get(signal)
    if (listener === undefined) return
    listener.targets.delete(target)
    if (listener.targets.size > 0) return
    signal.removeEventListener('abort', listener.onAbort)
    this.#listeners.delete(signal)
  }

  /**
   * What a signal would end.
   *
   * @param signal - Any.
   */
  targetsOf(signal: AbortSignal): readonly Abortable[] {
    return [...(this.#listeners.get(signal)?.targets ?? [])]
  }

  #aborted(signal: AbortSignal, targets: Set<Abortable>): void {
    // One that ends because another did is removed, and then not ended again.
    for (const target of targets) target.abort(signal.reason)
    this.#listeners.delete(signal)
  }
}
