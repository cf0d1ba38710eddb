// Local plan: the options of the engine of this process, checked and complete.
// Owns: nothing; data only.

import { COUNT_MAX, TIMER_MS_MAX } from '../../base/bounds.ts'
import {
  type Complete,
  checkOptions,
  integer,
  milliseconds,
  type OptionRules,
} from '../../base/options.ts'
import { portableName } from '../../base/portable-name.ts'
import { uniqueName } from '../../base/random.ts'
import { usableCores } from '../../coordinator/cores.ts'
import { PARTITION_COUNT_MAX, type PartitionOptions } from '../../model/partition-config.ts'
import { planPartitions, type QueuePartitions } from '../contract/queue-partitions.ts'

/** Longest time that a result is kept: 7 days. */
const RESULT_TTL_MS_MAX = 7 * 24 * 60 * 60 * 1000

/** Options of `LocalDistributedQueue`. */
export interface LocalQueueOptions {
  /** Who takes commands through the queue itself. Default `local-` and a random id. */
  readonly workerId?: string | undefined
  /** How long a delivery is its worker's unless extended, 1 to 2^31 - 1 ms. Default 30,000. */
  readonly leaseMs?: number | undefined
  /**
   * How often a command is started, if its worker or thread dies each time, before it is dead, 1
   * to 1,000. Default 3.
   */
  readonly maxDeliveries?: number | undefined
  /**
   * How long a result is kept, and its id known, 0 to 604,800,000 ms. Default 3,600,000: an hour.
   */
  readonly resultTtlMs?: number | undefined
  /**
   * Most results kept; past it the oldest is forgotten, and its id with it. 0 to 10,000,000.
   * Default 10,000.
   */
  readonly maxResults?: number | undefined
  /** Most dead commands kept; past it the oldest is forgotten. 0 to 10,000,000. Default 10,000. */
  readonly maxDead?: number | undefined
  /** Commands that may be in the queue at once, 1 to 2^31 - 1. Default: no bound. */
  readonly maxPending?: number | undefined
}

/** The rules of {@link LocalQueueOptions}. */
export const LOCAL_QUEUE_RULES = Object.freeze({
  workerId: portableName(undefined),
  leaseMs: milliseconds(30_000, 1, TIMER_MS_MAX),
  maxDeliveries: integer(3, 1, 1000),
  resultTtlMs: milliseconds(3_600_000, 0, RESULT_TTL_MS_MAX),
  maxResults: integer(10_000, 0, 10_000_000),
  maxDead: integer(10_000, 0, 10_000_000),
  maxPending: integer(undefined, 1, COUNT_MAX),
}) satisfies OptionRules

/** How a local queue is made. `maxPending` is Infinity where there is no bound. */
export type LocalQueuePlan = QueuePartitions & Complete<LocalQueueOptions>

/**
 * Checks what a local queue is to be.
 *
 * @throws ConfigError `CORELANE_INVALID_OPTION`, also for the strategy `custom`.
 */
export function planLocalQueue(
  partitions: PartitionOptions | undefined,
  options: LocalQueueOptions | undefined,
): LocalQueuePlan {
  const checked = checkOptions<Complete<LocalQueueOptions, 'workerId' | 'maxPending'>>(
    'LocalDistributedQueue',
    options,
    LOCAL_QUEUE_RULES,
  )
  return Object.freeze({
    ...checked,
    ...planPartitions(partitions, () => Math.min(usableCores(), PARTITION_COUNT_MAX)),
    workerId: checked.workerId ?? `local-${uniqueName()}`,
    maxPending: checked.maxPending ?? Number.POSITIVE_INFINITY,
  })
}
