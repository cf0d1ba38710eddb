// Command runner: runs the commands of a run, on partitions of this process or by workers
// elsewhere. Thread: main.   Owns: the manager it was given.

import type { CommandInfo, QueueManager } from '../index.ts'
import type { ParsedCommand } from './command-parser.ts'

/** How a command ended, with as much about its run as is printed. */
export type RunOutcome =
  | { readonly ok: true; readonly value: unknown; readonly info: RunInfo }
  | { readonly ok: false; readonly error: unknown; readonly info: RunInfo }

/** What is printed about a run. */
export type RunInfo = Pick<CommandInfo, 'partition' | 'startedAtMs' | 'durationMs'>

export interface CommandRunner {
  /**
   * Gets ready.
   *
   * @param log - Prints a notice for those who wait for results.
   * @throws (as a rejection) What keeps every command from running.
   */
  start(log: (text: string) => void): Promise<void>
  /**
   * Runs a command.
   *
   * @param command - As it stood on its line.
   * @throws (as a rejection) if it is not accepted.
   */
  execute(command: ParsedCommand): Promise<RunOutcome>
  /** Lets go of everything. */
  close(): Promise<void>
}

/**
 * Runs commands on partitions of this process.
 *
 * @param manager - Not started yet.
 */
export function localRunner(manager: QueueManager): CommandRunner {
  return {
    start: () => manager.start(),
    execute: ({ lane, type, payload, key, group, priority }) =>
      manager.execute(lane, type, payload, { key, group, priority }),
    close: () => manager.close(),
  }
}
