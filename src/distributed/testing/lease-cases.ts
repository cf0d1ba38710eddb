// Lease cases: which worker gets which command, and how it waits; the order by urgency and by key,
// and partitions that have one worker at a time.

import assert from 'node:assert/strict'
import { nowMs } from '../../base/clock.ts'
import type { Delivery, LeasedQueue } from '../contract/distributed-queue.ts'
import type { CommandEnvelope } from '../contract/envelope.ts'
import { ContractCases } from './contract-case.ts'
import { complete, deadLetter, finish, refused } from './contract-moves.ts'
import { type ContractStage, demand, idsOf, pause, successOf } from './contract-stage.ts'

const KEYS = { needs: ['leases', 'keyOrder'], strategy: 'hash' } as const
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

function lanesOf(deliveries: readonly Delivery[]): string[] {
  return deliveries.map(({ envelope }) => envelope.laneId)
}

/** The ids of commands in the order in which they run, until that are so many. */
async function runsOf(stage: ContractStage, queue: LeasedQueue, count: number): Promise<string[]> {
  const ran: string[] = []
  const run = async ({ envelope }: Delivery): Promise<void> => void ran.push(envelope.id)
  await drain(stage, queue, run, () => ran.length === count)
  return ran
}

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

export const LEASE_CASES = new ContractCases()

