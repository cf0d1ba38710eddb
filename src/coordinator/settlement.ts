// Settlement: how commands that end settle promises.
// Owns: the results of a batch until the last has come.

/** Takes the ends of commands in the place of promises. */
export interface Settler {
  /** Whether a distributed queue gave its commands out, so that others traced their submits. */
  readonly isOfQueue?: boolean
  /** What its one command is called; undefined: as its options say. */
  readonly commandId?: string
  /**
   * Takes the end of a command, in the middle of the manager's work.
   *
   * @param place - Of the command, as its settler numbers them.
   * @param isOk - Whether it has a result.
   * @param value - Its result, or why it has none.
   * @param startedAtMs - When its handler was entered; 0 if it was not.
   * @param durationMs - How long it ran.
   * @param partition - Where it was; -1 if it was never bound.
   */
  settled(
    place: number,
    isOk: boolean,
    value: unknown,
    startedAtMs: number,
    durationMs: number,
    partition: number,
  ): void
}

/**
 * Commands that were submitted together and have one promise: one for each would cost the main
 * thread as much as all else that it does for them.
 */
export class Batch implements Settler {
  readonly #results: unknown[] = []
  /** Commands that have not been settled. */
  #left = 0
  #failure: { readonly error: unknown } | undefined
  #resolve: ((results: unknown[]) => void) | undefined
  #reject: ((error: unknown) => void) | undefined

  /**
   * Adds a command.
   *
   * @returns Its place.
   */
  add(): number {
    this.#left++
    return this.#results.push(undefined) - 1
  }

  settled(place: number, isOk: boolean, value: unknown): void {
    if (isOk) this.#results[place] = value
    else this.fail(value)
    if (--this.#left === 0) this.#resolve?.(this.#results)
  }

  /** Fails the batch; the first failure counts. */
  fail(error: unknown): void {
    this.#failure ??= { error }
    this.#reject?.(error)
  }

  /**
   * Waits for all results; once, after the last command was added.
   *
   * @returns The results by place; rejects with the first failure.
   */
  results(): Promise<unknown[]> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) reject(this.#failure.error)
      else if (this.#left === 0) resolve(this.#results)
      this.#resolve = resolve
      this.#reject = reject
    })
  }
}

/**
 * A thenable that rejects. A rejected promise would count as unhandled until it is followed. The
 * resolver alone is kept: that saves every waiting command the memory of a second function.
 */
export class Rejection {
  readonly #reason: unknown

  /**
   * @param reason - Of the rejection.
   */
  constructor(reason: unknown) {
    this.#reason = reason
  }

  // biome-ignore lint/suspicious/noThenProperty: promises follow it.
  then(_: unknown, reject: (reason: unknown) => void): void {
    reject(this.#reason)
  }
}
