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
  /** What it ends, while that is one thing: most signals have one command, and a set costs more. */
  target: Abortable | undefined
  /** What it ends, once there were several. */
  targets: Set<Abortable> | undefined
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
    const known = this.#listeners.get(signal)
    if (known === undefined) {
      const onAbort = () => this.#aborted(signal)
      this.#listeners.set(signal, { target, targets: undefined, onAbort })
      signal.addEventListener('abort', onAbort, { once: true })
    } else if (known.targets !== undefined) known.targets.add(target)
    else {
      known.targets = new Set([known.target!, target])
      known.target = undefined
    }
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
    if (listener.target === target) listener.target = undefined
    listener.targets?.delete(target)
    if (listener.target !== undefined || (listener.targets?.size ?? 0) > 0) return
    signal.removeEventListener('abort', listener.onAbort)
    this.#listeners.delete(signal)
  }

  /**
   * What a signal would end.
   *
   * @param signal - Any.
   */
  targetsOf(signal: AbortSignal): readonly Abortable[] {
    const { target, targets } = this.#listeners.get(signal) ?? {}
    return target === undefined ? [...(targets ?? [])] : [target]
  }

  #aborted(signal: AbortSignal): void {
    const { target, targets } = this.#listeners.get(signal)!
    target?.abort(signal.reason)
    // One that ends because another did is removed, and then not ended again.
    for (const each of targets ?? []) each.abort(signal.reason)
    this.#listeners.delete(signal)
  }
}
