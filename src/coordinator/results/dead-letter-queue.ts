// Dead-letter queue: commands that failed for good, kept to be looked at and run again.
// Owns: the letters, the newest at the end.

import { type LaneError, laneError, releaseCalls, show } from '../../base/errors.ts'
import type { CommandOptions } from '../../model/command.ts'
import type { ManagerEvents } from '../manager-events.ts'
import type { EventHub } from './event-hub.ts'

/** A command that failed for good. */
export interface DeadLetter {
  /** The id of its command, as events and outcomes have it; names may be given more than once. */
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
  /** The first failure, monotonic milliseconds. */
  readonly firstFailedAtMs: number
  /** The last failure, monotonic milliseconds. */
  readonly failedAtMs: number
  /** The options with which it is run again. */
  readonly options: CommandOptions
}

/**
 * Keeps dead letters; past its bound the oldest is dropped. Commands may have the same id, since
 * their callers name them: of several such letters the oldest is meant, and by purge all.
 */
export class DeadLetterQueue {
  /** Most letters that it keeps. */
  readonly capacity: number
  readonly #hub: Pick<EventHub, 'dropped'>
  readonly #events: Pick<ManagerEvents, 'resubmit'>
  readonly #letters = new Set<DeadLetter>()
  /** By id, the oldest first; never empty. */
  readonly #byId = new Map<string, DeadLetter[]>()
  /** Those that are being submitted anew: they leave, so none is dropped for their place. */
  readonly #leaving = new Set<DeadLetter>()

  /**
   * @param capacity - Most letters that it keeps; 0 keeps none.
   * @param hub - Takes the event of a letter that is dropped.
   * @param events - The manager's.
   * @internal
   */
  constructor(
    capacity: number,
    hub: Pick<EventHub, 'dropped'>,
    events: Pick<ManagerEvents, 'resubmit'>,
  ) {
    this.capacity = capacity
    this.#hub = hub
    this.#events = events
  }

  /** How many letters it holds. */
  get size(): number {
    return this.#letters.size
  }

  /** The letters, the oldest first. */
  list(): DeadLetter[] {
    return [...this.#letters]
  }

  /**
   * The oldest letter of an id; undefined if there is none.
   *
   * @param id - The command's id.
   */
  get(id: string): DeadLetter | undefined {
    return this.#byId.get(id)?.[0]
  }

  /**
   * Submits the command of the oldest letter of an id anew and removes that letter.
   *
   * @param id - The command's id.
   * @returns The new command's result. If it fails for good again there is a new letter.
   * @throws (as a rejection) ConfigError `CORELANE_UNKNOWN_DEAD_LETTER`; what `submit` throws, and
   * then the letter stays if the command was not accepted.
   */
  async redrive(id: string): Promise<unknown> {
    const letter = this.get(id)
    if (letter === undefined) throw unknown(id)
    return this.#redrive(letter)
  }

  /**
   * Submits the commands of all letters anew, the oldest first, and removes the letters.
   *
   * @returns How each of them ended. A letter that a getter of another's payload has redriven or
   * purged is rejected with `CORELANE_UNKNOWN_DEAD_LETTER`.
   */
  redriveAll(): Promise<PromiseSettledResult<unknown>[]> {
    const letters = this.list()
    for (const letter of letters) this.#leaving.add(letter)
    return Promise.allSettled(letters.map((letter) => this.#redrive(letter)))
  }

  /**
   * Removes letters.
   *
   * @param id - The command's id. Default: all of them.
   * @returns How many there were.
   */
  purge(id?: string): number {
    const letters = id === undefined ? this.list() : [...(this.#byId.get(id) ?? [])]
    for (const letter of letters) this.#remove(letter)
    return letters.length
  }

  /**
   * Takes a letter.
   *
   * @param letter - A command that failed for good.
   * @internal
   */
  add(letter: DeadLetter): void {
    const { id } = letter
    releaseCalls(letter.error)
    this.#letters.add(letter)
    const namesakes = this.#byId.get(id)
    if (namesakes === undefined) this.#byId.set(id, [letter])
    else namesakes.push(letter)
    this.#trim()
  }

  #trim(): void {
    for (const oldest of this.#letters) {
      if (this.#letters.size - this.#leaving.size <= this.capacity) return
      if (this.#leaving.has(oldest)) continue
      this.#remove(oldest)
      this.#hub.dropped(oldest)
    }
  }

  async #redrive(letter: DeadLetter): Promise<unknown> {
    // Throws if it is not accepted, before the letter is gone.
    const { lane, type, payload, options } = letter
    const onRefused = () => this.add(letter)
    this.#leaving.add(letter)
    try {
      if (!this.#letters.has(letter)) throw unknown(letter.id)
      const result = this.#events.resubmit(lane, type, payload, options, onRefused)
      this.#remove(letter)
      return result
    } finally {
      this.#leaving.delete(letter)
      this.#trim()
    }
  }

  #remove(letter: DeadLetter): void {
    const { id } = letter
    // A getter of its payload, or the end of another command, may have removed it before.
    if (!this.#letters.delete(letter)) return
    const namesakes = this.#byId.get(id)!
    if (namesakes.length === 1) this.#byId.delete(id)
    else namesakes.splice(namesakes.indexOf(letter), 1)
  }
}

function unknown(id: string): LaneError {
  return laneError('CORELANE_UNKNOWN_DEAD_LETTER', { received: show(id) })
}
