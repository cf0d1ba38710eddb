// Goal: what can go wrong around the engine on Redis goes as documented.
// Method: a real Redis, restarted, emptied, cut off, filled with nonsense or made to forget scripts; a
// proxy that loses answers; users with few rights.

import { setTimeout as sleep } from 'node:timers/promises'
import { PartitionConfig } from 'corelane'
import { RedisDistributedQueue, type RedisIncident, type RedisQueueOptions } from 'corelane/redis'
import { createClient, RESP_TYPES } from 'redis'
import { afterEach, beforeAll, expect, test } from 'vitest'
import { failure, until, within } from '../support/deadline.ts'
import { FlakyProxy } from '../support/flaky-proxy.js'
import type { RedisProcess } from '../support/redis-process.js'
import { describeWithRedis, startRedis } from '../support/redis-server.ts'

type Delivery = Awaited<ReturnType<RedisDistributedQueue['lease']>>[number]

/** The rule of docs/distributed.md, without `+config|get` and `+info`. */
const LEAST_RIGHTS =
  'resetkeys ~corelane:* resetchannels &corelane:* -@all ' +
  '+hello +ping +select +eval +evalsha +time +publish +subscribe +unsubscribe ' +
  '+get +getrange +mget +set +pexpire +hget +hmget +hset +hdel +sadd +smembers ' +
  '+zadd +zcard +zpopmin +zrange +zrem +zremrangebyscore +zscore ' +
  '+xack +xadd +xclaim +xdel +xgroup|create +xgroup|delconsumer +xinfo|consumers +xinfo|groups ' +
  '+xlen +xpending +xrange +xreadgroup'

const open: RedisDistributedQueue[] = []
let count = 0
let queue = ''

afterEach(async () => {
  for (const one of open.splice(0)) await one.close()
  queue = `faults-${++count}`
})

function envelopes(howMany: number, members: object = {}) {
  return Array.from({ length: howMany }, () => ({
    id: `${queue || 'first'}.${++count}`,
    commandType: 'work',
    laneId: 'lane',
    partitionId: 0,
    payload: { count },
    retryCount: 0,
    createdAt: Date.now(),
    version: 1,
    ...members,
  }))
}

function take(from: RedisDistributedQueue, max = 1000, waitMs = 5000): Promise<Delivery[]> {
  const partitions = Array.from({ length: from.numPartitions }, (_, partition) => partition)
  const lanes = [{ laneId: 'lane', max, priority: 5, boost: [] }]
  return from.lease({ partitions, lanes, max, waitMs })
}

async function takeAll(from: RedisDistributedQueue, howMany: number): Promise<Delivery[]> {
  const all: Delivery[] = []
  const endMs = performance.now() + 15_000
  while (all.length < howMany && performance.now() < endMs) {
    all.push(...(await take(from, howMany - all.length)))
  }
  expect(all.length).toBe(howMany)
  return all
}

function completion(delivery: Delivery, by: RedisDistributedQueue, value: unknown = null) {
  const { id: commandId, partitionId, retryCount } = delivery.envelope
  const { workerId } = by
  const times = { durationMs: 1, completedAt: Date.now() }
  return {
    delivery,
    result: { commandId, partitionId, workerId, success: true, value, retryCount, ...times },
  }
}

function complete(by: RedisDistributedQueue, deliveries: readonly Delivery[]) {
  return by.completeMany(deliveries.map((delivery) => completion(delivery, by)))
}

