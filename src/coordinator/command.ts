// Command: one submitted command, a state machine from submit to settlement.
// Owns: the promise's resolver, the payload's reference and the state.
// Must not: choose a partition (dispatcher), or decide what follows a failed run (recovery).
//
// ```
//             admit              bind
//  WAITING ───────────► QUEUED ◄─────────► BOUND
//                        ▲  │     unbind
//                enqueue │  │ delay: by its options, or before it runs again
//                       DELAYED
//
//  each but BOUND ── settle ──► SETTLED
// ```
//
// | state | the command is in | what may happen | what leaves it |
// |---|---|---|---|
// | WAITING | the room of its lane, uncounted | signal, latest start, shutdown | admit, settle |
// | DELAYED | the timers | signal, latest start, close | enqueue when due, settle |
// | QUEUED | the backlog | signal, latest start, close | bind, delay, settle |
// | BOUND | the window of one incarnation | all that happens to a thread | unbind |
// | SETTLED | nothing; a run may go on detached | nothing | |
//
// Whether a bound command runs is not a state here: the slot word in shared memory says so, since
// the partition makes that step. A window lets go of a command (`unbind`) before it settles, so
// nothing keeps a settled command but lists that skip it: backlog and held keys.
//
// There may be a million commands: every field costs memory, so what few have sits in `extras`.

import { callListener } from '../base/clock.ts'
import { invariant, type LaneError } from '../base/errors.ts'
import { type CommandInfo, type CommandOutcome, commandInfo } from '../model/command.ts'
import { withCarrier } from '../model/command-trace.ts'
import type { LaneEventName } from '../model/lane-event.ts'
import type { RetryPlan } from '../model/retry.ts'
import type { GroupItem, GroupSeat } from '../schedule/group-ring.ts'
import type { Schedulable } from '../schedule/scheduler.ts'
import type { CommandFields } from '../wire/command-record.ts'
import {
  type CommandExtras,
  type CommandHistory,
  isTimed,
  noExtras,
  noGiven,
  patienceOf,
  type RoomPlace,
  type StreamSource,
} from './command-extras.ts'
import { type Lane, openCountOf } from './lane-table.ts'
import { type Batch, Rejection, type Settler } from './settlement.ts'
import type { CommandType } from './type-table.ts'

/** A command may go to any partition. */
export const ANY_PARTITION = -1

/** Where a command is; the picture is at the top of this file. */
export const CommandState = Object.freeze({
  WAITING: 0,
  DELAYED: 1,
  QUEUED: 2,
  BOUND: 3,
  SETTLED: 4,
})

/** One of {@link CommandState}. */
export type CommandStateValue = (typeof CommandState)[keyof typeof CommandState]

/** What a command is bound to. */
export interface Holder {
  /** Whether its thread traces what runs there. */
  readonly isTraced?: boolean
  /**
   * Takes a command back and unbinds it.
   *
   * @returns Whether it will never start. False: it has started, and stays bound.
   */
  revoke(slot: number): boolean
  /**
   * Detaches a run from its command, which is unbound; the handler is aborted.
   *
   * @param reason - Why; its handler reads it.
   * @param graceMs - How long it may run on before its thread is terminated; Infinity: for ever.
   */
  detach(slot: number, reason: LaneError, graceMs: number): void
  /**
   * Lets the producer of a stream go on.
   *
   * @param credit - Units consumed so far, modulo 2^32.
   */
  grant(slot: number, credit: number): void
  /** When a command has started, monotonic milliseconds; 0 if it has not. */
  startOf(slot: number): number
}

/** Events of commands and lanes. */
export interface CommandEvents {
  /** Whether anybody listens for submits, starts, reports or ends of commands. */
  readonly hasListeners: boolean
  command(
    event: LaneEventName,
    command: Command,
    partition?: number,
    startedAtMs?: number,
    durationMs?: number,
    error?: unknown,
  ): void
  progress(command: Command, partition: number, value: unknown): void
  lane(event: LaneEventName, lane: Lane): void
}