LEASE_CASES.where({})({
  async 'an empty queue gives nothing, at once'(stage, queue) {
    const startMs = nowMs()
    assert.deepEqual(await queue.lease(stage.request()), [])
    assert.ok(nowMs() - startMs < 2000)
    assert.equal(await queue.dequeue(0), null)
  },
  async 'no more than max are given, in all and of a lane, and none of a lane with 0'(
    stage,
    queue,
  ) {
    for (const laneId of ['a', 'b', 'c']) await stage.fill(queue, stage.envelopes(5, { laneId }))
    const lanes = [demand('a', { max: 2 }), demand('b', { max: 0 })]
    const given = await queue.lease(stage.request({ lanes, waitMs: 1000 }))
    assert.deepEqual(lanesOf(given), ['a', 'a'])
    const all = ['a', 'b', 'c'].map((id) => demand(id))
    const some = await queue.lease(stage.request({ lanes: all, max: 3 }))
    assert.equal(some.length, 3)
    const rest = [...some, ...(await stage.take(queue, 10, { lanes: all }))]
    assert.equal(lanesOf(rest).filter((laneId) => laneId === 'a').length, 3)
  },
  async 'only partitions that are asked for are taken from'(stage, queue) {
    for (const partitionId of [0, 1, 2]) {
      await stage.fill(queue, stage.envelopes(3, { partitionId }))
    }
    const given = await stage.take(queue, 6, { partitions: [2, 0] })
    const from = given.map(({ envelope }) => envelope.partitionId)
    assert.deepEqual(from.toSorted(), [0, 0, 0, 2, 2, 2])
    await stage.nothing(queue, { partitions: [2, 0, 3] })
    await stage.take(queue, 3, { partitions: [1] })
  },
  async 'workers that lease at once share and are given nothing twice'(stage, one, two, three) {
    const envelopes = await stage.fill(one, stage.spread(100))
    const given: string[] = []
    const fences = new Set<string>()
    const work = async (queue: LeasedQueue): Promise<void> => {
      let misses = 0
      while (misses < 3) {
        const some = await queue.lease(stage.request({ max: 7, waitMs: 50 }))
        misses = some.length === 0 ? misses + 1 : 0
        given.push(...idsOf(some))
        for (const { fence } of some) fences.add(`${queue.workerId}/${fence}`)
        if (some.length > 0) await finish(queue, some)
      }
    }
    await Promise.all([one, two, three].map(work))
    assert.deepEqual(given.toSorted(), idsOf(envelopes).toSorted())
    assert.equal(fences.size, 400)
  },
  async 'the five members alone do: enqueue, dequeue, complete'(stage, queue) {
    assert.equal(queue.numPartitions, 4)
    const envelope = stage.envelope({ partitionId: 2, laneId: 'any-lane' })
    await queue.enqueue(envelope)
    assert.equal(await queue.dequeue(1), null)
    const given = await queue.dequeue(2)
    assert.equal(given?.id, envelope.id)
    const result = successOf({ envelope }, queue, 1)
    const other = { ...result, commandId: 'unknown' }
    await refused('a result of what was not dequeued', queue.complete(other), 'CORELANE_NOT_HELD')
    await queue.complete(result)
    assert.equal(await queue.dequeue(2), null)
    await refused('a second result', queue.complete(result), 'CORELANE_NOT_HELD')
    await refused('dequeue of partition 4', queue.dequeue(4))
  },
  async 'within a lane and partition the oldest goes first'(stage, queue) {
    const envelopes = await stage.fill(queue, stage.envelopes(200))
    assert.deepEqual(idsOf(await stage.take(queue, 200, { max: 7 })), idsOf(envelopes))
  },
  async 'a worker that waits is woken by a command'(stage, queue) {
    const given = stage.woken(queue)
    await pause(50)
    const envelope = await stage.put(queue)
    assert.deepEqual(idsOf(await given), [envelope.id])
  },
  async 'a worker does not wait for lanes and partitions of others'(stage, queue) {
    const given = queue.lease(stage.request({ partitions: [1], waitMs: 400 }))
    const lanes = [demand('other')]
    const others = queue.lease(stage.request({ lanes, waitMs: 400 }))
    await stage.fill(queue, stage.envelopes(2, { partitionId: 0 }))
    assert.deepEqual(await given, [])
    assert.deepEqual(await others, [])
    await stage.take(queue, 2)
  },
  async 'waiting ends after waitMs'(stage, queue) {
    const startMs = nowMs()
    assert.deepEqual(await queue.lease(stage.request({ waitMs: 120 })), [])
    const waitedMs = nowMs() - startMs
    assert.ok(waitedMs >= 110 && waitedMs < 3000, `${waitedMs} ms`)
  },
  async 'a signal ends the waiting'(stage, queue) {
    const controller = new AbortController()
    const given = stage.woken(queue, { signal: controller.signal })
    await pause(30)
    controller.abort()
    assert.deepEqual(await given, [])
    assert.deepEqual(await stage.woken(queue, { signal: controller.signal }), [])
    await stage.giveAll(queue, stage.envelopes(1))
  },
  async 'of several that wait, one is given a command'(stage, queue) {
    const waits = Array.from({ length: 4 }, () => queue.lease(stage.request({ waitMs: 500 })))
    await pause(30)
    await stage.put(queue)
    const given = (await Promise.all(waits)).flat()
    assert.equal(given.length, 1)
  },
  async 'commands of many short waits are each given once'(stage, queue) {
    let given = 0
    for (let round = 0; round < 30; round++) {
      const wait = queue.lease(stage.request({ waitMs: 5 }))
      if (round % 2 === 0) await pause(round % 7)
      await stage.put(queue)
      const some = await wait
      given += some.length
      for (const delivery of some) await complete(queue, delivery)
    }
    given += (await stage.take(queue, 30 - given)).length
    assert.equal(given, 30)
    await stage.nothing(queue)
  },
})

LEASE_CASES.where({ leaseMs: 20_000 })({
  async 'a delivery has a fence, a first count and a lease'(stage, queue) {
    await stage.fill(queue, stage.envelopes(20))
    const beforeMs = nowMs()
    const given = await stage.take(queue, 20)
    const afterMs = nowMs()
    assert.equal(new Set(given.map(({ fence }) => fence)).size, 20)
    for (const { fence, deliveries, leasedUntilMs } of given) {
      assert.equal(typeof fence, 'string')
      assert.equal(deliveries, 1)
      assert.ok(leasedUntilMs >= beforeMs + queue.leaseMs)
      assert.ok(leasedUntilMs <= afterMs + queue.leaseMs)
    }
  },
})