describeWithRedis('the engine on Redis', () => {
  let redis: RedisProcess
  let admin: ReturnType<typeof newClient>

  function newClient(url: string) {
    const client = createClient({ url, RESP: 2 })
    client.on('error', () => {})
    return client
  }

  beforeAll(async () => {
    redis = await startRedis({ users: [`least on >s3cret%pass ${LEAST_RIGHTS}`] })
    admin = newClient(redis.url)
    await admin.connect()
    return () => admin.destroy()
  })

  async function start(options: RedisQueueOptions = {}): Promise<RedisDistributedQueue> {
    const one = await RedisDistributedQueue.open({
      ...(options.client || options.connection ? {} : { url: redis.url }),
      queue: queue || 'first',
      partitions: PartitionConfig.roundRobin(2),
      durability: 'ignore',
      ...options,
    })
    open.push(one)
    return one
  }

  test('a queue is what it was made as', async () => {
    await start()
    const more = await failure(start({ partitions: PartitionConfig.roundRobin(3) }), 'open')
    expect(more).toMatchObject({
      code: 'CORELANE_QUEUE_MISMATCH',
      details: { option: 'partitions', expected: '2', received: '3' },
    })
    const other = await failure(start({ partitions: PartitionConfig.hash(2) }), 'open')
    expect(other).toMatchObject({
      code: 'CORELANE_QUEUE_MISMATCH',
      details: { option: 'strategy', expected: 'roundRobin', received: 'hash' },
    })
  })

  test('a Redis that may lose the queue is reported, or refused', async () => {
    const incidents: RedisIncident[] = []
    const onIncident = (incident: RedisIncident) => incidents.push(incident)
    await start({ durability: 'warn', onIncident })
    expect(incidents.map(({ kind }) => kind)).toEqual(['not-durable'])
    const refused = await failure(start({ durability: 'require' }), 'open')
    expect(refused.code).toBe('CORELANE_QUEUE_REFUSED')
    expect(refused.message).toContain('appendonly is off')
    const args = ['--maxmemory-policy', 'allkeys-lru']
    const careless = await startRedis({ persistence: 'always', maxMemory: '50mb', args })
    await start({ durability: 'warn', url: careless.url, onIncident })
    expect(incidents.map(({ kind }) => kind)).toEqual(['not-durable', 'evicts'])
    await careless.stop()
  })

  test('a user with the least rights does, and is told what cannot be checked', async () => {
    const incidents: RedisIncident[] = []
    const { port } = redis
    const worker = await start({
      url: `redis://least:s3cret%25pass@127.0.0.1:${port}`,
      durability: 'warn',
      onIncident: (incident) => incidents.push(incident),
    })
    expect(incidents.map(({ kind }) => kind)).toEqual(['not-durable'])
    const told: string[] = []
    await worker.announce('me', ({ commandId }) => told.push(commandId))
    await worker.enqueueMany(envelopes(6, { submitter: 'me' }))
    const [a, b, c, d, e, f] = await takeAll(worker, 6)
    await worker.extend([a!])
    await worker.release([b!], { reason: 'retry', delayMs: 5 })
    await worker.release([c!], { reason: 'unstarted' })
    const { result } = completion(d!, worker)
    await worker.bury(d!, 'no good', { ...result, success: false })
    expect(await worker.dead.list()).toHaveLength(1)
    expect(await worker.dead.redrive([result])).toBe(1)
    expect(await worker.look([result])).toEqual([{ state: 'pending' }])
    expect(await worker.limits.takePlaces('lane', 1, ['x', 'y'])).toEqual(['x'])
    await worker.limits.dropPlaces('lane', ['x'])
    expect((await worker.limits.takePermits('lane', { limit: 5, windowMs: 1000 }, 2)).granted).toBe(
      2,
    )
    expect((await worker.counts()).delayed).toBeLessThan(2)
    const again = await takeAll(worker, 3)
    expect(await complete(worker, [a!, e!, f!, ...again])).toEqual(Array(6).fill('done'))
    await until(() => told.length >= 7, 'all results are told')
    const owner = await start({
      url: `redis://least:s3cret%25pass@127.0.0.1:${port}`,
      queue: `${queue}-owned`,
      partitions: PartitionConfig.hash(2),
    })
    expect((await owner.ownership!.beat()).owned).toEqual([0, 1])
    await owner.enqueueMany(envelopes(2, { key: 'k' }))
    await complete(owner, await takeAll(owner, 2))
    await owner.ownership!.leave()
  })

  test('secrets are in no error and no incident', async () => {
    const texts: string[] = []
    const tell = (error: Error) => texts.push(`${error.stack} ${JSON.stringify(error)}`)
    const secret = 'pa55word'
    for (const url of [
      `redis://least:${secret}@127.0.0.1:${redis.port}`,
      `redis://least:${secret}@127.0.0.1:1`,
      `redis://least:${secret}@127.0.0.1:port`,
      `redis://least:${secret}@127.0.0.1:${redis.port}/database`,
      `http://least:${secret}@127.0.0.1`,
    ]) {
      tell(await failure(start({ url, commandTimeoutMs: 500, callTimeoutMs: 500 }), url))
    }
    const connection = { username: 'least', password: secret, socket: { port: redis.port } }
    tell(await failure(start({ connection }), 'connection'))
    expect(texts).toHaveLength(6)
    for (const text of texts) expect(text).not.toContain(secret)
    expect(texts[0]).toContain('WRONGPASS')
  })

  test("a user's client is copied, not used", async () => {
    const client = newClient(redis.url)
    await client.connect()
    const worker = await start({ client })
    await worker.enqueueMany(envelopes(1))
    await complete(worker, await takeAll(worker, 1))
    await worker.close()
    expect(client.isReady).toBe(true)
    expect(await client.ping()).toBe('PONG')
    client.destroy()
  })

  test('nothing is lost or done twice while connections are killed and scripts forgotten', async () => {
    const [submitter, one, two] = [await start(), await start(), await start()]
    const all = envelopes(400, { submitter: 'me' }).map((each, i) => ({
      ...each,
      partitionId: i % 2,
    }))
    let isOver = false
    const trouble = (async () => {
      for (let round = 0; !isOver; round++) {
        if (round % 3 === 0) await admin.sendCommand(['SCRIPT', 'FLUSH'])
        else
          await admin.sendCommand(['CLIENT', 'KILL', 'TYPE', round % 3 === 1 ? 'normal' : 'pubsub'])
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

  test('what is no envelope is buried, whatever it is', async () => {
    const incidents: RedisIncident[] = []
    const worker = await start({
      maxBytes: 2048,
      onIncident: (incident) => incidents.push(incident),
    })
    const stream = `corelane:{${queue}:0}:s:lane`
    const good = envelopes(1)
    await worker.enqueueMany(good)
    const value = Buffer.from(
      (
        await admin.sendCommand<[[string, string[]]]>(['XRANGE', stream, '-', '+'], {
          typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer as never },
        })
      )[0]![1][1]!,
    )
    const nonsense = [
      Buffer.from(''),
      Buffer.from('x'),
      Buffer.from(':::'),
      Buffer.from('a:0:0:'),
      Buffer.from('../x:0:0:\u0001'),
      Buffer.from('a:9e9:0:\u0001\u0000'),
      Buffer.alloc(20_000, 'a'),
      value.subarray(0, value.length - 3),
      Buffer.concat([value, Buffer.alloc(12_000)]),
      Buffer.concat([Buffer.from('id:0:0:'), Buffer.alloc(200, 255)]),
    ]
    for (const bytes of nonsense) await admin.sendCommand(['XADD', stream, '*', 'v', bytes])
    await admin.sendCommand(['XADD', stream, '*', 'other', 'field', 'and', 'more'])
    const [given, ...others] = await takeAll(worker, 1)
    expect(given!.envelope.id).toBe(good[0]!.id)
    expect([...others, ...(await take(worker, 10, 50))]).toEqual([])
    const dead = await worker.dead.list()
    expect(dead.length).toBeGreaterThan(8)
    expect(dead.every(({ reason }) => reason === 'undecodable')).toBe(true)
    expect(new Set(incidents.map(({ kind }) => kind))).toEqual(new Set(['undecodable']))
    expect(incidents).toHaveLength(nonsense.length + 1)
    // One of the dead has the id of the good one, and did it no harm.
    expect(await complete(worker, [given!])).toEqual([expect.stringMatching('done|stale')])
    expect(await worker.counts()).toMatchObject({ waiting: 0, leased: 0 })
  })

  test('messages of others on the channels are passed over', async () => {
    const worker = await start()
    const told: unknown[] = []
    await worker.announce('me', (result) => told.push(result))
    const wait = take(worker, 1, 300)
    const prefix = `corelane:{${queue}:meta}`
    for (const text of [
      '',
      '!',
      'x',
      '0 lane',
      '999 lane 1',
      '0 lane 999999999',
      '\u0000'.repeat(999),
    ]) {
      await admin.publish(`${prefix}:wakes`, text)
      await admin.publish(`${prefix}:results:me`, text)
    }
    expect(await wait).toEqual([])
    expect(told).toEqual([])
  })

  test('what was given in an answer that was lost is given again at once, and does not count', async () => {
    await using proxy = await FlakyProxy.open(redis.port)
    const incidents: string[] = []
    const worker = await start({
      url: proxy.url,
      commandTimeoutMs: 200,
      leaseMs: 20_000,
      onIncident: ({ kind }) => incidents.push(kind),
    })
    await worker.enqueueMany(envelopes(5))
    const [kept] = await take(worker, 1, 0)
    await worker.enqueueMany(envelopes(5))
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

  test('a completion whose answer was lost is repeated and counts once', async () => {
    await using proxy = await FlakyProxy.open(redis.port)
    const worker = await start({ url: proxy.url, commandTimeoutMs: 400 })
    const other = await start()
    const told: string[] = []
    await other.announce('me', ({ commandId }) => told.push(commandId))
    await worker.enqueueMany(envelopes(20, { submitter: 'me' }))
    const given = await takeAll(worker, 20)
    proxy.dropReplies()
    const completed = complete(worker, given)
    await until(() => told.length === 20, 'the results are told')
    proxy.pass()
    expect(await completed).toEqual(Array(20).fill('done'))
    expect(told).toHaveLength(20)
  })

  test('a connection that is silent is given up, and calls fail when their time is up', async () => {
    await using proxy = await FlakyProxy.open(redis.port)
    const worker = await start({ url: proxy.url, commandTimeoutMs: 150, callTimeoutMs: 600 })
    proxy.dropAll()
    const startMs = performance.now()
    const error = await failure(worker.enqueue(envelopes(1)[0]!), 'enqueue')
    expect(error).toMatchObject({ code: 'CORELANE_QUEUE_UNAVAILABLE', retryable: true })
    expect(performance.now() - startMs).toBeLessThan(5000)
    proxy.pass()
    await worker.enqueueMany(envelopes(3))
    await complete(worker, await takeAll(worker, 3))
    await worker.close()
    expect((await failure(worker.counts(), 'counts')).code).toBe('CORELANE_CLOSED')
  })

  test('a full Redis takes no commands and can be emptied', async () => {
    const small = await startRedis({ maxMemory: '8mb' })
    const worker = await start({ url: small.url, callTimeoutMs: 300, resultTtlMs: 1 })
    const payload = Buffer.alloc(60_000, 1)
    let full: unknown
    let accepted = 0
    while (full === undefined) {
      const some = envelopes(8, { payload })
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
    for (let left = accepted; left > 0; ) {
      const given = await take(worker, 8)
      left -= given.length
      expect(new Set(await complete(worker, given))).toEqual(new Set(['done']))
    }
    await worker.enqueueMany(envelopes(1, { payload }))
    await small.stop()
  })

  test('a Redis that comes back empty is noticed, and goes on', async () => {
    const own = await startRedis()
    const incidents: string[] = []
    const worker = await start({ url: own.url, onIncident: ({ kind }) => incidents.push(kind) })
    await worker.enqueueMany(envelopes(3))
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

  test('a partition never has two owners, while workers come and go', async () => {
    const partitions = PartitionConfig.hash(4)
    const settings = { partitions, leaseMs: 400 }
    const keeper = await start({ ...settings, workerId: 'keeper' })
    const epochs = new Map<number, number>()
    const owners = new Map<string, string>()
    const look = async () => {
      for (let partition = 0; partition < 4; partition++) {
        const own = `corelane:{${queue}:${partition}}:own`
        const [owner, epoch] = await admin.hmGet(own, ['owner', 'epoch'])
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
      const { owned, surplus } = await worker.ownership!.beat()
      for (const partition of surplus) await worker.ownership!.yield(partition)
      await look()
      return owned.filter((partition) => !surplus.includes(partition))
    }
    for (let round = 0; round < 12; round++) {
      const guest = await start({ ...settings, workerId: `guest-${round}` })
      let shares: number[][] = []
      for (let turn = 0; turn < 3; turn++) shares = [await beat(keeper), await beat(guest)]
      shares = [await beat(keeper), shares[1]!]
      expect(shares.flat().toSorted()).toEqual([0, 1, 2, 3])
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
