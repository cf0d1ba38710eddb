// Order cases: keys in order, and partitions that have one worker at a time.

import assert from 'node:assert/strict'
import type { Delivery, LeasedQueue } from '../contract/distributed-queue.ts'
import { type CaseOfContract, leased, where } from './contract-case.ts'
import {
  type ContractStage,
  complete,
  deadLetter,
  finish,
  idsOf,
  pause,
  refused,
} from './contract-stage.ts'

const KEYS = { needs: ['leases', 'keyOrder'], strategy: 'hash' } as const
const keyed = where(KEYS)
const OWNED = { needs: ['leases', 'ownership'], strategy: 'hash' } as const

/** A worker that runs what it is given one by one, and gives the rest of a batch back unstarted. */
async function drain(
  stage: ContractStage,
  queue: LeasedQueue,
  onRun: (delivery: Delivery) => Promise<void>,
  isDone: () => boolean,
): Promise<void> {
  while (!isDone()) {
    const [first, ...others] = await queue.lease(stage.request({ max: 4, waitMs: 50 }))
    if (first === undefined) continue
    await queue.release(others, { reason: 'unstarted' })
    await onRun(first)
    await complete(queue, first)
  }
}

/** The ids of commands in the order in which they run, until that are so many. */
async function runsOf(stage: ContractStage, queue: LeasedQueue, count: number): Promise<string[]> {
  const ran: string[] = []
  const run = async ({ envelope }: Delivery): Promise<void> => void ran.push(envelope.id)
  await drain(stage, queue, run, () => ran.length === count)
  return ran
}

const keys: readonly CaseOfContract[] = [
  keyed('commands of a key are run one at a time and in order, over two workers', async (stage) => {
    const queues = await stage.workers('w1', 'w2')
    const expected = new Map<string, string[]>()
    const envelopes = Array.from({ length: 60 }, (_, index) => {
      const key = `k${index % 5}`
      const envelope = stage.envelope({ key, partitionId: (index % 5) % 4 })
      expected.set(key, [...(expected.get(key) ?? []), envelope.id])
      return envelope
    })
    await stage.fill(queues[0]!, envelopes)
    const ran = new Map<string, string[]>()
    const running = new Set<string>()
    let left = envelopes.length
    const run = async ({ envelope }: Delivery): Promise<void> => {
      const key = envelope.key!
      assert.ok(!running.has(key), `two commands of ${key} at once`)
      running.add(key)
      ran.set(key, [...(ran.get(key) ?? []), envelope.id])
      await pause(1)
      running.delete(key)
      left--
    }
    await Promise.all(queues.map((queue) => drain(stage, queue, run, () => left === 0)))
    assert.deepEqual([...ran].toSorted(), [...expected].toSorted())
  }),
  keyed('commands of different keys are given out side by side', async (stage, queue) => {
    const envelopes = ['a', 'b', 'c'].map((key) => stage.envelope({ key }))
    const given = await stage.giveAll(queue, envelopes)
    assert.deepEqual(
      given.map(({ envelope }) => envelope.key),
      ['a', 'b', 'c'],
    )
  }),
  where({ ...KEYS, leaseMs: 600 })('the order of a key outlives a worker', async (stage, one) => {
    const envelopes = stage.envelopes(4, { key: 'k' })
    await stage.fill(one, envelopes)
    const lost = await stage.takeOne(one)
    assert.equal(lost.envelope.id, envelopes[0]!.id)
    stage.kill(one)
    const two = await stage.worker('w2')
    assert.deepEqual(await runsOf(stage, two, 4), idsOf(envelopes))
    assert.equal(await complete(one, lost), 'stale')
  }),
  keyed('what was not started keeps its place among its key', async (stage, queue) => {
    const envelopes = stage.envelopes(3, { key: 'k' })
    await stage.fill(queue, envelopes)
    const first = await queue.lease(stage.request({ waitMs: 1000 }))
    await queue.release(first, { reason: 'unstarted' })
    assert.deepEqual(await runsOf(stage, queue, 3), idsOf(envelopes))
  }),
  where({ ...KEYS, needs: [...KEYS.needs, 'delay'] })(
    'a retry leaves its place: others of its key go on',
    async (stage, queue) => {
      const [a, b, c] = stage.envelopes(3, { key: 'k' })
      await stage.fill(queue, [a!, b!, c!])
      const [first, ...others] = await queue.lease(stage.request({ waitMs: 1000 }))
      assert.equal(first!.envelope.id, a!.id)
      await queue.release(others, { reason: 'unstarted' })
      await queue.release([first!], { reason: 'retry', delayMs: 200 })
      assert.deepEqual(await runsOf(stage, queue, 3), [b!.id, c!.id, a!.id])
    },
  ),
  keyed('a dead-lettered command does not hold up its key', async (stage, queue) => {
    const [a, b] = stage.envelopes(2, { key: 'k' })
    await stage.fill(queue, [a!, b!])
    const [first, ...others] = await queue.lease(stage.request({ waitMs: 1000 }))
    await queue.release(others, { reason: 'unstarted' })
    await deadLetter(queue, first!)
    assert.deepEqual(idsOf(await stage.take(queue, 1)), [b!.id])
  }),
  where({ needs: ['leases'], strategy: 'single', numPartitions: 1 })(
    'with one partition and no strategy everything comes in order',
    async (stage, queue) => {
      assert.equal(queue.strategy, 'single')
      assert.equal(queue.numPartitions, 1)
      const envelopes = stage.envelopes(50)
      await stage.fill(queue, envelopes)
      const given = await stage.take(queue, 50, { max: 9 })
      assert.deepEqual(idsOf(given), idsOf(envelopes))
    },
  ),
]

