// Ledger: what handlers write down in shared memory, which outlives their threads. Its other side
// is test/fixtures/ledger.js.

import { until } from './deadline.ts'
import { range } from './range.ts'

const GATE = 1
const STARTED = 2
const LOADS = 3
const FLAG = 4
const SECOND_GATE = 5
const BLOCKED = 6
const UNBLOCKED = 7
const SETUPS = 8
const TEARDOWNS = 9
const FIRST_ENTRY = 16
const ENTRY_WORDS = 3

/** Counts how often each command ran, and in which order they started. */
export class Ledger {
  /** The threads' `workerData`. */
  readonly workerData: { readonly words: SharedArrayBuffer }
  readonly #words: Int32Array<SharedArrayBuffer>

  /**
   * @param entries - Commands have the indices from 0 to this, exclusive.
   */
  constructor(entries: number) {
    this.workerData = { words: new SharedArrayBuffer((FIRST_ENTRY + ENTRY_WORDS * entries) * 4) }
    this.#words = new Int32Array(this.workerData.words)
  }

  /** Makes it as it was when it was made, for another test with the same threads. */
  clear(): void {
    this.#words.fill(0)
  }

  /** Handlers that were entered. */
  get started(): number {
    return Atomics.load(this.#words, STARTED)
  }

  /** How often the module was loaded. */
  get loads(): number {
    return Atomics.load(this.#words, LOADS)
  }

  /** How often `setup` of test/fixtures/life.js ran. */
  get setups(): number {
    return Atomics.load(this.#words, SETUPS)
  }

  /** How often its `teardown` ran. */
  get teardowns(): number {
    return Atomics.load(this.#words, TEARDOWNS)
  }

  /** Makes the module fail to load from now on, or no more. */
  set failsToLoad(fails: boolean) {
    Atomics.store(this.#words, FLAG, fails ? 1 : 0)
  }

  /** How often a command's handler was entered. */
  runs(index: number): number {
    return Atomics.load(this.#words, FIRST_ENTRY + ENTRY_WORDS * index)
  }

  /** How often each of the first so many commands ran. */
  allRuns(count: number): number[] {
    return range(count).map((index) => this.runs(index))
  }

  /** The place of a command's last start among all starts, from 1; 0 if it never started. */
  place(index: number): number {
    return Atomics.load(this.#words, FIRST_ENTRY + ENTRY_WORDS * index + 1)
  }

  /** The partition where a command started last; -1 if it never started. */
  partition(index: number): number {
    return Atomics.load(this.#words, FIRST_ENTRY + ENTRY_WORDS * index + 2) - 1
  }

  /**
   * The first so many commands in the order in which they started; those that did not are left out.
   *
   * @param count - Look at commands below this index.
   * @param partition - Only those that ran there. Default: all.
   */
  order(count: number, partition?: number): number[] {
    return range(count)
      .filter((index) => this.place(index) > 0)
      .filter((index) => partition === undefined || this.partition(index) === partition)
      .sort((a, b) => this.place(a) - this.place(b))
  }

  /** Lets the handlers that wait at the gate go on, and all that come later. */
  openGate(): void {
    Atomics.store(this.#words, GATE, 1)
    Atomics.notify(this.#words, GATE)
  }

  /** Makes handlers wait at the gate again. */
  closeGate(): void {
    Atomics.store(this.#words, GATE, 0)
  }

  /** Lets the handlers that wait at the second gate go on, and all that come later. */
  openSecondGate(): void {
    Atomics.store(this.#words, SECOND_GATE, 1)
    Atomics.notify(this.#words, SECOND_GATE)
  }

  /** Whether `softGateThenBlock` blocks its thread, or has. */
  get isBlocked(): boolean {
    return Atomics.load(this.#words, BLOCKED) === 1
  }

  /** Ends that. */
  unblock(): void {
    Atomics.store(this.#words, UNBLOCKED, 1)
    Atomics.notify(this.#words, UNBLOCKED)
  }

  /** Waits until so many handlers were entered. */
  async waitForStarts(count: number): Promise<void> {
    await until(() => this.started >= count, `${count} handlers entered, ${this.started} were`)
  }
}
