// Crash ledger: what handlers write down in shared memory, which outlives their threads. Used on
// both sides: by the handlers of a campaign and by its judge.

const TICKET = 0
const STILLBORN = 1
const TWICE = 2
const HEAD_WORDS = 16

const STARTED = 0
const FINISHED = 1
const FIRST_START = 2
const LAST_FINISH = 3
const ATTEMPTS = 4
const ENTRY_WORDS = 5

/** Counts what handlers did for each command, and in which order. */
export class CrashLedger {
  #words
  #keysAt

  /**
   * @param {{ words: SharedArrayBuffer, count: number }} shared - As made by `CrashLedger.share`.
   */
  constructor({ words, count }) {
    this.#words = new Int32Array(words)
    this.#keysAt = HEAD_WORDS + ENTRY_WORDS * count
  }

  /**
   * Makes the memory.
   *
   * @param {number} count - Commands have the indices from 0 to this, exclusive.
   * @param {number} keys - The same of keys.
   */
  static share(count, keys) {
    const words = new SharedArrayBuffer((HEAD_WORDS + ENTRY_WORDS * count + keys) * 4)
    return { words, count }
  }

  /** A handler was entered. */
  enter(index, attempt) {
    const entry = HEAD_WORDS + ENTRY_WORDS * index
    const ticket = Atomics.add(this.#words, TICKET, 1) + 1
    Atomics.compareExchange(this.#words, entry + FIRST_START, 0, ticket)
    const bit = 1 << (attempt & 31)
    if (Atomics.or(this.#words, entry + ATTEMPTS, bit) & bit) Atomics.add(this.#words, TWICE, 1)
    Atomics.add(this.#words, entry + STARTED, 1)
  }

  /** A handler is about to give its result. */
  leave(index, key) {
    const entry = HEAD_WORDS + ENTRY_WORDS * index
    if (key >= 0) Atomics.store(this.#words, this.#keysAt + key, index + 1)
    Atomics.store(this.#words, entry + LAST_FINISH, Atomics.add(this.#words, TICKET, 1) + 1)
    Atomics.add(this.#words, entry + FINISHED, 1)
  }

  /** Lets the next so many threads fail to load. */
  addStillborn(count) {
    Atomics.add(this.#words, STILLBORN, count)
  }

  /** Whether this thread is one of those. */
  takeStillborn() {
    for (;;) {
      const left = Atomics.load(this.#words, STILLBORN)
      if (left === 0) return false
      if (Atomics.compareExchange(this.#words, STILLBORN, left, left - 1) === left) return true
    }
  }

  /** Runs of one attempt of one command beyond the first: none is allowed. */
  get twice() {
    return Atomics.load(this.#words, TWICE)
  }

  /** How often a handler of the command was entered. */
  started(index) {
    return this.#word(index, STARTED)
  }

  /** How often it came to its end. */
  finished(index) {
    return this.#word(index, FINISHED)
  }

  /** The place of its first start among all starts and ends; 0 if it never started. */
  firstStart(index) {
    return this.#word(index, FIRST_START)
  }

  /** The place of its last end; 0 if it never came to it. */
  lastFinish(index) {
    return this.#word(index, LAST_FINISH)
  }

  /** The command of a key that finished last; -1 if none did. */
  lastOfKey(key) {
    return Atomics.load(this.#words, this.#keysAt + key) - 1
  }

  #word(index, word) {
    return Atomics.load(this.#words, HEAD_WORDS + ENTRY_WORDS * index + word)
  }
}
