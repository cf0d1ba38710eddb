// Wait graph: what there is to hold, and what is lost with a partition. Which waits it refuses for
// want of that is in test/property.

import { expect, test } from 'vitest'
import { WaitGraph, waitCapacity } from '../../../../src/coordinator/admission/wait-graph.ts'
import { planManager } from '../../../../src/coordinator/options.ts'
import { PartitionHandle } from '../../../../src/coordinator/threads/partition-handle.ts'
import { PartitionConfig } from '../../../../src/model/partition-config.ts'

test('what there is to hold is what the options allow', () => {
  const plan = planManager({
    handlers: 'file:///none.js',
    partitions: PartitionConfig.balanced(3),
    concurrencyPerPartition: 2,
    lanes: { a: { maxConcurrency: 4 }, b: { groupConcurrency: 5 } },
  })
  const partitions = [0, 1, 2].map((index) => new PartitionHandle(index))
  const { isGivenUp, ...rest } = waitCapacity(plan, partitions)
  expect(rest).toEqual({
    partitions: 3,
    runs: 2,
    laneSlots: [4, Infinity],
    groupSlots: [Infinity, 5],
  })
  const givenUp = () => [0, 1, 2].filter(isGivenUp!)
  partitions[1]!.vacate('dormant')
  expect(givenUp()).toEqual([])
  // Where one has failed no thread is added any more.
  partitions[2]!.vacate('failed')
  expect(givenUp()).toEqual([1, 2])
})

test('a partition that was given up has no run, and those who count on it wait for ever', () => {
  const givenUp = new Set<number>()
  const graph = new WaitGraph({
    partitions: 2,
    runs: 1,
    laneSlots: [Infinity],
    groupSlots: [Infinity],
    isGivenUp: (partition) => givenUp.has(partition),
  })
  const held = { holdsPartition: 0, holdsLane: 0, holdsKey: undefined }
  const needed = { needsPartition: -1, needsLane: 0, needsKey: undefined }
  const wait = { holder: 'a', awaited: () => 'b', isOver: () => false, ...held, ...needed }
  expect(graph.add(wait)).toBe(true)
  expect(graph.findStuck()).toBeUndefined()
  givenUp.add(1)
  expect(graph.findStuck()).toBe(wait)
  graph.remove(wait)
  expect(graph.add(wait)).toBe(false)
})
