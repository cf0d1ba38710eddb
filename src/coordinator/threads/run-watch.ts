// Run watch: which runs of one incarnation take too long, and which go on detached.
// Owns: when to look next, and the runs that were given up.
//
// Nothing is done per command that ends in time: a command bound with a limit can be late at the
// earliest that much later, so the window is looked through once in that time. The start of a run
// is in shared memory, stored by the partition, and so are the pauses of a stream: its time stands
// still while it waits for its reader.

import { nowMs } from '../../base/clock.ts'
import type { LaneError } from '../../base/errors.ts'
import { SLOT_COUNT } from '../../memory/layout.ts'
import { type CoordinatorSlots, SlotState } from '../../memory/slots.ts'
import type { Command, CommandManager } from '../command.ts'
import type { RunClaim } from '../manager-events.ts'
import type { CommandType } from '../type-table.ts'

/**
 * A stream that is paused is looked at again after so long at the earliest, however little of its
 * time is left: it may be paused for hours.
 */
const PAUSED_LOOK_MS = 100

/** A run that goes on in a thread that lives, though its command has settled. */
export interface DetachedRun extends RunClaim {
  readonly type: CommandType
  /** Knows when its command could have started. */
  readonly manager: CommandManager
  /** Why it was detached. */
  readonly reason: LaneError
  /** When its thread is given up if it still runs; Infinity if it may run on. */
  readonly graceEndsMs: number
}

/** A run that takes longer than it may. */
export interface OverdueRun {
  readonly command: Command
  readonly slot: number
  readonly startedAtMs: number
  readonly limitMs: number
}

/** A command that an incarnation left. */
export interface OrphanedCommand {
  /** Unbound. */
  readonly command: Command
  /** Whether its handler had been entered. */
  readonly started: boolean
}

export class RunWatch {
  /** When to look at the window; Infinity if nothing can be late. */
  checkAtMs: number = Number.POSITIVE_INFINITY
  readonly #detached = new Map<number, DetachedRun>()
  /** The least limit of the commands bound since the last look. */
  #leastLimitMs = Number.POSITIVE_INFINITY

  /** Detached runs that have not ended. */
  get detachedCount(): number {
    return this.#detached.size
  }

  get detached(): Iterable<DetachedRun> {
    return this.#detached.values()
  }

  isDetached(slot: number): boolean {
    return this.#detached.has(slot)
  }

  /**
   * Whether a bound command makes it necessary to look earlier than planned.
   *
   * @param limitMs - How long a run of it may take.
   */
  isTighter(limitMs: number): boolean {
    return limitMs < this.#leastLimitMs
  }

  /**
   * Plans to look earlier.
   *
   * @param limitMs - How long a run of a command bound now may take.
   */
  tighten(limitMs: number, nowMs: number): void {
    this.#leastLimitMs = limitMs
    this.checkAtMs = Math.min(this.checkAtMs, nowMs + limitMs)
  }

  /**
   * Notes that a run is detached.
   *
   * @param run - What is left of it.
   */
  detach(slot: number, run: DetachedRun): void {
    this.#detached.set(slot, run)
    this.checkAtMs = Math.min(this.checkAtMs, run.graceEndsMs)
  }

  /**
   * Notes that such a run has ended.
   *
   * @returns What was left of it; undefined if its slot was not given up.
   */
  ended(slot: number): DetachedRun | undefined {
    if (this.#detached.size === 0) return undefined
    const run = this.#detached.get(slot)
    this.#detached.delete(slot)
    return run
  }

  /**
   * Looks for commands that run longer than they may, and plans the next look.
   *
   * @param nowMs - Monotonic milliseconds. Take all results before it.
   * @param commands - What is bound, by slot.
   * @param ids - The ids of those.
   * @param slots - Their states.
   * @returns Those that are late.
   */
  overdue(
    nowMs: number,
    commands: readonly (Command | undefined)[],
    ids: Int32Array,
    slots: CoordinatorSlots,
  ): OverdueRun[] {
    const overdue: OverdueRun[] = []
    let nextMs = Number.POSITIVE_INFINITY
    let leastMs = Number.POSITIVE_INFINITY
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      const command = commands[slot]
      const limitMs = command?.timeoutMs
      if (command === undefined || limitMs === undefined) continue
      const id = ids[slot]!
      const isRunning = slots.stateOf(id) === SlotState.RUNNING
      const dueMs = (isRunning ? slots.runsSinceMs(id, nowMs) : nowMs) + limitMs
      if (dueMs <= nowMs) {
        // It is planned for no more, so it must not stand for others with the same limit.
        overdue.push({ command, slot, startedAtMs: slots.startedAtMs(id), limitMs })
        continue
      }
      if (isRunning && slots.isPaused(id)) {
        nextMs = Math.min(nextMs, Math.max(dueMs, nowMs + PAUSED_LOOK_MS))
        continue
      }
      leastMs = Math.min(leastMs, limitMs)
      nextMs = Math.min(nextMs, dueMs)
    }
    for (const { graceEndsMs } of this.#detached.values()) nextMs = Math.min(nextMs, graceEndsMs)
    this.#leastLimitMs = leastMs
    this.checkAtMs = nextMs
    return overdue
  }

  /** A run that goes on past its grace; undefined if none does. */
  stuckRun(nowMs: number): DetachedRun | undefined {
    for (const run of this.#detached.values()) if (run.graceEndsMs <= nowMs) return run
    return undefined
  }
}

/** The runs of a thread: those of commands that it left, and those whose commands had settled. */
export function detachedRuns(
  left: readonly OrphanedCommand[],
  detached: Iterable<RunClaim>,
): RunClaim[] {
  const runs = left
    .filter(({ started }) => started)
    // Their starts were not read before they were let go of.
    .map(({ command: { lane, key, groupSeat } }) => {
      return { lane, key, group: groupSeat?.split(nowMs()) }
    })
  return [...runs, ...detached]
}
