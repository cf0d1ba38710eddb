// Goal: groups of a queue on Redis keep their limits over processes, also when one dies; they leave
// nothing; and commands without a group pay nothing for them.
// Method: a real Redis that counts its calls and its keys, worker processes that are killed, a file
// into which all runs are written.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type LeaseRequest, PartitionConfig, Submitter } from 'corelane'
import { afterEach, expect, test } from 'vitest'
import { within } from '../support/deadline.ts'
import { range } from '../support/range.ts'
import { describeWithRedis } from '../support/redis-server.ts'
import { complete, newClient, RedisQueues, take, takeAll } from './support/redis-moves.ts'

const FIXTURE = join(import.meta.dirname, '../fixtures/grouped.js')
const LEASE_MS = 800
const LONG = { timeout: 20_000 }

const queues = new RedisQueues()
const children: ChildProcess[] = []

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
})

/** Runs as the file has them: of each group how many ran at once at most. */
function mostAtOnce(log: string, killed: ReadonlyMap<number, bigint>): Record<string, number> {
  const events = readFileSync(log, 'utf8')
    .trim()
    .split('\n')
    .map((line) => {
      const [at, what, group, pid] = line.split(' ') as [string, string, string, string]
      return { at: BigInt(at), what, group, pid: Number(pid) }
    })
  for (const [pid, at] of killed) events.push({ at, what: 'dies', group: '', pid })
  events.sort((a, b) => (a.at < b.at ? -1 : 1))
  const running = new Map<string, number>()
  const most: Record<string, number> = {}
  for (const { what, group, pid } of events) {
    const change = what === 'begins' ? 1 : -1
    if (what === 'dies') {
      for (const key of running.keys()) if (key.endsWith(` ${pid}`)) running.delete(key)
      continue
    }
    running.set(`${group} ${pid}`, (running.get(`${group} ${pid}`) ?? 0) + change)
    let sum = 0
    for (const [key, count] of running) if (key.startsWith(`${group} `)) sum += count
    most[group] = Math.max(most[group] ?? 0, sum)
  }
  return most
}

