// Queue partitions: what a queue on any engine may have.

import { expect, test } from 'vitest'
import { planPartitions } from '../../../src/distributed/contract/queue-partitions.ts'
import { PartitionConfig, type PartitionOptions } from '../../../src/model/partition-config.ts'

const plan = (partitions?: PartitionOptions) => planPartitions(partitions, () => 6)

test('a count that is not given is that of the engine, and one with the strategy none', () => {
  expect(plan()).toEqual({ strategy: 'balanced', numPartitions: 6 })
  expect(plan(PartitionConfig.hash())).toEqual({ strategy: 'hash', numPartitions: 6 })
  expect(plan(PartitionConfig.roundRobin(3))).toEqual({ strategy: 'roundRobin', numPartitions: 3 })
  expect(plan({ strategy: 'single' })).toEqual({ strategy: 'single', numPartitions: 1 })
  expect(plan({ strategy: 'none' })).toEqual({ strategy: 'single', numPartitions: 1 })
  expect(plan(PartitionConfig.single())).toEqual({ strategy: 'single', numPartitions: 1 })
})

test.each([
  [PartitionConfig.custom(2, () => 0), 'PartitionConfig.strategy'],
  [{ strategy: 'hash' as const, count: 0 }, 'PartitionConfig.count'],
  [{ strategy: 'odd' as never }, 'PartitionConfig.strategy'],
  [{ strategy: 'single' as const, count: 2 }, 'PartitionConfig.count'],
  [{ choose: () => 0 }, 'PartitionConfig.choose'],
  [PartitionConfig.elastic(1, 4), 'PartitionConfig.elastic'],
  [{ idleTimeoutMs: 5 }, 'PartitionConfig.elastic'],
])('%j is refused', (partitions, option) => {
  const code = 'CORELANE_INVALID_OPTION'
  expect(() => plan(partitions)).toThrow(expect.objectContaining({ code }))
  expect(() => plan(partitions)).toThrow(option)
})
