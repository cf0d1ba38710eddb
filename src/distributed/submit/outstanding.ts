// Outstanding: a command of a submitter's from submit until its promise is settled; cancels in the
// queue those that are not wanted any more.
// Owns: the promise's resolvers, and the cancels to be sent.

import type { AbortListeners } from '../../base/abort-listeners.ts'
import type { Linked } from '../../base/chain.ts'
import { codeOf, laneError } from '../../base/errors.ts'
import { Rejection } from '../../coordinator/settlement.ts'
import { type CommandInfo, type CommandOutcome, commandInfo } from '../../model/command.ts'
import type { CommandReference, EnqueueStatus, LeasedQueue } from '../contract/distributed-queue.ts'
import type { CommandEnvelope, CommandResult } from '../contract/envelope.ts'
import { fromPortableError } from '../contract/portable-error.ts'
import { Outbox } from '../outbox.ts'

type Settle = (value: unknown) => void

// A promise's function is captured without a closure per command.
let capturedResolve: Settle | undefined
function capture(resolve: Settle): void {
  capturedResolve = resolve
}

/** The answer to `enqueue`. */
export interface Enqueued {
  readonly id: string
  /** `duplicate` if the queue knew the id already: nothing was added. */
  readonly status: EnqueueStatus
}

/** Where a command of a submitter's is, or was when its promise was settled. */
export type OutstandingStage =
  /** It waits for room. */
  | 'waiting'
  /** Another of its id is open, and its end will be the end of this one. */
  | 'following'
  /** It is on its way to the queue, perhaps anew. */
  | 'open'
  /** The queue has it. */
  | 'accepted'

/** When the queue was asked for commands, and when it is to be asked again, monotonic ms. */
export interface Sighting {
  /** When the queue last knew them and they had not ended. */
  readonly pendingAtMs: number
  /** When they are to be looked up next. */
  readonly nextLookMs: number
  /** The time between the two last looks. */
  readonly spanMs: number
}

/** Spans between two looks double up to so many times the first. */
const LOOK_GROWTH_MAX = 32

/** The longest of them, as a part of the time for which results are kept. */
const LOOKS_OF_TTL = 1 / 4

const LOOK_MS_MIN = 10

/** How long it takes from its acceptance until a command is looked up, and between two looks. */
export interface LookSpans {
  readonly firstMs: number
  readonly maxMs: number
}

/** The spans where no result expires between two looks, if it is kept at all. */
export function lookSpans(sweepMs: number, resultTtlMs = Number.POSITIVE_INFINITY): LookSpans {
  const longestMs = sweepMs * LOOK_GROWTH_MAX
  // Where no result is kept, none is found, however often it is looked for.
  const ttlMs = resultTtlMs === 0 ? Number.POSITIVE_INFINITY : resultTtlMs
  const maxMs = Math.min(longestMs, Math.max(LOOK_MS_MIN, ttlMs * LOOKS_OF_TTL))
  return { firstMs: Math.min(sweepMs, maxMs), maxMs }
}

const UNSEEN: Sighting = Object.freeze({
  pendingAtMs: Number.NEGATIVE_INFINITY,
  nextLookMs: Number.POSITIVE_INFINITY,
  spanMs: 0,
})

export class Outstanding implements Linked<Outstanding> {
  readonly envelope: CommandEnvelope
  promise: Promise<unknown>
  /** Whether its promise waits for its result, and not only until the queue has it. */
  readonly wantsResult: boolean
  /** Whether its id is the caller's, so that it may be submitted again. */
  readonly isNamed: boolean
  stage: OutstandingStage = 'waiting'
  /** Whether its id was the queue's already, by a command that others may wait for. */
  isDuplicate = false
  isSettled = false
  /** Others of its id that were submitted meanwhile. */
  followers: Outstanding[] | undefined
  /** Called with how far it has come. */
  onProgress: ((value: unknown) => void) | undefined = undefined
  /** The queue may have it though it has not said so: a call with it failed. */
  isUnsure = false
  /** It is to be cancelled in the queue, if that has it. */
  isUnwanted = false
  older: Outstanding | undefined = undefined
  younger: Outstanding | undefined = undefined
  /** When it was submitted, monotonic milliseconds. */
  readonly submittedAtMs: number
  /** How it ended in the queue; undefined if it has not, or that is not known. */
  result: CommandResult | undefined = undefined
  /** Commands of one call share it. */
  sighting: Sighting = UNSEEN
  #onSettled: (item: Outstanding) => void
  /** Lets go of its signal. */
  #unheed: (() => void) | undefined
  /** When the queue was found to have lost it, monotonic milliseconds. */
  #lostAtMs: number | undefined
  readonly #resolve: Settle