describeWithRedis('groups on Redis', () => {
  queues.setUp()
  const single = () => queues.start({ partitions: PartitionConfig.roundRobin(1) })

  const keys = async () => (await queues.admin.keys(`corelane:{${queues.queue}:*`)).sort()

  /** Keys that only groups have. */
  const leftovers = async () => (await keys()).filter((key) => /\}:[wtgxpr]:@/.test(key))

  const startWorker = async (options: object): Promise<ChildProcess> => {
    const words = JSON.stringify({
      url: queues.redis.url,
      queue: queues.queue,
      leaseMs: LEASE_MS,
      ...options,
    })
    const child = spawn(process.execPath, [FIXTURE, words], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    children.push(child)
    await within(once(child.stdout!, 'data'), 'the start of a worker')
    return child
  }

  const inFolder = async (act: (log: string) => Promise<void>): Promise<void> => {
    const folder = mkdtempSync(join(tmpdir(), 'corelane-groups-'))
    try {
      await act(join(folder, 'runs'))
    } finally {
      rmSync(folder, { recursive: true })
    }
  }

  test('groups that were seen once leave nothing, with and without limits', async () => {
    const queue = await single()
    const request = (max: number): LeaseRequest => {
      const groups = { concurrency: 2, rate: { limit: 5, windowMs: 100 } }
      const lanes = [{ laneId: 'lane', max, priority: 5, boost: [], groups }]
      return { partitions: [0], lanes, max, waitMs: 1000 }
    }
    const options = { keepResult: false }
    const pass = async (round: number): Promise<void> => {
      for (let from = 0; from < 2000; from += 500) {
        const some = queues.envelopes(500, { options })
        await queue.enqueueMany(some.map((one, i) => ({ ...one, group: `${round} ${from + i}` })))
      }
      for (let left = 2000; left > 0; ) {
        const given = round === 0 ? await take(queue, 500) : await queue.lease(request(500))
        expect((await complete(queue, given)).every((status) => status === 'done')).toBe(true)
        left -= given.length
      }
    }
    for (const round of [0, 1]) {
      await pass(round)
      // Rates are remembered for as long as they count.
      await expect.poll(leftovers, LONG).toEqual([])
      const kinds = (await keys()).map((key) => key.replace(/.*\}:/, ''))
      expect(kinds.toSorted()).toEqual(['lanes', 'meta', 'own', 's:@lane'])
      const stream = `corelane:{${queues.queue}:0}:s:@lane`
      expect(Number(await queues.admin.sendCommand(['MEMORY', 'USAGE', stream]))).toBeLessThan(8192)
    }
  })

  test('a group of which nothing is left but what is cancelled leaves nothing', async () => {
    const queue = await single()
    const some = queues.envelopes(20, { group: 'a', options: { keepResult: false } })
    await queue.enqueueMany(some)
    await queue.commands.cancel(some.map(({ id }) => id))
    await expect.poll(leftovers, LONG).toEqual([])
  })

  test('a cancel that comes late ends no other command of the group', async () => {
    const queue = await single()
    const [one, other] = queues.envelopes(2, { group: 'a' })
    await queue.enqueueMany([one!])
    // Once it has been found it runs, fails and is kept back; then another takes its order.
    const meanwhile = async (): Promise<void> => {
      const given = await take(queue)
      await queue.release(given, { reason: 'retry', delayMs: 60_000 })
      await queue.enqueueMany([other!])
    }
    let isFirst = true
    const duplicate = (overrides: object) => {
      const client = newClient(queues.redis.url).duplicate(overrides)
      const send = client.sendCommand.bind(client)
      const sendCommand: typeof client.sendCommand = async (words, options) => {
        if (isFirst && words.some((word) => word.includes('CORELANE_ABORTED'))) {
          isFirst = false
          await meanwhile()
        }
        return send(words, options)
      }
      return Object.assign(client, { sendCommand })
    }
    const partitions = PartitionConfig.roundRobin(1)
    const slow = await queues.start({ partitions, client: { duplicate } })
    const commandId = one!.id
    expect(await slow.commands.cancel([{ commandId, partitionId: 0 }])).toEqual(['cancelled'])
    expect(isFirst).toBe(false)
    expect((await take(queue)).map(({ envelope }) => envelope.id)).toEqual([other!.id])
    expect(await queue.counts()).toMatchObject({ waiting: 0, delayed: 0, leased: 1 })
  })

  test('commands without a group cost no call and no key more', async () => {
    const queue = await single()
    const spend = async (): Promise<Record<string, number>> => {
      await queues.admin.sendCommand(['CONFIG', 'RESETSTAT'])
      for (let turn = 0; turn < 4; turn++) {
        await queue.enqueueMany(queues.envelopes(50))
        await complete(queue, await takeAll(queue, 50))
      }
      const stats = String(await queues.admin.sendCommand(['INFO', 'commandstats']))
      const calls: Record<string, number> = {}
      for (const [, name, count] of stats.matchAll(/^cmdstat_(\S+?):calls=(\d+)/gm)) {
        if (!/^(info|config|ping|subscribe)/.test(name!)) calls[name!] = Number(count)
      }
      return calls
    }
    await spend()
    expect(await spend()).toEqual(CALLS)
    expect((await keys()).filter((key) => key.includes('@'))).toEqual([])
  })

  test('a group keeps its limit over processes, though one is killed', async () => {
    await inFolder(async (log) => {
      const lanes = { narrow: { groupConcurrency: 2 } }
      const [one] = await Promise.all([startWorker({ lanes }), startWorker({ lanes })])
      const queue = await queues.start({ partitions: PartitionConfig.balanced(8) })
      const submitter = new Submitter(queue)
      const runs = ['a', 'b', 'c'].flatMap((group) =>
        range(12).map(() => submitter.submit('narrow', 'held', { log, group, ms: 40 }, { group })),
      )
      const written = () => readFileSync(log, { encoding: 'utf8', flag: 'a+' })
      const pid = ` begins \\w ${one.pid}\n`
      await expect
        .poll(() => [...written().matchAll(new RegExp(pid, 'g'))].length, LONG)
        .toBeGreaterThan(3)
      one.kill('SIGKILL')
      await once(one, 'exit')
      const killed = new Map([[one.pid!, process.hrtime.bigint()]])
      await within(Promise.all(runs), 'all')
      await submitter.close()
      const most = mostAtOnce(log, killed)
      expect(Object.keys(most).sort()).toEqual(['a', 'b', 'c'])
      for (const count of Object.values(most)) expect(count).toBeLessThanOrEqual(2)
      expect(Math.max(...Object.values(most))).toBe(2)
      await expect.poll(leftovers, LONG).toEqual([])
    })
  })
})

/** Calls of Redis that 200 commands take in four batches; as many as before there were groups. */
const CALLS = {
  evalsha: 12,
  hget: 4,
  publish: 4,
  sadd: 4,
  set: 400,
  time: 4,
  xack: 4,
  xadd: 200,
  xdel: 4,
  xlen: 16,
  xpending: 212,
  // 50 commands, up to 16 at a time.
  xreadgroup: 16,
  zcard: 4,
}
