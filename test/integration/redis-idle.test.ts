// Goal: workers that have nothing to do ask Redis for next to nothing, however many partitions
// there are, and what comes starts at once all the same.
// Method: a real Redis that counts its scripts, whole worker pools, announcements that are lost.

import { setTimeout as sleep } from 'node:timers/promises'
import { PartitionConfig } from 'corelane'
import { expect, test } from 'vitest'
import { until, within } from '../support/deadline.ts'
import { Ledger } from '../support/ledger.ts'
import { openSubmitter, openWorker } from '../support/pools.ts'
import { describeWithRedis, startRedis } from '../support/redis-server.ts'
import { newClient, RedisQueues, take, takeAll } from './support/redis-moves.ts'

const COUNTED_MS = 5000

const queues = new RedisQueues()

describeWithRedis('idle workers on Redis', () => {
  queues.setUp()
  const { start } = queues

  /** Scripts that a Redis runs in a second. */
  const scriptsPerSecond = async (of: typeof queues.admin): Promise<number> => {
    await of.sendCommand(['CONFIG', 'RESETSTAT'])
    await sleep(COUNTED_MS)
    const stats = String(await of.sendCommand(['INFO', 'commandstats']))
    const calls = [...stats.matchAll(/^cmdstat_eval(?:sha)?:calls=(\d+)/gm)].map(([, n]) =>
      Number(n),
    )
    return (calls.reduce((sum, n) => sum + n, 0) * 1000) / COUNTED_MS
  }

  test('an idle worker runs less than two scripts a second, whatever its partitions', async () => {
    const shapes = [
      { strategy: 'balanced' as const, count: 8 },
      { strategy: 'balanced' as const, count: 64 },
      { strategy: 'hash' as const, count: 64 },
    ]
    const looks = shapes.map(async (partitions) => {
      const server = await startRedis()
      const open = () => start({ url: server.url, partitions })
      const workers = [await openWorker(await open()), await openWorker(await open())]
      const submitter = openSubmitter(await open())
      // What has run here leaves nothing to be asked for.
      await within(submitter.submit('query', 'mark', 1), 'a first result')
      const isShared = () =>
        workers.every(({ pool }) =>
          [undefined, partitions.count / 2].includes(pool.stats().ownedPartitions),
        )
      await until(isShared, 'partitions that have owners are shared')
      await sleep(1500)
      const client = newClient(server.url)
      await client.connect()
      const scripts = await scriptsPerSecond(client)
      client.destroy()
      const tookMs: number[] = []
      for (let round = 0; round < 21; round++) {
        const startMs = performance.now()
        await within(submitter.submit('query', 'mark', round), 'a result')
        tookMs.push(performance.now() - startMs)
      }
      return { partitions, scripts, medianMs: tookMs.toSorted((a, b) => a - b)[10] }
    })
    for (const { partitions, scripts, medianMs } of await Promise.all(looks)) {
      expect(scripts, JSON.stringify(partitions)).toBeLessThan(2 * 2)
      // It takes milliseconds, a hundred on a busy machine; one that is asked for takes seconds.
      expect(medianMs, JSON.stringify(partitions)).toBeLessThan(1000)
    }
  })

  test('what was enqueued while announcements could not be heard is asked for once', async () => {
    const [submitter, worker] = [await start(), await start({ pollMaxMs: 60_000 })]
    for (let round = 0; round < 5; round++) {
      const given = take(worker, 10, 20_000)
      await sleep(20)
      await queues.admin.sendCommand(['CLIENT', 'KILL', 'TYPE', 'pubsub'])
      await submitter.enqueueMany(queues.envelopes(1))
      const startMs = performance.now()
      const [delivery] = await within(given, 'a command that was not announced')
      expect(performance.now() - startMs).toBeLessThan(5000)
      await worker.release([delivery!], { reason: 'retry', delayMs: 60_000 })
    }
  })

  test('a pause that was announced while announcements could not be heard is found', async () => {
    const queue = await start({ leaseMs: 300_000 })
    const { ledger, pool } = await openWorker(queue)
    const submitter = openSubmitter(await start())
    const runs = [submitter.submit('query', 'gate', 0)]
    await ledger.waitForStarts(1)
    runs.push(submitter.submit('query', 'mark', 1))
    await until(() => pool.stats().held === 2, 'the worker has both')
    await queues.admin.sendCommand(['CLIENT', 'KILL', 'TYPE', 'pubsub'])
    await queue.lanes.pause('query')
    await until(() => pool.stats().held === 1, 'the worker gives one back')
    ledger.openGate()
    await until(() => pool.stats().held === 0, 'the other ends')
    expect(ledger.started).toBe(1)
    await queue.lanes.resume('query')
    expect(await within(Promise.all(runs), 'both')).toEqual([0, 1])
  })

  test('what no announcement told of is found by a slow look at each partition in turn', async () => {
    const found: string[] = []
    const worker = await start({
      partitions: PartitionConfig.balanced(4),
      pollMaxMs: 100,
      onIncident: ({ kind }) => found.push(kind),
    })
    const given = take(worker, 10, 20_000)
    await sleep(500)
    // Added behind the back of the engine. It is no envelope, so it is dead-lettered.
    const stream = `corelane:{${queues.queue}:3}:s:lane`
    await queues.admin.sendCommand(['XADD', stream, '*', 'v', 'nonsense'])
    await until(() => found.includes('undecodable'), 'it is found')
    await worker.enqueueMany(queues.envelopes(1))
    expect(await within(given, 'a command')).toHaveLength(1)
  })

  test('a delay that another worker has set ends in time', async () => {
    const [one, two] = [await start(), await start({ pollMaxMs: 60_000 })]
    await one.enqueueMany(queues.envelopes(1))
    const [delivery] = await takeAll(one, 1)
    const given = take(two, 10, 20_000)
    await sleep(100)
    await one.release([delivery!], { reason: 'retry', delayMs: 300 })
    const startMs = performance.now()
    expect(await within(given, 'the command')).toHaveLength(1)
    expect(performance.now() - startMs).toBeGreaterThan(250)
    expect(performance.now() - startMs).toBeLessThan(5000)
  })

  test('a lease that another worker lets expire is found, though nothing says so', async () => {
    const settings = { leaseMs: 1000, pollMaxMs: 60_000 }
    const [one, two] = [await start(settings), await start(settings)]
    const given = take(two, 1, 20_000)
    await sleep(100)
    const taken = take(one, 1, 20_000)
    await one.enqueueMany(queues.envelopes(2))
    const [first, second] = await within(Promise.all([given, taken]), 'both')
    // Both have one. The second neither extends nor ends its own.
    await two.release(first, { reason: 'retry', delayMs: 60_000 })
    const [again] = await within(take(two, 1, 20_000), 'what has expired')
    expect(again!.envelope.id).toBe(second[0]!.envelope.id)
  })

  test('who never beats takes a partition that has become free', async () => {
    const settings = { partitions: PartitionConfig.hash(1), leaseMs: 500, pollMaxMs: 200 }
    const [owner, other] = [await start(settings), await start(settings)]
    await owner.ownership!.heartbeat()
    await owner.enqueueMany(queues.envelopes(2, { key: 'k' }))
    const [first] = await takeAll(owner, 1)
    const given = await within(take(other, 1, 20_000), 'what the owner lets expire')
    expect(given[0]!.envelope.id).toBe(first!.envelope.id)
  })

  test('workers that wait for a slot ask next to nothing, and start when one is free', async () => {
    const ledger = new Ledger(4)
    const pool = { globalConcurrency: { query: 1 } }
    const partitions = PartitionConfig.balanced(8)
    for (const _ of [1, 2, 3]) await openWorker(await start({ partitions }), { ledger, pool })
    const submitter = openSubmitter(await start({ partitions }))
    const runs = [0, 1, 2, 3].map((index) => submitter.submit('query', 'gate', index))
    await ledger.waitForStarts(1)
    await sleep(1500)
    // Each asks once a second besides, in case a slot has expired.
    expect(await scriptsPerSecond(queues.admin)).toBeLessThan(3 * (2 + 1))
    const startMs = performance.now()
    ledger.openGate()
    await within(Promise.all(runs), 'all')
    expect(performance.now() - startMs).toBeLessThan(2000)
  })

  test('a slot that is given back is announced to those who wait, also after a gap', async () => {
    const [one, two] = [await start(), await start()]
    expect(await one.limits.takeSlots('lane', 1, ['a'])).toEqual(['a'])
    let calls = 0
    const end = two.limits.onSlotFree!('lane', () => calls++)
    for (let round = 1; round <= 3; round++) {
      if (round === 3) await queues.admin.sendCommand(['CLIENT', 'KILL', 'TYPE', 'pubsub'])
      // Nothing says when the subscription stands, so it is given back until that is heard.
      await until(() => {
        void one.limits.releaseSlots('lane', ['a'])
        void one.limits.takeSlots('lane', 1, ['a'])
        return calls >= round
      }, 'a call')
    }
    await one.limits.releaseSlots('lane', ['a'])
    end()
    const before = calls
    await one.limits.takeSlots('lane', 1, ['a'])
    await one.limits.releaseSlots('lane', ['a'])
    await one.limits.releaseSlots('lane', ['a', 'b'])
    await sleep(100)
    expect(calls).toBe(before)
  })

  test('a worker hears at once that another one came or went', async () => {
    const partitions = PartitionConfig.hash(4)
    const [one, two] = [await start({ partitions }), await start({ partitions })]
    const owned: number[] = []
    const beat = async () => owned.push((await one.ownership!.heartbeat()).owned.length)
    one.ownership!.onChange!(() => void beat())
    await beat()
    await until(() => owned.length > 1, 'that it has come itself')
    await two.ownership!.heartbeat()
    await until(() => owned.length > 2, 'another has come')
    const before = owned.length
    await two.ownership!.leave()
    await until(() => owned.length > before && owned.at(-1) === 4, 'the other has left')
  })
})