  /** @param onSettled - Called once, when its promise is settled. */
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
    this.promise = new Promise(capture)
    this.#resolve = capturedResolve!
    capturedResolve = undefined
  }

  /** Since when it waits for the queue to accept it, monotonic milliseconds. */
  get unacceptedSinceMs(): number {
    return this.#lostAtMs ?? this.submittedAtMs
  }

  /** How and where it ended; a failure is an outcome, too. Rejects if it does not end. */
  async outcome(): Promise<CommandOutcome> {
    try {
      const value = await this.promise
      return { ok: true, value, info: this.#infoOf(this.result!) }
    } catch (error) {
      if (this.result === undefined) throw error
      return { ok: false, error, info: this.#infoOf(this.result) }
    }
  }

  /**
   * Lets a signal reject its promise.
   *
   * @param signals - Listen to it.
   * @param onAborted - Called once that has happened.
   */
  heed(signals: AbortListeners, signal: AbortSignal, onAborted: (item: Outstanding) => void): void {
    const abort = (): void => {
      const isIn = this.stage === 'accepted' || this.stage === 'following'
      const where = this.stage === 'waiting' ? 'waiting for room' : 'on its way to the queue'
      this.fail(
        laneError('CORELANE_ABORTED', { stage: isIn ? 'in the queue' : where }, signal.reason),
      )
      onAborted(this)
    }
    const target = { isBound: true, abort }
    signals.add(signal, target)
    this.#unheed = () => signals.remove(signal, target)
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

  /** @param sighting - Of those that the queue did not have before. */
  accepted(status: EnqueueStatus, sighting: Sighting, now: number): void {
    if (this.isSettled) return
    this.stage = 'accepted'
    this.isDuplicate = status === 'duplicate' && this.isNamed
    if (!this.wantsResult) {
      this.#settle()
      this.#resolve({ id: this.envelope.id, status } satisfies Enqueued)
      return
    }
    if (status === 'accepted') {
      this.sighting = sighting
      return
    }
    // It is this command, of which an answer was lost, or an older one with the same name. That may
    // have ended long ago, and then nothing is announced any more.
    const { pendingAtMs } = this.isNamed ? this.sighting : sighting
    this.sighting = { ...sighting, pendingAtMs, nextLookMs: now }
  }

  /** The queue has lost it: it is to be enqueued again. */
  lost(now: number): void {
    this.stage = 'open'
    this.#lostAtMs = now
    this.sighting = { ...this.sighting, nextLookMs: Number.POSITIVE_INFINITY }
  }

  /** It was looked up, by a call at a moment of the monotonic clock, and has not ended. */
  lookedUp(askedMs: number, now: number, lookMaxMs: number): void {
    const spanMs = Math.min(this.sighting.spanMs * 2, lookMaxMs)
    this.sighting = { pendingAtMs: askedMs, nextLookMs: now + spanMs, spanMs }
  }

  ended(result: CommandResult): void {
    if (this.isSettled) return
    this.result = result
    this.#settle()
    if (result.success) {
      this.#resolve(result.value)
      return
    }
    const error = fromPortableError(result.error)
    const info = this.#infoOf(result)
    Object.defineProperty(error, commandInfo, { value: info, configurable: true })
    this.#resolve(new Rejection(error))
  }

  /** Its promise rejects; what becomes of it in the queue is not known. */
  fail(error: unknown): void {
    if (this.isSettled) return
    this.#settle()
    this.#resolve(new Rejection(error))
  }

  #settle(): void {
    this.isSettled = true
    this.#unheed?.()
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

/** Part of the time that results take for which commands wait for others. */
const GATHER = 1 / 20

const GATHER_MS_MAX = 15

/** Fewer are not worth the wait. */
const GATHER_COUNT = 4

/**
 * How long commands wait for others on their way to the queue, so that one call carries several.
 *
 * @param open - How many are open: by Little's law as many come, where each result has another one
 * submitted, in the time that results take.
 * @param tookMs - That time.
 */
export function gatherMs(open: number, tookMs: number): number {
  return open * GATHER < GATHER_COUNT ? 0 : Math.min(tookMs * GATHER, GATHER_MS_MAX)
}

/** Cancels the commands of a submitter whose signals aborted. */
export class Unwanted {
  readonly #canCancel: boolean
  readonly #outbox: Outbox<CommandReference>
  /** On their way to the queue in the present call. */
  #sending: readonly Outstanding[] = []

  /**
   * @param isAwaited - Whether another waits for the same command by now.
   * @param failed - Called with each failure; a call is repeated.
   */
  constructor(
    { commands }: LeasedQueue,
    isAwaited: (id: string) => boolean,
    failed: (error: unknown) => void,
  ) {
    this.#canCancel = commands !== undefined
    this.#outbox = new Outbox<CommandReference>({
      send: async (all) => void (await commands!.cancel(all)),
      failed,
      isWanted: ({ commandId }) => !isAwaited(commandId),
    })
  }

  /** One is not wanted any more, and has been settled. */
  readonly add = (item: Outstanding): void => {
    // The command of another may be waited for elsewhere.
    if (!this.#canCancel || item.isDuplicate) return
    item.isUnwanted = true
    // One that is on its way is cancelled when the queue may have it.
    const mayBeThere = item.isUnsure && !this.#sending.includes(item)
    if (item.stage === 'accepted' || mayBeThere) this.#outbox.add(referenceTo(item))
  }

  /** Sends commands; those that are aborted meanwhile are cancelled afterwards. */
  async sending(
    items: readonly Outstanding[],
    send: () => Promise<EnqueueStatus[]>,
  ): Promise<EnqueueStatus[]> {
    this.#sending = items
    let statuses: EnqueueStatus[] | undefined
    try {
      statuses = await send()
      return statuses
    } catch (error) {
      // Where the queue is full, an id of the caller's may be known by another's command alone.
      const isFull = codeOf(error) === 'CORELANE_QUEUE_FULL'
      for (const item of items) if (!isFull || !item.isNamed) item.isUnsure = true
      throw error
    } finally {
      this.#sending = []
      for (let i = 0; i < items.length; i++) {
        const item = items[i]!
        if (!item.isUnwanted) continue
        // Without an answer the queue may have it all the same.
        const isOther = statuses?.[i] === 'duplicate' && item.isNamed
        if (statuses === undefined ? item.isUnsure : !isOther) this.#outbox.add(referenceTo(item))
      }
    }
  }

  /** Resolves once everything was cancelled, or nothing is tried any more. */
  idle(): Promise<void> {
    return this.#outbox.idle()
  }

  giveUp(): void {
    this.#outbox.giveUp()
  }
}

/** Names a command to the queue. */
export function referenceTo({ envelope }: Outstanding): CommandReference {
  return { commandId: envelope.id, partitionId: envelope.partitionId }
}
