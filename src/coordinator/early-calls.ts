// Early calls: what callers asked of a manager before its threads were ready.
// Owns: their order.
// Must not: make them by itself (runtime).

import { CallContext } from '../base/async-context.ts'
import { Deque } from '../base/deque.ts'
import type { PartitionHandle } from './threads/partition-handle.ts'

/** A call that waits for the threads. */
interface EarlyCall {
  readonly run: () => void
  readonly fail: (reason: unknown) => void
  /** Whether it submits one command, for which one thread will do. */
  readonly isOne: boolean
}

/** The calls that wait for the threads. */
export class EarlyCalls {
  readonly #calls = new Deque<EarlyCall>()
  readonly #partitions: readonly PartitionHandle[]
  readonly #concurrency: number

  /** @param concurrency - Handlers that may run at once in one partition. */
  constructor(partitions: readonly PartitionHandle[], concurrency: number) {
    this.#partitions = partitions
    this.#concurrency = concurrency
  }

  /**
   * Lets a call wait.
   *
   * @param call - Made later, in the async context of now.
   * @param isOne - Whether it submits one command.
   * @returns What the call gives.
   */
  add<T>(call: () => Promise<T>, isOne: boolean): Promise<T> {
    const context = new CallContext()
    return new Promise<T>((resolve, fail) => {
      const run = () => resolve(context.call(call, undefined))
      this.#calls.push({ run, fail, isOne })
    })
  }

  /** How many wait. */
  get count(): number {
    return this.#calls.length
  }

  /**
   * Whether the next one can be made while some threads still start: it submits one command, and a
   * thread that is ready has nothing to do. No thread gets more than it can run at once: what was
   * moved to it could not go to another any more.
   */
  get mayRunNext(): boolean {
    if (this.#calls.first?.isOne !== true) return false
    return this.#partitions.some(
      ({ window }) => window !== undefined && window.load.openCount < this.#concurrency,
    )
  }

  /** Makes the call that has waited longest. */
  runNext(): void {
    this.#calls.shift()?.run()
  }

  /** Makes every call. */
  runAll(): void {
    while (this.count > 0) this.runNext()
  }

  /**
   * Rejects every call.
   *
   * @param reason - Why none is made.
   */
  failAll(reason: unknown): void {
    while (this.count > 0) this.#calls.shift()!.fail(reason)
  }
}
