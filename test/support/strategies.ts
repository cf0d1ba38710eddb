// Strategies: each with two partitions where it can have two, for tests that hold under all of
// them.

import { PartitionConfig } from 'corelane'

/** Name and configuration of every strategy. */
export const strategies: readonly (readonly [name: string, partitions: PartitionConfig])[] = [
  ['balanced', PartitionConfig.balanced(2)],
  ['roundRobin', PartitionConfig.roundRobin(2)],
  ['hash', PartitionConfig.hash(2)],
  ['single', PartitionConfig.single()],
  ['custom', PartitionConfig.custom(2, ({ payload }) => (payload === undefined ? 1 : 0))],
]
