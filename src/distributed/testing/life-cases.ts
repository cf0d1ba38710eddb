// Life cases: the description of a queue, the values it carries, and its end.

import assert from 'node:assert/strict'
import { nowMs } from '../../base/clock.ts'
import type { WorkerStanding } from '../../model/queue-standing.ts'
import { isLeased, type LeasedQueue } from '../contract/distributed-queue.ts'
import { ContractCases } from './contract-case.ts'
import { complete, deadLetter, finish, refused } from './contract-moves.ts'
import { demand, idsOf, pause } from './contract-stage.ts'

const STANDING: WorkerStanding = {
  host: 'machine',
  pid: 17,
  startedAt: 1_700_000_000_000,
  state: 'running',
  partitions: 4,
  lanes: ['a', 'b'],
  held: 0,
  running: 0,
}

async function countsOf(queue: LeasedQueue): Promise<unknown[]> {
  const { waiting, delayed, leased, dead, lanes, partitions } = await queue.counts()
  const filled = Object.entries(lanes).filter(([, count]) => count > 0)
  return [waiting, delayed, leased, dead, Object.fromEntries(filled.toSorted()), [...partitions]]
}

const VALUES: Readonly<Record<string, unknown>> = {
  plain: { a: [1, -2.5, 'x', null, true], 'b c': { d: {} } },
  empty: ['', [], {}],
  text: 'ä€😀\u0000 ',
  large: 'long '.repeat(20_000),
}

const CLONES: Readonly<Record<string, unknown>> = {
  undefined: { kept: undefined, list: [undefined, 1] },
  numbers: [Number.NaN, -0, Number.POSITIVE_INFINITY, 1e308, 2 ** 53 + 2],
  bigint: [0n, -5n, 2n ** 64n],
  date: new Date(1_234_567_890_123),
  map: new Map<unknown, unknown>([
    ['a', 1],
    [{ key: true }, new Map([[1, 2]])],
  ]),
  set: new Set([1, 'two', 3n]),
  bytes: new Uint8Array([0, 1, 254, 255]),
  floats: new Float64Array([0.5, Number.NaN]),
  nested: { list: [new Set([new Map([['deep', new Uint8Array(3)]])])] },
  none: undefined,
  nil: null,
}

/** What queues carry, as payloads and as results. */
const CARRIED = [
  { name: 'plain data', values: VALUES, needs: [] },
  { name: 'what a structured clone carries', values: CLONES, needs: ['clones'] },
] as const

/** Bytes may come as a Buffer, which is a Uint8Array for all who use them. */
function unbuffered(value: unknown): unknown {
  return Buffer.isBuffer(value) ? new Uint8Array(value) : value
}

export const LIFE_CASES = new ContractCases()

LIFE_CASES.where({ leaseMs: 20_000, maxDeliveries: 7 })({
  async 'an engine says what it is'(stage, queue) {
    assert.ok(isLeased(queue))
    for (const fact of ['numPartitions', 'workerId', 'strategy'] as const) {
      assert.equal(queue[fact], stage.settings[fact])
    }
    assert.ok(queue.leaseMs > 0)
    if (queue.capabilities.delivery === 'at-least-once') {
      assert.equal(queue.leaseMs, 20_000)
      assert.equal(queue.maxDeliveries, 7)
    } else assert.equal(queue.maxDeliveries, 1)
    assert.equal(queue.ownership !== undefined, queue.capabilities.ownership)
    assert.equal(queue.lanes !== undefined, queue.capabilities.lanes)
  },
})

LIFE_CASES.where({ needs: ['leases', 'delay'] })({
  async 'counts are what there is'(stage, queue) {
    await stage.fill(queue, [
      ...stage.envelopes(4, { laneId: 'a', partitionId: 0 }),
      ...stage.envelopes(3, { laneId: 'b', partitionId: 2 }),
    ])
    assert.deepEqual(await countsOf(queue), [7, 0, 0, 0, { a: 4, b: 3 }, [4, 0, 3, 0]])
    const given = await stage.take(queue, 4, { lanes: [demand('a')] })
    assert.deepEqual(await countsOf(queue), [3, 0, 4, 0, { a: 4, b: 3 }, [4, 0, 3, 0]])
    await queue.release([given[0]!], { reason: 'retry', delayMs: 60_000 })
    await deadLetter(queue, given[1]!)
    await finish(queue, [given[2]!])
    assert.deepEqual(await countsOf(queue), [3, 1, 1, 1, { a: 1, b: 3 }, [1, 0, 3, 0]])
    await queue.release([given[3]!], { reason: 'unstarted' })
    assert.deepEqual(await countsOf(queue), [4, 1, 0, 1, { a: 1, b: 3 }, [1, 0, 3, 0]])
  },
  async 'counts by lane add up, also when dead commands live again'(stage, queue) {
    const byLane = async () => {
      const lanes = Object.entries((await queue.counts()).byLane)
      return Object.fromEntries(lanes.filter(([, counts]) => Object.values(counts).some(Boolean)))
    }
    const none = { waiting: 0, delayed: 0, leased: 0, dead: 0 }
    await stage.fill(queue, [
      ...stage.envelopes(4, { laneId: 'a', partitionId: 0 }),
      ...stage.envelopes(3, { laneId: 'b', partitionId: 2 }),
    ])
    const given = await stage.take(queue, 3, { lanes: [demand('a')] })
    const b = { ...none, waiting: 3 }
    assert.deepEqual(await byLane(), { a: { ...none, waiting: 1, leased: 3 }, b })
    await queue.release([given[0]!], { reason: 'retry', delayMs: 60_000 })
    for (const one of given.slice(1)) await deadLetter(queue, one)
    assert.deepEqual(await byLane(), { a: { ...none, waiting: 1, delayed: 1, dead: 2 }, b })
    await queue.dead.redrive([given[1]!.envelope.id])
    assert.deepEqual(await byLane(), { a: { ...none, waiting: 2, delayed: 1, dead: 1 }, b })
    await queue.dead.drop([given[2]!.envelope.id])
    await queue.dead.drop([given[2]!.envelope.id])
    assert.deepEqual(await byLane(), { a: { ...none, waiting: 2, delayed: 1 }, b })
  },
})

