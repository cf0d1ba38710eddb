// Dead-letter queue: commands that failed for good, kept to be looked at and run again.
// Thread: main.   Owns: the letters, the newest at the end.

import { laneError, show } from '../base/errors.ts'
import type { CommandOptions } from '../model/command.ts'

/** A command that failed for good. */
export interface DeadLetter {
  /** Its id as a command. */
  readonly id: string
  readonly lane: string
  readonly type: string
  /** As it was submitted; not a copy. */
  readonly payload: unknown
  /** What the last run ended with. */
  readonly error: unknown
  /** Runs of it, those included that ended with their thread. */
  readonly attempts: number
  /** Threads that it killed or may have killed. */
  readonly crashes: number
  /** When it failed for the first and for the last time, monotonic milliseconds. */
  readonly firstFailedAtMs: number
  readonly failedAtMs: number
  /** The options with which it is run again. */
  readonly options: CommandOptions
}

/** Where letters go to be run again, and who hears of those that are dropped. */
export interface DeadLetterOffice {
  submit(letter: DeadLetter, onRefused: () => void): Promise<unknown>
  dropped(letter: DeadLetter): void
}

/** Keeps dead letters; past its bound the oldest is dropped. */
export class DeadLetterQueue {
  /** Most letters that it keeps. */
  readonly capacity: number
  readonly #office: DeadLetterOffice
  readonly #letters = new Map<string, DeadLetter>()

  /**
   * @param capacity - Most letters that it keeps; 0 keeps none.
   * @param office - Runs them again.
   */
  constructor(capacity: number, office: DeadLetterOffice) {
    this.capacity = capacity
    this.#office = office
  }

  /** How many letters it holds. */
  get size(): number {
    return this.#letters.size
  }

  /** The letters, the oldest first. */
  list(): DeadLetter[] {
    return [...this.#letters.values()]
  }

  /**
   * One letter; undefined if there is none of that id.
   *
   * @param id - The command's id.
   */
  get(id: string): DeadLetter | undefined {
    return this.#letters.get(id)
  }

  /**
   * Submits a letter's command anew and removes the letter.
   *
   * @param id - The command's id.
   * @returns The new command's result. If it fails for good again there is a new letter.
   * @throws (as a rejection) ConfigError `CORELANE_UNKNOWN_DEAD_LETTER`; what `submit` throws, and
   * then the letter stays if the command was not accepted.
   */
  async redrive(id: string): Promise<unknown> {
    const letter = this.#letters.get(id)
    if (letter === undefined) {
      throw laneError('CORELANE_UNKNOWN_DEAD_LETTER', { received: show(id) })
    }
    // Throws if it is not accepted, before the letter is gone.
    const result = this.#office.submit(letter, () => this.add(letter))
    this.#letters.delete(id)
    return result
  }

  /**
   * Submits the commands of all letters anew, the oldest first, and removes the letters.
   *
   * @returns How each of them ended.
   */
  redriveAll(): Promise<PromiseSettledResult<unknown>[]> {
    return Promise.allSettled([...this.#letters.keys()].map((id) => this.redrive(id)))
  }

  /**
   * Removes letters.
   *
   * @param id - The command's id. Default: all of them.
   * @returns How many there were.
   */
  purge(id?: string): number {
    if (id !== undefined) return this.#letters.delete(id) ? 1 : 0
    const { size } = this.#letters
    this.#letters.clear()
    return size
  }

  /**
   * Takes a letter.
   *
   * @param letter - A command that failed for good.
   * @internal
   */
  add(letter: DeadLetter): void {
    this.#letters.set(letter.id, letter)
    if (this.#letters.size <= this.capacity) return
    const [oldest] = this.#letters.values()
    this.#letters.delete(oldest!.id)
    this.#office.dropped(oldest!)
  }
}
