// Wait graph: what there is to hold. Which waits it refuses is in test/property.

import { expect, test } from 'vitest'
import { waitCapacity } from '../../../../src/coordinator/admission/wait-graph.ts'
import { planManager } from '../../../../src/coordinator/options.ts'
import { PartitionConfig } from '../../../../src/model/partition-config.ts'

test('what there is to hold is what the options allow', () => {
  const plan = planManager({
    handlers: 'file:///none.js',
    partitions: PartitionConfig.balanced(3),
    concurrencyPerPartition: 2,
    lanes: { a: { maxConcurrency: 4 }, b: { groupConcurrency: 5 } },
  })
  expect(waitCapacity(plan)).toEqual({
    partitions: 3,
    runs: 2,
    laneSlots: [4, Infinity],
    groupSlots: [Infinity, 5],
  })
})
