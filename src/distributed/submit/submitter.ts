// Submitter: the public face of the submitting side: commands into a queue, results out of it.
// Owns: the outstanding commands, and the timer that keeps the process alive for them.

import { AbortListeners, refuseAborted } from '../../base/abort-listeners.ts'
import { outside } from '../../base/async-context.ts'
import { Chain } from '../../base/chain.ts'
import { callListener, nowMs, timers } from '../../base/clock.ts'
import { laneError, show } from '../../base/errors.ts'
import { checkOptions, invalidOption } from '../../base/options.ts'
import { uniqueName } from '../../base/random.ts'
import { RenewedMap } from '../../base/renewed-map.ts'
import type { CommandOutcome } from '../../model/command.ts'
import type {
  AnyHandlers,
  HandlerName,
  PayloadArguments,
  ResultOf,
} from '../../model/handler-module.ts'
import type {
  CancelStatus,
  CommandReference,
  DistributedQueue,
  LeasedQueue,
} from '../contract/distributed-queue.ts'
import { CALL_MAX, degraded } from '../contract/engine-checks.ts'
import type { CommandResult } from '../contract/envelope.ts'
import { isWithin } from '../contract/pause.ts'
import { type IncidentListener, incidentTeller } from '../incident.ts'
import { leasedQueueOf } from '../lift/lifted-queue.ts'
import { Outbox } from '../outbox.ts'
import { EnvelopeMaker } from './envelope-maker.ts'
import { NameWatch } from './name-watch.ts'
import {
  type Enqueued,
  gatherMs,
  type LookSpans,
  lookSpans,
  Outstanding,
  referenceTo,
  Unwanted,
} from './outstanding.ts'
import { followTrace, isFollowed, startTrace, withTrace } from './submit-trace.ts'
import {
  keepsResult,
  type NewCommand,
  SUBMITTER_RULES,
  type SubmitOptions,
  type SubmitterOptions,
  type SubmitterPlan,
} from './submitter-options.ts'

const SWEEP_MS_MIN = 5

/** How long `close` waits for the queue: to forget, to cancel, and to end its announcements. */
const FORGET_MS = 1000

/** Commands that are looked up in one call. */
const LOOK_MAX = 1024

/** How long results that need not be kept wait for others: one call for many. */
const FORGET_GATHER_MS = 50

