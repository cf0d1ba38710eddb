// Command extras: what only some commands have, kept apart from what every one of a million has.
// Thread: main.   Owns: nothing.

import type { LaneError } from '../base/errors.ts'
import type { RetryPlan } from '../model/retry.ts'
import type { StreamReader } from './stream-reader.ts'
import type { Appointment } from './timetable.ts'

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
  readonly startWithinMs: number | undefined
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

/**
 * Whether the clock matters to a command that waits.
 *
 * @param lane - Its lane.
 * @param deadlineMs - Its own deadline, if it has one.
 * @param wishes - What its caller wished, if anything.
 */
export function isTimed(
  lane: { readonly isTimed: boolean },
  deadlineMs: number | undefined,
  wishes: CommandWishes | undefined,
): boolean {
  return lane.isTimed || deadlineMs !== undefined || wishes?.startWithinMs !== undefined
}

/** Extras of a command that has none of its own. */
export function noExtras(): CommandExtras {
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
