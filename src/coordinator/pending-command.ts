// Pending command: a command from submit until its promise is settled.
// Thread: main.   Owns: the promise's resolver and the payload's reference.
// There may be a million: every field costs memory, so what few commands have sits in `extras`.

import {
  type CommandInfo,
  type CommandOptions,
  type CommandOutcome,
  commandInfo,
} from '../model/command.ts'
import { priorityOf } from '../model/lane.ts'
import type { RetryPlan } from '../model/retry.ts'
import type { Schedulable } from '../schedule/scheduler.ts'
import type { CommandFields } from '../wire/command-record.ts'
import { type CommandExtras, type CommandHistory, isTimed, noExtras } from './command-extras.ts'
import { type Lane, openCountOf } from './lane-table.ts'
import type { StreamSource } from './stream-reader.ts'
import type { CommandType } from './type-table.ts'

/** A command may go to any partition. */
export const ANY_PARTITION = -1

const NO_EXTRAS = Object.freeze(noExtras())

/** One submitted command. */
export class PendingCommand implements Schedulable, CommandFields, StreamSource {
  readonly rank: number
  readonly sequence: number
  readonly type: CommandType
  readonly lane: Lane
  /** Let go once it is settled. */
  payload: unknown
  /** Its partition by strategy, or {@link ANY_PARTITION}. */
  readonly home: number
  extras: CommandExtras | undefined
  /** Undefined once it is settled. */
  #resolve: ((value: unknown) => void) | undefined

  constructor(
    rank: number,
    sequence: number,
    type: CommandType,
    lane: Lane,
    payload: unknown,
    home: number,
    extras: CommandExtras | undefined,
    resolve: (value: unknown) => void,
  ) {
    this.rank = rank
    this.sequence = sequence
    this.type = type
    this.lane = lane
    this.payload = payload
    this.home = home
    this.extras = extras
    this.#resolve = resolve
  }

  get laneIndex(): number {
    return this.lane.index
  }

  get typeIndex(): number {
    return this.type.index
  }

  get name(): string | undefined {
    return this.extras?.wishes?.name
  }

  /** What handlers, events and outcomes call it. */
  get id(): string {
    return this.name ?? String(this.sequence)
  }

  get attempt(): number {
    return this.extras?.history?.attempt ?? this.extras?.wishes?.attempt ?? 1
  }

  /** How long a run of it may take; undefined: as long as it likes. */
  get timeoutMs(): number | undefined {
    return this.extras?.wishes?.timeoutMs ?? this.lane.plan.timeoutMs
  }

  /** When it runs again. */
  get retry(): RetryPlan {
    return this.extras?.wishes?.retry ?? this.lane.plan.retry
  }

  /** Whether its handler gives values to be sent one by one. */
  get isStream(): boolean {
    return this.extras?.wishes?.stream !== undefined
  }

  /** Whether it must run by itself, since it may have killed a thread. */
  get isSuspect(): boolean {
    return this.extras?.history?.isSuspect === true
  }

  get key(): string | undefined {
    return this.extras?.key
  }

  get isTimed(): boolean {
    const { deadlineMs, wishes } = this.extras ?? NO_EXTRAS
    return isTimed(this.lane, deadlineMs, wishes)
  }

  get submittedAtMs(): number {
    return this.extras?.submittedAtMs ?? 0
  }

  get deadlineMs(): number | undefined {
    return this.extras?.deadlineMs
  }

  /** Whether its promise is settled. */
  get isSettled(): boolean {
    return this.#resolve === undefined
  }

  /** When it is rejected if it has not started, monotonic milliseconds; Infinity if it never is. */
  get latestStartMs(): number {
    return this.submittedAtMs + this.patienceMs
  }

  /** How long after it was submitted it may start. */
  get patienceMs(): number {
    const { extras, lane } = this
    const { plan } = lane
    const wishes = extras?.wishes
    const withinMs = wishes?.startWithinMs ?? Number.POSITIVE_INFINITY
    if (!(wishes?.rejectsLate ?? plan.rejectsLate)) return withinMs
    return Math.min(withinMs, extras?.deadlineMs ?? plan.deadlineMs ?? withinMs)
  }

  /** What must be moved with the payload; a command that has some cannot be sent twice. */
  get transferList(): readonly object[] | undefined {
    return this.extras?.transferList
  }

