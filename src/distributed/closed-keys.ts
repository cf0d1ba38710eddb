// Closed keys: keys of which something left this worker, but keeps its place in the order.
// Thread: main.   Owns: which keys those are.
//
// A command that is given back, or whose lease was given up, must run before what was enqueued
// behind it. The queue sees to that once it has the command back. Until then an answer may bring a
// younger one: it was given before the other was back. So a key stays closed until everything of it
// that left has been answered for, and until the answer that was on its way at that moment is in.

/** Keys that are closed. */
export class ClosedKeys {
  /** By key: how many of its commands have left and are not answered for, or may be overtaken. */
  readonly #gone = new Map<string, number>()
  /** Keys of those that were answered for while the queue was being asked. */
  #back: string[] = []
  #isAsking = false

  /**
   * Whether a command of a key must not start.
   *
   * @param key - The key.
   */
  has(key: string): boolean {
    return this.#gone.has(key)
  }

  /**
   * A command leaves.
   *
   * @param key - Its key.
   */
  close(key: string): void {
    this.#gone.set(key, (this.#gone.get(key) ?? 0) + 1)
  }

  /**
   * The queue has a command back, or has given it to somebody else.
   *
   * @param key - Its key.
   */
  answered(key: string): void {
    if (this.#isAsking) this.#back.push(key)
    else this.#open(key)
  }

  /** The queue is asked for commands. */
  asking(): void {
    this.#isAsking = true
  }

  /** What it answered was taken on, or it gave no answer. */
  asked(): void {
    this.#isAsking = false
    for (const key of this.#back.splice(0)) this.#open(key)
  }

  #open(key: string): void {
    const left = this.#gone.get(key)! - 1
    if (left === 0) this.#gone.delete(key)
    else this.#gone.set(key, left)
  }
}
