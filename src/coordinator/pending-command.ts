// Pending command: a command from submit until its promise is settled.
// Thread: main.   Owns: the promise's resolver and the payload's reference.
// There may be a million: every field costs memory, so what few commands have sits in `extras`.

import { type CommandInfo, type CommandOutcome, commandInfo } from '../model/command.ts'
import type { Schedulable } from '../schedule/scheduler.ts'
import type { CommandFields } from '../wire/command-record.ts'
import type { Lane } from './lane-table.ts'
import type { CommandType } from './type-table.ts'

/** What only some commands have. */
export interface CommandExtras {
  readonly key: string | undefined
  readonly transferList: readonly object[] | undefined
  /** Whether the promise gives a {@link CommandOutcome} instead of the bare result. */
  readonly isDetailed: boolean
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

  /** What must be moved with the payload; a command that has some cannot be sent twice. */
  get transferList(): readonly object[] | undefined {
    return this.extras?.transferList
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
    this.lane.completed++
    if (this.extras?.isDetailed !== true) {
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
    this.lane.failed++
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