  /** The options with which a command like it would be submitted. */
  get optionsAgain(): CommandOptions {
    const { deadlineMs, wishes } = this.extras ?? NO_EXTRAS
    const all = {
      id: wishes?.name,
      key: this.key,
      priority: priorityOf(this.rank),
      deadlineMs,
      onDeadline:
        wishes?.rejectsLate === undefined ? undefined : wishes.rejectsLate ? 'reject' : 'boost',
      startWithinMs: wishes?.startWithinMs,
      timeoutMs: wishes?.timeoutMs,
      retry: wishes?.retry,
    }
    return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
  }

  /** What has happened to it, made if nothing has. */
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

  /**
   * Lets the producer of its stream go on.
   *
   * @param credit - Units consumed so far, modulo 2^32.
   */
  grant(credit: number): void {
    this.extras!.holder?.grant(this.extras!.slot, credit)
  }

  /**
   * Ends it because its signal aborted, or because its stream was left. One that is settled stays
   * as it is: a stream's reader learns of the end a microtask later, and may leave before that.
   *
   * @param reason - The signal's, or `LEFT`.
   */
  abort(reason: unknown): void {
    if (this.isSettled) return
    this.lane.onAbort(this, reason)
  }

  /**
   * Notes that its handler was entered.
   *
   * @param partition - Where.
   * @param startedAtMs - When.
   */
  started(partition: number, startedAtMs: number): void {
    const { hub } = this.lane
    if (hub.isActive) hub.command('queue.command.started', this, partition, startedAtMs)
  }

  /**
   * Takes a value of its stream.
   *
   * @param value - The value.
   * @param weight - What it takes of the stream's credit.
   */
  chunk(value: unknown, weight: number): void {
    this.extras!.wishes!.stream!.push(value, weight)
  }

  /**
   * Takes what its handler reports.
   *
   * @param value - The report.
   * @param partition - Where it runs.
   */
  progressed(value: unknown, partition: number): void {
    const { hub } = this.lane
    if (hub.isActive) hub.progress(this, partition, value)
    const onProgress = this.extras?.wishes?.onProgress
    if (onProgress === undefined) return
    try {
      onProgress(value)
    } catch (error) {
      // The caller's own error is the caller's, as if it were thrown in an event listener.
      process.nextTick(() => {
        throw error
      })
    }
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
    const { lane, extras } = this
    lane.completed++
    if (lane.hub.isActive) {
      lane.hub.command('queue.command.completed', this, partition, startedAtMs, durationMs)
    }
    const resolve = this.#leave()
    if (extras?.isDetailed !== true) {
      resolve(value)
      return
    }
    const info = this.#info(partition, startedAtMs, durationMs)
    resolve({ ok: true, value, info } satisfies CommandOutcome)
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
    const { lane } = this
    lane.failed++
    if (lane.hub.isActive) {
      lane.hub.command('queue.command.failed', this, partition, startedAtMs, durationMs, error)
    }
    const resolve = this.#leave()
    const info = this.#info(partition, startedAtMs, durationMs)
    if (this.extras?.isDetailed === true) {
      resolve({ ok: false, error, info } satisfies CommandOutcome)
      return
    }
    if (typeof error === 'object' && error !== null && Object.isExtensible(error)) {
      Object.defineProperty(error, commandInfo, { value: info, configurable: true })
    }
    // The resolver alone is kept: following a rejected promise rejects, and it saves every waiting
    // command the memory of a second function.
    resolve(Promise.reject(error))
  }

  /** Gives back what it held while it was pending; answers the promise's resolver. */
  #leave(): (value: unknown) => void {
    const { lane, extras } = this
    const resolve = this.#resolve!
    this.#resolve = undefined
    this.payload = undefined
    if (lane.isPressed && openCountOf(lane) === 0) {
      lane.isPressed = false
      lane.hub.lane('queue.lane.idle', lane)
    }
    if (extras === undefined) return resolve
    lane.pendingBytes -= extras.bytes
    if (extras.appointment !== undefined) lane.timetable.cancel(extras.appointment)
    const signal = extras.wishes?.signal
    if (signal !== undefined) lane.signals.remove(signal, this)
    return resolve
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

/** A command that a thread left behind. */
export interface LeftBehind {
  readonly command: PendingCommand
  /** Whether its handler had been entered. */
  readonly started: boolean
}