type Ending = () => Promise<void>

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
  readonly #plan: SubmitterPlan
  readonly #tell: IncidentListener
  readonly #maker: EnvelopeMaker
  readonly #outbox: Outbox<Outstanding>
  /** Results that have come and that the queue need not keep. */
  readonly #forgotten: Outbox<CommandReference>
  readonly #unwanted: Unwanted
  readonly #looks: LookSpans
  readonly #signals = new AbortListeners()
  /** Announcements that it receives: how each ends, once it has begun. */
  readonly #listening = new Map<'results' | 'progress', Promise<Ending | undefined>>()
  /** Those that wait for a result, by id. */
  readonly #byId = new RenewedMap<string, Outstanding>()
  /** Open ones that the queue has not accepted: all of them are in the outbox. */
  #unaccepted = 0
  readonly #lanes: NameWatch
  readonly #handlers: NameWatch
  /** Those that wait for room. */
  readonly #waiting = new Chain<Outstanding>()
  #open = 0
  #ended = 0
  /** Milliseconds until a result: a short time counts at once, long ones when there are many. */
  #tookMs = 0
  #swept = 0
  #reenqueued = 0
  #timer: NodeJS.Timeout | undefined
  #isSweeping = false
  #isClosed = false
  #closing: Promise<void> | undefined

  /**
   * @param queue - Where commands go. The submitter does not close it.
   * @throws ConfigError `CORELANE_INVALID_OPTION`.
   */
  constructor(queue: DistributedQueue, options?: SubmitterOptions) {
    const plan = checkOptions<SubmitterPlan>('Submitter', options, SUBMITTER_RULES)
    this.name = plan.name ?? uniqueName()
    this.#queue = leasedQueueOf(queue)
    this.#plan = plan
    this.#tell = incidentTeller(plan.onIncident)
    const rejects = plan.unknown === 'reject'
    const laneCode = rejects ? 'CORELANE_UNKNOWN_LANE' : undefined
    const typeCode = rejects ? 'CORELANE_UNKNOWN_TYPE' : undefined
    this.#lanes = new NameWatch(this.#queue.lanes, laneCode, (laneIds) =>
      this.#tell({ what: 'lane-unserved', laneIds }),
    )
    this.#handlers = new NameWatch(this.#queue.handlers, typeCode, (handlers) =>
      this.#tell({ what: 'handler-unserved', handlers }),
    )
    this.#looks = lookSpans(plan.sweepMs, this.#queue.resultTtlMs)
    this.#maker = new EnvelopeMaker(this.#queue, this.name, plan)
    this.#outbox = new Outbox<Outstanding>({
      send: (items) => this.#send(items),
      refused: (item, error) => item.fail(error),
      failed: this.#failed,
      isWanted: isUnaccepted,
      patienceMs: () => gatherMs(this.#open, this.#tookMs),
    })
    this.#forgotten = new Outbox<CommandReference>({
      send: (commands) => this.#queue.forget!(commands),
      failed: this.#failed,
      patienceMs: () => FORGET_GATHER_MS,
    })
    this.#unwanted = new Unwanted(this.#queue, (id) => this.#byId.has(id), this.#failed)
  }

  /**
   * Submits a command.
   *
   * @param lane - Name of its lane.
   * @param type - Name of its handler.
   * @param rest - The payload and options.
   * @returns What the handler returns; rejects with an error like the one it threw.
   * @throws (as a rejection) ConfigError `CORELANE_INVALID_ENVELOPE`, `CORELANE_INVALID_OPTION`,
   * `CORELANE_UNKNOWN_LANE`, `CORELANE_UNKNOWN_TYPE`, `CORELANE_DEGRADED`; LaneError
   * `CORELANE_QUEUE_UNAVAILABLE` after `timeoutMs`, `CORELANE_RESULT_EXPIRED`; ClosedError
   * `CORELANE_SUBMITTER_CLOSED`; AbortError; whatever else the command ended with.
   */
  submit<K extends HandlerName<M>, P = unknown>(
    lane: string,
    type: K,
    ...rest: PayloadArguments<M, K, SubmitOptions, P>
  ): Promise<ResultOf<M, K>>
  submit(lane: string, type: string, payload?: unknown, options?: SubmitOptions): Promise<unknown> {
    return this.#submit(lane, type, payload, options, true)
  }

  /**
   * Submits a command and tells where and how long it ran as well.
   *
   * @returns How it ended; its partition is the queue's. A handler's failure is an outcome, too.
   * @throws (as a rejection) As {@link Submitter.submit}, but for what the command ends with.
   */
  execute<K extends HandlerName<M>, P = unknown>(
    lane: string,
    type: K,
    ...rest: PayloadArguments<M, K, SubmitOptions, P>
  ): Promise<CommandOutcome<ResultOf<M, K>>>
  execute(
    lane: string,
    type: string,
    payload?: unknown,
    options?: SubmitOptions,
  ): Promise<unknown> {
    return this.#submit(lane, type, payload, options, true, true)
  }

  /**
   * Puts a command into the queue and waits for no result.
   *
   * @returns Its id, once the queue has it, and whether it had it before.
   * @throws (as a rejection) As {@link Submitter.submit}, but for what the command ends with.
   */
  enqueue<K extends HandlerName<M>, P = unknown>(
    lane: string,
    type: K,
    ...rest: PayloadArguments<M, K, SubmitOptions, P>
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
   * @returns In their order; rejects as {@link Submitter.enqueue} with the first that is refused,
   * while the others are kept.
   */
  async enqueueMany(commands: Iterable<NewCommand>): Promise<Enqueued[]> {
    if (typeof commands?.[Symbol.iterator] !== 'function') {
      throw invalidOption('enqueueMany.commands', show(commands), 'commands that can be iterated')
    }
    const all: Promise<unknown>[] = []
    for (const command of commands) {
      const { lane, type, payload, ...options } = command ?? ({} as NewCommand)
      const enqueued = this.#submit(lane, type, payload, options, false)
      // If the source fails half-way, it is not waited for.
      enqueued.catch(() => {})
      all.push(enqueued)
    }
    return Promise.all(all) as Promise<Enqueued[]>
  }

  /**
   * Ends a command that is not wanted any more, of this submitter or another: it rejects with an
   * AbortError, wherever it is waited for. One that waits is removed, one that runs is aborted in
   * its worker. One that ends meanwhile has its own result.
   *
   * @param id - Its id.
   * @returns `cancelled`, `stopping` if a worker had it, `ended` if it had ended, or `unknown`.
   * @throws (as a rejection) ConfigError `CORELANE_DEGRADED` if the queue cannot cancel;
   * `CORELANE_INVALID_ENVELOPE` for a bad id; LaneError `CORELANE_QUEUE_UNAVAILABLE`; ClosedError
   * `CORELANE_SUBMITTER_CLOSED`.
   */
  async cancel(id: string): Promise<CancelStatus> {
    const { commands } = this.#queue
    if (commands === undefined) {
      throw degraded('cancel', show(id), 'a queue that cancels commands')
    }
    if (this.#isClosed) throw this.#closedError(id, 'not cancelled')
    const own = [...this.#waiting.values(), ...this.#outbox].filter(
      (item) => item.envelope.id === id && isUnaccepted(item),
    )
    // Those that follow one end with it, and before it, lest they take its place.
    for (const item of own.flatMap((each) => [...(each.followers ?? []), each])) {
      item.fail(laneError('CORELANE_ABORTED', { stage: 'on its way to the queue' }))
      this.#unwanted.add(item)
    }
    const partitionId = this.#byId.get(id)?.envelope.partitionId
    const [status] = await commands.cancel([
      partitionId === undefined ? id : { commandId: id, partitionId },
    ])
    return status === 'unknown' && own.length > 0 ? 'cancelled' : status!
  }

  /** What is outstanding and what has become of the rest. */
  stats(): SubmitterStats {
    return {
      pending: this.#open,
      unaccepted: this.#unaccepted,
      waiting: this.#waiting.size,
      ended: this.#ended,
      swept: this.#swept,
      reenqueued: this.#reenqueued,
    }
  }

  /**
   * Rejects what is outstanding and asks for no more results. Accepted commands run all the same.
   * The queue stays open. Calling it again gives the same promise.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#isClosed = true
    this.#outbox.giveUp()
    // Those that wait for room first: the others would make room for them.
    for (const item of [...this.#waiting.values(), ...this.#outbox, ...this.#byId.values()]) {
      const not = item.stage === 'accepted' ? '' : 'not '
      const stage = item.stage === 'waiting' ? 'waiting for room' : `${not}accepted by the queue`
      item.fail(this.#closedError(item.envelope.id, stage))
    }
    timers.clearInterval(this.#timer)
    this.#forgotten.hurry()
    // One that begins later ends then.
    const ends = Array.from(this.#listening.values(), (listening) =>
      listening.then((end) => end?.()).catch(this.#failed),
    )
    await isWithin(FORGET_MS, Promise.all([this.#forgotten.idle(), this.#unwanted.idle(), ...ends]))
    this.#forgotten.giveUp()
    this.#unwanted.giveUp()
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
    isDetailed = false,
  ): Promise<unknown> {
    let item: Outstanding
    let signal: AbortSignal | undefined
    try {
      const envelope = this.#maker.make(lane, type, payload, options, wantsResult)
      if (this.#isClosed) throw this.#closedError(envelope.id, 'not submitted')
      signal = options?.signal
      refuseAborted(signal)
      const isNamed = options?.id !== undefined
      const trace = isFollowed() ? startTrace(envelope) : undefined
      const traced = trace === undefined ? envelope : withTrace(envelope, trace)
      item = new Outstanding(traced, wantsResult, isNamed, nowMs(), this.#settled)
      if (trace !== undefined) followTrace(trace, item)
    } catch (error) {
      return Promise.reject(error)
    }
    if (item.envelope.options?.progress === true) {
      item.onProgress = options!.onProgress
      void this.#listen('progress')
    }
    if (signal !== undefined) item.heed(this.#signals, signal, this.#unwanted.add)
    if (this.#open < this.#plan.maxPending && this.#waiting.size === 0) this.#admit(item)
    else this.#waiting.add(item)
    return isDetailed ? item.outcome() : item.promise
  }

  #admit(item: Outstanding): void {
    const { envelope, wantsResult } = item
    // The same id is the same command, and has one result. Only ids of callers come again.
    const known = wantsResult && item.isNamed ? this.#byId.get(envelope.id) : undefined
    if (known !== undefined) {
      item.stage = 'following'
      known.followers ??= []
      known.followers.push(item)
      return
    }
    item.stage = 'open'
    this.#open++
    this.#unaccepted++
    if (wantsResult) this.#byId.set(envelope.id, item)
    this.#hold()
    this.#outbox.add(item)
  }

  readonly #settled = (item: Outstanding): void => {
    if (item.stage === 'following') return
    if (item.stage === 'waiting') {
      this.#waiting.remove(item)
      return
    }
    this.#open--
    if (item.stage === 'open') {
      this.#unaccepted--
      // Most of the outbox is of no use any more.
      if (this.#outbox.size > 2 * this.#unaccepted + CALL_MAX) this.#outbox.prune()
    }
    if (item.wantsResult) this.#byId.delete(item.envelope.id)
    const { followers } = item
    if (followers !== undefined) for (const each of followers) this.#handOver(item, each)
    while (this.#waiting.size > 0 && this.#open < this.#plan.maxPending) {
      const next = this.#waiting.oldest!
      this.#waiting.remove(next)
      this.#admit(next)
    }
    if (this.#open === 0) this.#timer?.unref()
  }

  /** One has been settled that another of its id follows: only its end in the queue is shared. */
  #handOver({ result, envelope }: Outstanding, follower: Outstanding): void {
    if (follower.isSettled) return
    if (result !== undefined) follower.ended(result)
    else if (this.#isClosed) follower.fail(this.#closedError(envelope.id, 'open'))
    else this.#admit(follower)
  }

  async #send(items: readonly Outstanding[]): Promise<void> {
    await Promise.all([
      this.#lanes.look(items, ({ envelope }) => envelope.laneId),
      this.#handlers.look(items, ({ envelope }) => envelope.commandType),
      items.some(({ wantsResult }) => wantsResult) && this.#listen('results'),
    ])
    for (const item of items) {
      const { laneId, commandType } = item.envelope
      const refusal = this.#lanes.refusalOf(laneId) ?? this.#handlers.refusalOf(commandType)
      if (refusal !== undefined) item.fail(refusal)
    }
    // Some may have been aborted meanwhile.
    const wanted = items.filter(isUnsettled)
    if (wanted.length === 0) return
    const sentMs = nowMs()
    const envelopes = wanted.map((item) => item.envelopeAt(sentMs))
    const statuses = await this.#unwanted.sending(wanted, () => this.#queue.enqueueMany(envelopes))
    const now = nowMs()
    const spanMs = this.#looks.firstMs
    const sighting = { pendingAtMs: sentMs, nextLookMs: now + spanMs, spanMs }
    for (let i = 0; i < wanted.length; i++) {
      const item = wanted[i]!
      if (item.isSettled) continue
      this.#unaccepted--
      item.accepted(statuses[i]!, sighting, now)
    }
  }

  /**
   * Listens to what the queue announces. If it cannot, it goes on without, since results are looked
   * up as well, and tries again with the next command that wants it.
   */
  #listen(to: 'results' | 'progress'): Promise<unknown> {
    let listening = this.#listening.get(to)
    if (listening === undefined) {
      listening = outside(async () =>
        to === 'results'
          ? this.#queue.announce(this.name, this.#onResult)
          : this.#queue.commands!.onProgress(this.name, this.#onProgress),
      ).catch((error) => {
        this.#listening.delete(to)
        this.#failed(error)
        return undefined
      })
      this.#listening.set(to, listening)
    }
    return listening
  }

  readonly #onResult = (result: CommandResult): void => {
    const item = this.#byId.get(result.commandId)
    if (item !== undefined) this.#end(item, result)
  }

  readonly #onProgress = (commandId: string, value: unknown): void => {
    const item = this.#byId.get(commandId)
    if (item === undefined) return
    for (const { onProgress, isSettled } of [item, ...(item.followers ?? [])]) {
      if (onProgress !== undefined && !isSettled) callListener(onProgress, value)
    }
  }

  #end(item: Outstanding, result: CommandResult): void {
    this.#ended++
    this.#tookMs = Math.min(nowMs() - item.submittedAtMs, this.#tookMs + 1)
    item.ended(result)
    if (item.envelope.options?.keepResult ?? keepsResult(this.#plan, item.isNamed)) return
    if (this.#queue.forget !== undefined) this.#forgotten.add(result)
  }

  /** Something is outstanding: the process stays alive, and it is swept. */
  #hold(): void {
    const sweepMs = Math.max(SWEEP_MS_MIN, this.#looks.firstMs / 2)
    if (this.#timer === undefined) this.#timer = timers.setInterval(this.#sweep, sweepMs)
    else if (this.#open === 1) this.#timer.ref()
  }

  readonly #sweep = (): void => {
    if (this.#open === 0) {
      timers.clearInterval(this.#timer)
      this.#timer = undefined
      return
    }
    const now = nowMs()
    const { timeoutMs } = this.#plan
    if (timeoutMs !== undefined) this.#expire(now - timeoutMs)
    if (!this.#isSweeping) void this.#lookUp(now)
  }

  /** Rejects those that the queue should have accepted by now. */
  #expire(beforeMs: number): void {
    const late: Outstanding[] = []
    // In no order: some of the outbox have followed another before, or have waited for room.
    for (const items of [this.#outbox, this.#waiting.values()]) {
      for (const item of items) {
        if (item.unacceptedSinceMs <= beforeMs && isUnaccepted(item)) late.push(item)
      }
    }
    late.sort((a, b) => a.unacceptedSinceMs - b.unacceptedSinceMs)
    const { timeoutMs } = this.#plan
    const details = { queue: `of submitter ${this.name}`, reason: `not within ${timeoutMs} ms` }
    for (const item of late) item.fail(laneError('CORELANE_QUEUE_UNAVAILABLE', details))
  }

  /** Looks up what should have ended by now, or was lost. */
  async #lookUp(now: number): Promise<void> {
    this.#isSweeping = true
    const due: Outstanding[] = []
    for (const item of this.#byId.values()) if (item.sighting.nextLookMs <= now) due.push(item)
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
    const references = batch.map(referenceTo)
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
      } else if (known.state === 'pending') item.lookedUp(askedMs, now, this.#looks.maxMs)
      else if (resultTtlMs !== undefined && now - item.sighting.pendingAtMs >= resultTtlMs) {
        // To enqueue it again would run it again, if it has ended.
        const { id } = item.envelope
        item.fail(laneError('CORELANE_RESULT_EXPIRED', { id, resultTtlMs }))
      } else {
        this.#reenqueued++
        lost.push(item.envelope.id)
        item.lost(now)
        this.#unaccepted++
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

function isUnsettled({ isSettled }: Outstanding): boolean {
  return !isSettled
}

function isUnaccepted({ isSettled, stage }: Outstanding): boolean {
  return !isSettled && stage !== 'accepted'
}
