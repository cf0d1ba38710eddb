// Interruptions: ends commands before they end by themselves: signals, time-outs, streams left.
// Thread: main.   Owns: nothing; it decides what each of them does to a run.

import { timers } from '../../base/clock.ts'
import { type LaneError, laneError } from '../../base/errors.ts'
import type { AbortListeners } from '../abort-listeners.ts'
import { ANY_PARTITION, type Command, CommandState } from '../command.ts'
import { LEFT } from '../results/stream-reader.ts'
import type { BoundWindow } from './bound-window.ts'
import type { Incarnation } from './incarnation.ts'
import type { PartitionHandle } from './partition-handle.ts'
import type { OverdueRun } from './run-watch.ts'
import type { Supervisor } from './supervisor.ts'
import { TimeLimits } from './time-limits.ts'

/** What interruptions work with. */
export interface InterruptionParts {
  readonly partitions: readonly PartitionHandle[]
  readonly supervisor: () => Supervisor
  readonly signals: AbortListeners
  /** How long a handler may run on past its time-out. */
  readonly timeoutGraceMs: number
  /** Called when commands were settled or given up, perhaps many times in a turn. */
  readonly acted: () => void
}

/** Interrupts. */
export class Interruptions {
  readonly limits: TimeLimits
  readonly #parts: InterruptionParts

  /**
   * @param parts - What it works with.
   */
  constructor(parts: InterruptionParts) {
    this.#parts = parts
    this.limits = new TimeLimits(parts.partitions, {
      timedOut: (window, run) => this.#timedOut(window, run),
      stuck: (incarnation, reason) => parts.supervisor().condemn(incarnation, reason),
      acted: parts.acted,
    })
  }

  /**
   * Ends a command because its signal aborted or its stream was left.
   *
   * @param command - Not settled.
   * @param reason - The signal's, or `LEFT`.
   */
  readonly abort = (command: Command, reason: unknown): void => {
    const { holder, state } = command
    const kills = command.extras?.options?.kill === true
    const hasStarted = !command.revoke()
    const isWaiting = state === CommandState.WAITING
    const stage = hasStarted ? 'running' : isWaiting ? 'waiting for room' : 'waiting'
    const error = laneError('CORELANE_ABORTED', { stage }, reason === LEFT ? undefined : reason)
    const { partitions } = this.#parts
    const home = holder && partitions.find(({ incarnation }) => incarnation?.window === holder)
    const index = home?.index ?? ANY_PARTITION
    const slot = hasStarted ? command.abandon(error, kills ? 0 : Number.POSITIVE_INFINITY) : 0
    if (reason === LEFT) command.complete(undefined, index, 0, 0)
    else command.fail(error, index)
    const incarnation = home?.incarnation
    if (hasStarted && kills && incarnation !== undefined) {
      // At the end of the turn: the signal may have been aborted by a callback that is called while
      // results are taken, and that cannot be done twice at once.
      timers.queueMicrotask(() => this.#kill(incarnation, slot, error))
    }
    this.#parts.acted()
  }

  /**
   * Ends a command unless it has started.
   *
   * @param command - Any.
   * @param reason - Why.
   */
  withdraw(command: Command, reason: unknown): void {
    if (command.isSettled || !command.revoke()) return
    command.fail(laneError('CORELANE_ABORTED', { stage: 'waiting' }, reason), ANY_PARTITION)
    this.#parts.acted()
  }

  /** Tells handlers that nobody waits for them any more. */
  flush(): void {
    for (const { incarnation } of this.#parts.partitions) incarnation?.flushOrders()
    this.limits.plan()
  }

  /** Ends a thread, unless what it is killed for has ended by now. */
  #kill(incarnation: Incarnation, slot: number, reason: LaneError): void {
    const { window } = incarnation
    while (window.drain() > 0);
    if (window.watch.isAbandoned(slot)) this.#parts.supervisor().condemn(incarnation, reason)
    this.#parts.acted()
  }

  #timedOut(window: BoundWindow, { command, slot, startedAtMs, limitMs }: OverdueRun): void {
    const { lane, type, attempt, manager } = command
    const details = { type: type.name, lane: lane.name, timeoutMs: limitMs, attempt }
    const error = laneError('CORELANE_TIMEOUT', details)
    window.abandon(slot, error, this.#parts.timeoutGraceMs)
    manager.recovery.timedOut(command, error, window.partition, startedAtMs)
  }
}