/** Beats until two workers own everything between them, giving up what is surplus. */
async function settle(stage: ContractStage, queues: readonly LeasedQueue[]): Promise<number[][]> {
  let owned: number[][] = []
  await stage.until('everything has one owner, and each owner its share', async () => {
    owned = []
    for (const queue of queues) {
      const beat = await queue.ownership!.heartbeat()
      for (const partition of beat.surplus) await queue.ownership!.release(partition)
      owned.push(beat.owned.filter((partition) => !beat.surplus.includes(partition)))
    }
    const all = owned.flat()
    assert.equal(new Set(all).size, all.length, `a partition has two owners: ${owned.join(' | ')}`)
    return all.length === stage.settings.numPartitions && owned.every((some) => some.length > 0)
  })
  return owned
}

const ownership: readonly CaseOfContract[] = [
  where({ ...OWNED, numPartitions: 8 })('a worker alone owns every partition', async (_, queue) => {
    const { owned, surplus } = await queue.ownership!.heartbeat()
    assert.deepEqual([...owned].toSorted(), [0, 1, 2, 3, 4, 5, 6, 7])
    assert.deepEqual(surplus, [])
  }),
  where({ ...OWNED, numPartitions: 16 })(
    'a second worker gets its share, and no partition has two owners',
    async (stage, one, two) => {
      await settle(stage, [one, two])
    },
  ),
  where({ ...OWNED, numPartitions: 16 })(
    'only the owner of a partition is given its commands',
    async (stage, one, two) => {
      const [mine, yours] = await settle(stage, [one, two])
      const envelopes = [...mine!, ...yours!].map((partitionId) => stage.envelope({ partitionId }))
      await stage.fill(one, envelopes)
      assert.deepEqual(await one.lease(stage.request({ partitions: yours! })), [])
      assert.deepEqual(await two.lease(stage.request({ partitions: mine! })), [])
      assert.equal((await stage.take(one, mine!.length)).length, mine!.length)
      assert.equal((await stage.take(two, yours!.length)).length, yours!.length)
    },
  ),
  where({ ...OWNED, numPartitions: 8, leaseMs: 20_000 })(
    'what a worker leaves is taken over at once',
    async (stage, one, two) => {
      await settle(stage, [one, two])
      stage.kill(one)
      await one.ownership!.leave()
      const { owned } = await two.ownership!.heartbeat()
      assert.equal(owned.length, 8)
    },
  ),
  where({ ...OWNED, numPartitions: 8, leaseMs: 800 })(
    'what a dead worker owned is taken over when it has expired, with its commands',
    async (stage, one, two) => {
      const [mine] = await settle(stage, [one, two])
      const envelope = stage.envelope({ partitionId: mine![0]!, key: 'k' })
      await stage.fill(two, [envelope])
      const lost = await stage.takeOne(one)
      stage.kill(one)
      await stage.until('the other owns everything', async () => {
        return (await two.ownership!.heartbeat()).owned.length === 8
      })
      const fresh = await stage.takeOne(two)
      assert.equal(fresh.envelope.id, envelope.id)
      assert.equal(fresh.deliveries, 2)
      assert.equal(await complete(one, lost), 'stale')
      await finish(two, [fresh])
    },
  ),
  where({ ...OWNED, numPartitions: 4 })(
    'a worker that takes nothing keeps its partitions until it gives them up',
    async (stage, one, two) => {
      for (const queue of [one, two]) stage.kill(queue)
      const before = (await one.ownership!.heartbeat()).owned
      const { owned, surplus } = await one.ownership!.heartbeat(false)
      assert.deepEqual([owned, surplus], [before, before])
      for (const partition of surplus) await one.ownership!.release(partition)
      assert.equal((await two.ownership!.heartbeat()).owned.length, 4)
      assert.deepEqual((await one.ownership!.heartbeat(false)).owned, [])
      await one.ownership!.heartbeat()
      const { surplus: due } = await two.ownership!.heartbeat()
      assert.ok(due.length > 0, 'it is given partitions again')
    },
  ),
  where({ ...OWNED, numPartitions: 4 })(
    'a partition that was given up is given no more commands',
    async (stage, queue) => {
      stage.kill(queue)
      await stage.fill(queue, stage.envelopes(1, { partitionId: 2 }))
      await queue.ownership!.release(2)
      assert.deepEqual(await queue.lease(stage.request({ partitions: [2] })), [])
      assert.ok((await queue.ownership!.heartbeat()).owned.includes(2))
      await stage.takeOne(queue)
    },
  ),
  leased('where partitions are not owned, a worker need not claim one', async (stage, queue) => {
    assert.equal(queue.ownership, undefined)
    await stage.giveAll(queue, stage.envelopes(1, { partitionId: 3 }))
    await refused('partition 9', queue.lease(stage.request({ partitions: [9] })))
  }),
]

/** Keys in order, and partitions that have one worker at a time. */
export const ORDER_CASES: readonly CaseOfContract[] = [...keys, ...ownership]
