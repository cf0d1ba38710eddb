// Queue partitions: how many partitions a queue has, and how submitters choose among them.

import { show } from '../../base/errors.ts'
import { invalidOption } from '../../base/options.ts'
import {
  checkPartitions,
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
 * @throws ConfigError `CORELANE_INVALID_OPTION`, also for the strategy `custom`, which submitters
 * on other machines could not follow, and for threads that come and go.
 */
export function planPartitions(
  partitions: PartitionOptions | undefined,
  fallback: () => number,
): QueuePartitions {
  const { strategy, count, min, max, idleTimeoutMs } = checkPartitions(partitions)
  if (!PORTABLE_STRATEGIES.includes(strategy)) {
    const allowed = `a strategy that every submitter can follow: ${PORTABLE_STRATEGIES.join(', ')}`
    throw invalidOption('PartitionConfig.strategy', show(strategy), allowed)
  }
  if ((min ?? max ?? idleTimeoutMs) !== undefined) {
    const allowed = 'a manager, whose partitions are threads'
    throw invalidOption('PartitionConfig.elastic', 'given to a queue', allowed)
  }
  return { strategy, numPartitions: strategy === 'single' ? 1 : (count ?? fallback()) }
}