LEASE_CASES.where({ numPartitions: 256 })({
  async 'there may be 256 partitions'(stage, queue) {
    assert.equal(queue.numPartitions, 256)
    const envelopes = [255, 0, 128].map((partitionId) => stage.envelope({ partitionId }))
    assert.equal((await stage.giveAll(queue, envelopes)).length, 3)
    await stage.nothing(queue)
  },
})

LEASE_CASES.where({ needs: ['leases'] })({
  async 'partitions that are named first are taken from first'(stage, queue) {
    for (const partitionId of [0, 1, 2]) {
      await stage.fill(queue, stage.envelopes(2, { partitionId }))
    }
    const given = await stage.take(queue, 4, { partitions: [1, 2, 0], max: 4 })
    assert.deepEqual(given.map(({ envelope }) => envelope.partitionId).toSorted(), [1, 1, 2, 2])
  },
  async 'bad requests are refused'(stage, queue) {
    // Nor need partitions be claimed that are not owned.
    assert.equal(queue.ownership, undefined)
    await refused('max 0', queue.lease(stage.request({ max: 0 })))
    await refused('max 4,097', queue.lease(stage.request({ max: 4097 })))
    await refused('partition 4', queue.lease(stage.request({ partitions: [4] })))
    await refused('partition -1', queue.lease(stage.request({ partitions: [-1] })))
    await refused('a lane {x}', queue.lease(stage.request({ lanes: [demand('{x}')] })))
  },
  async 'a worker that waits is woken by what another enqueues'(stage, one, two) {
    const given = stage.woken(one)
    await pause(50)
    const envelope = await stage.put(two, { partitionId: 3 })
    assert.deepEqual(idsOf(await given), [envelope.id])
  },
})

LEASE_CASES.where({ needs: ['leases'], leaseMs: 500 })({
  async 'what was dequeued and given to another since cannot be completed'(stage, one, two) {
    await stage.put(one)
    const { id, partitionId } = (await one.dequeue(0))!
    const given = await stage.takeOne(two)
    const result = { ...successOf(given, one), commandId: id, partitionId }
    await refused('a late result', one.complete(result), 'CORELANE_NOT_HELD')
    await finish(two, [given])
  },
})

LEASE_CASES.where({ needs: ['lanePriority'] })({
  async 'the most urgent lane goes first'(stage, queue) {
    for (const laneId of ['slow', 'fast', 'usual']) {
      await stage.fill(queue, stage.envelopes(3, { laneId }))
    }
    const lanes = [
      demand('usual', { priority: 5 }),
      demand('slow', { priority: 255 }),
      demand('fast', { priority: 0 }),
    ]
    const given = await stage.take(queue, 9, { lanes, max: 1 })
    const order = ['fast', 'usual', 'slow'].flatMap((laneId) => [laneId, laneId, laneId])
    assert.deepEqual(lanesOf(given), order)
  },
  async 'of lanes that are as urgent as each other the older command goes first'(stage, queue) {
    const envelopes = ['b', 'a', 'a', 'b', 'a'].map((laneId) => stage.envelope({ laneId }))
    for (const envelope of envelopes) {
      await stage.fill(queue, [envelope])
      await pause(5)
    }
    const lanes = [demand('a'), demand('b')]
    assert.deepEqual(idsOf(await stage.take(queue, 5, { lanes, max: 1 })), idsOf(envelopes))
  },
  async 'a command that comes later in a more urgent lane goes first'(stage, queue) {
    await stage.fill(queue, stage.envelopes(4, { laneId: 'slow' }))
    const lanes = [demand('slow', { priority: 9 }), demand('fast', { priority: 1 })]
    assert.deepEqual(lanesOf(await stage.take(queue, 1, { lanes })), ['slow'])
    await stage.put(queue, { laneId: 'fast' })
    assert.deepEqual(lanesOf(await stage.take(queue, 2, { lanes, max: 1 })), ['fast', 'slow'])
  },
})

LEASE_CASES.where({ needs: ['commandPriority'] })({
  async 'the more urgent command of a lane goes first'(stage, queue) {
    const priorities = [200, undefined, 3, 200, 0, 128, 255]
    const envelopes = priorities.map((priority) => stage.envelope({ priority }))
    await stage.fill(queue, envelopes)
    const given = await stage.take(queue, 7, { max: 1 })
    const order = [4, 2, 1, 5, 0, 3, 6].map((index) => envelopes[index]!)
    assert.deepEqual(idsOf(given), idsOf(order))
  },
})

