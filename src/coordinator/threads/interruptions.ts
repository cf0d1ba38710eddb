// Interruptions: ends commands before they end by themselves: signals, time-outs, streams left.
// Owns: one alarm for the time limits of all runs.
// Must not: settle a command without taking it from its window first.

import { Alarm } from '../../base/alarm.ts'
import { nowMs, timers } from '../../base/clock.ts'
import { type LaneError, laneError } from '../../base/errors.ts'
import { ANY_PARTITION, type Command, CommandState } from '../command.ts'
import type { ManagerEvents } from '../manager-events.ts'
import { LEFT } from '../results/stream-reader.ts'
import type { InFlightWindow } from './in-flight-window.ts'
import type { Incarnation, ThreadTerminator } from './incarnation.ts'
import type { PartitionHandle } from './partition-handle.ts'
import type { OverdueRun } from './run-watch.ts'

/** How long a thread that is to be ended may go on for what else it runs. */
const LAST_MS = 1000

export class Interruptions {
  readonly #partitions: readonly PartitionHandle[]
  readonly #terminator: ThreadTerminator
  readonly #timeoutGraceMs: number
  readonly #events: Pick<ManagerEvents, 'acted' | 'requeue'>
  // Commands in flight keep the process alive; the alarm need not.
  readonly #alarm = new Alarm(() => this.#checkLimits())
  /** Threads that end once they run nothing but what they are ended for, when at last, and why. */
  readonly #ending = new Map<Incarnation, { readonly atMs: number; readonly reason: LaneError }>()

  /**
   * @param terminator - Gives up a thread that does not stop.
   * @param timeoutGraceMs - How long a handler may run on past its time-out.
   */
  constructor(
    partitions: readonly PartitionHandle[],
    terminator: ThreadTerminator,
    timeoutGraceMs: number,
    events: Pick<ManagerEvents, 'acted' | 'requeue'>,
  ) {
    this.#partitions = partitions
    this.#terminator = terminator
    this.#timeoutGraceMs = timeoutGraceMs
    this.#events = events
  }

  /**
   * Ends a command because its signal aborted or its stream was left.
   *
   * @param command - Not settled.
   * @param reason - The signal's, or `LEFT`.
   * @param kills - Whether the thread ends, if it has started. Default: the command's option.
   */
  abort(command: Command, reason: unknown, kills = command.extras?.options?.kill === true): void {
    this.#interrupt(command, reason, kills ? LAST_MS : Number.POSITIVE_INFINITY, kills)
  }

  /**
   * Ends a command; its handler has as long to return as after a time-out.
   *
   * @param command - Not settled.
   * @param reason - Why.
   */
  stopRun(command: Command, reason: unknown): void {
    this.#interrupt(command, reason, this.#timeoutGraceMs, false)
  }

  /** @param graceMs - How long its handler may run on before its thread ends. */
  #interrupt(command: Command, reason: unknown, graceMs: number, kills: boolean): void {
    const { holder, state } = command
    const hasStarted = !command.revoke()
    const isWaiting = state === CommandState.WAITING
    const stage = hasStarted ? 'running' : isWaiting ? 'waiting for room' : 'waiting'
    const error = laneError('CORELANE_ABORTED', { stage }, reason === LEFT ? undefined : reason)
    const home =
      holder && this.#partitions.find(({ incarnation }) => incarnation?.window === holder)
    const index = home?.index ?? ANY_PARTITION
    const slot = hasStarted ? command.detach(error, graceMs) : 0
    if (reason === LEFT) command.complete(undefined, index, 0, 0)
    else command.fail(error, index)
    const incarnation = home?.incarnation
    if (hasStarted && kills && incarnation !== undefined) {
      // At the end of the turn: the signal may have been aborted by a callback that is called while
      // results are taken, and that cannot be done twice at once.
      timers.queueMicrotask(() => this.#kill(incarnation, slot, error))
    }
    this.#events.acted()
  }

  /** Ends a command unless it has started. */
  withdraw(command: Command, reason: unknown): void {
    if (command.isSettled || !command.revoke()) return
    command.fail(laneError('CORELANE_ABORTED', { stage: 'waiting' }, reason), ANY_PARTITION)
    this.#events.acted()
  }

  /** Sends the abort orders of detached runs to their threads. */
  flush(): void {
    for (const { incarnation, retiring } of this.#partitions) {
      incarnation?.flushOrders()
      // Their detached runs go on, and a broadcast may wait for their end.
      for (const one of retiring) one.flushOrders()
    }
    if (this.#ending.size > 0) this.#endAlone()
    this.planCheck()
  }

  /** Plans the next check of time limits. Call it after a command was bound; cheap. */
  planCheck(): void {
    let atMs = Number.POSITIVE_INFINITY
    for (const { incarnation } of this.#partitions) {
      if (incarnation !== undefined) atMs = Math.min(atMs, incarnation.window.watch.checkAtMs)
    }
    for (const ending of this.#ending.values()) atMs = Math.min(atMs, ending.atMs)
    this.#alarm.set(atMs)
  }

  /** Checks no time limit any more. */
  stop(): void {
    this.#alarm.stop()
  }

  /**
   * Ends a thread, unless the run for which it is killed has ended by now. Other runs may end
   * before it does, and commands that it has not started run elsewhere.
   */
  #kill(incarnation: Incarnation, slot: number, reason: LaneError): void {
    const { window } = incarnation
    while (window.drain() > 0);
    if (window.watch.isDetached(slot)) {
      const others = [...window.snapshot()].some(({ started }) => started)
      if (others && incarnation.living) {
        incarnation.endSoon()
        this.#ending.set(incarnation, { atMs: nowMs() + LAST_MS, reason })
        this.#events.requeue(window.recall())
      } else this.#terminator.giveUpThread(incarnation, reason)
    }
    this.#events.acted()
  }

  #endAlone(): void {
    for (const [incarnation, { atMs, reason }] of this.#ending) {
      const { load, watch } = incarnation.window
      const runsOthers = load.count + load.restingCount > watch.detachedCount
      // One of them may wait for a command that only this thread could run.
      if (incarnation.living && runsOthers && nowMs() < atMs) continue
      this.#ending.delete(incarnation)
      timers.queueMicrotask(() => this.#terminator.giveUpThread(incarnation, reason))
    }
  }

  #checkLimits(): void {
    let hasActed = false
    for (const { incarnation } of this.#partitions) {
      if (incarnation === undefined || incarnation.window.watch.checkAtMs > nowMs()) continue
      const { window } = incarnation
      // A run that has ended by now has ended in time, however late the main thread is.
      while (window.drain() > 0) hasActed = true
      for (const run of window.overdue(nowMs())) {
        hasActed = true
        // The predicate of the retries of one is the caller's, and may have aborted another.
        if (run.command.holder === window) this.#timedOut(window, run)
      }
      const stuck = window.watch.stuckRun(nowMs())
      if (stuck === undefined) continue
      hasActed = true
      this.#terminator.giveUpThread(incarnation, stuck.reason)
    }
    if (this.#ending.size > 0) this.#endAlone()
    if (hasActed) this.#events.acted()
    this.planCheck()
  }

  #timedOut(window: InFlightWindow, { command, slot, startedAtMs, limitMs }: OverdueRun): void {
    const { lane, type, attempt, manager } = command
    const details = { type: type.name, lane: lane.name, timeoutMs: limitMs, attempt }
    const error = laneError('CORELANE_TIMEOUT', details)
    window.detach(slot, error, this.#timeoutGraceMs)
    manager.recovery.timedOut(command, error, window.partition, startedAtMs)
  }
}
