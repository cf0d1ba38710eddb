// Goal: where each partition of a queue has one worker at a time, a worker pool takes only what is
// its own, and gives a partition up in order. Method: the engine of this process, whose partitions
// are given owners here, so that each moment of a handover can be held.

import { setTimeout as sleep } from 'node:timers/promises'
import { type LeasedQueue, type LocalDistributedQueue, PartitionConfig, stableHash } from 'corelane'
import { expect, test } from 'vitest'
import { until, within } from '../support/deadline.ts'
import { openPool, openQueue, openStage, shareWorkers, withFaults } from '../support/pools.ts'
import { range } from '../support/range.ts'

/** A queue that says whose its partitions are, and writes down what it is told. */
function withOwners(queue: LocalDistributedQueue) {
  const state = { owned: [0, 1, 2, 3], surplus: [] as number[] }
  const told: string[] = []
  const owned = withFaults<LeasedQueue>(queue, {
    capabilities: { ...queue.capabilities, ownership: true },
    ownership: {
      heartbeat: async () => ({ ...state }),
      release: async (partition) => {
        told.push(`release ${partition}`)
        state.owned = state.owned.filter((each) => each !== partition)
        state.surplus = state.surplus.filter((each) => each !== partition)
      },
      leave: async () => void told.push('leave'),
    },
  })
  return { state, told, owned }
}

const one = PartitionConfig.single()
const worker = shareWorkers()

test('a worker takes commands of its own partitions only', async () => {
  const queue = openQueue(PartitionConfig.hash(4), { leaseMs: 300 })
  const { state, owned } = withOwners(queue)
  state.owned = [1]
  const { ledger, pool, submitter } = await openStage({ queue, through: owned, worker })
  const results = range(40).map((i) => submitter.submit('query', 'mark', i, { key: `key ${i}` }))
  const isOwn = (i: number) => stableHash(`key ${i}`) % 4 === 1
  const own = Array.from(results.keys()).filter(isOwn)
  await until(() => pool.stats().completed === own.length, 'its own are done')
  expect(ledger.order(40).toSorted((a, b) => a - b)).toEqual(own)
  expect((await queue.counts()).waiting).toBe(40 - own.length)
  expect(own.length).toBeGreaterThan(0)
  expect(pool.stats().ownedPartitions).toBe(1)
  state.owned = [0, 1, 2, 3]
  await within(Promise.all(results), 'the others, once it owns them')
})

test('a partition is yielded once nothing of it runs, and what waits goes back', async () => {
  const queue = openQueue(one, { leaseMs: 600 })
  const { state, told, owned } = withOwners(queue)
  state.owned = [0]
  const { ledger, pool, submitter } = await openStage({ queue, through: owned, worker })
  const first = submitter.submit('query', 'gate', 0)
  await ledger.waitForStarts(1)
  const rest = range(5).map((i) => submitter.submit('query', 'mark', i + 1))
  await until(() => pool.stats().held > 1, 'more are held')
  state.surplus = [0]
  await until(() => pool.stats().held === 1, 'what waits goes back')
  expect(told).toEqual([])
  expect(await queue.counts()).toMatchObject({ waiting: 5, leased: 1 })
  ledger.openGate()
  expect(await within(first, 'what ran')).toBe(0)
  await until(() => told.length === 1, 'it is yielded')
  expect(told).toEqual(['release 0'])
  expect(ledger.allRuns(6)).toEqual([1, 0, 0, 0, 0, 0])
  state.owned = [0]
  await within(Promise.all(rest), 'the rest, once it owns it again')
  await within(pool.drain(), 'the drain')
  expect(told).toEqual(['release 0', 'leave'])
  expect(pool.stats()).toMatchObject({ lost: 0, crashed: 0, held: 0 })
})

test('a worker that leaves gives up what a heartbeat that is under way may still bring', async () => {
  const queue = openQueue(one, { leaseMs: 600 })
  const { state, told, owned } = withOwners(queue)
  let heartbeats = 0
  let answer = (): void => {}
  const answered = new Promise<void>((resolve) => {
    answer = resolve
  })
  const ownership = withFaults(owned.ownership!, {
    heartbeat: async () => {
      if (++heartbeats > 1) {
        await answered
        told.push('answer')
      }
      return { ...state }
    },
  })
  const { pool } = await openStage({
    queue,
    through: withFaults(owned, { ownership }),
    worker,
  })
  await until(() => heartbeats === 2, 'another heartbeat is under way')
  const drained = pool.drain()
  await sleep(50)
  answer()
  await within(drained, 'the drain')
  expect(told).toEqual(['answer', 'leave'])
})

test('what it owns no more is stopped at once', async () => {
  const queue = openQueue(one, { leaseMs: 2000 })
  const { state, told, owned } = withOwners(queue)
  state.owned = [0]
  const { ledger, manager, pool, submitter } = await openStage({ queue, through: owned, worker })
  const { incarnations } = manager.stats().partitions[0]!
  const results = [0, 1].map((index) => submitter.submit('query', 'gate', index, { key: 'a' }))
  await ledger.waitForStarts(1)
  state.owned = []
  await until(() => pool.stats().held === 0, 'it holds nothing')
  expect(pool.stats().lost).toBe(1)
  await until(() => manager.stats().partitions[0]!.incarnations > incarnations, 'its thread ends')
  expect(pool.incidents.map(({ what }) => what)).toContain('leases-taken')
  ledger.openGate()
  await openPool(queue.asWorker('other'), manager)
  expect(await within(Promise.all(results), 'elsewhere')).toEqual([0, 1])
  expect(told).toEqual([])
})

test('an engine that throws or answers at once keeps no worker from its end', async () => {
  const queue = openQueue(one, { leaseMs: 300 })
  const { told, owned } = withOwners(queue)
  const faulty = withFaults<LeasedQueue>(owned, {
    ownership: { ...owned.ownership!, heartbeat: () => ({ owned: [0], surplus: [] }) as never },
    workers: withFaults(queue.workers!, {
      leave: () => {
        throw new Error('at once')
      },
    }),
  })
  const { pool, submitter } = await openStage({ queue, through: faulty, worker })
  expect(await within(submitter.submit('query', 'echo', 1), 'a result')).toBe(1)
  await within(pool.drain(), 'drain')
  await within(pool.close(), 'close')
  expect(told).toEqual(['leave'])
})
