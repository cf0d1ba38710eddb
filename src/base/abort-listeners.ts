// Abort listeners: one listener per distinct signal, whatever the number of commands. Node.js adds
// a listener in time proportional to those that the signal has, and past ten warns of a leak.
// Owns: the listeners.
//
// A signal may end a million commands. Those that are bound end at once, since they could start;
// the others are kept from being bound (`isEnding`) and end in slices: the event loop turns.

import { laneError } from './errors.ts'
import { RenewedMap } from './renewed-map.ts'
import { inSlices } from './slices.ts'

/** An AbortSignal, or an event emitter that emits `abort`. */
export interface AnySignal extends Partial<Pick<AbortSignal, 'aborted' | 'reason'>> {
  /** Both are of an AbortSignal. */
  addEventListener?(name: 'abort', listener: () => void, options?: { once?: boolean }): void
  removeEventListener?(name: 'abort', listener: () => void): void
  /** Both are of an event emitter. */
  once?(name: 'abort', listener: () => void): unknown
  removeListener?(name: 'abort', listener: () => void): unknown
}

/**
 * Refuses a command whose signal has aborted before it is submitted.
 *
 * @throws AbortError.
 */
export function refuseAborted(signal: AnySignal | undefined): void {
  if (signal?.aborted) throw laneError('CORELANE_ABORTED', { stage: 'submitted' }, signal.reason)
}

/** Something that a signal can end. */
export interface Abortable {
  /**
   * Ends it, unless it has ended.
   *
   * @param reason - The signal's.
   */
  abort(reason: unknown): void
  /** Whether it may run, or start at any moment. */
  readonly isBound: boolean
}

interface Listener {
  /** What it ends, while that is one thing: most signals have one command, and a set costs more. */
  target: Abortable | undefined
  /** What it ends, once there were several. */
  targets: Set<Abortable> | undefined
  readonly onAbort: () => void
}

export class AbortListeners {
  readonly #listeners = new RenewedMap<AnySignal, Listener>()
  /** By signal that has aborted: what it has not ended yet, if that is many. */
  readonly #ending = new Map<AnySignal, Set<Abortable>>()

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
  add(signal: AnySignal, target: Abortable): void {
    const known = this.#listeners.get(signal)
    if (known === undefined) {
      const onAbort = () => this.#aborted(signal)
      if ('addEventListener' in signal) signal.addEventListener!('abort', onAbort, { once: true })
      else signal.once!('abort', onAbort)
      this.#listeners.set(signal, { target, targets: undefined, onAbort })
    } else if (known.targets !== undefined) known.targets.add(target)
    else {
      known.targets = new Set([known.target!, target])
      known.target = undefined
    }
  }

  /**
   * Lets a signal go that has nothing to end any more.
   *
   * @param target - Ended by itself.
   */
  remove(signal: AnySignal, target: Abortable): void {
    this.#ending.get(signal)?.delete(target)
    const listener = this.#listeners.get(signal)
    if (listener === undefined) return
    if (listener.target === target) listener.target = undefined
    listener.targets?.delete(target)
    if (listener.target !== undefined || (listener.targets?.size ?? 0) > 0) return
    const { onAbort } = listener
    if ('addEventListener' in signal) signal.removeEventListener!('abort', onAbort)
    else signal.removeListener!('abort', onAbort)
    this.#listeners.delete(signal)
  }

  /**
   * Whether a signal has aborted and is about to end its commands.
   *
   * @param signal - Of a command.
   */
  isEnding(signal: AnySignal): boolean {
    return this.#ending.size > 0 && signal !== undefined && this.#ending.has(signal)
  }

  #aborted(signal: AnySignal): void {
    const { target, targets } = this.#listeners.get(signal)!
    // First: an emitter may emit again, and end what comes from now on.
    this.#listeners.delete(signal)
    target?.abort(signal.reason)
    if (targets === undefined) return
    this.#ending.set(signal, targets)
    // One that ends because another did is removed, and then not ended again.
    for (const each of targets) if (each.isBound) each.abort(signal.reason)
    const ended = inSlices(targets, (each) => each.abort(signal.reason))
    void ended.then(() => this.#ending.delete(signal))
  }
}
