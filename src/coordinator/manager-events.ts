// Manager events: every call that a lower part of the coordinator makes to the manager as a whole.
// `Runtime` implements them; a part names those it makes by `Pick`.
// Must not: name a part above commands, lanes and options, or everything would depend on it.

import type { LaneError } from '../base/errors.ts'
import type { CommandOptions } from '../model/command.ts'
import type { GroupSeat } from '../schedule/group-ring.ts'
import type { Command } from './command.ts'
import type { Lane } from './lane-table.ts'
import type { LateCall } from './life-cycle.ts'
import type { FileHandlers } from './type-table.ts'

/** A run that goes on though its command has settled. */
export interface RunClaim {
  readonly lane: Lane
  readonly key: string | undefined
  /** What it holds of its command's group. */
  readonly group: GroupSeat | undefined
}

export interface ManagerEvents extends FileHandlers {
  // ── From admission ───────────────────────────────────────────────────────────────────────────

  /**
   * Makes a call once the threads have started; undefined if they have, or the manager ends. A call
   * that submits one command is made as soon as a thread can run it.
   *
   * @param isOne - Whether it submits one command. Default false.
   * @param lane - The lane of the commands that it submits, if it does.
   * @param options - Theirs: their signal and their latest start end the waiting.
   */
  whenStarted<T>(
    call: LateCall<T>,
    isOne?: boolean,
    lane?: string,
    options?: CommandOptions,
  ): Promise<T> | undefined
  /**
   * Makes a call now, or once the threads have started.
   *
   * @throws ClosedError `CORELANE_CLOSED` if the manager ends.
   */
  onceStarted<T>(call: LateCall<T>): Promise<T>
  /** A command was admitted; it is bound, or waits. */
  admitted(): void

  // ── From timers, signals and dead letters ────────────────────────────────────────────────────

  /** Why no partition can run commands of a home; undefined if one can. */
  refusal(home: number): LaneError | undefined
  /** Binds a command that may start from now on, or queues it. */
  place(command: Command): void
  /** Commands were placed, settled or detached; the manager acts once, at the end of the turn. */
  acted(): void
  /**
   * Submits a command anew.
   *
   * @param onRefused - Called if it had to wait for room and was settled there.
   */
  resubmit(
    lane: string,
    type: string,
    payload: unknown,
    options: CommandOptions,
    onRefused: () => void,
  ): Promise<unknown>

  // ── From the result pump ─────────────────────────────────────────────────────────────────────

  /** Results were taken, or a thread has become ready or ended: more may be bound. */
  progressed(nowMs: number): void
  /** No result came for a moment. Answers whether to look again soon instead of sleeping. */
  idled(nowMs: number): boolean
  /** Whether commands are in flight: then the process must stay alive. */
  isBusy(): boolean
  /** How long results may lie unread from now on, in milliseconds; at least 1. */
  doze(nowMs: number): number
  /** Whether that was too long for what was bound since. */
  hasYounger(): boolean

  // ── From threads ─────────────────────────────────────────────────────────────────────────────

  /** Threads that have something to do now, if there were one for each. */
  demand(): number
  /** Commands that had not started were taken back; they run elsewhere or later. */
  requeue(commands: readonly Command[]): void
  /** A partition's thread was lost, replaced or did not load. */
  partitionChanged(): void
  /** The first thread of a partition is ready; it has these handlers. */
  opened(own: readonly string[]): void
  /** Runs go on in a thread that is being terminated. */
  detached(partition: number, runs: readonly RunClaim[]): void
  /** That thread has ended. */
  reattached(partition: number, runs: readonly RunClaim[]): void
  /** A partition gets no thread any more. */
  gaveUp(partition: number, reason: LaneError): void
  /**
   * A thread has ended, and its commands are settled or queued again; or it has loaded, and may
   * have results already.
   */
  threadChanged(): void
}
