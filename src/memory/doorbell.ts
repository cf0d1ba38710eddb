// Doorbell: how a thread sleeps until another has something for it.
// Thread: one thread parks, any thread rings.
// Owns: the bell's word and the one wait on it.
// The protocol, the lost wake-up it prevents and why it is right are in README.md beside this file.

import { outside } from '../base/async-context.ts'
import { timers } from '../base/clock.ts'
import type { AwakeThreads } from './awake-threads.ts'
import type { CommonsViews } from './views.ts'

/** States of a bell's word. */
export const Bell = Object.freeze({
  /** Will look at its rings before it sleeps: no ring is needed. */
  AWAKE: 0,
  /** Looks again by itself within a moment; only an urgent ring wakes it sooner. */
  DOZING: 1,
  /** Sleeps until it is rung. */
  ASLEEP: 2,
})

/** The side that rings. Any number of threads may hold one. */
export class BellRinger {
  /** Int32 index of its word. */
  readonly word: number
  readonly #words: Int32Array<SharedArrayBuffer>

  constructor(views: CommonsViews, word: number) {
    this.word = word
    this.#words = views.words
  }

  /** Whether no ring is needed to wake the other side. Stale at once. */
  get isAwake(): boolean {
    return Atomics.load(this.#words, this.word) === Bell.AWAKE
  }

  /**
   * Wakes the other side if it sleeps. Call it after publishing what it should see.
   *
   * @param urgent - Whether to wake one that only dozes; false leaves it to look by itself.
   * @returns Whether it was woken by this call.
   */
  ring(urgent: boolean): boolean {
    for (;;) {
      // OBSERVE(bell-sleep): loaded after the ring's tail was stored, so either this sees that the
      // other side sleeps or the other side's re-check sees the record.
      const state = Atomics.load(this.#words, this.word)
      if (state === Bell.AWAKE || (state === Bell.DOZING && !urgent)) return false
      // PUBLISH(bell-wake): only the thread that makes this swap notifies, once per sleep.
      if (Atomics.compareExchange(this.#words, this.word, state, Bell.AWAKE) === state) {
        // PUBLISH(bell-wake): ends the wait in BellSleeper.
        Atomics.notify(this.#words, this.word)
        return true
      }
    }
  }
}

/** The side that sleeps. Belongs to one thread; keeps at most one wait outstanding. */
export class BellSleeper {
  readonly #words: Int32Array<SharedArrayBuffer>
  readonly #word: number
  readonly #onWake: () => void
  readonly #awake: AwakeThreads | undefined
  #isWaiting = false

  /**
   * @param views - Memory of the bell.
   * @param word - Int32 index of its word.
   * @param onWake - Called in a turn of its own when the bell was rung.
   * @param awake - Counts this thread while it is awake. Default: it is not counted.
   */
  constructor(views: CommonsViews, word: number, onWake: () => void, awake?: AwakeThreads) {
    this.#words = views.words
    this.#word = word
    this.#onWake = onWake
    this.#awake = awake
  }

  /**
   * Announces sleep. The caller must look once more at all it waits for, and then call
   * {@link BellSleeper.wait} or {@link BellSleeper.stayAwake}.
   *
   * @param state - `Bell.DOZING` or `Bell.ASLEEP`.
   */
  announce(state: 1 | 2): void {
    // PUBLISH(bell-sleep): stored before the re-check of the rings; pairs with BellRinger.ring.
    Atomics.store(this.#words, this.#word, state)
  }

  /** Takes an announcement back; a ring that came in between is absorbed. */
  stayAwake(): void {
    // OBSERVE(bell-wake): a ringer may have made the swap already; both leave AWAKE.
    Atomics.store(this.#words, this.#word, Bell.AWAKE)
    this.#awake?.set(true)
  }

  /** Sleeps: returns at once, and `onWake` is called once the bell was rung. */
  wait(): void {
    if (this.#isWaiting) {
      this.#awake?.set(false)
      return
    }
    const state = Atomics.load(this.#words, this.#word)
    if (state === Bell.AWAKE) {
      timers.queueMicrotask(this.#onWake)
      return
    }
    // OBSERVE(bell-wake): answers "not-equal" at once if a ringer made its swap before this.
    const waiting = Atomics.waitAsync(this.#words, this.#word, state)
    if (!waiting.async) {
      timers.queueMicrotask(this.#onWake)
      return
    }
    this.#isWaiting = true
    this.#awake?.set(false)
    // A wait may last for as long as the manager, and no request may last as long.
    outside(this.#whenWoken, waiting.value)
  }

  /** Ends a wait for good: one without end would keep its memory and its sleeper for ever. */
  retire(): void {
    // PUBLISH(bell-wake): stored before the notify, so that no ringer notifies a second time.
    Atomics.store(this.#words, this.#word, Bell.AWAKE)
    // PUBLISH(bell-wake): ends the own wait.
    Atomics.notify(this.#words, this.#word)
  }

  readonly #whenWoken = (woken: Promise<unknown>): void => {
    void woken.then(this.#woken)
  }

  readonly #woken = (): void => {
    this.#isWaiting = false
    this.#onWake()
  }
}
