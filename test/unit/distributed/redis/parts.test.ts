// The small pure parts of the engine on Redis: shares, assignments, options, checks of the server,
// wakes.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Backlog, divide } from '../../../../src/distributed/redis/backlog.ts'
import { ClientMaker } from '../../../../src/distributed/redis/client-maker.ts'
import { batches, Numbering, pack, positionsBy } from '../../../../src/distributed/redis/engine.ts'
import {
  decodeProgress,
  decodeResult,
  encodeProgress,
  encodeResult,
} from '../../../../src/distributed/redis/envelope-codec.ts'
import { Holdings } from '../../../../src/distributed/redis/holdings.ts'
import { queueKeys } from '../../../../src/distributed/redis/keys.ts'
import { planRedisQueue } from '../../../../src/distributed/redis/options.ts'
import { assign } from '../../../../src/distributed/redis/ownership.ts'
import { checkServer, factsOf, findingsOf } from '../../../../src/distributed/redis/start-check.ts'
import { framesOf, wakeOf } from '../../../../src/distributed/redis/subscriptions.ts'
import { PartitionConfig } from '../../../../src/model/partition-config.ts'
import { resultOf } from '../../../support/envelopes.ts'
import { range } from '../../../support/range.ts'

const lanes = [
  { laneId: 'fast', max: 10 },
  { laneId: 'slow', max: 100 },
]

/** Redis is asked for one lane, and answers. */
function believe(backlog: Backlog, partition: number, laneId: string, count: number): boolean {
  backlog.asking(partition, [{ laneId }])
  return backlog.answered(partition, [{ laneId }], [count])
}

function backlogOf(...counts: readonly (readonly [number, string, number])[]): Backlog {
  const backlog = new Backlog()
  for (const [partition, laneId, count] of counts) believe(backlog, partition, laneId, count)
  return backlog
}

test('the first partitions are asked for what they have, the last for the rest', () => {
  const backlog = backlogOf([0, 'slow', 5], [1, 'slow', 50], [2, 'slow', 50])
  const shares = divide(backlog, [2, 0, 1], lanes, 60, 256)
  expect(shares.map(({ partition, max }) => [partition, max])).toEqual([
    [2, 50],
    [0, 5],
    [1, 5],
  ])
})

test('no more is asked for than is wanted, in all and of each lane', () => {
  for (let max = 1; max < 300; max += 7) {
    const backlog = backlogOf([0, 'fast', 7], [0, 'slow', 3], [1, 'fast', 20], [1, 'slow', 90])
    const shares = divide(backlog, [0, 1], lanes, max, 64)
    const total = shares.reduce((sum, share) => sum + share.max, 0)
    expect(total).toBeLessThanOrEqual(max)
    for (const [i, { max: most }] of lanes.entries()) {
      const asked = shares.reduce((sum, share) => sum + Math.min(share.lanes[i]!, share.max), 0)
      expect(asked).toBeLessThanOrEqual(most)
    }
    for (const share of shares) expect(share.max).toBeLessThanOrEqual(64)
  }
})

test('what nobody claims goes to the first, which may have more by now', () => {
  const backlog = backlogOf([3, 'slow', 1])
  expect(divide(backlog, [3], lanes, 40, 256)).toEqual([
    { partition: 3, max: 40, lanes: [10, 100] },
  ])
  expect(divide(backlog, [1, 2], lanes, 40, 256)).toEqual([])
})

