// Pending command: a command from submit until its promise is settled.
// Thread: main.   Owns: the promise's resolver and the payload's reference.
// There may be a million: every field costs memory, so what few commands have sits in `extras`.

import { type CommandInfo, commandInfo } from '../model/command.ts'
import type { Schedulable } from '../schedule/scheduler.ts'
import type { CommandFields } from '../wire/command-record.ts'
import type { Lane } from './lane-table.ts'
import type { CommandType } from './type-table.ts'

/** What only some commands have. */
export interface CommandExtras {
  readonly key: string | undefined
  readonly transferList: readonly object[] | undefined
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
   */
  complete(value: unknown): void {
    this.lane.completed++
    this.#resolve(value)
  }

  /**
   * Settles its promise with a failure.
   *
   * @param reason - What the handler threw, or why it never ran.
   * @param partition - Where, if it was on one.
   */
  fail(reason: unknown, partition: number): void {
    this.lane.failed++
    if (typeof reason === 'object' && reason !== null) this.#annotate(reason, partition)
    // The resolver alone is kept: following a rejected promise rejects, and it saves every waiting
    // command the memory of a second function.
    this.#resolve(Promise.reject(reason))
  }

  #annotate(reason: object, partition: number): void {
    const info: CommandInfo = {
      id: String(this.sequence),
      lane: this.lane.name,
      type: this.type.name,
      attempt: this.attempt,
      partition,
    }
    if (Object.isExtensible(reason)) {
      Object.defineProperty(reason, commandInfo, { value: info, configurable: true })
    }
  }
}