LEASE_CASES.where({ needs: ['boosts'] })({
  async 'a lane whose head has waited becomes more urgent'(stage, queue) {
    await stage.put(queue, { laneId: 'slow' })
    await pause(150)
    await stage.fill(queue, stage.envelopes(2, { laneId: 'usual' }))
    const usual = demand('usual', { priority: 5 })
    const patient = demand('slow', { priority: 9, boost: [{ afterMs: 60_000, levels: 9 }] })
    const eager = demand('slow', { priority: 9, boost: [{ afterMs: 100, levels: 5 }] })
    assert.deepEqual(lanesOf(await stage.take(queue, 1, { lanes: [usual, patient] })), ['usual'])
    assert.deepEqual(lanesOf(await stage.take(queue, 1, { lanes: [usual, eager] })), ['slow'])
  },
})

LEASE_CASES.where({ needs: ['commandBoost'] })({
  async 'a command that has waited overtakes those of its lane'(stage, queue) {
    const old = await stage.put(queue, { priority: 200 })
    await pause(520)
    const young = await stage.put(queue, { priority: 0 })
    const lanes = [demand('lane', { priority: 9, boost: [{ afterMs: 500, levels: 5 }] })]
    assert.deepEqual(idsOf(await stage.take(queue, 2, { lanes, max: 1 })), [old.id, young.id])
  },
})

LEASE_CASES.where(KEYS)({
  async 'commands of a key are run one at a time and in order by two workers'(stage, one, two) {
    const envelopes = Array.from({ length: 60 }, (_, index) =>
      stage.envelope({ key: `k${index % 5}`, partitionId: (index % 5) % 4 }),
    )
    await stage.fill(one, envelopes)
    const ran: CommandEnvelope[] = []
    const running = new Set<string>()
    const run = async ({ envelope }: Delivery): Promise<void> => {
      const key = envelope.key!
      assert.ok(!running.has(key), `two commands of ${key} at once`)
      running.add(key)
      await pause(1)
      running.delete(key)
      ran.push(envelope)
    }
    const isDone = () => ran.length === envelopes.length
    await Promise.all([one, two].map((queue) => drain(stage, queue, run, isDone)))
    const byKey = (all: readonly CommandEnvelope[]) =>
      ['k0', 'k1', 'k2', 'k3', 'k4'].map((key) => idsOf(all.filter((each) => each.key === key)))
    assert.deepEqual(byKey(ran), byKey(envelopes))
  },
  async 'commands of different keys are given out side by side'(stage, queue) {
    const envelopes = ['a', 'b', 'c'].map((key) => stage.envelope({ key }))
    const given = await stage.giveAll(queue, envelopes)
    assert.deepEqual(idsOf(given), idsOf(envelopes))
  },
  async 'what was not started keeps its place among its key'(stage, queue) {
    const envelopes = await stage.fill(queue, stage.envelopes(3, { key: 'k' }))
    const first = await queue.lease(stage.request({ waitMs: 1000 }))
    await queue.release(first, { reason: 'unstarted' })
    assert.deepEqual(await runsOf(stage, queue, 3), idsOf(envelopes))
  },
  async 'a dead-lettered command does not hold up its key'(stage, queue) {
    const [, b] = await stage.fill(queue, stage.envelopes(2, { key: 'k' }))
    const [first, ...others] = await queue.lease(stage.request({ waitMs: 1000 }))
    await queue.release(others, { reason: 'unstarted' })
    await deadLetter(queue, first!)
    assert.equal((await stage.takeOne(queue)).envelope.id, b!.id)
  },
})

