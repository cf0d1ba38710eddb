// Submitter: the public face of the submitting side: commands into a queue, results out of it.
// Thread: main.   Owns: what is outstanding, and what keeps the process alive for it.

import { nowMs, timers } from '../base/clock.ts'
import { Deque } from '../base/deque.ts'
import { laneError } from '../base/errors.ts'
import { checkOptions } from '../base/options.ts'
import type { CommandOutcome } from '../model/command.ts'
import type {
  AnyHandlers,
  HandlerName,
  PayloadArguments,
  ResultOf,
} from '../model/handler-module.ts'
import type { CommandReference, DistributedQueue, LeasedQueue } from './distributed-queue.ts'
import type { CommandEnvelope, CommandResult } from './envelope.ts'
import { EnvelopeMaker } from './envelope-maker.ts'
import { type IncidentListener, incidentTeller } from './incident.ts'
import { leasedQueueOf } from './leased-queue-of.ts'
import { Outbox } from './outbox.ts'
import { type Enqueued, Outstanding } from './outstanding.ts'
import { Pause } from './pause.ts'
import {
  type NewCommand,
  SUBMITTER_RULES,
  type SubmitOptions,
  type SubmitterOptions,
} from './submitter-options.ts'

/** Most commands of one enqueue, as the contract has it. */
const BATCH_MAX = 4096

/** Spans between two looks double up to so many times the first. */
const LOOK_GROWTH_MAX = 32

/** The longest of them, as a part of the time for which results are kept. */
const LOOKS_OF_TTL = 1 / 4

const LOOK_MS_MIN = 10

/** How long `close` waits for the queue to forget what it need not keep. */
const FORGET_MS = 1000

/** Commands that are looked up in one call. */
const LOOK_MAX = 1024

/** A submitter at one moment. */
export interface SubmitterStats {
  /** Commands whose promise is not settled. */
  readonly pending: number
  /** Those of them that the queue has not accepted yet. */
  readonly unaccepted: number
  /** Submits that wait for room. */
  readonly waiting: number
  /** Commands whose result has come. */
  readonly ended: number
  /** Results that were looked up, because no announcement came. */
  readonly swept: number
  /** Commands that the queue had lost, enqueued again. */
  readonly reenqueued: number
}

/**
 * Puts commands into a distributed queue and waits for their results.
 *
 * @typeParam M - The handler module of the workers: `typeof import('./handlers.js')`.
 */
export class Submitter<M = AnyHandlers> {
  /** Its name; results are announced under it. */
  readonly name: string
  readonly #queue: LeasedQueue
  readonly #options: Readonly<SubmitterOptions>
  readonly #tell: IncidentListener
  readonly #maker: EnvelopeMaker
  readonly #outbox: Outbox<Outstanding>
  /** Results that have come and that the queue need not keep. */
  readonly #forgotten: Outbox<CommandReference>
  /** Those that wait for a result, by id. */
  readonly #byId = new Map<string, Outstanding>()
  /** Those that the queue has not accepted, the oldest first. */
  readonly #unaccepted = new Set<Outstanding>()
  /** Start those that wait for room, in their order. */
  readonly #waiting = new Deque<(refusal?: Error) => void>()
  #open = 0
  #ended = 0
  #swept = 0
  #reenqueued = 0
  #timer: NodeJS.Timeout | undefined
  #isSweeping = false
  #isClosed = false
  #listening: Promise<void> | undefined
  #stopListening: (() => Promise<void>) | undefined

