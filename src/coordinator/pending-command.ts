// Pending command: a command from submit until its promise is settled.
// Thread: main.   Owns: the promise's resolver and the payload's reference.
// There may be a million: every field costs memory, so what few commands have sits in `extras`.

import { type CommandInfo, type CommandOutcome, commandInfo } from '../model/command.ts'
import type { Schedulable } from '../schedule/scheduler.ts'
import type { CommandFields } from '../wire/command-record.ts'
import { type Lane, openCountOf } from './lane-table.ts'
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
  /** Whether it waits its turn; false while it is delayed. */
  isPlaced: boolean
  /** Its appointment to be delayed until or to be late from. */
  appointment: Appointment | undefined
  /** Where it is bound; undefined while it is not. */
  holder: Holder | undefined
  /** Its slot there. */
  slot: number
  isSettled: boolean
}

/** A command may go to any partition. */
export const ANY_PARTITION = -1

/** One submitted command. */
export class PendingCommand implements Schedulable, CommandFields {
  readonly rank: number
  readonly sequence: number
  readonly type: CommandType
  readonly lane: Lane
  readonly payload: unknown
  /** Its partition by strategy, or {@link ANY_PARTITION}. */
  readonly home: number
  readonly extras: CommandExtras | undefined
  readonly #resolve: (value: unknown) => void

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

  get attempt(): number {
    return 1
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

  /** Whether its promise was settled while it waited. */
  get isSettled(): boolean {
    return this.extras?.isSettled === true
  }

  /** What must be moved with the payload; a command that has some cannot be sent twice. */
  get transferList(): readonly object[] | undefined {
    return this.extras?.transferList
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
    this.#leave()
    if (extras?.isDetailed !== true) {
      this.#resolve(value)
      return
    }
    const info = this.#info(partition, startedAtMs, durationMs)
    this.#resolve({ ok: true, value, info } satisfies CommandOutcome)
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
    this.#leave()
    const info = this.#info(partition, startedAtMs, durationMs)
    if (this.extras?.isDetailed === true) {
      this.#resolve({ ok: false, error, info } satisfies CommandOutcome)
      return
    }
    if (typeof error === 'object' && error !== null && Object.isExtensible(error)) {
      Object.defineProperty(error, commandInfo, { value: info, configurable: true })
    }
    // The resolver alone is kept: following a rejected promise rejects, and it saves every waiting
    // command the memory of a second function.
    this.#resolve(Promise.reject(error))
  }

  /** Gives back what it held while it was pending. */
  #leave(): void {
    const { lane, extras } = this
    if (lane.isPressed && openCountOf(lane) === 0) {
      lane.isPressed = false
      lane.hub.lane('queue.lane.idle', lane)
    }
    if (extras === undefined) return
    lane.pendingBytes -= extras.bytes
    extras.isSettled = true
    if (extras.appointment !== undefined) lane.timetable.cancel(extras.appointment)
  }

  #info(partition: number, startedAtMs: number, durationMs: number): CommandInfo {
    return {
      id: String(this.sequence),
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
