// Strategies: each with two partitions where it can have two, for tests that hold under all of
// them; and keys for a partition of `hash`.

import { PartitionConfig, stableHash } from 'corelane'

/** Name and configuration of every strategy. */
export const strategies: readonly (readonly [name: string, partitions: PartitionConfig])[] = [
  ['balanced', PartitionConfig.balanced(2)],
  ['roundRobin', PartitionConfig.roundRobin(2)],
  ['hash', PartitionConfig.hash(2)],
  ['single', PartitionConfig.single()],
  ['custom', PartitionConfig.custom(2, ({ payload }) => (payload === undefined ? 1 : 0))],
]

/**
 * A key that `hash` places on a partition.
 *
 * @param other - Another number gives another key.
 */
export function keyOf(partition: number, partitions: number, other = 0): string {
  for (let i = other * 1000; ; i++) {
    if (stableHash(`key ${i}`) % partitions === partition) return `key ${i}`
  }
}