  /**
   * @param queue - Where commands go. The submitter does not close it.
   * @param options - All have defaults.
   * @throws ConfigError `CORELANE_INVALID_OPTION`.
   */
  constructor(queue: DistributedQueue, options?: SubmitterOptions) {
    const checked = checkOptions<SubmitterOptions>('Submitter', options, SUBMITTER_RULES)
    this.name = checked.name ?? crypto.randomUUID()
    this.#queue = leasedQueueOf(queue)
    this.#options = checked
    this.#tell = incidentTeller(checked.onIncident)
    this.#maker = new EnvelopeMaker(this.#queue, this.name, checked.allowDegraded!)
    this.#outbox = new Outbox<Outstanding>({
      owner: this.name,
      batchMax: BATCH_MAX,
      send: (items) => this.#send(items),
      refused: (item, error) => item.fail(error),
      failed: this.#failed,
      isWanted: ({ isSettled, isAccepted }) => !isSettled && !isAccepted,
    })
    this.#forgotten = new Outbox<CommandReference>({
      owner: this.name,
      batchMax: BATCH_MAX,
      send: (commands) => this.#queue.forget!(commands),
      // It expires then.
      refused: (_, error) => this.#failed(error),
      failed: this.#failed,
    })
  }

  /**
   * Submits a command.
   *
   * @param lane - Name of its lane.
   * @param type - Name of its handler.
   * @param rest - The payload and options.
   * @returns What the handler returns; rejects with an error like the one it threw.
   * @throws (as a rejection) ConfigError `CORELANE_INVALID_ENVELOPE`, `CORELANE_INVALID_OPTION`,
   * `CORELANE_DEGRADED`; LaneError `CORELANE_QUEUE_UNAVAILABLE` after `timeoutMs`; ClosedError
   * `CORELANE_SUBMITTER_CLOSED`; AbortError; whatever else the command ended with.
   */
  submit<K extends HandlerName<M>>(
    lane: string,
    type: K,
    ...rest: PayloadArguments<M, K, SubmitOptions>
  ): Promise<ResultOf<M, K>>
  submit(lane: string, type: string, payload?: unknown, options?: SubmitOptions): Promise<unknown> {
    return this.#submit(lane, type, payload, options, true)
  }

  /**
   * Submits a command and tells where and how long it ran as well.
   *
   * @param lane - Name of its lane.
   * @param type - Name of its handler.
   * @param rest - The payload and options.
   * @returns How it ended; its partition is the queue's. A handler's failure is an outcome, too.
   * @throws (as a rejection) As {@link Submitter.submit}, but for what the command ends with.
   */
  execute<K extends HandlerName<M>>(
    lane: string,
    type: K,
    ...rest: PayloadArguments<M, K, SubmitOptions>
  ): Promise<CommandOutcome<ResultOf<M, K>>>
  execute(
    lane: string,
    type: string,
    payload?: unknown,
    options?: SubmitOptions,
  ): Promise<unknown> {
    return this.#submit(lane, type, payload, options, true, (item) => item.outcome())
  }

  /**
   * Puts a command into the queue and waits for no result.
   *
   * @param lane - Name of its lane.
   * @param type - Name of its handler.
   * @param rest - The payload and options.
   * @returns Its id, once the queue has it, and whether it had it before.
   * @throws (as a rejection) As {@link Submitter.submit}, but for what the command ends with.
   */
  enqueue<K extends HandlerName<M>>(
    lane: string,
    type: K,
    ...rest: PayloadArguments<M, K, SubmitOptions>
  ): Promise<Enqueued>
  enqueue(
    lane: string,
    type: string,
    payload?: unknown,
    options?: SubmitOptions,
  ): Promise<unknown> {
    return this.#submit(lane, type, payload, options, false)
  }

  /**
   * Puts commands into the queue and waits for no result.
   *
   * @param commands - Each with its lane, its type and its options.
   * @returns In their order; rejects with the first that is refused, while the others are kept.
   */
  enqueueMany(commands: Iterable<NewCommand>): Promise<Enqueued[]> {
    const all = Array.from(commands, ({ lane, type, payload, ...options }) =>
      this.#submit(lane, type, payload, options, false),
    )
    return Promise.all(all) as Promise<Enqueued[]>
  }

  /** What is outstanding and what has become of the rest. */
  stats(): SubmitterStats {
    return {
      pending: this.#open,
      unaccepted: this.#unaccepted.size,
      waiting: this.#waiting.length,
      ended: this.#ended,
      swept: this.#swept,
      reenqueued: this.#reenqueued,
    }
  }

  /**
   * Rejects what is outstanding and asks for no more results. What the queue has accepted runs all
   * the same. The queue stays open.
   */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#outbox.giveUp()
    for (const start of this.#waiting.take()) start(this.#closedError('', 'waiting for room'))
    for (const item of [...this.#unaccepted, ...this.#byId.values()]) {
      const stage = item.isAccepted ? 'accepted by the queue' : 'not accepted by the queue'
      item.fail(this.#closedError(item.envelope.id, stage))
    }
    timers.clearInterval(this.#timer)
    const limit = new Pause()
    await Promise.race([this.#forgotten.idle(), limit.wait(FORGET_MS)])
    limit.end()
    this.#forgotten.giveUp()
    await this.#listening
    try {
      await this.#stopListening?.()
    } catch (error) {
      this.#failed(error)
    }
  }

  /** As {@link Submitter.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #submit(
    lane: string,
    type: string,
    payload: unknown,
    options: SubmitOptions | undefined,
    wantsResult: boolean,
    answerOf: (item: Outstanding) => Promise<unknown> = ({ promise }) => promise,
  ): Promise<unknown> {
    let envelope: CommandEnvelope
    try {
      envelope = this.#maker.make(lane, type, payload, options, wantsResult)
      if (this.#isClosed) throw this.#closedError(envelope.id, 'not submitted')
      refuseAborted(options?.signal)
    } catch (error) {
      return Promise.reject(error)
    }
    if (this.#open < this.#options.maxPending! && this.#waiting.length === 0) {
      return answerOf(this.#start(envelope, wantsResult, options))
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push((refusal) => {
        try {
          if (refusal !== undefined) throw refusal
          refuseAborted(options?.signal)
          resolve(answerOf(this.#start(envelope, wantsResult, options)))
        } catch (error) {
          reject(error)
        }
      })
    })
  }

  #start(
    envelope: CommandEnvelope,
    wantsResult: boolean,
    { id, signal }: SubmitOptions = {},
  ): Outstanding {
    if (wantsResult) {
      // The same id is the same command, and has one result.
      const known = this.#byId.get(envelope.id)
      if (known !== undefined) return known
    }
    const item = new Outstanding(envelope, wantsResult, id !== undefined, nowMs(), this.#settled)
    this.#open++
    this.#unaccepted.add(item)
    if (wantsResult) this.#byId.set(envelope.id, item)
    if (signal !== undefined) item.heed(signal)
    this.#hold()
    this.#outbox.add(item)
    return item
  }

  readonly #settled = (item: Outstanding): void => {
    this.#open--
    this.#unaccepted.delete(item)
    if (item.wantsResult) this.#byId.delete(item.envelope.id)
    while (this.#waiting.length > 0 && this.#open < this.#options.maxPending!) {
      this.#waiting.shift()!()
    }
    if (this.#open === 0) this.#timer?.unref()
  }

  async #send(items: readonly Outstanding[]): Promise<void> {
    if (items.some(({ wantsResult }) => wantsResult)) await this.#listen()
    const sentMs = nowMs()
    const envelopes = items.map((item) => item.envelopeAt(sentMs))
    const statuses = await this.#queue.enqueueMany(envelopes)
    const now = nowMs()
    for (let i = 0; i < items.length; i++) {
      const item = items[i]!
      this.#unaccepted.delete(item)
      item.accepted(statuses[i]!, sentMs, now, this.#lookMs)
    }
  }

  /** Listens for results. If it cannot, it goes on without: results are looked up as well. */
  #listen(): Promise<void> {
    this.#listening ??= this.#queue
      .announce(this.name, (result) => {
        const item = this.#byId.get(result.commandId)
        if (item !== undefined) this.#end(item, result)
      })
      .then(
        (stop) => {
          this.#stopListening = stop
        },
        (error: unknown) => {
          this.#listening = undefined
          this.#failed(error)
        },
      )
    return this.#listening
  }

  #end(item: Outstanding, result: CommandResult): void {
    this.#ended++
    item.ended(result)
    const { keepResults } = this.#options
    if (keepResults === 'all' || (keepResults === 'named' && item.isNamed)) return
    const { id: commandId, partitionId } = item.envelope
    if (this.#queue.forget !== undefined) this.#forgotten.add({ commandId, partitionId })
  }

  /** Something is outstanding: the process stays alive, and it is swept. */
  #hold(): void {
    if (this.#timer === undefined) this.#timer = timers.setInterval(this.#sweep, this.#sweepMs)
    else if (this.#open === 1) this.#timer.ref()
  }

  get #sweepMs(): number {
    return Math.max(5, this.#lookMs / 2)
  }

  /** When a command is looked up first: often enough that no result expires between two looks. */
  get #lookMs(): number {
    return Math.min(this.#options.sweepMs!, this.#lookMaxMs)
  }

  get #lookMaxMs(): number {
    const { resultTtlMs = Number.POSITIVE_INFINITY } = this.#queue
    const longestMs = this.#options.sweepMs! * LOOK_GROWTH_MAX
    return Math.min(longestMs, Math.max(LOOK_MS_MIN, resultTtlMs * LOOKS_OF_TTL))
  }

  readonly #sweep = (): void => {
    if (this.#open === 0) {
      timers.clearInterval(this.#timer)
      this.#timer = undefined
      return
    }
    const now = nowMs()
    const { timeoutMs } = this.#options
    for (const item of timeoutMs === undefined ? [] : this.#unaccepted) {
      if (now - item.submittedAtMs < timeoutMs!) break
      const details = { queue: `of submitter ${this.name}`, reason: `not within ${timeoutMs} ms` }
      item.fail(laneError('CORELANE_QUEUE_UNAVAILABLE', details))
    }
    if (!this.#isSweeping) void this.#lookUp(now)
  }

  /** Looks up what should have ended by now, or was lost. */
  async #lookUp(now: number): Promise<void> {
    this.#isSweeping = true
    const due: Outstanding[] = []
    for (const item of this.#byId.values()) if (item.nextLookMs <= now) due.push(item)
    try {
      for (let from = 0; from < due.length && !this.#isClosed; from += LOOK_MAX) {
        await this.#lookUpBatch(due.slice(from, from + LOOK_MAX))
      }
    } catch (error) {
      this.#failed(error)
    }
    this.#isSweeping = false
  }

  async #lookUpBatch(batch: readonly Outstanding[]): Promise<void> {
    const references = batch.map(({ envelope: { id, partitionId } }) => ({
      commandId: id,
      partitionId,
    }))
    const askedMs = nowMs()
    const states = await this.#queue.look(references)
    const now = nowMs()
    const { resultTtlMs } = this.#queue
    const lost: string[] = []
    for (const [i, item] of batch.entries()) {
      const known = states[i]!
      if (item.isSettled) continue
      if (known.state === 'ended') {
        this.#swept++
        this.#end(item, known.result)
      } else if (known.state === 'pending') item.lookedUp(askedMs, now, this.#lookMaxMs)
      else if (resultTtlMs !== undefined && now - item.pendingAtMs >= resultTtlMs) {
        // To enqueue it again would run it again, if it has ended.
        const { id } = item.envelope
        item.fail(laneError('CORELANE_RESULT_EXPIRED', { id, resultTtlMs }))
      } else {
        this.#reenqueued++
        lost.push(item.envelope.id)
        item.lost()
        this.#unaccepted.add(item)
        this.#outbox.add(item)
      }
    }
    if (lost.length > 0) this.#tell({ what: 'commands-lost', commandIds: lost })
  }

  readonly #failed = (error: unknown): void => this.#tell({ what: 'queue-failed', error })

  #closedError(id: string, stage: string): Error {
    return laneError('CORELANE_SUBMITTER_CLOSED', { id, stage })
  }
}

function refuseAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw laneError('CORELANE_ABORTED', { stage: 'submitted' }, signal.reason)
}
