// Command runner: runs the commands of a run, on partitions of this process or by workers
// elsewhere.
// Owns: the manager it was given.

import type { CommandOutcome, QueueManager } from '../index.ts'
import type { ParsedCommand } from './command-parser.ts'

export interface CommandRunner {
  /**
   * Gets ready.
   *
   * @param log - Prints a notice for those who wait for results.
   * @throws (as a rejection) What keeps every command from running.
   */
  start(log: (text: string) => void): Promise<void>
  /** @throws (as a rejection) if the command is not accepted. */
  execute(command: ParsedCommand): Promise<CommandOutcome>
  close(): Promise<void>
}

/** @param manager - Not started yet. */
export function localRunner(manager: QueueManager): CommandRunner {
  return {
    start: () => manager.start(),
    execute: ({ lane, type, payload, key, group, priority }) =>
      manager.execute(lane, type, payload, { key, group, priority }),
    close: () => manager.close(),
  }
}
