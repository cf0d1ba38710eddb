// Elastic: how many threads there are by load, memory and time; no thread is started here.

import { expect, test } from 'vitest'
import { Elastic } from '../../../../src/coordinator/threads/elastic.ts'
import { PartitionHandle } from '../../../../src/coordinator/threads/partition-handle.ts'
import { until } from '../../../support/deadline.ts'
import { range } from '../../../support/range.ts'

function rig(count: number, min: number, free = 2 ** 40) {
  const partitions = range(count).map((index) => new PartitionHandle(index))
  for (const partition of partitions) partition.vacate('dormant')
  const load = { demand: 0, free }
  const supervisor = {
    spawn: (partition: PartitionHandle) => partition.vacate('waiting'),
    retire: async (partition: PartitionHandle) => partition.vacate('dormant'),
  }
  const plan = { min, idleTimeoutMs: 10 }
  const elastic = new Elastic(
    partitions,
    supervisor,
    plan,
    { demand: () => load.demand, acted: () => elastic.progressed(performance.now()) },
    () => load.free,
  )
  const awake = () => partitions.filter(({ state }) => state !== 'dormant').length
  return { elastic, load, awake, partitions }
}

/** What is looked at of a thread that has nothing to do. */
function idleThread() {
  const window = { load: { count: 0, restingCount: 0 }, watch: { detachedCount: 0 } }
  return { isReady: true, isLoaded: true, calls: 0, window }
}

/** One partition, whose thread is idle. */
function idleRig() {
  const { partitions, load, elastic, awake } = rig(1, 0)
  load.demand = 1
  elastic.grow()
  load.demand = 0
  const thread = idleThread()
  const [partition] = partitions
  partition!.occupy(thread as never)
  return { elastic, load, awake, thread, partition: partition! }
}

test('as many threads come as have something to do, from the minimum to the maximum', () => {
  const { elastic, load, awake } = rig(4, 1)
  const counts = [0, 2, 3, 9].map((demand) => {
    load.demand = demand
    elastic.grow()
    return awake()
  })
  expect(counts).toEqual([1, 2, 3, 4])
})

test('without free memory only the first thread comes', () => {
  const { elastic, load, awake } = rig(4, 0, 2 ** 20)
  load.demand = 4
  elastic.grow()
  expect(awake()).toBe(1)
  load.free = 2 ** 30
  elastic.grow()
  expect(awake()).toBe(4)
})

test('threads for which memory was short come once it is free, though nothing else happens', async () => {
  const { elastic, load, awake } = rig(4, 0, 2 ** 20)
  load.demand = 4
  elastic.grow()
  load.free = 2 ** 30
  await until(() => awake() === 4, 'the others')
})

test('a thread that was idle but for a control call ends once that has ended', async () => {
  const { elastic, load, awake, partitions } = rig(1, 0)
  load.demand = 1
  elastic.grow()
  load.demand = 0
  const thread = { ...idleThread(), calls: 1 }
  partitions[0]!.occupy(thread as never)
  elastic.progressed(performance.now())
  thread.calls = 0
  await until(() => awake() === 0, 'its end')
})

test('no thread is added while a partition is given up', () => {
  const { elastic, load, awake, partitions } = rig(3, 0)
  partitions[0]!.vacate('failed')
  const before = awake()
  load.demand = 3
  elastic.grow()
  expect(awake()).toBe(before)
})

test('while a partition is given up no other ends, however idle it is', () => {
  const { elastic, load, awake, partitions } = rig(3, 1)
  load.demand = 2
  elastic.grow()
  partitions[1]!.occupy(idleThread() as never)
  partitions[0]!.vacate('failed')
  load.demand = 0
  elastic.progressed(0)
  elastic.progressed(1_000)
  expect(awake()).toBe(2)
  partitions[0]!.vacate('waiting')
  elastic.progressed(2_000)
  expect(awake()).toBe(1)
})

test('a thread that was used since it was last looked at has been idle since then', () => {
  const { elastic, awake, thread, partition } = idleRig()
  const counts = thread.window.load
  for (let now = 0; now < 100; now += 9) {
    elastic.progressed(now)
    // A command is bound, and its result is taken.
    counts.count = 1
    partition.touch()
    counts.count = 0
  }
  expect(awake()).toBe(1)
  elastic.progressed(100)
  elastic.progressed(109)
  expect(awake()).toBe(1)
  elastic.progressed(110)
  expect(awake()).toBe(0)
})

test('a thread does not end for idleness while it loads, or while it is wanted', () => {
  const { elastic, load, awake, thread } = idleRig()
  thread.isLoaded = false
  for (const now of [0, 1_000]) elastic.progressed(now)
  expect(awake()).toBe(1)
  thread.isLoaded = true
  load.demand = 1
  for (const now of [2_000, 3_000]) elastic.progressed(now)
  expect(awake()).toBe(1)
  load.demand = 0
  elastic.progressed(4_000)
  expect(awake()).toBe(0)
})
