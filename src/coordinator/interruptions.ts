// Interruptions: ends commands before they end by themselves: signals, time-outs, streams left.
// Thread: main.   Owns: nothing; it decides what each of them does to a run.

import { type LaneError, laneError } from '../base/errors.ts'
import type { AbortListeners } from './abort-listeners.ts'
import type { BoundWindow } from './bound-window.ts'
import type { Incarnation } from './incarnation.ts'
import type { PartitionHandle } from './partition-handle.ts'
import { ANY_PARTITION, PendingCommand } from './pending-command.ts'
import type { OverdueRun } from './run-watch.ts'
import { LEFT } from './stream-reader.ts'
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
  readonly abort = (command: PendingCommand, reason: unknown): void => {
    const extras = command.extras!
    const { holder, slot, wishes } = extras
    const hasStarted = holder !== undefined && !holder.revoke(slot)
    const stage = hasStarted ? 'running' : 'waiting'
    const error = laneError('CORELANE_ABORTED', { stage }, reason === LEFT ? undefined : reason)
    const { partitions } = this.#parts
    const home = holder && partitions.find(({ incarnation }) => incarnation?.window === holder)
    const index = home?.index ?? -1
    if (hasStarted) holder.abandon(slot, error, wishes?.kill ? 0 : Number.POSITIVE_INFINITY)
    if (reason === LEFT) command.complete(undefined, index, 0, 0)
    else command.fail(error, index)
    const incarnation = home?.incarnation
    if (hasStarted && wishes?.kill && incarnation !== undefined) {
      // At the end of the turn: the signal may have been aborted by a callback that is called while
      // results are taken, and that cannot be done twice at once.
      queueMicrotask(() => this.#kill(incarnation, slot, error))
    }
    this.#parts.acted()
  }

  /**
   * Ends what a signal would end, unless it has started; the signal stays as it is.
   *
   * @param signal - Of some commands.
   * @param reason - Why.
   * @returns How many it ended.
   */
  withdraw(signal: AbortSignal, reason: unknown): number {
    const { signals } = this.#parts
    let count = 0
    for (const target of signals.targetsOf(signal)) {
      if (target instanceof PendingCommand) {
        const { holder, slot } = target.extras!
        if (holder !== undefined && !holder.revoke(slot)) continue
        target.fail(laneError('CORELANE_ABORTED', { stage: 'waiting' }, reason), ANY_PARTITION)
      } else {
        target.abort(reason)
        signals.remove(signal, target)
      }
      count++
    }
    if (count > 0) this.#parts.acted()
    return count
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
    const { lane, type, attempt } = command
    const details = { type: type.name, lane: lane.name, timeoutMs: limitMs, attempt }
    const error = laneError('CORELANE_TIMEOUT', details)
    window.abandon(slot, error, this.#parts.timeoutGraceMs)
    lane.recovery.timedOut(command, error, window.partition, startedAtMs)
  }
}
