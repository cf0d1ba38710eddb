// Early calls: what callers asked of a manager before its threads were ready.
// Owns: their order.
// Must not: make them by itself (runtime).

import type { Abortable, AbortListeners } from '../base/abort-listeners.ts'
import { CallContext } from '../base/async-context.ts'
import { nowMs } from '../base/clock.ts'
import { Deque } from '../base/deque.ts'
import { laneError } from '../base/errors.ts'
import { COMMAND_RULES } from '../model/command.ts'
import type { PartitionHandle } from './threads/partition-handle.ts'

/** A call that waits for the threads. */
interface EarlyCall extends Abortable {
  readonly calledAtMs: number
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
  readonly #signals: AbortListeners
  /** When the one came that is being made; undefined if none is. */
  calledAtMs: number | undefined

  /**
   * @param concurrency - Handlers that may run at once in one partition.
   * @param signals - Listen to the signals of calls.
   */
  constructor(
    partitions: readonly PartitionHandle[],
    concurrency: number,
    signals: AbortListeners,
  ) {
    this.#partitions = partitions
    this.#concurrency = concurrency
    this.#signals = signals
  }

  /**
   * Lets a call wait.
   *
   * @param call - Made later, in the async context of now.
   * @param isOne - Whether it submits one command.
   * @param given - Ends the waiting, if it is a signal: options are checked when it is made.
   * @returns What the call gives.
   */
  add<T>(call: () => Promise<T>, isOne: boolean, given?: unknown): Promise<T> {
    const context = new CallContext()
    const signal = COMMAND_RULES.signal.accepts(given) ? (given as AbortSignal) : undefined
    return new Promise<T>((resolve, reject) => {
      let isOver = false
      const end = (act: () => void) => {
        if (isOver) return
        isOver = true
        if (signal !== undefined) this.#signals.remove(signal, one)
        act()
      }
      const fail = (reason: unknown) => end(() => reject(reason))
      const one: EarlyCall = {
        calledAtMs: nowMs(),
        run: () => end(() => resolve(context.call(call, undefined))),
        fail,
        abort: (reason) => fail(laneError('CORELANE_ABORTED', { stage: 'waiting' }, reason)),
        isOne,
        isBound: false,
      }
      if (signal?.aborted) one.abort(signal.reason)
      else {
        if (signal !== undefined) this.#signals.add(signal, one)
        this.#calls.push(one)
      }
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
    const call = this.#calls.shift()
    this.calledAtMs = call?.calledAtMs
    call?.run()
    this.calledAtMs = undefined
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