LEASE_CASES.where({ ...KEYS, leaseMs: 600 })({
  async 'the order of a key outlives a worker'(stage, one) {
    const envelopes = await stage.fill(one, stage.envelopes(4, { key: 'k' }))
    const lost = await stage.takeOne(one)
    assert.equal(lost.envelope.id, envelopes[0]!.id)
    stage.kill(one)
    const two = await stage.worker('w2')
    assert.deepEqual(await runsOf(stage, two, 4), idsOf(envelopes))
    assert.equal(await complete(one, lost), 'stale')
  },
})

LEASE_CASES.where({ ...KEYS, needs: [...KEYS.needs, 'delay'] })({
  async 'a retry leaves its place: others of its key go on'(stage, queue) {
    const [a, b, c] = await stage.fill(queue, stage.envelopes(3, { key: 'k' }))
    const [first, ...others] = await queue.lease(stage.request({ waitMs: 1000 }))
    assert.equal(first!.envelope.id, a!.id)
    await queue.release(others, { reason: 'unstarted' })
    await queue.release([first!], { reason: 'retry', delayMs: 200 })
    assert.deepEqual(await runsOf(stage, queue, 3), [b!.id, c!.id, a!.id])
  },
})

LEASE_CASES.where({ needs: ['leases'], strategy: 'single', numPartitions: 1 })({
  async 'with one partition and no strategy everything comes in order'(stage, queue) {
    assert.equal(queue.strategy, 'single')
    assert.equal(queue.numPartitions, 1)
    const envelopes = await stage.fill(queue, stage.envelopes(50))
    const given = await stage.take(queue, 50, { max: 9 })
    assert.deepEqual(idsOf(given), idsOf(envelopes))
  },
})

LEASE_CASES.where({ ...OWNED, numPartitions: 16 })({
  async 'two workers share the partitions, and only its owner is given commands of one'(
    stage,
    one,
    two,
  ) {
    const [mine, yours] = await settle(stage, [one, two])
    for (const partitionId of [...mine!, ...yours!]) await stage.put(one, { partitionId })
    assert.deepEqual(await one.lease(stage.request({ partitions: yours! })), [])
    assert.deepEqual(await two.lease(stage.request({ partitions: mine! })), [])
    assert.equal((await stage.take(one, mine!.length)).length, mine!.length)
    assert.equal((await stage.take(two, yours!.length)).length, yours!.length)
  },
})

LEASE_CASES.where({ ...OWNED, numPartitions: 8, leaseMs: 20_000 })({
  async 'what a worker leaves is taken over at once'(stage, one, two) {
    await settle(stage, [one, two])
    stage.kill(one)
    await one.ownership!.leave()
    const { owned } = await two.ownership!.heartbeat()
    assert.equal(owned.length, 8)
  },
})

LEASE_CASES.where({ ...OWNED, numPartitions: 8, leaseMs: 800 })({
  async 'what a dead worker owned is taken over, with its commands'(stage, one, two) {
    const [mine] = await settle(stage, [one, two])
    const envelope = await stage.put(two, { partitionId: mine![0]!, key: 'k' })
    const lost = await stage.takeOne(one)
    stage.kill(one)
    const ownsAll = async () => (await two.ownership!.heartbeat()).owned.length === 8
    await stage.until('the other owns everything', ownsAll)
    const fresh = await stage.takeOne(two)
    assert.equal(fresh.envelope.id, envelope.id)
    assert.equal(fresh.deliveries, 2)
    assert.equal(await complete(one, lost), 'stale')
    await finish(two, [fresh])
  },
})

LEASE_CASES.where({ ...OWNED, numPartitions: 4 })({
  async 'a worker that takes nothing keeps its partitions until it gives them up'(stage, one, two) {
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
  async 'a worker alone owns each partition, and gets nothing of one it gave up'(stage, queue) {
    stage.kill(queue)
    const { owned, surplus } = await queue.ownership!.heartbeat()
    assert.deepEqual([owned.toSorted(), surplus], [[0, 1, 2, 3], []])
    await stage.put(queue, { partitionId: 2 })
    await queue.ownership!.release(2)
    assert.deepEqual(await queue.lease(stage.request({ partitions: [2] })), [])
    assert.ok((await queue.ownership!.heartbeat()).owned.includes(2))
    await stage.takeOne(queue)
  },
})