LIFE_CASES.where({ needs: ['leases', 'lanes'], leaseMs: 20_000 })({
  async 'workers are listed as they last said, until they leave'(stage, one, two) {
    const list = async () =>
      (await two.workers!.list()).map(({ ageMs, ...worker }) => {
        assert.ok(ageMs >= 0 && ageMs < stage.settings.leaseMs, `${ageMs}`)
        return worker
      })
    assert.deepEqual(await list(), [])
    const other: WorkerStanding = { ...STANDING, state: 'draining', lanes: [], held: 3 }
    await two.workers!.announce({ ...other, ownedPartitions: 2 })
    await one.workers!.announce(STANDING)
    const [w1, w2] = [{ workerId: 'w1' }, { workerId: 'w2', ownedPartitions: 2 }]
    assert.deepEqual(await list(), [
      { ...w1, ...STANDING },
      { ...w2, ...other },
    ])
    await one.workers!.announce({ ...STANDING, state: 'unfit' })
    assert.deepEqual((await list())[0], { ...w1, ...STANDING, state: 'unfit' })
    await two.workers!.leave()
    await two.workers!.leave()
    assert.deepEqual(await list(), [{ ...w1, ...STANDING, state: 'unfit' }])
    for (const bad of [{ pid: -1 }, { lanes: 'a' }, { state: 'idle' }, { host: 5 }]) {
      const standing = { ...STANDING, ...bad } as WorkerStanding
      await refused(`${Object.keys(bad)}`, one.workers!.announce(standing))
    }
  },
  async 'lanes with commands and without a worker are unserved'(stage, queue) {
    assert.deepEqual(await queue.lanes!.unserved(), [])
    await queue.lanes!.announce(['a'])
    for (const laneId of ['a', 'b', 'c']) await stage.put(queue, { laneId })
    assert.deepEqual((await queue.lanes!.unserved()).toSorted(), ['b', 'c'])
    await queue.lanes!.announce(['b'])
    assert.deepEqual(await queue.lanes!.unserved(), ['c'])
    await finish(queue, [await stage.takeOne(queue, { lanes: [demand('c')] })])
    assert.deepEqual(await queue.lanes!.unserved(), [])
  },
  async 'names of lanes are checked'(_, queue) {
    for (const bad of [['{x}'], ['']]) {
      await refused(`the lanes ${bad}`, queue.lanes!.announce(bad))
      await refused(`the other lanes ${bad}`, queue.lanes!.announce([], bad))
      await refused(`the lanes ${bad}`, queue.lanes!.look(bad))
    }
    await refused('no lanes', queue.lanes!.look([]))
  },
})

LIFE_CASES.where({ needs: ['leases', 'lanes'], leaseMs: 500 })({
  async 'a worker that says nothing more lives as long as its lease'(stage, one, two) {
    await one.workers!.announce(STANDING)
    await stage.until('one of them is left', async () => {
      await two.workers!.announce(STANDING)
      const all = await two.workers!.list()
      return all.length === 1 && all[0]!.workerId === 'w2'
    })
  },
})

LIFE_CASES.where({ needs: ['leases', 'lanes'], leaseMs: 2000 })({
  async 'lanes are served while a worker announces them, and known for longer'(stage, one, two) {
    const look = async () => (await two.lanes!.look(['a', 'b', 'c'])).states
    // It is not known yet which lanes there will be.
    assert.deepEqual(await look(), ['unserved', 'unserved', 'unserved'])
    await one.lanes!.announce(['a'])
    await two.lanes!.announce(['b'])
    assert.deepEqual(await look(), ['served', 'served', 'unknown'])
    const { known } = await one.lanes!.look(['c'])
    assert.deepEqual(known.toSorted(), ['a', 'b'])
    await stage.until('a is not served any more', async () => {
      await two.lanes!.announce(['b'])
      return (await look())[0] === 'unserved'
    })
    assert.deepEqual(await look(), ['unserved', 'served', 'unknown'])
    await one.lanes!.announce(['d'], ['b', 'e'])
    const { states } = await two.lanes!.look(['b', 'd', 'e', 'f'])
    assert.deepEqual(states, ['served', 'served', 'unserved', 'unknown'])
    // Handlers have names of their own.
    assert.deepEqual((await one.handlers!.look(['a'])).states, ['unserved'])
    await one.handlers!.announce(['x'])
    const handlers = await two.handlers!.look(['x', 'a'])
    assert.deepEqual(handlers, { states: ['served', 'unknown'], known: ['x'] })
  },
})

