// Goal: the engine on Redis opens what it should, with no more rights than it needs, and bears what
// others put into its queue.
// Method: a real Redis; users with few rights, servers that are set carelessly, entries of
// nonsense.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { PartitionConfig } from 'corelane'
import type { RedisIncident } from 'corelane/redis'
import { RESP_TYPES } from 'redis'
import { expect, test } from 'vitest'
import { failure, refused, until } from '../support/deadline.ts'
import { FlakyProxy } from '../support/flaky-proxy.js'
import { describeWithRedis, startRedis } from '../support/redis-server.ts'
import {
  complete,
  completion,
  newClient,
  RedisQueues,
  take,
  takeAll,
} from './support/redis-moves.ts'

/** The rule of docs/distributed.md, without its last line: `+info +config|get`. */
const page = readFileSync(join(import.meta.dirname, '../../docs/distributed.md'), 'utf8')
const [, rule] = /^user corelane on >secret ([\s\S]+?)\n *\+info \+config\|get$/m.exec(page)!
const LEAST_RIGHTS = rule!.replaceAll(/\s+/g, ' ')

const queues = new RedisQueues()

describeWithRedis('the engine on Redis, opened', () => {
  queues.setUp({ users: [`least on >s3cret%pass ${LEAST_RIGHTS}`] })
  const { start } = queues

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

  test('a client of a node-redis that is too old is refused', async () => {
    const client = newClient(queues.redis.url)
    // It knows no such option, and answers with texts.
    const duplicate = (options: object) => client.duplicate({ ...options, commandOptions: {} })
    const error = await failure(start({ client: { duplicate } }), 'open')
    expect(error).toMatchObject({ code: 'CORELANE_QUEUE_REFUSED' })
    expect(error).toMatchObject({ message: expect.stringContaining('node-redis before 6.2') })
  })

  test('what is not said about partitions is taken as the queue has it', async () => {
    const [queue, url] = [queues.queue, queues.redis.url]
    await start({ partitions: PartitionConfig.hash(3) })
    const shapes = await Promise.all(
      [undefined, {}, { count: 3 }, { strategy: 'hash' as const }].map(async (partitions) => {
        const { strategy, numPartitions } = await start({ partitions })
        return `${strategy} ${numPartitions}`
      }),
    )
    expect(new Set(shapes)).toEqual(new Set(['hash 3']))
    const other = await failure(start({ partitions: { count: 4 } }), 'open')
    expect(other).toMatchObject({ details: { option: 'partitions', expected: '3' } })
    const fresh = await start({ queue: `${queue}-new`, url, partitions: undefined })
    expect([fresh.strategy, fresh.numPartitions]).toEqual(['balanced', 8])
  })

  test('a queue whose record is damaged is refused', async () => {
    await start()
    const meta = `corelane:{${queues.queue}:meta}:meta`
    for (const record of [{ partitions: '0' }, { partitions: '2', strategy: 'custom.' }]) {
      await queues.admin.hSet(meta, record)
      await refused(start({ partitions: undefined }), 'CORELANE_QUEUE_REFUSED')
    }
  })

  test('a Redis that cannot be reached is told of at once, and given up in time', async () => {
    const incidents: RedisIncident[] = []
    const onIncident = (incident: RedisIncident) => incidents.push(incident)
    const url = 'redis://least:s3cret@127.0.0.1:1'
    const startMs = performance.now()
    const opening = failure(start({ url, openTimeoutMs: 3000, onIncident }), 'open')
    let isOver = false
    void opening.then(() => {
      isOver = true
    })
    await until(() => incidents.length > 0, 'an incident')
    expect(isOver).toBe(false)
    const { kind, detail } = incidents[0]!
    expect(kind).toBe('unreachable')
    expect(detail).toMatch(
      /^redis:\/\/127\.0\.0\.1:1: connect ECONNREFUSED .*; trying for 3000 ms$/,
    )
    const error = await opening
    expect(error).toMatchObject({ code: 'CORELANE_QUEUE_UNAVAILABLE', retryable: true })
    expect(error.message).toContain('connect ECONNREFUSED')
    expect(error.message).toContain('(redis://127.0.0.1:1)')
    expect(performance.now() - startMs).toBeLessThan(15_000)
    expect(incidents).toHaveLength(1)
  })

  test('a Redis that does not answer is given up in time, and one that comes late is used', async () => {
    await using proxy = await FlakyProxy.open(queues.redis.port)
    proxy.dropAll()
    const startMs = performance.now()
    await refused(start({ url: proxy.url, openTimeoutMs: 300 }), 'CORELANE_QUEUE_UNAVAILABLE')
    expect(performance.now() - startMs).toBeLessThan(4000)
    const kinds: string[] = []
    proxy.refuse()
    const late = start({ url: proxy.url, onIncident: ({ kind }) => kinds.push(kind) })
    await until(() => kinds.length > 0, 'an incident')
    proxy.pass()
    await (await late).enqueueMany(queues.envelopes(1))
    expect(kinds).toEqual(['unreachable', 'connection-back'])
  })

  test('a Redis that refuses connections for now is waited for', async () => {
    const few = await startRedis({ args: ['--maxclients', '1'] })
    const first = newClient(few.url)
    await first.connect()
    const kinds: string[] = []
    const onIncident = ({ kind, detail }: RedisIncident) => {
      kinds.push(kind)
      if (kind === 'unreachable') expect(detail).toContain('max number of clients reached')
      first.destroy()
    }
    await (await start({ url: few.url, onIncident })).enqueueMany(queues.envelopes(1))
    expect(kinds).toEqual(['unreachable', 'connection-back'])
  })

  test('a replica is told of once, and opened when it is promoted', async () => {
    const replica = await startRedis({ args: ['--replicaof', '127.0.0.1 1'] })
    const admin = newClient(replica.url)
    await admin.connect()
    const kinds: string[] = []
    const onIncident = ({ kind }: RedisIncident) => kinds.push(kind)
    const opened = start({ url: replica.url, onIncident })
    await until(() => kinds.length > 0, 'an incident')
    await admin.sendCommand(['REPLICAOF', 'NO', 'ONE'])
    await (await opened).enqueueMany(queues.envelopes(1))
    expect(kinds).toEqual(['not-ready'])
    admin.destroy()
  })

  test('a Redis that may lose the queue is reported, or refused', async () => {
    const incidents: RedisIncident[] = []
    const onIncident = (incident: RedisIncident) => incidents.push(incident)
    await start({ durability: 'warn', onIncident })
    expect(incidents.map(({ kind }) => kind)).toEqual(['not-durable'])
    const error = await refused(start({ durability: 'require' }), 'CORELANE_QUEUE_REFUSED')
    expect(error.message).toContain('appendonly is off')
    const args = ['--maxmemory-policy', 'allkeys-lru']
    const careless = await startRedis({ persistence: 'always', maxMemory: '50mb', args })
    await start({ durability: 'warn', url: careless.url, onIncident })
    expect(incidents.map(({ kind }) => kind)).toEqual(['not-durable', 'evicts'])
    await careless.stop()
  })

  test('a user with the least rights does, and is told what cannot be checked', async () => {
    const incidents: RedisIncident[] = []
    const { port } = queues.redis
    const worker = await start({
      url: `redis://least:s3cret%25pass@127.0.0.1:${port}`,
      durability: 'warn',
      onIncident: (incident) => incidents.push(incident),
    })
    expect(incidents.map(({ kind }) => kind)).toEqual(['not-durable'])
    expect(inspect(worker, { depth: 9 }) + JSON.stringify(worker)).not.toContain('s3cret')
    const told: string[] = []
    await worker.announce('me', ({ commandId }) => told.push(commandId))
    await worker.enqueueMany(queues.envelopes(6, { submitter: 'me' }))
    const [a, b, c, d, e, f] = await takeAll(worker, 6)
    await worker.extend([a!])
    await worker.release([b!], { reason: 'retry', delayMs: 5 })
    await worker.release([c!], { reason: 'unstarted' })
    const { result } = completion(d!, worker)
    await worker.deadLetter(d!, 'no good', { ...result, success: false })
    expect(await worker.dead.list()).toHaveLength(1)
    expect(await worker.dead.redrive([result])).toBe(1)
    expect(await worker.look([result])).toEqual([{ state: 'pending' }])
    expect(await worker.limits.takeSlots('lane', 1, ['x', 'y'])).toEqual(['x'])
    await worker.limits.releaseSlots('lane', ['x'])
    await worker.lanes.announce(['lane'])
    expect((await worker.lanes.look(['lane'])).states).toEqual(['served'])
    expect((await worker.limits.takeTokens('lane', { limit: 5, windowMs: 1000 }, 2)).granted).toBe(
      2,
    )
    expect((await worker.counts()).delayed).toBeLessThan(2)
    await worker.lanes.setConcurrency('other', 2)
    expect(await worker.lanes.limits()).toEqual([{ laneId: 'other', concurrency: 2 }])
    await worker.lanes.pause('other')
    expect(await worker.lanes.paused()).toEqual(['other'])
    expect(await worker.workers.list()).toEqual([])
    await worker.workers.leave()
    const again = await takeAll(worker, 3)
    expect(await complete(worker, [a!, e!, f!, ...again])).toEqual(Array(6).fill('done'))
    await until(() => told.length >= 7, 'all results are told')
    const owner = await start({
      url: `redis://least:s3cret%25pass@127.0.0.1:${port}`,
      queue: `${queues.queue}-owned`,
      partitions: PartitionConfig.hash(2),
    })
    expect((await owner.ownership!.heartbeat()).owned).toEqual([0, 1])
    await owner.enqueueMany(queues.envelopes(2, { key: 'k' }))
    await complete(owner, await takeAll(owner, 2))
    await owner.ownership!.leave()
  })

  test('secrets are in no error and no incident', async () => {
    const texts: string[] = []
    const tell = (error: Error) => texts.push(`${error.stack} ${JSON.stringify(error)}`)
    const secret = 'pa55word'
    for (const url of [
      `redis://least:${secret}@127.0.0.1:${queues.redis.port}`,
      `redis://least:${secret}@127.0.0.1:1`,
      `redis://least:${secret}@127.0.0.1:port`,
      `redis://least:${secret}@127.0.0.1:${queues.redis.port}/database`,
      `http://least:${secret}@127.0.0.1`,
    ]) {
      const times = { openTimeoutMs: 1000, commandTimeoutMs: 500, callTimeoutMs: 500 }
      tell(await failure(start({ url, ...times }), url))
    }
    const connection = { username: 'least', password: secret, socket: { port: queues.redis.port } }
    tell(await failure(start({ connection }), 'connection'))
    expect(texts).toHaveLength(6)
    for (const text of texts) expect(text).not.toContain(secret)
    expect(texts[0]).toContain('WRONGPASS')
  })

  test("a user's client is copied, not used", async () => {
    const client = newClient(queues.redis.url)
    await client.connect()
    const worker = await start({ client })
    await worker.enqueueMany(queues.envelopes(1))
    await complete(worker, await takeAll(worker, 1))
    await worker.close()
    expect(client.isReady).toBe(true)
    expect(await client.ping()).toBe('PONG')
    client.destroy()
  })

  test('what is no envelope is dead-lettered, whatever it is', async () => {
    const incidents: RedisIncident[] = []
    const worker = await start({
      maxBytes: 2048,
      onIncident: (incident) => incidents.push(incident),
    })
    const stream = `corelane:{${queues.queue}:0}:s:lane`
    const good = queues.envelopes(1)
    await worker.enqueueMany(good)
    const value = Buffer.from(
      (
        await queues.admin.sendCommand<[[string, string[]]]>(['XRANGE', stream, '-', '+'], {
          typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer as never },
        })
      )[0]![1][1]!,
    )
    const nonsense = [
      Buffer.from(''),
      Buffer.from('x'),
      Buffer.from(':::'),
      Buffer.from('a:0:0:'),
      Buffer.from('a:0:0:0:'),
      Buffer.from('../x:0:0:0:\u0001'),
      Buffer.from('a:9e9:0:0:\u0001\u0000'),
      Buffer.from('a:0:0:-1:\u0001\u0000'),
      Buffer.alloc(20_000, 'a'),
      value.subarray(0, value.length - 3),
      Buffer.concat([value, Buffer.alloc(12_000)]),
      Buffer.concat([Buffer.from('id:0:0:0:'), Buffer.alloc(200, 255)]),
    ]
    for (const bytes of nonsense) await queues.admin.sendCommand(['XADD', stream, '*', 'v', bytes])
    await queues.admin.sendCommand(['XADD', stream, '*', 'other', 'field', 'and', 'more'])
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
    const prefix = `corelane:{${queues.queue}:meta}`
    for (const text of [
      '',
      '!',
      'x',
      '0 lane',
      '999 lane 1',
      '0 lane 999999999',
      '\u0000'.repeat(999),
    ]) {
      await queues.admin.publish(`${prefix}:wakes`, text)
      await queues.admin.publish(`${prefix}:results:me`, text)
    }
    expect(await wait).toEqual([])
    expect(told).toEqual([])
  })
})
