// Manager port: the members of a manager that worker pools use besides its public ones.
// Owns: nothing; the contract only.

import type { CommandOptions } from '../model/command.ts'
import type { ManagerHealth } from './manager-health.ts'
import type { Settler } from './settlement.ts'

/** A command that a worker pool has submitted. */
export interface PortCommand {
  /**
   * Ends it wherever it is, with the thread that runs it.
   *
   * @param reason - The `cause` of the AbortError that it ends with.
   */
  abort(reason: unknown): void
}

/** The members of a manager that only worker pools use. */
export interface ManagerPort {
  readonly health: ManagerHealth
  /** Names of the handlers that its module has now. */
  readonly handlers: readonly string[]
  /** Number of the next command. */
  readonly next: number
  /**
   * Submits a command, as `execute` does, without a promise.
   *
   * @param options - Their values keep to `COMMAND_RULES`: they are not checked. Commands of a
   * lane may share one object, which does not change then. A `group` is a name alone: the queue has
   * seen to its turn and its limits.
   * @param settler - Names the command, and takes its end once, perhaps before this returns.
   * @param isWatched - False if the pool ends it at its latest start, so that it needs no timer.
   * @param carrier - The trace that its handler goes on with, as printable ASCII.
   * @param now - The present moment, monotonic milliseconds. Default: the clock is read.
   * @throws The error that keeps the manager from accepting it.
   */
  submit(
    lane: string,
    type: string,
    payload: unknown,
    options: CommandOptions,
    settler: Settler,
    isWatched: boolean,
    carrier?: string,
    now?: number,
  ): PortCommand
  /**
   * Says since when commands have waited in their queue: the longer, the later their results may
   * come, and the fewer times the main thread wakes for them.
   *
   * @param from - Number of the first; all others submitted since are of the queue, too.
   * @param atMs - When the queue accepted the youngest, monotonic milliseconds.
   * @param now - The present moment, likewise.
   */
  queued(from: number, atMs: number, now: number): void
  /**
   * Ends a command unless it has started.
   *
   * @param command - From `submit`.
   * @param reason - The `cause` of the AbortError that it ends with.
   */
  withdraw(command: PortCommand, reason: unknown): void
  /**
   * Ends a command wherever it is. Its handler is aborted and has `timeoutGraceMs` to return,
   * before its thread ends, as after a time-out.
   *
   * @param command - From `submit`.
   * @param reason - The `cause` of the AbortError that it ends with.
   */
  stop(command: PortCommand, reason: unknown): void
}