/** What a command needs of its manager; commands share it. */
export interface CommandManager {
  /** When its commands could have started, monotonic milliseconds; undefined without metrics. */
  readonly atMs?: number | undefined
  readonly events: CommandEvents
  readonly timers: { cancel(command: Command): void }
  readonly signals: {
    remove(signal: AbortSignal, command: Command): void
    isEnding(signal: AbortSignal): boolean
  }
  /** Ends a command that is not settled because its signal aborted or its stream was left. */
  abort(command: Command, reason: unknown): void
  /** Decides what follows a run that failed: another, a dead letter, a rejection. */
  readonly recovery: {
    failed(
      command: Command,
      error: unknown,
      partition: number,
      startedAtMs: number,
      durationMs: number,
    ): void
    timedOut(command: Command, error: LaneError, partition: number, startedAtMs: number): void
    late(command: Command): void
  }
}

export class Command implements Schedulable, GroupItem, CommandFields, StreamSource {
  /** With metrics it changes, and says when the command could have started. */
  manager: CommandManager
  /** With a group it differs while the command has its turn, and so does the sequence. */
  rank: number
  sequence: number
  readonly type: CommandType
  readonly lane: Lane
  /** Let go once it is settled. */
  payload: unknown
  /** Its partition by strategy, or {@link ANY_PARTITION}. */
  readonly home: number
  extras: CommandExtras | undefined
  /** Its place in its group, if it has one. */
  readonly groupSeat: GroupSeat | undefined
  #state: CommandStateValue = CommandState.WAITING
  /** Its slot while it is bound. */
  #slot = 0
  #holder: Holder | undefined = undefined
  #resolve: ((value: unknown) => void) | Settler | undefined = undefined
  /** Its place in the batch with which it was submitted. */
  #place = 0

  constructor(
    manager: CommandManager,
    rank: number,
    sequence: number,
    type: CommandType,
    lane: Lane,
    payload: unknown,
    home: number,
    extras: CommandExtras | undefined,
    groupSeat: GroupSeat | undefined,
  ) {
    this.manager = manager
    this.rank = rank
    this.sequence = sequence
    this.type = type
    this.lane = lane
    this.payload = payload
    this.home = home
    this.extras = extras
    this.groupSeat = groupSeat
  }

  get state(): CommandStateValue {
    return this.#state
  }

  /** Whether its promise is settled. */
  get isSettled(): boolean {
    return this.#state === CommandState.SETTLED
  }

  /** Whether it is bound: it may run, or start at any moment. */
  get isBound(): boolean {
    return this.#state === CommandState.BOUND
  }

  /** Whether it must not be bound: it is settled, or its signal has aborted and will end it. */
  get isOver(): boolean {
    const { isSettled, signal } = this
    return isSettled || (signal !== undefined && this.manager.signals.isEnding(signal))
  }

  /** Where it is bound; undefined while it is not. */
  get holder(): Holder | undefined {
    return this.#holder
  }

  /** Its slot there; only while it is bound. */
  get slot(): number {
    return this.#slot
  }

  get laneIndex(): number {
    return this.lane.index
  }

  get typeIndex(): number {
    return this.type.index
  }

  get name(): string | number | undefined {
    const { extras, groupSeat } = this
    const carrier = extras?.options?.carrier
    return carrier === undefined
      ? (extras?.name ?? groupSeat?.number)
      : withCarrier(this.id, carrier)
  }

  /** The name that handlers, events and outcomes use. */
  get id(): string {
    return this.extras?.name ?? String(this.number)
  }

  /** Its number among all commands of its manager: the later, the higher. */
  get number(): number {
    return this.groupSeat?.number ?? this.sequence
  }

  /** Whether a distributed queue gave it out; known until it is settled. */
  get isOfQueue(): boolean {
    const settler = this.#resolve
    return typeof settler === 'object' && settler.isOfQueue === true
  }

