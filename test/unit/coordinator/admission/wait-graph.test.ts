// Wait graph: the ways to wait for ever, each by its name. That it refuses no others is in
// test/property.

import { expect, test } from 'vitest'
import {
  type Wait,
  WaitGraph,
  waitCapacity,
} from '../../../../src/coordinator/admission/wait-graph.ts'
import { planManager } from '../../../../src/coordinator/options.ts'
import { PartitionConfig } from '../../../../src/model/partition-config.ts'

const ANY = -1
const NO_BOUND = Number.POSITIVE_INFINITY

/** A handler named `holder`, in partition 0 and lane 0 unless told, that waits for one like it. */
function wait(holder: string, rest: Partial<Wait> = {}): Wait {
  return {
    holder,
    holdsPartition: 0,
    holdsLane: 0,
    holdsKey: undefined,
    isOver: () => false,
    awaited: () => undefined,
    needsPartition: ANY,
    needsLane: 0,
    needsKey: undefined,
    ...rest,
  }
}

function graphOf(partitions: number, runs: number, ...laneSlots: number[]): WaitGraph {
  const groupSlots = laneSlots.map(() => 2)
  return new WaitGraph({ partitions, runs, laneSlots, groupSlots })
}

test('what there is to hold is what the options allow', () => {
  const plan = planManager({
    handlers: 'file:///none.js',
    partitions: PartitionConfig.balanced(3),
    concurrencyPerPartition: 2,
    lanes: { a: { maxConcurrency: 4 }, b: {} },
  })
  expect(waitCapacity(plan)).toEqual({
    partitions: 3,
    runs: 2,
    laneSlots: [4, NO_BOUND],
    groupSlots: [NO_BOUND, NO_BOUND],
  })
})

test('in the only run there is nobody may wait', () => {
  const graph = graphOf(1, 1, NO_BOUND)
  expect(graph.add(wait('a'))).toBe(false)
  expect(graph.isHeld(0)).toBe(false)
})

test('the last run of all is not given to one that waits, and is once another waits no more', () => {
  const graph = graphOf(2, 1, NO_BOUND)
  const first = wait('a')
  expect(graph.add(first)).toBe(true)
  expect([graph.isHeld(0), graph.isHeld(1)]).toEqual([true, false])
  const second = wait('b', { holdsPartition: 1 })
  expect(graph.add(second)).toBe(false)
  graph.remove(first)
  expect(graph.add(second)).toBe(true)
})

test('a handler that waits for many commands holds one run', () => {
  const graph = graphOf(1, 2, NO_BOUND)
  for (let i = 0; i < 10; i++) expect(graph.add(wait('a'))).toBe(true)
  expect(graph.isHeld(0)).toBe(false)
  expect(graph.add(wait('b'))).toBe(false)
})

test('a command that has a home needs a run there, whatever is free elsewhere', () => {
  const graph = graphOf(2, 1, NO_BOUND)
  expect(graph.add(wait('a', { needsPartition: 0 }))).toBe(false)
  expect(graph.add(wait('a', { needsPartition: 1 }))).toBe(true)
})

test('a lane whose slots are held by those who wait for it is stuck', () => {
  const graph = graphOf(2, 4, 2, NO_BOUND)
  expect(graph.add(wait('a'))).toBe(true)
  expect(graph.add(wait('b'))).toBe(false)
  expect(graph.add(wait('b', { needsLane: 1 }))).toBe(true)
})

test('a group whose slots are held by those who wait for it is stuck, in its lane alone', () => {
  const graph = graphOf(2, 4, NO_BOUND, NO_BOUND)
  const mine = { holdsGroup: 'g', needsGroup: 'g' }
  expect(graph.add(wait('a', mine))).toBe(true)
  expect(graph.add(wait('b', mine))).toBe(false)
  expect(graph.add(wait('b', { ...mine, needsGroup: 'h' }))).toBe(true)
  expect(graph.add(wait('c', { ...mine, needsLane: 1 }))).toBe(true)
})

test('a handler that waits for one that waits for its slot is stuck, though others are free', () => {
  const graph = graphOf(2, 4, 1, NO_BOUND)
  expect(graph.add(wait('parent', { needsLane: 1, awaited: () => 'child' }))).toBe(true)
  const back = wait('child', { holdsPartition: 1, holdsLane: 1, needsLane: 0 })
  expect(graph.add(back)).toBe(false)
  expect(graph.add({ ...back, needsLane: 1 })).toBe(true)
})

test('a key is held by who waits with it, in its partition alone', () => {
  const graph = graphOf(2, 4, NO_BOUND)
  const holding = { holdsKey: 'k', needsKey: 'k' }
  expect(graph.add(wait('a', { ...holding, needsPartition: 0 }))).toBe(false)
  expect(graph.add(wait('a', { ...holding, needsPartition: 0, needsKey: 'l' }))).toBe(true)
  expect(graph.add(wait('b', { needsPartition: 0, needsKey: 'k' }))).toBe(true)
  expect(graph.add(wait('c', { ...holding, needsPartition: 1 }))).toBe(true)
})

test('what handlers hold that have ended counts no more', () => {
  const graph = graphOf(1, 2, NO_BOUND)
  let isOver = false
  expect(graph.add(wait('a', { isOver: () => isOver }))).toBe(true)
  expect(graph.add(wait('b'))).toBe(false)
  isOver = true
  expect(graph.purge()).toEqual([0])
  expect(graph.add(wait('b'))).toBe(true)
})
