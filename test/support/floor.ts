// Floor: what the handlers of test/fixtures/lanes-handlers.js share with their test. They count
// those that run at once, and wait at a gate.

import type { QueueManagerOptions } from 'corelane'
import { open } from './managers.ts'

const GATE = 0
const RUNNING = 1
const MOST = 2

export class Floor {
  /** The threads' `workerData`. */
  readonly workerData: { readonly words: SharedArrayBuffer } = { words: new SharedArrayBuffer(16) }
  readonly #words = new Int32Array(this.workerData.words)

  /** How many run. */
  get running(): number {
    return Atomics.load(this.#words, RUNNING)
  }

  /** How many ran at once, at most, since the last `forget`. */
  get most(): number {
    return Atomics.load(this.#words, MOST)
  }

  /** Counts the most anew. */
  forget(): void {
    Atomics.store(this.#words, MOST, 0)
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
}

/** A manager of those handlers, with what they share. */
export async function openFloor(options: QueueManagerOptions = {}) {
  const floor = new Floor()
  const manager = await open('lanes-handlers.js', { ...options, workerData: floor.workerData })
  return { floor, manager }
}
