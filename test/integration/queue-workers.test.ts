// Goal: a queue knows which worker pools live, what each says of itself, and what it holds of each
// lane. Method: real pools on the engine of this process and on a real Redis.

import { hostname } from 'node:os'
import {
  type LeasedQueue,
  type LocalQueueOptions,
  PartitionConfig,
  type QueueWorker,
} from 'corelane'
import type { RedisQueueOptions } from 'corelane/redis'
import { describe, expect, test } from 'vitest'
import { until, within } from '../support/deadline.ts'
import { openQueue, openSubmitter, openWorker, shareWorkers, withFaults } from '../support/pools.ts'
import { describeWithRedis } from '../support/redis-server.ts'
import { RedisQueues } from './support/redis-moves.ts'

/** Waits until what a queue says of its workers is so. */
async function listed(
  queue: LeasedQueue,
  holds: (workers: readonly QueueWorker[]) => boolean,
): Promise<void> {
  await expect.poll(async () => holds(await queue.workers!.list()), { timeout: 20_000 }).toBe(true)
}

const ODD_LANE = '__proto__'
const worker = shareWorkers({
  partitions: PartitionConfig.balanced(2),
  lanes: { [ODD_LANE]: {}, a: {}, b: {} },
})

function workersOn(
  open: (options?: Pick<LocalQueueOptions, 'leaseMs'>) => Promise<LeasedQueue>,
): void {
  test('a worker says what it has and runs, that it drains, and is gone then', async () => {
    const queue = await open()
    const before = Date.now()
    const { ledger, pool } = await worker(queue, { lanes: [ODD_LANE] })
    await listed(queue, (workers) => workers.length === 1)
    const [listing] = await queue.workers!.list()
    const { workerId } = queue
    const { pid } = process
    expect(listing).toMatchObject({ workerId, host: hostname(), pid, partitions: 2 })
    expect(listing).toMatchObject({ state: 'running', lanes: [ODD_LANE], held: 0, running: 0 })
    expect(listing!.startedAt).toBeGreaterThanOrEqual(before - 1)
    expect(listing!.startedAt).toBeLessThanOrEqual(Date.now() + 1)
    const running = openSubmitter(queue).submit(ODD_LANE, 'softGate', 1)
    await ledger.waitForStarts(1)
    const drained = pool.drain()
    await listed(queue, ([one]) => one?.state === 'draining' && one.held + one.running === 2)
    ledger.openGate()
    await within(Promise.all([drained, running]), 'the end of a drain')
    await listed(queue, (workers) => workers.length === 0)
  })

  test('a worker whose manager can run nothing says so, and is gone once it is closed', async () => {
    const queue = await open()
    const { manager, pool } = await openWorker(queue)
    await listed(queue, ([one]) => one?.state === 'running')
    await within(manager.close(), 'the end of a manager')
    await listed(queue, ([one]) => one?.state === 'unfit' && one.partitions <= 1)
    await within(pool.close(), 'the end of a pool')
    expect(await queue.workers!.list()).toEqual([])
  })

  test('a worker says again that it lives with its beat', async () => {
    const queue = await open({ leaseMs: 900 })
    await worker(queue)
    let oldestMs = 0
    await listed(queue, ([one]) => {
      if (one === undefined) return false
      const isYounger = one.ageMs < oldestMs
      oldestMs = one.ageMs
      return isYounger
    })
  })
}

describe('the engine of this process', () => {
  workersOn(async (options) => openQueue(PartitionConfig.roundRobin(2), options))

  test('what a worker is to say while it says something is said after it', async () => {
    // Long before the next beat.
    const queue = openQueue(PartitionConfig.roundRobin(2), { leaseMs: 600_000 })
    let answer: (() => void) | undefined
    const workers = withFaults(queue.workers, {
      announce: async (standing) => {
        const isFirst = answer === undefined
        await new Promise<void>((resolve) => {
          if (isFirst) answer = resolve
          else resolve()
        })
        await queue.workers.announce(standing)
      },
    })
    const { manager } = await openWorker(withFaults(queue, { workers }))
    await until(() => answer !== undefined, 'the first announcement')
    await within(manager.close(), 'the end of a manager')
    answer!()
    await listed(queue, ([one]) => one?.state === 'unfit')
  })
})

describeWithRedis('the engine on Redis', () => {
  const queues = new RedisQueues()
  queues.setUp()
  const open = (options: RedisQueueOptions = {}) =>
    queues.start({ partitions: PartitionConfig.hash(2), ...options })

  workersOn(open)

  test('a worker with partitions of its own says how many', async () => {
    const queue = await open({ leaseMs: 900 })
    await worker(queue)
    await listed(queue, ([one]) => one?.ownedPartitions === 2)
  })

  test('dead commands are counted by lane, past the bound and after older versions too', async () => {
    const queue = await open({ maxDead: 3 })
    const { admin } = queues
    await worker(queue)
    const submitter = openSubmitter(queue)
    // One key: one partition, and one after the other.
    for (const [index, lane] of ['a', 'a', 'a', 'b'].entries()) {
      const failing = { index, failures: 99 }
      const ended = submitter.submit(lane, 'unlucky', failing, { key: 'k', id: `dead-${index}` })
      await within(ended, 'a death').catch(() => {})
    }
    const dead = async () =>
      Object.entries((await queue.counts()).byLane).map(([lane, counts]) => [lane, counts.dead])
    const expected = [
      ['a', 2],
      ['b', 1],
    ]
    expect((await dead()).toSorted()).toEqual(expected)
    const keys = await admin.keys(`corelane:{${queues.queue}:*}:dead-lanes`)
    expect(keys).toHaveLength(1)
    await admin.del(keys)
    expect((await dead()).toSorted()).toEqual(expected)
    await admin.hSet(keys[0]!, 'a', '7')
    expect((await dead()).toSorted()).toEqual(expected)
    expect(await queue.dead.redrive(['dead-2'])).toBe(1)
    expect(await queue.dead.drop(['dead-1', 'dead-3'])).toBe(2)
    await expect.poll(dead, { timeout: 20_000 }).toEqual(expect.arrayContaining([['a', 1]]))
    expect(await admin.hGetAll(keys[0]!)).toEqual({ a: '1' })
  })

  test('what others have written in the place of workers is left aside', async () => {
    const queue = await open()
    const { admin } = queues
    const name = `corelane:{${queues.queue}:meta}`
    const all = { broken: '{', wrong: '{"pid":-1}', 'no name': '{}' }
    for (const [id, text] of Object.entries(all)) {
      await admin.zAdd(`${name}:workers`, { score: Date.now() + 60_000, value: id })
      await admin.hSet(`${name}:standings`, id, text)
    }
    expect(await queue.workers!.list()).toEqual([])
  })
})