test('a belief holds until the next announcement while they are heard, and else for a while', async () => {
  const slow = [{ laneId: 'slow' }]
  const backlog = backlogOf([0, 'slow', 5])
  backlog.holdsMs = 30
  expect([backlog.isCurrent(0, slow), backlog.isCurrent(1, slow)]).toEqual([true, false])
  await new Promise((resolve) => setTimeout(resolve, 40))
  expect(backlog.isCurrent(0, slow)).toBe(false)
  backlog.isReceiving = true
  expect(backlog.isCurrent(0, slow)).toBe(true)
  expect(backlog.isCurrent(0, [...slow, { laneId: 'fast' }])).toBe(false)
  // What is announced is counted. It makes an answer to an older question doubtful, and no other.
  expect(backlog.announced(0, 'slow', 2)).toBe(true)
  expect([backlog.get(0, 'slow'), backlog.isCurrent(0, slow)]).toEqual([7, true])
  backlog.asking(0, slow)
  backlog.announced(0, 'slow', 1)
  expect(backlog.answered(0, slow, [0])).toBe(false)
  expect([backlog.get(0, 'slow'), backlog.isCurrent(0, slow)]).toEqual([1, false])
  expect(believe(backlog, 0, 'slow', 1)).toBe(true)
  expect(backlog.isCurrent(0, slow)).toBe(true)
  backlog.doubt(0)
  expect([backlog.isCurrent(0, slow), backlog.nextMs([0])]).toEqual([false, 0])
  // Nor does an answer hold that was on its way then.
  for (const revoke of [() => backlog.doubt(0), () => backlog.forget()]) {
    backlog.asking(0, slow)
    revoke()
    expect(backlog.answered(0, slow, [0])).toBe(false)
    expect(backlog.isCurrent(0, slow)).toBe(false)
  }
  believe(backlog, 0, 'slow', 1)
  backlog.forget()
  expect([backlog.isCurrent(0, slow), backlog.isUnknown(0, slow)]).toEqual([false, true])
})

test('an announcement before the first answer makes that doubtful', () => {
  const slow = [{ laneId: 'slow' }]
  const backlog = new Backlog()
  expect(backlog.announced(0, 'slow', 1)).toBe(false)
  backlog.asking(0, slow)
  expect(backlog.announced(0, 'slow', 1)).toBe(true)
  expect(backlog.get(0, 'slow')).toBe(undefined)
  expect(backlog.answered(0, slow, [0])).toBe(false)
})

test('a partition is looked after when the first of its times has come', () => {
  const backlog = new Backlog()
  const never = Number.POSITIVE_INFINITY
  expect(backlog.nextMs([0, 1])).toBe(never)
  backlog.add(0, 'reapMs', 60)
  backlog.asking(0, [])
  backlog.setTimes(0, never, 80)
  backlog.add(0, 'reapMs', 90)
  backlog.add(1, 'dueMs', 90)
  backlog.add(1, 'dueMs', 50)
  expect([backlog.nextMs([0]), backlog.nextMs([0, 1])]).toEqual([80, 50])
  backlog.asking(1, [])
  backlog.setTimes(1, never, never)
  expect(backlog.nextMs([0, 1])).toBe(80)
  // An answer does not undo what came up while it was on its way.
  backlog.asking(0, [])
  backlog.add(0, 'dueMs', 70)
  backlog.setTimes(0, 75, never)
  expect(backlog.nextMs([0])).toBe(70)
  backlog.asking(0, [])
  backlog.doubt(0)
  backlog.setTimes(0, never, never)
  expect(backlog.nextMs([0])).toBe(0)
})

test('every worker gets as many partitions as any other, or one more', () => {
  for (let workers = 1; workers < 12; workers++) {
    const members = range(workers).map((i) => `worker-${i}`)
    const owners = assign(members, 64)
    const counts = members.map((member) => owners.filter((owner) => owner === member).length)
    expect(Math.max(...counts)).toBeLessThanOrEqual(Math.ceil(64 / workers))
    expect(counts.reduce((a, b) => a + b)).toBe(64)
  }
})

test('most partitions stay where they are when a worker comes', () => {
  const before = assign(['a', 'b', 'c'], 240)
  const after = assign(['a', 'b', 'c', 'd'], 240)
  const moved = before.filter((owner, i) => owner !== after[i] && after[i] !== 'd').length
  expect(after.filter((owner) => owner === 'd').length).toBeGreaterThan(50)
  expect(moved).toBeLessThan(40)
})

