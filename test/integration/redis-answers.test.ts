// Goal: no answer of the engine on Redis is larger than a slow line carries in time, however large
// commands and results are.
// Method: a Redis that ends clients to which it has to send more than so many bytes at once, and
// what it says of its memory.

import { expect, test } from 'vitest'
import { describeWithRedis, startRedis } from '../support/redis-server.ts'
import {
  complete,
  completion,
  newClient,
  RedisQueues,
  take,
  takeAll,
} from './support/redis-moves.ts'

const queues = new RedisQueues()
const PAYLOAD = 'x'.repeat(2 ** 17)
const COUNT = 100

describeWithRedis('answers of the engine on Redis', () => {
  queues.setUp()

  async function start() {
    const limit = ['client-output-buffer-limit', 'normal 8mb 0 0']
    await queues.admin.sendCommand(['CONFIG', 'SET', ...limit])
    const lost: string[] = []
    const queue = await queues.start({
      onIncident: ({ kind, detail }) => {
        if (kind === 'connection-lost' || kind === 'answer-lost') lost.push(detail)
      },
    })
    return { queue, lost }
  }

  /** Large commands, with groups or without. */
  async function fill(queue: Awaited<ReturnType<typeof start>>['queue'], members: object) {
    const all = queues.envelopes(COUNT, { payload: PAYLOAD, submitter: 'me', ...members })
    await queue.enqueueMany(all)
    return all.map(({ id }) => ({ commandId: id, partitionId: 0 }))
  }

  for (const [what, members] of [
    ['commands', {}],
    // Its partition of two is the first.
    ['commands of a group', { group: 'b' }],
  ] as const) {
    test(`large ${what} are leased, given back and leased again`, async () => {
      const { queue, lost } = await start()
      await fill(queue, members)
      const given = await takeAll(queue, COUNT)
      await queue.release(given, { reason: 'unstarted' })
      await complete(queue, await takeAll(queue, COUNT))
      expect(await take(queue, 1, 0)).toEqual([])
      expect(lost).toEqual([])
    })
  }

  for (const [what, members] of [
    ['commands', {}],
    ['commands of a group', { group: 'b' }],
  ] as const) {
    test(`of large ${what} that wait the first are listed, in every lane`, async () => {
      const { queue, lost } = await start()
      const all = await fill(queue, members)
      await queue.release(await take(queue, 2), { reason: 'unstarted' })
      for (const laneId of ['a', 'z']) await fill(queue, { ...members, laneId })
      const listed = await queue.commands.peek(undefined, COUNT)
      const lanes = listed.map(({ envelope }) => envelope!.laneId)
      expect(new Set(lanes)).toEqual(new Set(['a', 'lane', 'z']))
      const first = listed.filter(({ envelope }) => envelope!.laneId === 'lane')
      expect(first.length).toBeGreaterThan(10)
      expect(first.map(({ commandId }) => commandId)).toEqual(
        all.slice(0, first.length).map(({ commandId }) => commandId),
      )
      expect(lost).toEqual([])
    })
  }

  test('of the dead only those are read that are listed', async () => {
    const { queue } = await start()
    const all = queues.envelopes(6).map((each, i) => ({ ...each, partitionId: i % 2 }))
    for (const one of all) {
      await queue.enqueueMany([one])
      const [delivery] = await take(queue, 1)
      const { result } = completion(delivery!, queue)
      await queue.deadLetter(delivery!, 'failed', { ...result, success: false })
    }
    await queues.admin.sendCommand(['CONFIG', 'RESETSTAT'])
    const listed = await queue.dead.list(3)
    expect(listed.map(({ envelope }) => envelope.id)).toEqual(all.slice(0, 3).map(({ id }) => id))
    const stats = String(await queues.admin.sendCommand(['INFO', 'commandstats']))
    expect(stats).toMatch(/cmdstat_hget:calls=3,/)
  })

  for (const [what, members] of [
    ['commands', {}],
    ['commands of a group', { group: 'b' }],
  ] as const) {
    test(`large ${what} go back to run again, few in one script`, async () => {
      const { queue, lost } = await start()
      await fill(queue, members)
      const given = await takeAll(queue, COUNT)
      const calls = async () => {
        const stats = String(await queues.admin.sendCommand(['INFO', 'commandstats']))
        return Number(/cmdstat_evalsha:calls=(\d+)/.exec(stats)![1])
      }
      const before = await calls()
      expect(new Set(await queue.release(given, { reason: 'retry' }))).toEqual(new Set(['done']))
      // 4 MiB in each.
      expect((await calls()) - before).toBeGreaterThanOrEqual(3)
      await complete(queue, await takeAll(queue, COUNT))
      expect(await take(queue, 1, 0)).toEqual([])
      expect(lost).toEqual([])
    })
  }

  test('large commands of a group that a dead worker had come back in order, few in one script', async () => {
    const { queue, lost } = await start()
    await fill(queue, { group: 'b' })
    const given = await takeAll(queue, COUNT)
    const entries = given.map(({ fence }) => fence.split('/').at(-2)!)
    // As when their leases are over.
    const stream = `corelane:{${queues.queue}:0}:s:@lane`
    const claim = ['XCLAIM', stream, 'workers', '~returned', '0', ...entries, 'JUSTID']
    await queues.admin.sendCommand(claim)
    const calls = async () => {
      const stats = String(await queues.admin.sendCommand(['INFO', 'commandstats']))
      return Number(/cmdstat_evalsha:calls=(\d+)/.exec(stats)![1])
    }
    const other = await queues.start()
    const before = await calls()
    const again = await take(other, 1, 0)
    // 4 MiB in each; five if one brought all of them back.
    expect((await calls()) - before).toBeGreaterThan(7)
    again.push(...(await takeAll(other, COUNT - again.length)))
    const idsOf = (all: typeof given) => all.map(({ envelope }) => envelope.id)
    expect(idsOf(again)).toEqual(idsOf(given))
    await complete(other, again)
    expect(lost).toEqual([])
  })

  test('no script reads many large commands at once: as they are due, or are looked for', async () => {
    const server = await startRedis()
    const queue = await queues.start({ url: server.url })
    const admin = newClient(server.url)
    await admin.connect()
    const peak = async () => {
      const memory = String(await admin.sendCommand(['INFO', 'memory']))
      return Number(/used_memory_peak:(\d+)/.exec(memory)![1])
    }
    const later = { laneId: 'later', options: { delayMs: 1 } }
    for (const members of [{ group: 'b' }, later]) {
      const all = queues.envelopes(COUNT, { payload: PAYLOAD, ...members })
      for (const each of all) await queue.enqueueMany([each])
    }
    const given = await takeAll(queue, COUNT)
    const before = await peak()
    const lanes = [{ laneId: 'later', max: 1, priority: 5, boost: [] }]
    await queue.lease({ partitions: [0, 1], lanes, max: 1, waitMs: 0 })
    const { delayed } = await queue.counts()
    expect(delayed).toBeGreaterThan(0)
    expect(delayed).toBeLessThan(COUNT)
    expect(await queue.commands.find(given.at(-1)!.envelope.id)).toMatchObject({ state: 'leased' })
    const grown = (await peak()) - before
    expect(grown).toBeLessThan((COUNT * PAYLOAD.length) / 4)
    admin.destroy()
    await server.stop()
  })

  test('large results are looked up, and large dead commands listed', async () => {
    const { queue, lost } = await start()
    const all = await fill(queue, {})
    const given = await takeAll(queue, COUNT)
    const dead = given.splice(0, COUNT / 2)
    for (const delivery of dead) {
      const { result } = completion(delivery, queue)
      await queue.deadLetter(delivery, 'failed', { ...result, success: false })
    }
    await queue.completeMany(given.map((delivery) => completion(delivery, queue, PAYLOAD)))
    const ends = await queue.look(all)
    expect(ends.every(({ state }) => state === 'ended')).toBe(true)
    expect(await queue.dead.list()).toHaveLength(COUNT / 2)
    expect(lost).toEqual([])
  })
})
