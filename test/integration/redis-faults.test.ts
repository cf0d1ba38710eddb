// Goal: faults around the engine on Redis end as documented.
// Method: a real Redis that is restarted, emptied, full, cut off or made to forget scripts, and a
// proxy that loses answers.

import { setTimeout as sleep } from 'node:timers/promises'
import { PartitionConfig } from 'corelane'
import type { RedisDistributedQueue, RedisIncident } from 'corelane/redis'
import { expect, test } from 'vitest'
import { block, failure, refused, until, within } from '../support/deadline.ts'
import { FlakyProxy } from '../support/flaky-proxy.js'
import { describeWithRedis, startRedis } from '../support/redis-server.ts'
import { uncaughtBy } from '../support/uncaught.ts'
import {
  complete,
  completion,
  newClient,
  RedisQueues,
  take,
  takeAll,
} from './support/redis-moves.ts'

const queues = new RedisQueues()

describeWithRedis('the engine on Redis, in trouble', () => {
  queues.setUp()
  const { start } = queues

  test('who does not wait is given what another has just enqueued, every time', async () => {
    const [submitter, worker] = [await start(), await start()]
    for (let round = 0; round < 100; round++) {
      await submitter.enqueueMany(queues.envelopes(1))
      const given = await take(worker, 10, 0)
      expect(given, `round ${round}`).toHaveLength(1)
      await complete(worker, given)
      expect(await take(worker, 10, 0)).toHaveLength(0)
    }
  })

  test('who waits is given what comes even if every announcement is lost', async () => {
    await using proxy = await FlakyProxy.open(queues.redis.port)
    const [submitter, worker] = [await start(), await start({ url: proxy.url })]
    for (let round = 0; round < 10; round++) {
      const given = take(worker, 10, 10_000)
      await sleep(5)
      await queues.admin.sendCommand(['CLIENT', 'KILL', 'TYPE', 'pubsub'])
      await submitter.enqueueMany(queues.envelopes(1))
      const startMs = performance.now()
      await complete(worker, await within(given, 'a command that was not announced'))
      expect(performance.now() - startMs).toBeLessThan(5000)
    }
  })

  test('an answer that came while the main thread was blocked is in time', async () => {
    const incidents: RedisIncident[] = []
    const queue = await start({
      commandTimeoutMs: 1000,
      onIncident: (incident) => incidents.push(incident),
    })
    const counted = queue.counts()
    await new Promise((resolve) => setImmediate(resolve))
    block(1500)
    expect(await within(counted, 'the counts')).toMatchObject({ waiting: 0 })
    expect(incidents).toEqual([])
  })

  test('nothing is lost or done twice while connections are killed and scripts forgotten', async () => {
    const [submitter, one, two] = [await start(), await start(), await start()]
    const all = queues.envelopes(400, { submitter: 'me' }).map((each, i) => ({
      ...each,
      partitionId: i % 2,
    }))
    let isOver = false
    const trouble = (async () => {
      for (let round = 0; !isOver; round++) {
        if (round % 3 === 0) await queues.admin.sendCommand(['SCRIPT', 'FLUSH'])
        else
          await queues.admin.sendCommand([
            'CLIENT',
            'KILL',
            'TYPE',
            round % 3 === 1 ? 'normal' : 'pubsub',
          ])
        await sleep(25)
      }
    })()
    const done = new Map<string, number>()
    const work = async (worker: RedisDistributedQueue) => {
      while (done.size < all.length) {
        const given = await take(worker, 10, 100)
        const statuses = given.length > 0 ? await complete(worker, given) : []
        for (const [i, status] of statuses.entries()) {
          const { id } = given[i]!.envelope
          if (status === 'done') done.set(id, (done.get(id) ?? 0) + 1)
        }
      }
    }
    const filling = (async () => {
      for (let at = 0; at < all.length; at += 20)
        await submitter.enqueueMany(all.slice(at, at + 20))
    })()
    await within(Promise.all([filling, work(one), work(two)]), 'all commands')
    isOver = true
    await trouble
    expect([...done.values()].every((times) => times === 1)).toBe(true)
    const states = await submitter.look(
      all.map(({ id, partitionId }) => ({ commandId: id, partitionId })),
    )
    expect(states.every(({ state }) => state === 'ended')).toBe(true)
    expect(await one.counts()).toMatchObject({ waiting: 0, leased: 0, dead: 0 })
  })

  test('what was given in an answer that was lost is given again at once, and does not count', async () => {
    await using proxy = await FlakyProxy.open(queues.redis.port)
    const incidents: string[] = []
    const worker = await start({
      url: proxy.url,
      commandTimeoutMs: 200,
      leaseMs: 20_000,
      onIncident: ({ kind }) => incidents.push(kind),
    })
    await worker.enqueueMany(queues.envelopes(5))
    const [kept] = await take(worker, 1, 0)
    await worker.enqueueMany(queues.envelopes(5))
    proxy.dropReplies()
    const lost = take(worker, 10, 5000)
    await until(() => proxy.droppedBytes > 0, 'an answer is lost')
    // The first that is lost may be that of the look before the lease.
    await sleep(100)
    proxy.pass()
    const given = [...(await lost)]
    while (given.length < 9) given.push(...(await take(worker, 10)))
    expect(given.map(({ deliveries }) => deliveries)).toEqual(Array(9).fill(1))
    expect(new Set([...given, kept!].map(({ envelope }) => envelope.id)).size).toBe(10)
    expect(new Set(await complete(worker, [...given, kept!]))).toEqual(new Set(['done']))
    expect(incidents).toContain('answer-lost')
  })

  test('what was given in a lost answer is given back though its lane is asked for no more', async () => {
    await using proxy = await FlakyProxy.open(queues.redis.port)
    const times = { commandTimeoutMs: 200, callTimeoutMs: 400, leaseMs: 300_000 }
    const [worker, other] = [await start({ ...times, url: proxy.url }), await start(times)]
    await worker.enqueueMany(queues.envelopes(5))
    const [kept] = await take(worker, 1, 0)
    proxy.dropReplies()
    await failure(take(worker, 10, 5000), 'a lease')
    expect(await take(other, 10, 0)).toEqual([])
    proxy.pass()
    const lanes = [{ laneId: 'other', max: 1, priority: 5, boost: [] }]
    const ask = () => worker.lease({ partitions: [0, 1], lanes, max: 1, waitMs: 0 })
    // It fails until there is a connection again.
    for (let answer: unknown; answer === undefined; ) answer = await ask().catch(() => undefined)
    const given = await takeAll(other, 4)
    expect(given.map(({ deliveries }) => deliveries)).toEqual([1, 1, 1, 1])
    expect(await complete(worker, [kept!])).toEqual(['done'])
  })

  test('an end whose answer was lost is said again, and counts once', async () => {
    await using proxy = await FlakyProxy.open(queues.redis.port)
    const worker = await start({ url: proxy.url, commandTimeoutMs: 400 })
    const other = await start()
    const told: string[] = []
    await other.announce('me', ({ commandId }) => told.push(commandId))
    await worker.enqueueMany(queues.envelopes(23, { submitter: 'me' }))
    const given = await takeAll(worker, 23)
    const [first, second, dead, ...ended] = given.map((each) => completion(each, worker))
    // Redis knows both scripts from now on.
    await worker.completeMany([first!])
    await worker.deadLetter(second!.delivery, 'no use', second!.result)
    proxy.dropReplies()
    // In one call.
    const completed = worker.completeMany(ended)
    const buried = worker.deadLetter(dead!.delivery, 'no use', dead!.result)
    await until(() => told.length === 23, 'the results are told')
    proxy.pass()
    expect(await completed).toEqual(Array(20).fill('done'))
    expect(await buried).toBe('done')
    // In another, where the time of the first was up.
    expect(await worker.completeMany(ended)).toEqual(Array(20).fill('done'))
    expect(await worker.deadLetter(dead!.delivery, 'no use', dead!.result)).toBe('done')
    const others = ended.map(({ delivery, result }) => ({
      delivery,
      result: { ...result, durationMs: result.durationMs + 1 },
    }))
    expect(await worker.completeMany(others)).toEqual(Array(20).fill('stale'))
    expect(await worker.deadLetter(dead!.delivery, 'other', dead!.result)).toBe('stale')
    expect(told).toHaveLength(23)
  })

  test('what a listener to results throws is uncaught, and costs no announcement', async () => {
    const [worker, submitter] = [await start(), await start()]
    const received: string[] = []
    let calls = 0
    await submitter.announce('me', () => {
      calls++
      throw new Error('of the listener')
    })
    await submitter.announce('me', ({ commandId }) => received.push(commandId))
    await worker.enqueueMany(queues.envelopes(3, { submitter: 'me' }))
    const given = await takeAll(worker, 3)
    const thrown = await uncaughtBy(async () => {
      await complete(worker, given)
      await until(() => received.length === 3 && calls === 3, 'three results')
    })
    expect(received).toEqual(given.map(({ envelope }) => envelope.id))
    expect(thrown).toEqual(Array(3).fill(new Error('of the listener')))
  })

  test('a connection that is silent is given up, and calls fail when their time is up', async () => {
    await using proxy = await FlakyProxy.open(queues.redis.port)
    const worker = await start({ url: proxy.url, commandTimeoutMs: 150, callTimeoutMs: 600 })
    proxy.dropAll()
    const startMs = performance.now()
    const error = await failure(worker.enqueue(queues.envelopes(1)[0]!), 'enqueue')
    expect(error).toMatchObject({ code: 'CORELANE_QUEUE_UNAVAILABLE', retryable: true })
    expect(performance.now() - startMs).toBeLessThan(5000)
    proxy.pass()
    await worker.enqueueMany(queues.envelopes(3))
    await complete(worker, await takeAll(worker, 3))
    await worker.close()
    await refused(worker.counts(), 'CORELANE_CLOSED')
  })

  test('a full Redis takes no commands and can be emptied', async () => {
    const small = await startRedis({ maxMemory: '8mb' })
    const refusals = new Set<string>()
    const worker = await start({
      url: small.url,
      callTimeoutMs: 1000,
      resultTtlMs: 1,
      onIncident: ({ kind, detail }) => refusals.add(`${kind} ${detail.slice(0, 3)}`),
    })
    const payload = Buffer.alloc(60_000, 1)
    let full: unknown
    let accepted = 0
    while (full === undefined) {
      const some = queues.envelopes(8, { payload })
      await worker.enqueueMany(some).then(
        () => {
          accepted += some.length
        },
        (error: unknown) => {
          full = error
        },
      )
    }
    expect(full).toMatchObject({ code: 'CORELANE_QUEUE_UNAVAILABLE' })
    expect((full as Error).message).toContain('OOM')
    expect(refusals).toEqual(new Set(['not-ready OOM']))
    for (let left = accepted; left > 0; ) {
      const given = await take(worker, 8)
      left -= given.length
      expect(new Set(await complete(worker, given))).toEqual(new Set(['done']))
    }
    await worker.enqueueMany(queues.envelopes(1, { payload }))
    await small.stop()
  })

  test('in a full Redis limits are set, and lanes that are empty go', async () => {
    const small = await startRedis()
    const incidents: string[] = []
    const worker = await start({
      url: small.url,
      laneTtlMs: 400,
      onIncident: ({ kind, detail }) => incidents.push(`${kind} ${detail}`),
    })
    await worker.enqueueMany(queues.envelopes(1))
    await complete(worker, await take(worker, 1))
    const admin = newClient(small.url)
    await admin.connect()
    await admin.sendCommand(['CONFIG', 'SET', 'maxmemory', '1mb'])
    await worker.lanes.setConcurrency('lane', 3)
    await worker.lanes.setRateLimit('lane', { limit: 1, windowMs: 1000 })
    expect(await worker.lanes.limits()).toHaveLength(1)
    const ending = new AbortController()
    const lanes = [{ laneId: 'lane', max: 1, priority: 5, boost: [] }]
    const { signal } = ending
    const waiting = worker.lease({ partitions: [0, 1], lanes, max: 1, waitMs: 60_000, signal })
    const lanesKey = `corelane:{${queues.queue}:0}:lanes`
    for (let left = 1; left > 0; left = await admin.exists(lanesKey)) await sleep(20)
    ending.abort()
    await waiting
    expect(incidents).toEqual([])
    admin.destroy()
    await small.stop()
  })

  test('a Redis that comes back empty is noticed, and goes on', async () => {
    const own = await startRedis()
    const incidents: string[] = []
    const worker = await start({ url: own.url, onIncident: ({ kind }) => incidents.push(kind) })
    await worker.enqueueMany(queues.envelopes(3))
    const given = await takeAll(worker, 3)
    await own.restart()
    expect(new Set(await complete(worker, given))).toEqual(new Set(['stale']))
    expect(await worker.look([{ commandId: given[0]!.envelope.id, partitionId: 0 }])).toEqual([
      { state: 'unknown' },
    ])
    expect(incidents).toEqual(
      expect.arrayContaining(['connection-lost', 'data-lost', 'connection-back']),
    )
    await worker.enqueueMany(given.map(({ envelope }) => envelope))
    await complete(worker, await takeAll(worker, 3))
    await own.stop()
  })

  test('workers that announce themselves notice a flush, and may leave meanwhile', async () => {
    const incidents: string[] = []
    const worker = await start({ onIncident: ({ kind }) => incidents.push(kind) })
    const standing = { host: 'h', pid: 1, startedAt: 0, partitions: 1, lanes: [] }
    const announce = () =>
      worker.workers.announce({ ...standing, state: 'running', held: 0, running: 0 })
    await announce()
    await Promise.all([announce(), worker.workers.leave()])
    expect(await worker.workers.list()).toEqual([])
    expect(incidents).toEqual([])
    await queues.admin.flushAll()
    await announce()
    await announce()
    expect(incidents).toEqual(['data-lost'])
    // It is again what it was.
    await refused(start({ partitions: PartitionConfig.hash(3) }), 'CORELANE_QUEUE_MISMATCH')
  })

  test('a partition never has two owners, while workers come and go', async () => {
    const partitions = PartitionConfig.hash(4)
    const settings = { partitions, leaseMs: 400 }
    const keeper = await start({ ...settings, workerId: 'keeper' })
    const epochs = new Map<number, number>()
    const owners = new Map<string, string>()
    const look = async () => {
      for (let partition = 0; partition < 4; partition++) {
        const own = `corelane:{${queues.queue}:${partition}}:own`
        const [owner, epoch] = await queues.admin.hmGet(own, ['owner', 'epoch'])
        if (!owner || !epoch) continue
        // An epoch has one owner for ever, and never comes back.
        const named = `${partition}/${epoch}`
        expect(owners.get(named) ?? owner).toBe(owner)
        owners.set(named, owner)
        expect(Number(epoch)).toBeGreaterThanOrEqual(epochs.get(partition) ?? 0)
        epochs.set(partition, Number(epoch))
      }
    }
    const beat = async (worker: RedisDistributedQueue) => {
      const { owned, surplus } = await worker.ownership!.heartbeat()
      for (const partition of surplus) await worker.ownership!.release(partition)
      await look()
      return owned.filter((partition) => !surplus.includes(partition))
    }
    for (let round = 0; round < 12; round++) {
      const guest = await start({ ...settings, workerId: `guest-${round}` })
      // On a busy machine a lease may end between two beats; then the next ones share anew.
      for (let shares: number[][] = [], turn = 0; ; turn++) {
        shares = [await beat(keeper), await beat(guest)]
        if (turn > 2 && shares.flat().toSorted().join() === '0,1,2,3') break
        expect(turn, `shares ${JSON.stringify(shares)}`).toBeLessThan(100)
      }
      // Half of them say farewell, the others die.
      if (round % 2 === 0) await guest.ownership!.leave()
      await guest.close()
      if (round % 2 === 0) expect(await beat(keeper)).toEqual([0, 1, 2, 3])
      else {
        const endMs = performance.now() + 5000
        while ((await beat(keeper)).length < 4 && performance.now() < endMs) await sleep(50)
      }
    }
    expect(Math.max(...epochs.values())).toBeGreaterThan(8)
  })
})
