// Outstanding: a command of a submitter's from submit until its promise is settled.
// Owns: the promise's resolvers.

import { laneError } from '../../base/errors.ts'
import { type CommandInfo, type CommandOutcome, commandInfo } from '../../model/command.ts'
import type { EnqueueStatus } from '../contract/distributed-queue.ts'
import type { CommandEnvelope, CommandResult } from '../contract/envelope.ts'
import { fromPortableError } from '../contract/portable-error.ts'

type Settle = (value: unknown) => void

// A promise's functions are captured without a closure per command.
let capturedResolve: Settle | undefined
let capturedReject: Settle | undefined
function capture(resolve: Settle, reject: Settle): void {
  capturedResolve = resolve
  capturedReject = reject
}

/** The answer to `enqueue`. */
export interface Enqueued {
  readonly id: string
  /** `duplicate` if the queue knew the id already: nothing was added. */
  readonly status: EnqueueStatus
}

/** Where a command of a submitter's is. */
export type OutstandingStage =
  /** It waits for room. */
  | 'waiting'
  /** Another of its id is open, and its end will be the end of this one. */
  | 'following'
  /** It is on its way to the queue, or in it. */
  | 'open'

/** One command. */
export class Outstanding {
  readonly envelope: CommandEnvelope
  readonly promise: Promise<unknown>
  /** Whether its promise waits for its result, and not only until the queue has it. */
  readonly wantsResult: boolean
  /** Whether its id is the caller's, so that it may be submitted again. */
  readonly isNamed: boolean
  stage: OutstandingStage = 'waiting'
  isAccepted = false
  isSettled = false
  /** Others of its id that were submitted meanwhile. */
  followers: Outstanding[] | undefined
  /** When it was submitted, monotonic milliseconds. */
  readonly submittedAtMs: number
  /** When the queue last knew it and it had not ended, monotonic milliseconds. */
  pendingAtMs = Number.NEGATIVE_INFINITY
  /** Since when it waits for the queue to accept it, monotonic milliseconds. */
  unacceptedSinceMs: number
  /** When it is to be looked up next, monotonic milliseconds. */
  nextLookMs = Number.POSITIVE_INFINITY
  #onSettled: (item: Outstanding) => void
  #signal: AbortSignal | undefined
  #onAbort: (() => void) | undefined
  #lookSpanMs = 0
  #result: CommandResult | undefined
  readonly #resolve: Settle
  readonly #reject: Settle

  /**
   * @param wantsResult - Whether its promise waits for its result.
   * @param isNamed - Whether its id is the caller's.
   * @param onSettled - Called once, when its promise is settled.
   */
  constructor(
    envelope: CommandEnvelope,
    wantsResult: boolean,
    isNamed: boolean,
    now: number,
    onSettled: (item: Outstanding) => void,
  ) {
    this.#onSettled = onSettled
    this.envelope = envelope
    this.wantsResult = wantsResult
    this.isNamed = isNamed
    this.submittedAtMs = now
    this.unacceptedSinceMs = now
    this.promise = new Promise(capture)
    this.#resolve = capturedResolve!
    this.#reject = capturedReject!
    capturedResolve = undefined
    capturedReject = undefined
  }

  /** How it ended in the queue; undefined if it has not, or that is not known. */
  get result(): CommandResult | undefined {
    return this.#result
  }

  /** How and where it ended; a failure is an outcome, too. Rejects if it does not end. */
  async outcome(): Promise<CommandOutcome> {
    try {
      const value = await this.promise
      return { ok: true, value, info: this.#infoOf(this.#result!) }
    } catch (error) {
      if (this.#result === undefined) throw error
      return { ok: false, error, info: this.#infoOf(this.#result) }
    }
  }

  /** Lets a signal reject its promise. */
  heed(signal: AbortSignal): void {
    this.#signal = signal
    this.#onAbort = () => {
      const isIn = this.isAccepted || this.stage === 'following'
      const where = this.stage === 'waiting' ? 'waiting for room' : 'on its way to the queue'
      const stage = isIn ? 'in the queue, where it stays' : where
      this.fail(laneError('CORELANE_ABORTED', { stage }, signal.reason))
    }
    signal.addEventListener('abort', this.#onAbort, { once: true })
  }

  /**
   * The command as the queue is given it: its deadline counts from its acceptance there, so what it
   * has waited here is taken off.
   */
  envelopeAt(now: number): CommandEnvelope {
    const { envelope } = this
    const { deadline, createdAt } = envelope
    const waitedMs = Math.floor(now - this.submittedAtMs)
    if (deadline === undefined || waitedMs < 1) return envelope
    return { ...envelope, deadline: Math.max(createdAt, deadline - waitedMs) }
  }

  /**
   * The queue has it.
   *
   * @param status - Whether it had it before.
   * @param lookMs - When to look for the result first if none is announced.
   */
  accepted(status: EnqueueStatus, sentMs: number, now: number, lookMs: number): void {
    if (this.isSettled) return
    this.isAccepted = true
    if (!this.wantsResult) {
      this.#settle()
      this.#resolve({ id: this.envelope.id, status } satisfies Enqueued)
      return
    }
    this.#lookSpanMs = lookMs
    // A duplicate is this command, of which an answer was lost, or an older one with the same name.
    if (status === 'accepted' || !this.isNamed) this.pendingAtMs = sentMs
    // A duplicate may have ended long ago, and then nothing is announced any more.
    this.nextLookMs = status === 'duplicate' ? now : now + lookMs
  }

  /** The queue has lost it: it is to be enqueued again. */
  lost(now: number): void {
    this.isAccepted = false
    this.unacceptedSinceMs = now
    this.nextLookMs = Number.POSITIVE_INFINITY
  }

  /**
   * It was looked up and has not ended.
   *
   * @param askedMs - When the queue was asked, monotonic milliseconds.
   */
  lookedUp(askedMs: number, now: number, lookMaxMs: number): void {
    this.pendingAtMs = askedMs
    this.#lookSpanMs = Math.min(this.#lookSpanMs * 2, lookMaxMs)
    this.nextLookMs = now + this.#lookSpanMs
  }

  /** It has ended. */
  ended(result: CommandResult): void {
    if (this.isSettled) return
    this.#result = result
    this.#settle()
    if (result.success) {
      this.#resolve(result.value)
      return
    }
    const error = fromPortableError(result.error)
    const info = this.#infoOf(result)
    Object.defineProperty(error, commandInfo, { value: info, configurable: true })
    this.#reject(error)
  }

  /** Its promise rejects; what becomes of it in the queue is not known. */
  fail(error: unknown): void {
    if (this.isSettled) return
    this.#settle()
    this.#reject(error)
  }

  #settle(): void {
    this.isSettled = true
    if (this.#onAbort !== undefined) this.#signal!.removeEventListener('abort', this.#onAbort)
    this.#onSettled(this)
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