LIFE_CASES.where({})({
  async 'close ends what waits, and nothing can be done after it'(stage, queue) {
    const startMs = nowMs()
    // What becomes of a wait is the engine's choice: nothing, or an error that says that it ended.
    const wait = queue.lease(stage.request({ waitMs: 10_000 })).catch(() => [])
    await pause(20)
    await queue.close()
    assert.deepEqual(await wait, [])
    assert.ok(nowMs() - startMs < 5000)
    await refused('enqueue', queue.enqueue(stage.envelope()))
    await refused('lease', queue.lease(stage.request()))
    await queue.close()
  },
})

LIFE_CASES.where({ needs: ['leases'], leaseMs: 800 })({
  async 'what a closed worker had comes back when its lease has expired'(stage, one, two) {
    const { envelope } = await stage.give(one)
    stage.kill(one)
    await one.close()
    assert.deepEqual(await two.lease(stage.request()), [])
    assert.equal((await stage.takeOne(two)).envelope.id, envelope.id)
  },
})

LIFE_CASES.where({ needs: ['leases', 'lanes', 'delay'] })({
  async 'nothing of a paused lane is given out until it is resumed'(stage, one, two) {
    const heard: string[] = []
    const end = two.lanes!.onPause((laneId) => heard.push(laneId))
    const both = { lanes: [demand('lane'), demand('other')] }
    const delivery = await stage.give(one)
    const waiting = stage.envelope({ partitionId: 1 })
    await stage.nothing(two, both)
    await pause(100)
    assert.deepEqual(await one.lanes!.paused(), [])
    await one.lanes!.pause('lane')
    await one.lanes!.pause('lane')
    await one.lanes!.pause('empty')
    assert.deepEqual(await two.lanes!.paused(), ['empty', 'lane'])
    await stage.until('the other worker hears of it', () => heard.includes('empty'))
    assert.deepEqual(new Set(heard), new Set(['lane', 'empty']))
    const late = stage.envelope({ options: { delayMs: 20 } })
    const other = stage.envelope({ laneId: 'other', partitionId: 1 })
    const wait = stage.woken(two, both)
    await stage.fill(one, [waiting, late, other])
    assert.deepEqual(idsOf(await wait), [other.id])
    await pause(40)
    await stage.nothing(two, both)
    await stage.nothing(one, { ...both, waitMs: 0 })
    assert.equal(await one.dequeue(0), null)
    assert.deepEqual(await one.release([delivery], { reason: 'unstarted' }), ['done'])
    await stage.nothing(one, both)
    const again = stage.woken(one, both)
    end()
    await two.lanes!.resume('lane')
    await two.lanes!.resume('lane')
    assert.deepEqual(await one.lanes!.paused(), ['empty'])
    const given = await again
    given.push(...(await stage.take(one, 3 - given.length, both)))
    assert.deepEqual(new Set(idsOf(given)), new Set(idsOf([delivery, waiting, late])))
    await finish(one, given)
    await refused('no name', one.lanes!.pause('a b'))
  },
  async 'what a worker has of a paused lane can be completed'(stage, queue) {
    await stage.fill(queue, stage.envelopes(2))
    const given = await stage.take(queue, 1)
    await queue.lanes!.pause('lane')
    assert.deepEqual((await queue.extend(given)).lost, [])
    await finish(queue, given)
    await stage.nothing(queue)
    await queue.lanes!.resume('lane')
    await finish(queue, await stage.take(queue, 1))
  },
})

for (const { name, values, needs } of CARRIED) {
  LIFE_CASES.where({ needs })({
    async [`payloads arrive as they were sent: ${name}`](stage, queue) {
      for (const [what, payload] of Object.entries(values)) {
        const delivery = await stage.give(queue, { payload })
        assert.deepEqual(unbuffered(delivery.envelope.payload), payload, what)
        await finish(queue, [delivery])
      }
    },
  })
  LIFE_CASES.where({ needs: ['results', ...needs] })({
    async [`results arrive as they were sent: ${name}`](stage, queue) {
      const received = await stage.resultsOf(queue)
      for (const [what, value] of Object.entries(values)) {
        const before = received.length
        const delivery = await stage.give(queue, { submitter: 'me' })
        await complete(queue, delivery, value)
        await stage.until(`the result ${what} arrives`, () => received.length > before)
        assert.deepEqual(unbuffered(received.at(-1)!.value), value, what)
      }
    },
  })
}