  /** The trace that its handler goes on with, if there is one. */
  get carrier(): string | undefined {
    return this.extras?.options?.carrier
  }

  /**
   * Lets its handler go on with a trace.
   *
   * @param carrier - Printable ASCII.
   */
  carry(carrier: string): void {
    const extras = this.extras ?? noExtras()
    this.extras = { ...extras, options: { ...(extras.options ?? noGiven()), carrier } }
  }

  get attempt(): number {
    return this.extras?.history?.attempt ?? this.extras?.options?.attempt ?? 1
  }

  /** How long a run of it may take; undefined: without bound. */
  get timeoutMs(): number | undefined {
    return this.extras?.options?.timeoutMs ?? this.lane.plan.timeoutMs
  }

  /** When it runs again. */
  get retry(): RetryPlan {
    return this.extras?.options?.retry ?? this.lane.plan.retry
  }

  /** Whether its handler gives values to be sent one by one. */
  get isStream(): boolean {
    return this.extras?.options?.stream !== undefined
  }

  /** Whether it must run by itself, since it may have killed a thread. */
  get isSuspect(): boolean {
    return this.extras?.history?.isSuspect === true
  }

  /** The signal that ends it, if it has one. */
  get signal(): AbortSignal | undefined {
    return this.extras?.options?.signal
  }

  get key(): string | undefined {
    return this.extras?.key
  }

  /** Name of its group, if it has one. */
  get group(): string | undefined {
    return this.groupSeat?.group
  }

  /** Its place in its group; only if it has a group. */
  get seat(): GroupSeat {
    return this.groupSeat!
  }

  get isTimed(): boolean {
    const { extras, lane } = this
    return extras === undefined ? lane.isTimed : isTimed(lane, extras.deadlineMs, extras.options)
  }

  get submittedAtMs(): number {
    return this.extras?.submittedAtMs || (this.manager.atMs ?? 0)
  }

  get deadlineMs(): number | undefined {
    return this.extras?.deadlineMs
  }

  /** When it is rejected if it has not started, monotonic milliseconds; Infinity if it never is. */
  get latestStartMs(): number {
    return this.submittedAtMs + this.patienceMs
  }

  /** How long after it was submitted it may start. */
  get patienceMs(): number {
    const { extras, lane } = this
    const { plan } = lane
    if (extras === undefined && !plan.rejectsLate) return Number.POSITIVE_INFINITY
    const options = extras?.options
    return patienceOf(plan, options?.startWithinMs, options?.rejectsLate, extras?.deadlineMs)
  }

  /** Objects to move with the payload; a command that has some cannot be sent twice. */
  get transferList(): readonly object[] | undefined {
    return this.extras?.transferList
  }

  /** Its history, made if nothing has happened to it yet. */
  remember(): CommandHistory {
    const { attempt } = this
    this.extras ??= noExtras()
    this.extras.history ??= {
      attempt,
      failures: 0,
      crashes: 0,
      kills: 0,
      isSuspect: false,
      firstFailedAtMs: 0,
      lastError: undefined,
    }
    return this.extras.history
  }

  // ── Transitions ──────────────────────────────────────────────────────────────────────────────

  /**
   * Takes the resolver of its promise; once, before anything else.
   *
   * @param resolve - Of a promise that nothing else settles; or what takes its end instead.
   */
  open(resolve: ((value: unknown) => void) | Settler): void {
    this.#resolve = resolve
  }

  /** Joins a batch, which has one promise for all its commands; once, instead of `open`. */
  join(batch: Batch): void {
    this.#resolve = batch
    this.#place = batch.add()
  }

