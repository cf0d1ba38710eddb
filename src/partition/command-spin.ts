// Command spin: looks for the next command for a moment before the partition sleeps.
// Owns: whether that has paid lately.

import { nowMs } from '../base/clock.ts'
import { type AwakeThreads, SpinHabit } from '../memory/awake-threads.ts'
import type { RingReader } from '../memory/ring.ts'

/** So long a partition looks, if there is a core for it. */
const SPIN_MS = 0.06

/**
 * The same where it has not paid lately: to get into the rhythm of a caller that sends one command
 * after another, the wake of the main thread must be outlasted once.
 */
const PROBE_MS = 0.12

export class CommandSpin {
  readonly #hasCome: () => boolean
  readonly #awake: AwakeThreads
  readonly #habit = new SpinHabit()

  /**
   * @param commands - The ring that is looked at.
   * @param awake - Knows whether there is a core to spin on.
   */
  constructor(commands: RingReader, awake: AwakeThreads) {
    this.#hasCome = () => !commands.isEmpty
    this.#awake = awake
  }

  /** Looks for a moment without sleeping; whether a command came. */
  hasFound(): boolean {
    if (!this.#habit.isWorthTrying() || !this.#awake.hasCoreToSpare) return false
    const endsMs = nowMs() + (this.#habit.isProbe ? PROBE_MS : SPIN_MS)
    return this.#habit.spin(endsMs, this.#hasCome)
  }
}
