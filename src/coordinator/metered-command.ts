// Metered command: a command that knows when it was submitted, for managers with metrics.
// Owns: that moment, and its clock. Managers without metrics make plain commands.

import { nowMs } from '../base/clock.ts'
import { Command, type CommandManager, type Holder } from './command.ts'
import { type CommandExtras, noExtras } from './command-extras.ts'
import type { Lane } from './lane-table.ts'
import type { CommandType } from './type-table.ts'

/**
 * So many commands of one turn share a reading, which costs half as much as the rest of this class.
 * Partitions are shown commands at the end of the turn or 64 at a time, so a wait is off by little.
 */
const SHARED_READINGS = 8

let left = 0
let readMs = 0

/** The turn has ended: the next command reads the clock. */
export function endSubmitTurn(): void {
  left = 0
}

// Called without `super`, which V8 looks up at each call.
const { bind } = Command.prototype

/** A window of a thread that counts. */
interface MeteredHolder extends Holder {
  /** When its commands could have started, by slot. */
  readonly queuedAtMs?: Float64Array | undefined
}

/** A command of a manager with metrics. */
export class MeteredCommand extends Command {
  /** When it could have started: when it was submitted, or came due after a delay. */
  queuedAtMs: number

  constructor(
    manager: CommandManager,
    rank: number,
    sequence: number,
    type: CommandType,
    lane: Lane,
    payload: unknown,
    home: number,
    extras: CommandExtras | undefined,
  ) {
    super(manager, rank, sequence, type, lane, payload, home, extras)
    if (--left < 0) {
      left = SHARED_READINGS - 1
      readMs = nowMs()
    }
    this.queuedAtMs = readMs
  }

  override get submittedAtMs(): number {
    return this.extras?.submittedAtMs || this.queuedAtMs
  }

  override enqueue(): void {
    super.enqueue()
    this.extras = { ...(this.extras ?? noExtras()), submittedAtMs: this.submittedAtMs }
    this.queuedAtMs = nowMs()
  }

  override bind(holder: MeteredHolder, slot: number): void {
    bind.call(this, holder, slot)
    holder.queuedAtMs![slot] = this.queuedAtMs
  }
}
