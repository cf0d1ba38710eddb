// Metered manager: a manager, and the moment at which some commands could have started. With
// metrics these commands hold it instead of the manager, so none needs a field or a clock reading.
// Owns: the moment.

import { nowMs } from '../base/clock.ts'
import type { Command, CommandManager } from './command.ts'
import { noExtras } from './command-extras.ts'

/**
 * So many submits of one turn share a moment. Partitions are shown commands at the end of the turn
 * or 64 at a time, so a wait is off by little.
 */
export const SHARED_MOMENT = 32

/** Commands share it that were submitted together. */
export class MeteredManager implements CommandManager {
  readonly events: CommandManager['events']
  readonly timers: CommandManager['timers']
  readonly signals: CommandManager['signals']
  readonly recovery: CommandManager['recovery']
  readonly atMs: number = nowMs()
  readonly #manager: CommandManager

  constructor(manager: CommandManager) {
    this.events = manager.events
    this.timers = manager.timers
    this.signals = manager.signals
    this.recovery = manager.recovery
    this.#manager = manager
  }

  abort(command: Command, reason: unknown): void {
    this.#manager.abort(command, reason)
  }

  /** The same at the present moment. */
  now(): MeteredManager {
    return new MeteredManager(this.#manager)
  }
}

/**
 * Notes that a command can start now: its delay is over, or its last run. When it was submitted
 * stays known.
 */
export function startableNow(command: Command): void {
  const { manager, submittedAtMs } = command
  if (!(manager instanceof MeteredManager)) return
  command.extras = { ...(command.extras ?? noExtras()), submittedAtMs }
  command.manager = manager.now()
}
