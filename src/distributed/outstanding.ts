// Outstanding: a command of a submitter's from submit until its promise is settled.
// Thread: main.   Owns: the promise's resolvers.

import { type CommandInfo, type CommandOutcome, commandInfo } from '../model/command.ts'
import type { EnqueueStatus } from './distributed-queue.ts'
import type { CommandEnvelope, CommandResult } from './envelope.ts'
import { fromPortableError } from './portable-error.ts'

/** Spans between two looks double up to so many times the first. */
const LOOK_GROWTH_MAX = 32

/** What `enqueue` tells. */
export interface Enqueued {
  readonly id: string
  /** `duplicate` if the queue knew the id already: nothing was added. */
  readonly status: EnqueueStatus
}

/** One command. */
export class Outstanding {
  readonly envelope: CommandEnvelope
  readonly promise: Promise<unknown>
  /** Whether its promise waits for its result, and not only until the queue has it. */
  readonly wantsResult: boolean
  isAccepted = false
  isSettled = false
  /** When it was submitted, monotonic milliseconds. */
  readonly submittedAtMs: number
  /** When it is to be looked up next, monotonic milliseconds. */
  nextLookMs = Number.POSITIVE_INFINITY
  /** Where and how long it ran, once it has ended. */
  info: CommandInfo | undefined
  /** Called when it is settled. */
  onSettled: (() => void) | undefined
  #lookSpanMs = 0
  #resolve!: (value: unknown) => void
  #reject!: (error: unknown) => void

  constructor(envelope: CommandEnvelope, wantsResult: boolean, now: number) {
    this.envelope = envelope
    this.wantsResult = wantsResult
    this.submittedAtMs = now
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  /** How and where it ended; a failure is an outcome, too. Rejects if it does not end. */
  async outcome(): Promise<CommandOutcome> {
    try {
      const value = await this.promise
      return { ok: true, value, info: this.info! }
    } catch (error) {
      if (this.info === undefined) throw error
      return { ok: false, error, info: this.info }
    }
  }

  /**
   * The queue has it.
   *
   * @param status - Whether it had it before.
   * @param now - Monotonic milliseconds.
   * @param lookMs - When to look for the result first if none is announced.
   */
  accepted(status: EnqueueStatus, now: number, lookMs: number): void {
    if (this.isSettled) return
    this.isAccepted = true
    if (!this.wantsResult) {
      this.#settle()
      this.#resolve({ id: this.envelope.id, status } satisfies Enqueued)
      return
    }
    this.#lookSpanMs = lookMs
    // A duplicate may have ended long ago, and then nothing is announced any more.
    this.nextLookMs = status === 'duplicate' ? now : now + lookMs
  }

  /** The queue has lost it: it is to be enqueued again. */
  lost(): void {
    this.isAccepted = false
    this.nextLookMs = Number.POSITIVE_INFINITY
  }

  /**
   * It was looked up and has not ended.
   *
   * @param now - Monotonic milliseconds.
   * @param lookMs - The first span between two looks.
   */
  lookedUp(now: number, lookMs: number): void {
    this.#lookSpanMs = Math.min(this.#lookSpanMs * 2, lookMs * LOOK_GROWTH_MAX)
    this.nextLookMs = now + this.#lookSpanMs
  }

  /**
   * It has ended.
   *
   * @param result - How.
   */
  ended(result: CommandResult): void {
    if (this.isSettled) return
    this.#settle()
    this.info = this.#infoOf(result)
    if (result.success) {
      this.#resolve(result.value)
      return
    }
    const error = fromPortableError(result.error)
    Object.defineProperty(error, commandInfo, { value: this.info, configurable: true })
    this.#reject(error)
  }

  /**
   * Its promise rejects; what becomes of it in the queue is not known.
   *
   * @param error - Why.
   */
  fail(error: unknown): void {
    if (this.isSettled) return
    this.#settle()
    this.#reject(error)
  }

  #settle(): void {
    this.isSettled = true
    this.onSettled?.()
  }

  #infoOf({ retryCount, durationMs, partitionId }: CommandResult): CommandInfo {
    const { id, laneId, commandType, key } = this.envelope
    return {
      id,
      lane: laneId,
      type: commandType,
      key,
      attempt: retryCount + 1,
      partition: partitionId,
      startedAtMs: undefined,
      durationMs,
    }
  }
}
