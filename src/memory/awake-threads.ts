// Awake threads: how many threads of this process are at work, over all its managers.
// Thread: the main thread hands out words, each partition writes its own, all read all.
//
// A thread that spins takes a core from the thread it waits for, unless one is to spare. So
// no thread spins while as many threads are awake as there are cores.

import { nowMs } from '../base/clock.ts'
import type { SharedMemory } from './views.ts'

/** Threads that have a word of their own; those beyond count as asleep and never spin. */
const THREADS_MAX = 1023

/** One memory per process: two copies of the package share it, hence the version in its name. */
const NAME = Symbol.for('corelane.awake-threads.1')

/** Index of the word that says how many words have been used so far. */
const USED = 0

interface Holder {
  [NAME]?: { readonly memory: SharedMemory; readonly taken: Set<number> }
}

/** The awake threads of this process, made by the first caller. */
function ofProcess(): { readonly memory: SharedMemory; readonly taken: Set<number> } {
  const holder = globalThis as Holder
  holder[NAME] ??= { memory: new SharedArrayBuffer((THREADS_MAX + 1) * 4), taken: new Set() }
  return holder[NAME]
}

/** Memory that threads count each other in, to be sent to partitions. */
export function awakeMemory(): SharedMemory {
  return ofProcess().memory
}

/**
 * Gives a thread that is about to start a word.
 *
 * @returns Its index; 0 if there is none left.
 */
export function openAwakeWord(): number {
  const { memory, taken } = ofProcess()
  for (let word = 1; word <= THREADS_MAX; word++) {
    if (taken.has(word)) continue
    taken.add(word)
    const words = new Int32Array(memory)
    // PUBLISH(awake-used): its word is 0 already.
    if (word > Atomics.load(words, USED)) Atomics.store(words, USED, word)
    return word
  }
  return 0
}

/**
 * Takes the word of a thread that has exited back.
 *
 * @param word - From {@link openAwakeWord}.
 */
export function closeAwakeWord(word: number): void {
  if (word === 0) return
  const { memory, taken } = ofProcess()
  // PUBLISH(thread-awake): the dead thread writes no more.
  Atomics.store(new Int32Array(memory), word, 0)
  taken.delete(word)
}

/** Counts awake threads, and says whether this one is. */
export class AwakeThreads {
  readonly #words: Int32Array<SharedArrayBuffer>
  readonly #own: number
  readonly #cores: number

  /**
   * @param memory - Of {@link awakeMemory}.
   * @param own - This thread's word; 0 for the main thread, which counts as awake.
   * @param cores - Threads that may run at a time.
   */
  constructor(memory: SharedMemory, own: number, cores: number) {
    this.#words = new Int32Array(memory)
    this.#own = own
    this.#cores = cores
  }

  /**
   * Says whether this thread is awake.
   *
   * @param isAwake - Whether.
   */
  set(isAwake: boolean): void {
    if (this.#own === 0) return
    // PUBLISH(thread-awake): others may learn of it a little late; spinning is bounded anyway.
    Atomics.store(this.#words, this.#own, isAwake ? 1 : 0)
  }

  /** Whether a core is left for a thread that spins, the main thread counted. */
  get hasCoreToSpare(): boolean {
    return this.#count() <= this.#cores
  }

  /** Whether every thread but the main one sleeps, or has been woken and has not begun. */
  get isMainAlone(): boolean {
    return this.#count() === 1
  }

  #count(): number {
    // OBSERVE(awake-used): a thread that starts at this moment is not counted.
    const used = Atomics.load(this.#words, USED)
    let awake = 1
    for (let word = 1; word <= used; word++) {
      // OBSERVE(thread-awake): a little late at most.
      awake += Atomics.load(this.#words, word)
    }
    return awake
  }
}

/** Where spinning never pays, one wait in so many begins with it. */
const SKIP_MAX = 64

/** Looks between two readings of the clock. */
const LOOKS = 32

/** Spins at the beginning of a wait: where that has not paid lately, it seldom does. */
export class SpinHabit {
  /** Waits to be passed over before the next try. */
  #skip = 0
  #skipNext = 1

  /** Whether spinning has not paid lately, so that a try should be given more time. */
  get isProbe(): boolean {
    return this.#skipNext > 1
  }

  /** Whether to spin now. */
  isWorthTrying(): boolean {
    if (this.#skip === 0) return true
    this.#skip--
    return false
  }

  /**
   * Looks again and again, and learns from it.
   *
   * @param endsMs - Until when, monotonic milliseconds.
   * @param hasCome - Whether what is awaited has come.
   * @returns Whether it came.
   */
  spin(endsMs: number, hasCome: () => boolean): boolean {
    do {
      for (let i = 0; i < LOOKS; i++) {
        if (!hasCome()) continue
        this.#learn(true)
        return true
      }
    } while (nowMs() < endsMs)
    this.#learn(false)
    return false
  }

  #learn(hasPaid: boolean): void {
    if (hasPaid) {
      this.#skip = 0
      this.#skipNext = 1
      return
    }
    this.#skip = this.#skipNext
    this.#skipNext = Math.min(this.#skipNext * 2, SKIP_MAX)
  }
}
