// Queue partitions: how many partitions a queue has, and how submitters choose among them.

import { show } from '../../base/errors.ts'
import { checkOptions, invalidOption } from '../../base/options.ts'
import {
  type CheckedPartitions,
  PARTITION_RULES,
  type PartitionOptions,
  type PartitionStrategy,
  PORTABLE_STRATEGIES,
} from '../../model/partition-config.ts'

/** The partitions of a queue, complete. */
export interface QueuePartitions {
  readonly strategy: PartitionStrategy
  readonly numPartitions: number
}

/**
 * Checks what partitions a queue is to have.
 *
 * @param fallback - How many there are where neither the user nor the strategy says so.
 * @throws ConfigError `CORELANE_INVALID_OPTION`, also for the strategy `custom`: submitters on
 * other machines could not follow it.
 */
export function planPartitions(
  partitions: PartitionOptions | undefined,
  fallback: () => number,
): QueuePartitions {
  const checked = checkOptions<CheckedPartitions>('partitions', partitions, PARTITION_RULES)
  const { strategy } = checked
  if (!PORTABLE_STRATEGIES.includes(strategy)) {
    const allowed = `a strategy that every submitter can follow: ${PORTABLE_STRATEGIES.join(', ')}`
    throw invalidOption('partitions.strategy', show(strategy), allowed)
  }
  return { strategy, numPartitions: strategy === 'single' ? 1 : (checked.count ?? fallback()) }
}
