// Lease cases: who is given what, in which order, and how a worker waits.

import assert from 'node:assert/strict'
import { nowMs } from '../../base/clock.ts'
import { always, type CaseOfContract, leased, where } from './contract-case.ts'
import { complete, demand, finish, idsOf, pause, refused, successOf } from './contract-stage.ts'

const ranked = where({ needs: ['lanePriority'] })
const giving: readonly CaseOfContract[] = [
  always('an empty queue gives nothing, at once', async (stage, queue) => {
    const startMs = nowMs()
    assert.deepEqual(await queue.lease(stage.request()), [])
    assert.ok(nowMs() - startMs < 2000)
    assert.equal(await queue.dequeue(0), null)
  }),
  where({ leaseMs: 20_000 })(
    'a delivery has a fence, a first count and a lease',
    async (stage, queue) => {
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
  ),
  always('no more than max are given', async (stage, queue) => {
    await stage.fill(queue, stage.envelopes(10))
    assert.equal((await queue.lease(stage.request({ max: 3 }))).length, 3)
    assert.equal((await stage.take(queue, 7)).length, 7)
  }),
  always(
    'no more of a lane are given than its max, and none of a lane with 0',
    async (stage, queue) => {
      for (const laneId of ['a', 'b', 'c']) await stage.fill(queue, stage.envelopes(5, { laneId }))
      const lanes = [demand('a', { max: 2 }), demand('b', { max: 0 })]
      const given = await queue.lease(stage.request({ lanes, waitMs: 1000 }))
      assert.deepEqual(
        given.map(({ envelope }) => envelope.laneId),
        ['a', 'a'],
      )
      const rest = await stage.take(queue, 13, { lanes: ['a', 'b', 'c'].map((id) => demand(id)) })
      assert.equal(rest.filter(({ envelope }) => envelope.laneId === 'a').length, 3)
    },
  ),
  always('only partitions that are asked for are taken from', async (stage, queue) => {
    for (const partitionId of [0, 1, 2]) {
      await stage.fill(queue, stage.envelopes(3, { partitionId }))
    }
    const given = await stage.take(queue, 6, { partitions: [2, 0] })
    assert.deepEqual(
      given.map(({ envelope }) => envelope.partitionId).toSorted(),
      [0, 0, 0, 2, 2, 2],
    )
    await stage.nothing(queue, { partitions: [2, 0, 3] })
    await stage.take(queue, 3, { partitions: [1] })
  }),
  where({ numPartitions: 256 })('there may be 256 partitions', async (stage, queue) => {
    assert.equal(queue.numPartitions, 256)
    const envelopes = [255, 0, 128].map((partitionId) => stage.envelope({ partitionId }))
    assert.equal((await stage.giveAll(queue, envelopes)).length, 3)
    await stage.nothing(queue)
  }),
  leased('partitions that are named first are taken from first', async (stage, queue) => {
    for (const partitionId of [0, 1, 2]) {
      await stage.fill(queue, stage.envelopes(2, { partitionId }))
    }
    const given = await stage.take(queue, 4, { partitions: [1, 2, 0], max: 4 })
    assert.deepEqual(given.map(({ envelope }) => envelope.partitionId).toSorted(), [1, 1, 2, 2])
  }),
  leased('bad requests are refused', async (stage, queue) => {
    await refused('max 0', queue.lease(stage.request({ max: 0 })))
    await refused('max 4,097', queue.lease(stage.request({ max: 4097 })))
    await refused('partition 4', queue.lease(stage.request({ partitions: [4] })))
    await refused('partition -1', queue.lease(stage.request({ partitions: [-1] })))
    await refused('a lane {x}', queue.lease(stage.request({ lanes: [demand('{x}')] })))
  }),
  always('workers that lease at once share without giving anything twice', async (stage) => {
    const queues = await stage.workers('w1', 'w2', 'w3')
    const envelopes = [0, 1, 2, 3].flatMap((partitionId) => stage.envelopes(100, { partitionId }))
    await stage.fill(queues[0]!, envelopes)
    const given: string[] = []
    const fences = new Set<string>()
    const work = async (queue: (typeof queues)[0]): Promise<void> => {
      let misses = 0
      while (misses < 3) {
        const some = await queue.lease(stage.request({ max: 7, waitMs: 50 }))
        misses = some.length === 0 ? misses + 1 : 0
        given.push(...idsOf(some))
        for (const { fence } of some) fences.add(`${queue.workerId}/${fence}`)
        if (some.length > 0) await finish(queue, some)
      }
    }
    await Promise.all(queues.map(work))
    assert.deepEqual(given.toSorted(), idsOf(envelopes).toSorted())
    assert.equal(fences.size, 400)
  }),
  always('the five members alone do: enqueue, dequeue, complete', async (stage, queue) => {
    assert.equal(queue.numPartitions, 4)
    const envelope = stage.envelope({ partitionId: 2, laneId: 'any-lane' })
    await queue.enqueue(envelope)
    assert.equal(await queue.dequeue(1), null)
    const given = await queue.dequeue(2)
    assert.equal(given?.id, envelope.id)
    const { workerId } = queue
    const result = {
      commandId: envelope.id,
      partitionId: 2,
      workerId,
      success: true,
      value: 1,
      retryCount: 0,
      durationMs: 1,
      completedAt: envelope.createdAt,
    }
    const other = { ...result, commandId: 'unknown' }
    await refused('a result of what was not dequeued', queue.complete(other), 'CORELANE_NOT_HELD')
    await queue.complete(result)
    assert.equal(await queue.dequeue(2), null)
    await refused('a second result', queue.complete(result), 'CORELANE_NOT_HELD')
    await refused('dequeue of partition 4', queue.dequeue(4))
  }),
  where({ needs: ['leases'], leaseMs: 500 })(
    'what was dequeued and given to another since cannot be completed',
    async (stage, one, two) => {
      await stage.fill(one, stage.envelopes(1))
      const { id, partitionId } = (await one.dequeue(0))!
      const given = await stage.takeOne(two)
      const result = { ...successOf(given, one), commandId: id, partitionId }
      await refused('a late result', one.complete(result), 'CORELANE_NOT_HELD')
      await finish(two, [given])
    },
  ),
]

const urgency: readonly CaseOfContract[] = [
  always('within a lane and partition the oldest goes first', async (stage, queue) => {
    const envelopes = stage.envelopes(200)
    await stage.fill(queue, envelopes)
    assert.deepEqual(idsOf(await stage.take(queue, 200, { max: 7 })), idsOf(envelopes))
  }),
  ranked('the most urgent lane goes first', async (stage, queue) => {
    for (const laneId of ['slow', 'fast', 'usual']) {
      await stage.fill(queue, stage.envelopes(3, { laneId }))
    }
    const lanes = [
      demand('usual', { priority: 5 }),
      demand('slow', { priority: 255 }),
      demand('fast', { priority: 0 }),
    ]
    const order: string[] = []
    for (let i = 0; i < 9; i++) {
      order.push((await stage.takeOne(queue, { lanes })).envelope.laneId)
    }
    assert.deepEqual(order, [
      ...['fast', 'fast', 'fast', 'usual', 'usual', 'usual'],
      ...['slow', 'slow', 'slow'],
    ])
  }),
  ranked(
    'of lanes that are as urgent as each other the older command goes first',
    async (stage, queue) => {
      const envelopes = ['b', 'a', 'a', 'b', 'a'].map((laneId) => stage.envelope({ laneId }))
      for (const envelope of envelopes) {
        await stage.fill(queue, [envelope])
        await pause(5)
      }
      const lanes = [demand('a'), demand('b')]
      assert.deepEqual(idsOf(await stage.take(queue, 5, { lanes, max: 1 })), idsOf(envelopes))
    },
  ),
  ranked('a command that comes later in a more urgent lane goes first', async (stage, queue) => {
    await stage.fill(queue, stage.envelopes(4, { laneId: 'slow' }))
    const lanes = [demand('slow', { priority: 9 }), demand('fast', { priority: 1 })]
    assert.equal((await stage.takeOne(queue, { lanes })).envelope.laneId, 'slow')
    await stage.fill(queue, stage.envelopes(1, { laneId: 'fast' }))
    assert.equal((await stage.takeOne(queue, { lanes })).envelope.laneId, 'fast')
    assert.equal((await stage.takeOne(queue, { lanes })).envelope.laneId, 'slow')
  }),
  where({ needs: ['commandPriority'] })(
    'the more urgent command of a lane goes first',
    async (stage, queue) => {
      const priorities = [200, undefined, 3, 200, 0, 128, 255]
      const envelopes = priorities.map((priority) => stage.envelope({ priority }))
      await stage.fill(queue, envelopes)
      const given = await stage.take(queue, 7, { max: 1 })
      assert.deepEqual(
        idsOf(given),
        [4, 2, 1, 5, 0, 3, 6].map((index) => envelopes[index]!.id),
      )
    },
  ),
  where({ needs: ['boost'] })(
    'a lane whose head has waited becomes more urgent',
    async (stage, queue) => {
      await stage.fill(queue, stage.envelopes(1, { laneId: 'slow' }))
      await pause(150)
      await stage.fill(queue, stage.envelopes(2, { laneId: 'usual' }))
      const usual = demand('usual', { priority: 5 })
      const patient = demand('slow', { priority: 9, boost: [{ afterMs: 60_000, levels: 9 }] })
      const eager = demand('slow', { priority: 9, boost: [{ afterMs: 100, levels: 5 }] })
      const first = await stage.takeOne(queue, { lanes: [usual, patient] })
      assert.equal(first.envelope.laneId, 'usual')
      const second = await stage.takeOne(queue, { lanes: [usual, eager] })
      assert.equal(second.envelope.laneId, 'slow')
    },
  ),
  where({ needs: ['commandBoost'] })(
    'a command that has waited overtakes those of its lane',
    async (stage, queue) => {
      const old = stage.envelope({ priority: 200 })
      await stage.fill(queue, [old])
      await pause(520)
      const young = stage.envelope({ priority: 0 })
      await stage.fill(queue, [young])
      const lanes = [demand('lane', { priority: 9, boost: [{ afterMs: 500, levels: 5 }] })]
      assert.deepEqual(idsOf(await stage.take(queue, 2, { lanes, max: 1 })), [old.id, young.id])
    },
  ),
]

const waiting: readonly CaseOfContract[] = [
  always('a worker that waits is woken by a command', async (stage, queue) => {
    const startMs = nowMs()
    const given = queue.lease(stage.request({ waitMs: 10_000 }))
    await pause(50)
    const envelope = stage.envelope()
    await stage.fill(queue, [envelope])
    assert.deepEqual(idsOf(await given), [envelope.id])
    assert.ok(nowMs() - startMs < 5000)
  }),
  leased('a worker that waits is woken by what another enqueues', async (stage, one, two) => {
    const startMs = nowMs()
    const given = one.lease(stage.request({ waitMs: 10_000 }))
    await pause(50)
    const envelope = stage.envelope({ partitionId: 3 })
    await stage.fill(two, [envelope])
    assert.deepEqual(idsOf(await given), [envelope.id])
    assert.ok(nowMs() - startMs < 5000)
  }),
  always('a worker does not wait for lanes and partitions of others', async (stage, queue) => {
    const given = queue.lease(stage.request({ partitions: [1], waitMs: 400 }))
    const lanes = [demand('other')]
    const others = queue.lease(stage.request({ lanes, waitMs: 400 }))
    await stage.fill(queue, stage.envelopes(2, { partitionId: 0 }))
    assert.deepEqual(await given, [])
    assert.deepEqual(await others, [])
    await stage.take(queue, 2)
  }),
  always('waiting ends after waitMs', async (stage, queue) => {
    const startMs = nowMs()
    assert.deepEqual(await queue.lease(stage.request({ waitMs: 120 })), [])
    const waitedMs = nowMs() - startMs
    assert.ok(waitedMs >= 110 && waitedMs < 3000, `${waitedMs} ms`)
  }),
  always('a signal ends the waiting', async (stage, queue) => {
    const controller = new AbortController()
    const startMs = nowMs()
    const given = queue.lease(stage.request({ waitMs: 10_000, signal: controller.signal }))
    await pause(30)
    controller.abort()
    assert.deepEqual(await given, [])
    const aborted = queue.lease(stage.request({ waitMs: 10_000, signal: controller.signal }))
    assert.deepEqual(await aborted, [])
    assert.ok(nowMs() - startMs < 5000)
    await stage.giveAll(queue, stage.envelopes(1))
  }),
  always('of several that wait, one is given a command', async (stage, queue) => {
    const waits = Array.from({ length: 4 }, () => queue.lease(stage.request({ waitMs: 500 })))
    await pause(30)
    await stage.fill(queue, stage.envelopes(1))
    const given = (await Promise.all(waits)).flat()
    assert.equal(given.length, 1)
  }),
  always('commands of many short waits are each given once', async (stage, queue) => {
    let given = 0
    for (let round = 0; round < 30; round++) {
      const wait = queue.lease(stage.request({ waitMs: 5 }))
      if (round % 2 === 0) await pause(round % 7)
      await stage.fill(queue, stage.envelopes(1))
      const some = await wait
      given += some.length
      for (const delivery of some) await complete(queue, delivery)
    }
    given += (await stage.take(queue, 30 - given)).length
    assert.equal(given, 30)
    await stage.nothing(queue)
  }),
]

/** Who is given what, in which order, and how a worker waits. */
export const LEASE_CASES: readonly CaseOfContract[] = [...giving, ...urgency, ...waiting]