test('more workers than partitions leave some without', () => {
  const owners = assign(['a', 'b', 'c', 'd'], 2)
  expect(new Set(owners).size).toBe(2)
})

test('positions are split by partition and cut by count and bytes', () => {
  expect([...positionsBy([3, 1, 3, 3], (item) => item)]).toEqual([
    [3, [0, 2, 3]],
    [1, [1]],
  ])
  const cut = (bytesAt: (i: number) => number, count: number) => [
    ...batches([0, 1, 2, 3, 4], bytesAt, count, 100),
  ]
  expect(cut(() => 0, 2)).toEqual([[0, 1], [2, 3], [4]])
  expect(cut(() => 60, 9)).toEqual([[0], [1], [2], [3], [4]])
  expect(cut((i) => (i === 2 ? 500 : 1), 9)).toEqual([[0, 1], [2], [3, 4]])
})

test('names are numbered from 1, and bytes packed with their lengths', () => {
  const numbering = new Numbering()
  expect(['b', 'a', 'b'].map((name) => numbering.of(name))).toEqual([1, 2, 1])
  expect(numbering.names).toEqual(['b', 'a'])
  expect(pack([Buffer.from('ab'), Buffer.alloc(0)]).toString('hex')).toBe('00000002616200000000')
})

test('the rule for a user of Redis names every command that the engine runs', () => {
  const root = join(import.meta.dirname, '../../../..')
  const [, rule] = /^user corelane on ([\s\S]+?)\n```/m.exec(
    readFileSync(join(root, 'docs/distributed.md'), 'utf8'),
  )!
  const rights = new Set(rule!.split(/\s+/))
  const folder = join(root, 'src/distributed/redis')
  const used = new Set<string>()
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.ts')) continue
    const text = readFileSync(join(folder, name), 'utf8')
    const calls = /(?:\.p?call\(|send(?:Command)?\(\[)'([A-Z]+)'(?:, '([A-Z]+)')?/g
    for (const [, command, sub] of text.matchAll(calls)) {
      const isParent = ['XGROUP', 'XINFO', 'CONFIG'].includes(command!)
      used.add(`+${isParent ? `${command}|${sub}` : command}`.toLowerCase())
    }
  }
  expect(used.size).toBeGreaterThan(30)
  expect([...used].filter((right) => !rights.has(right))).toEqual([])
})

test('all keys of a partition are in one slot', () => {
  const keys = queueKeys('jobs', 2).partition(1)
  const all = [
    keys.own,
    keys.lanes,
    keys.dead,
    keys.deadOrder,
    keys.deadLanes,
    keys.stream('a'),
    keys.command('b'),
  ]
  for (const key of [...all, keys.delayed('a')]) expect(key).toMatch(/^corelane:\{jobs:1\}:/)
  expect(new Set(all).size).toBe(all.length)
})

test('a fence is that of one worker, place, entry and counter', () => {
  const holdings = new Holdings('w', 1000)
  const envelope = { partitionId: 3, laneId: 'lane' } as never
  const fence = holdings.fence(3, 'lane', '17-0', 10_001)
  expect(holdings.partsOf({ fence, envelope })).toEqual({
    lane: 'lane',
    entry: '17-0',
    counter: '10001',
  })
  const other = { partitionId: 4, laneId: 'lane' } as never
  expect(holdings.partsOf({ fence, envelope: other })).toBe(undefined)
  expect(new Holdings('v', 1000).partsOf({ fence, envelope })).toBe(undefined)
  for (const forged of [
    `${fence}x`,
    `${fence}/1`,
    'w',
    '',
    7,
    'w/3/lane/17/1',
    'w/3/lane/1-1/1e3',
  ]) {
    expect(holdings.partsOf({ fence: forged as string, envelope })).toBe(undefined)
  }
})

test('what expires first is known, and what has expired is taken out', () => {
  const holdings = new Holdings('w', 1000)
  const now = performance.now()
  holdings.take(0, 'a', '1-0', 1, now + 50)
  holdings.take(0, 'a', '2-0', 1, now + 900)
  expect([holdings.isAgeing(0), holdings.isAgeing(1)]).toEqual([true, false])
  expect(holdings.takeExpired(0)).toEqual([])
  holdings.take(0, 'a', '1-0', 1, now + 950)
  expect(holdings.isAgeing(0)).toBe(false)
  holdings.take(1, 'b', '3-0', 10_001, now - 1)
  const [expired, ...others] = holdings.takeExpired(1)
  expect(others).toEqual([])
  expect(holdings.partsOf(expired!)).toEqual({ lane: 'b', entry: '3-0', counter: '10001' })
  expect(holdings.has(1, 'b', '3-0')).toBe(false)
  // The worker lost it and was given it again: the end of what it lost ends nothing else.
  holdings.take(0, 'a', '1-0', 10_001, now + 950)
  holdings.drop(0, 'a', '1-0', 1)
  expect(holdings.fenceOf(0, 'a', '1-0')).toBe(holdings.fence(0, 'a', '1-0', 10_001))
  holdings.drop(0, 'a', '1-0', 10_001)
  expect(holdings.has(0, 'a', '1-0')).toBe(false)
})

test('options are completed, and what makes no sense is refused without showing the URL', () => {
  const plan = planRedisQueue(undefined)
  expect(plan).toMatchObject({ queue: 'default', strategy: 'balanced', numPartitions: 8 })
  expect(plan.workerId).not.toBe(planRedisQueue({}).workerId)
  expect(planRedisQueue({ partitions: PartitionConfig.single() }).numPartitions).toBe(1)
  expect(planRedisQueue({ partitions: PartitionConfig.hash() }).numPartitions).toBe(8)
  expect(plan.required).toEqual({})
  expect(planRedisQueue({ partitions: { count: 3 } }).required).toEqual({ numPartitions: 3 })
  const single = { strategy: 'single', numPartitions: 1 }
  expect(planRedisQueue({ partitions: { strategy: 'single' } }).required).toEqual(single)
  const refused = (options: object): string => {
    try {
      planRedisQueue(options)
    } catch (error) {
      expect((error as { code: string }).code).toBe('CORELANE_INVALID_OPTION')
      return (error as Error).message
    }
    throw new Error(`accepted: ${JSON.stringify(options)}`)
  }
  refused({ queue: 'a:b' })
  refused({ partitions: PartitionConfig.custom(2, () => 0) })
  refused({ partitions: { strategy: 'single', count: 2 } })
  refused({ url: 'redis://x', connection: {} })
  refused({ client: {} })
  refused({ maxDeliveries: 0 })
  expect(refused({ url: 'htp://user:secret@x' })).not.toContain('secret')
})

test('texts of errors lose what is secret, also within an AggregateError', () => {
  const maker = new ClientMaker(
    { url: 'redis://u:p%40ss@h', connection: undefined, client: undefined },
    1000,
  )
  const error = new AggregateError([new Error('p@ss is wrong'), new Error('redis://u:p%40ss@h')])
  expect(maker.textOf(error)).toBe('*** is wrong, ***')
  expect(maker.textOf('p@ss')).toBe('an unknown error')
})

test('where Redis is can be said without what is secret', () => {
  const none = { url: undefined, connection: undefined, client: undefined }
  const placeOf = (source: object) => new ClientMaker({ ...none, ...source }, 1000).place
  expect(placeOf({})).toBe('redis://localhost:6379')
  expect(placeOf({ url: 'redis://h' })).toBe('redis://h')
  expect(placeOf({ url: 'rediss://u:a/b@c?d@h:7/2?x=secret' })).toBe('rediss://h:7/2')
  expect(placeOf({ url: 'unix:///run/redis.sock' })).toBe('unix:///run/redis.sock')
  expect(placeOf({ connection: { url: 'redis://:p@h', password: 'p' } })).toBe('redis://h')
  expect(placeOf({ connection: { socket: { host: 'h', tls: true } } })).toBe('rediss://h:6379')
  const client = { options: { socket: { path: '/run/redis.sock' } }, duplicate() {} }
  expect(placeOf({ client })).toBe('unix:///run/redis.sock')
})

test('a server is judged by CONFIG, else by INFO, else not at all', async () => {
  const config: Record<string, string> = {
    maxmemory: '100',
    'maxmemory-policy': 'allkeys-lru',
    appendonly: 'yes',
    appendfsync: 'no',
  }
  const asked = await factsOf(async ([command, , name]) =>
    command === 'CONFIG' ? [name, config[name!]] : 'redis_version:7.2.0\r\n',
  )
  expect(findingsOf(asked).map(({ kind }) => kind)).toEqual(['evicts', 'not-durable'])
  const hidden = await factsOf(async ([command]) => {
    if (command === 'CONFIG') throw new Error('NOPERM')
    return '# x\r\nredis_version:7.0.15\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n'
  })
  expect(findingsOf(hidden)).toEqual([])
  const silent = await factsOf(async () => {
    throw new Error('NOPERM')
  })
  expect(findingsOf(silent).map(({ kind }) => kind)).toEqual(['not-durable'])
  const told: string[] = []
  checkServer(silent, 'q', 'ignore', (kind) => told.push(kind))
  expect(told).toEqual([])
  expect(() => checkServer({ ...silent, version: '6.2.9' }, 'q', 'ignore', () => {})).toThrow(
    '6.2.9',
  )
})

test('wakes and results are read as far as they make sense', () => {
  const place = { partition: 3, lane: 'lane' }
  expect(wakeOf(Buffer.from('3 lane 12'))).toMatchObject({ ...place, kind: '', amount: 12 })
  expect(wakeOf(Buffer.from('+3 lane 12'))).toMatchObject({ ...place, kind: '+', amount: 12 })
  expect(wakeOf(Buffer.from('!'))?.kind).toBe('!')
  for (const kind of ['p', 'l']) {
    expect(wakeOf(Buffer.from(`${kind}3 lane 0`))).toMatchObject({ ...place, kind })
  }
  const entry = '1795749433049-12'
  expect(wakeOf(Buffer.from(`x3 lane ${entry}`))).toMatchObject({ ...place, kind: 'x', entry })
  for (const text of [
    '',
    '3',
    '+',
    '3 lane',
    '3 lane -1',
    '3 la ne 1',
    'x'.repeat(300),
    '3 lane 1\n',
    '3 lane 5-1',
    '3 lane 10000000000',
    'y3 lane 1',
  ]) {
    expect(wakeOf(Buffer.from(text))).toBe(undefined)
  }
  const result = resultOf('c')
  const bytes = encodeResult(result, true, 1024)
  const whole = pack([bytes, Buffer.from('no result'), bytes])
  const results = (all: Buffer) => framesOf(all, (frame) => decodeResult(frame, 1024))
  expect(results(whole)).toEqual([result, result])
  expect(results(whole.subarray(0, -1))).toEqual([result])
  expect(results(Buffer.from('xy'))).toEqual([])
})

test('progress travels with the id of its command, or not at all', () => {
  const value = { done: 3, list: ['a', null] }
  const bytes = encodeProgress('a.b-1', value, 1024)!
  expect(decodeProgress(bytes, 1024)).toEqual(['a.b-1', value])
  expect(encodeProgress('a', 'x'.repeat(2000), 1024)).toBe(undefined)
  expect(encodeProgress('a', new SharedArrayBuffer(1), 1024)).toBe(undefined)
  expect(() => decodeProgress(Buffer.from('no report'), 1024)).toThrow(RangeError)
})