  /**
   * Notes that it waits for room.
   *
   * @param place - Its place there.
   */
  waitForRoom(place: RoomPlace): void {
    invariant(this.#state === CommandState.WAITING, 'only a new command waits for room')
    this.extras ??= noExtras()
    this.extras.room = place
  }

  /** WAITING to QUEUED: it counts as submitted from now on. */
  admit(): void {
    invariant(this.#state === CommandState.WAITING, 'a command is admitted once')
    const { lane, extras, manager } = this
    this.#state = CommandState.QUEUED
    lane.submitted++
    if (extras !== undefined) {
      extras.room = undefined
      lane.pendingBytes += extras.bytes
    }
    const { events } = manager
    if (events.hasListeners) events.command('queue.command.submitted', this)
    if (!lane.isPressed && openCountOf(lane) >= lane.plan.pressureThreshold) {
      lane.isPressed = true
      events.lane('queue.lane.pressure', lane)
    }
  }

  /** QUEUED to DELAYED. The timers call {@link Command.enqueue} when it is due. */
  delay(): void {
    invariant(this.#state === CommandState.QUEUED, 'what is delayed is neither bound nor settled')
    this.#state = CommandState.DELAYED
    this.groupSeat?.leave()
  }

  /** DELAYED to QUEUED. */
  enqueue(): void {
    invariant(this.#state === CommandState.DELAYED, 'only a delayed command becomes due')
    this.#state = CommandState.QUEUED
  }

  /**
   * QUEUED to BOUND.
   *
   * @param slot - Its slot there.
   */
  bind(holder: Holder, slot: number): void {
    invariant(this.#state === CommandState.QUEUED, 'only a queued command is bound')
    this.#state = CommandState.BOUND
    this.#holder = holder
    this.#slot = slot
  }

  /** BOUND to QUEUED: its window lets go of it. */
  unbind(): void {
    invariant(this.#state === CommandState.BOUND, 'only a bound command is unbound')
    this.#state = CommandState.QUEUED
    this.#holder = undefined
  }

  /**
   * Takes it back from its window, if it is bound and has not started.
   *
   * @returns Whether it is kept from starting. False: it runs or has run, and is still bound.
   */
  revoke(): boolean {
    return this.#holder === undefined || this.#holder.revoke(this.#slot)
  }

  /**
   * Detaches it from its run: BOUND to QUEUED. Only after {@link Command.revoke} has failed.
   *
   * @param reason - Its handler reads it.
   * @param graceMs - How long the run may go on; Infinity: for ever.
   * @returns The slot of the run.
   */
  detach(reason: LaneError, graceMs: number): number {
    const slot = this.#slot
    this.#holder!.detach(slot, reason, graceMs)
    return slot
  }

  /**
   * Settles its promise with a result.
   *
   * @param value - Decoded, so never a thenable.
   * @param partition - Where it ran.
   * @param startedAtMs - When its handler was entered.
   * @param durationMs - How long it ran.
   */
  complete(value: unknown, partition: number, startedAtMs: number, durationMs: number): void {
    this.#settle(true, value, partition, startedAtMs, durationMs)
  }

  /**
   * Settles its promise with a failure.
   *
   * @param error - What the handler threw, or why it never ran.
   * @param partition - Where it was; -1 if it was never bound.
   * @param startedAtMs - When its handler was entered; 0 if it was not.
   * @param durationMs - How long it ran.
   */
  fail(error: unknown, partition: number, startedAtMs = 0, durationMs = 0): void {
    this.#settle(false, error, partition, startedAtMs, durationMs)
  }

  /**
   * To SETTLED, from every state but BOUND; does nothing the second time. The only place that
   * settles the promise and gives back what the command holds: its place in the room or its count
   * in the lane, its bytes, its timer, its signal's listener.
   */
  #settle(
    isOk: boolean,
    value: unknown,
    partition: number,
    startedAtMs: number,
    durationMs: number,
  ): void {
    const state = this.#state
    if (state === CommandState.SETTLED) return
    invariant(state !== CommandState.BOUND, 'a window lets go of a command before it settles')
    this.#state = CommandState.SETTLED
    const { lane, extras, manager } = this
    const { events } = manager
    this.payload = undefined
    if (state !== CommandState.WAITING) {
      if (isOk) lane.completed++
      else lane.failed++
      if (events.hasListeners) {
        const event = isOk ? 'queue.command.completed' : 'queue.command.failed'
        const error = isOk ? undefined : value
        events.command(event, this, partition, startedAtMs, durationMs, error)
      }
      if (lane.isPressed && openCountOf(lane) === 0) {
        lane.isPressed = false
        events.lane('queue.lane.idle', lane)
      }
    }
    const resolve = this.#resolve!
    this.#resolve = undefined
    this.groupSeat?.leave(startedAtMs)
    if (extras !== undefined) this.#release(extras, state !== CommandState.WAITING)
    if (!isOk && extras?.isDetailed !== true)
      this.#describe(value, partition, startedAtMs, durationMs)
    if (typeof resolve === 'object') {
      resolve.settled(this.#place, isOk, value, startedAtMs, durationMs, partition)
    } else if (extras?.isDetailed === true) {
      const info = this.#info(partition, startedAtMs, durationMs)
      const outcome = isOk ? { ok: true, value, info } : { ok: false, error: value, info }
      resolve(outcome as CommandOutcome)
    } else resolve(isOk ? value : new Rejection(value))
  }

  /** Attaches what is known of the command to its error. */
  #describe(error: unknown, partition: number, startedAtMs: number, durationMs: number): void {
    if (typeof error !== 'object' || error === null || !Object.isExtensible(error)) return
    const value = this.#info(partition, startedAtMs, durationMs)
    Object.defineProperty(error, commandInfo, { value, configurable: true })
  }

  #release(extras: CommandExtras, wasAdmitted: boolean): void {
    const { lane, manager } = this
    if (wasAdmitted) lane.pendingBytes -= extras.bytes
    if (extras.timer !== undefined) manager.timers.cancel(this)
    const signal = extras.options?.signal
    if (signal !== undefined) manager.signals.remove(signal, this)
    const { room } = extras
    if (room === undefined) return
    extras.room = undefined
    room.leave()
    room.onRefused?.()
  }

  // ── What happens to it ───────────────────────────────────────────────────────────────────────

  /**
   * Lets the producer of its stream go on.
   *
   * @param credit - Units consumed so far, modulo 2^32.
   */
  grant(credit: number): void {
    this.#holder?.grant(this.#slot, credit)
  }

  /**
   * Ends it because its signal aborted, or because its stream was left.
   *
   * @param reason - The signal's, or `LEFT`.
   */
  abort(reason: unknown): void {
    if (this.#state !== CommandState.SETTLED) this.manager.abort(this, reason)
  }

  /** Notes that its handler was entered. */
  started(partition: number, startedAtMs: number): void {
    const { events } = this.manager
    if (events.hasListeners) events.command('queue.command.started', this, partition, startedAtMs)
  }

  /**
   * Takes a value of its stream.
   *
   * @param weight - What it takes of the stream's credit.
   */
  chunk(value: unknown, weight: number): void {
    this.extras!.options!.stream!.push(value, weight)
  }

  /**
   * Takes a report of its handler.
   *
   * @param partition - Where it runs.
   */
  progressed(value: unknown, partition: number): void {
    const { events } = this.manager
    if (events.hasListeners) events.progress(this, partition, value)
    const { onProgress, context } = this.extras?.options ?? {}
    if (onProgress === undefined) return
    context!.call((report) => callListener(onProgress, report), value)
  }

  #info(partition: number, startedAtMs: number, durationMs: number): CommandInfo {
    return {
      id: this.id,
      lane: this.lane.name,
      type: this.type.name,
      key: this.key,
      attempt: this.attempt,
      partition,
      startedAtMs: startedAtMs === 0 ? undefined : startedAtMs,
      durationMs,
    }
  }
}
