// Handler flags: the flags shared by the bin's commands that run handlers, and the manager that
// they make.

import { TIMER_MS_MAX } from '../base/bounds.ts'
import { LaneError } from '../base/errors.ts'
import { integer, milliseconds } from '../base/options.ts'
import {
  DEFAULT_LANES,
  type LaneOptions,
  QueueManager,
  type QueueManagerOptions,
  RetryPolicy,
} from '../index.ts'
import { type CliOption, UsageError } from './command-line.ts'

/** As the queue manager has it; here it is part of a flag's message. */
const RETRIES_MAX = 100

/** Which flag to name when the queue manager refuses an option. */
const FLAGS: Readonly<Record<string, string>> = {
  'QueueManager.handlers': '<handlers>',
  'QueueManager.defaultLane': '--lane',
  'QueueManager.concurrencyPerPartition': '--concurrency',
  'PartitionConfig.count': '--partitions',
}

/** The flags of {@link PARTITIONS_FLAG} and {@link RECOVERY_FLAGS}. */
export interface HandlerFlags {
  readonly partitions: number | undefined
  readonly timeout: number | undefined
  readonly retries: number
}

/** Other names of strategies. */
export const STRATEGY_SYNONYMS: Readonly<Record<string, string>> = { none: 'single' }

export const PARTITIONS_FLAG: CliOption = {
  flag: '--partitions <n>',
  summary: 'Threads (default: one per core)',
  rule: integer(undefined, 1, 256),
}

/** What happens to a run that fails or takes too long. */
export const RECOVERY_FLAGS: Readonly<Record<'timeout' | 'retries', CliOption>> = {
  timeout: {
    flag: '--timeout <ms>',
    summary: 'How long a run of a command may take',
    rule: milliseconds(undefined, 1, TIMER_MS_MAX),
  },
  retries: {
    flag: '--retries <n>',
    summary: 'Times a command that failed, timed out or lost its thread runs again',
    rule: integer(0, 0, RETRIES_MAX),
  },
}

/** The lanes there are by default, with what the flags say of a run. */
export function recoveringLanes(flags: HandlerFlags): Record<string, LaneOptions> {
  const { timeout, retries } = flags
  const policy = RetryPolicy.exponential(retries).withTimeouts()
  const recovery = { timeoutMs: timeout, retry: retries > 0 ? policy.withLost() : policy }
  const lanes = Object.entries(DEFAULT_LANES)
  return Object.fromEntries(lanes.map(([name, lane]) => [name, { ...lane, ...recovery }]))
}

/**
 * Makes a manager, and names the flag if an option is refused.
 *
 * @throws UsageError
 */
export function makeManager(options: QueueManagerOptions): QueueManager {
  try {
    return QueueManager.create(options)
  } catch (error) {
    throw naming(FLAGS, error)
  }
}

/**
 * Names the flag where an option is refused.
 *
 * @param flags - The flag of each option.
 * @param error - Whatever was thrown.
 * @returns A UsageError, or what was thrown if it is about something else.
 */
export function naming(flags: Readonly<Record<string, string>>, error: unknown): unknown {
  if (!(error instanceof LaneError) || error.code !== 'CORELANE_INVALID_OPTION') return error
  const { option, received, allowed } = error.details
  const flag = flags[String(option)] ?? option
  return new UsageError(`${flag} is ${received}; allowed: ${allowed}`, { cause: error })
}
