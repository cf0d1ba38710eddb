// Pending command: a command from submit until its promise is settled.
// Thread: main.   Owns: the promise's resolver and the payload's reference.
// There may be a million: every field costs memory, so what few commands have sits in `extras`.

import type { LaneError } from '../base/errors.ts'
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
import { type Lane, openCountOf } from './lane-table.ts'
import type { StreamReader, StreamSource } from './stream-reader.ts'
import type { Appointment } from './timetable.ts'
import type { CommandType } from './type-table.ts'

/** Something a command is bound to. */
export interface Holder {
  /**
   * Takes a command back.
   *
   * @param slot - The command's.
   * @returns Whether it will never start. False: it has started.
   */
  revoke(slot: number): boolean
  /**
   * Waits no more for a command that has started; its handler is told.
   *
   * @param slot - The command's.
   * @param reason - Why; its handler is told.
   * @param graceMs - How long it may run on before its thread is condemned; Infinity: for ever.
   */
  abandon(slot: number, reason: LaneError, graceMs: number): void
  /**
   * Lets the producer of a stream go on.
   *
   * @param slot - The command's.
   * @param credit - Units consumed so far, modulo 2^32.
   */
  grant(slot: number, credit: number): void
}

/** What the caller wished for a command beyond what most do. */
export interface CommandWishes {
  readonly name: string | undefined
  /** Number of its first run here. */
  readonly attempt: number | undefined
  readonly timeoutMs: number | undefined
  readonly rejectsLate: boolean | undefined
  readonly retry: RetryPlan | undefined
  readonly signal: AbortSignal | undefined
  readonly kill: boolean
  readonly onProgress: ((value: unknown) => void) | undefined
  readonly stream: StreamReader | undefined
}

/** What has happened to a command that failed before. */
export interface CommandHistory {
  /** Number of the present run, or of the next. */
  attempt: number
  /** Runs that failed and used up a retry. */
  failures: number
  /** Runs that ended with their thread. */
  crashes: number
  /** Threads that it killed: it alone ran there. */
  kills: number
  /** Whether it may have killed a thread, so that it runs by itself until it is known. */
  isSuspect: boolean
  firstFailedAtMs: number
  /** What its last run ended with. */
  lastError: unknown
}

/** What only some commands have. */
export interface CommandExtras {
  readonly key: string | undefined
  readonly transferList: readonly object[] | undefined
  /** Whether the promise gives a {@link CommandOutcome} instead of the bare result. */
  readonly isDetailed: boolean
  readonly submittedAtMs: number
  readonly deadlineMs: number | undefined
  /** What the payload counts for where pending bytes are bounded. */
  readonly bytes: number
  readonly wishes: CommandWishes | undefined
  history: CommandHistory | undefined
  /** Whether it waits its turn; false while it is delayed. */
  isPlaced: boolean
  /** Its appointment to be delayed until or to be late from. */
  appointment: Appointment | undefined
  /** Where it is bound; undefined while it is not. */
  holder: Holder | undefined
  /** Its slot there. */
  slot: number
}

/** Extras of a command that has none of its own. */
function noExtras(): CommandExtras {
  return {
    key: undefined,
    transferList: undefined,
    isDetailed: false,
    submittedAtMs: 0,
    deadlineMs: undefined,
    bytes: 0,
    wishes: undefined,
    history: undefined,
    isPlaced: true,
    appointment: undefined,
    holder: undefined,
    slot: 0,
  }
}

/** A command may go to any partition. */
export const ANY_PARTITION = -1

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
    return this.lane.isTimed || this.deadlineMs !== undefined
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

  /** Whether it rejects if it has not started by its deadline. */
  get rejectsLate(): boolean {
    return this.extras?.wishes?.rejectsLate ?? this.lane.plan.rejectsLate
  }

  /** What must be moved with the payload; a command that has some cannot be sent twice. */
  get transferList(): readonly object[] | undefined {
    return this.extras?.transferList
  }

  /** The options with which a command like it would be submitted. */
  get optionsAgain(): CommandOptions {
    const { deadlineMs, wishes } = this.extras ?? noExtras()
    const all = {
      id: wishes?.name,
      key: this.key,
      priority: priorityOf(this.rank),
      deadlineMs,
      onDeadline:
        wishes?.rejectsLate === undefined ? undefined : wishes.rejectsLate ? 'reject' : 'boost',
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
   * Ends it because its signal aborted, or because its stream was left.
   *
   * @param reason - The signal's, or `LEFT`.
   */
  abort(reason: unknown): void {
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
