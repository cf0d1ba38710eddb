// Goal: limits that are set on a queue hold over all its workers as those that are configured, for
// workers that start later too, whatever happens to workers and to Redis, until they are reset.
// Method: two real worker pools on the engine of this process and on a real Redis, whose handlers
// count in shared memory how many of them run at once.

import { setTimeout as sleep } from 'node:timers/promises'
import {
  type LeasedQueue,
  LocalDistributedQueue,
  PartitionConfig,
  type QueueManager,
  type RateLimitOptions,
  type WorkerPool,
} from 'corelane'
import { describe, expect, test } from 'vitest'
import { block, until, within } from '../support/deadline.ts'
import { Ledger } from '../support/ledger.ts'
import { openQueue, openSubmitter, openWorker, withFaults } from '../support/pools.ts'
import { range } from '../support/range.ts'
import { describeWithRedis } from '../support/redis-server.ts'
import { RedisQueues } from './support/redis-moves.ts'

const HOUR_MS = 3_600_000
const MOST = 11
const HOURLY: RateLimitOptions = { limit: 1, windowMs: HOUR_MS }
/** A token that a busy machine loses is followed by another in time. */
const STEP_MS = 8000
const PACE: RateLimitOptions = { limit: 1, windowMs: STEP_MS }

class Stage {
  readonly ledger = new Ledger(100)
  readonly managers: QueueManager[] = []
  readonly queue: LeasedQueue
  #index = 0
  #news = 1
  #workers = 0

  constructor(queue: LeasedQueue) {
    this.queue = queue
  }

  async openPool(): Promise<WorkerPool> {
    const { queue } = this
    const isLocal = queue instanceof LocalDistributedQueue
    const worker = isLocal ? queue.asWorker(`worker-${this.#workers++}`) : queue
    const { manager, pool } = await openWorker(worker, {
      ledger: this.ledger,
      concurrencyPerPartition: 8,
      lanes: { free: {}, paced: { rateLimit: PACE }, news: { rateLimit: PACE } },
    })
    this.managers.push(manager)
    return pool
  }

  /** Resolves once all workers have learnt what was set before. */
  async learned(): Promise<void> {
    const limit = ++this.#news
    await this.queue.lanes!.setRateLimit('news', { limit, windowMs: HOUR_MS })
    const hasLearnt = (manager: QueueManager) =>
      manager.stats().lanes.news!.rateLimit?.limit === limit
    await until(() => this.managers.every(hasLearnt), 'all workers know the limits')
  }

  /** Runs commands and answers how many ran at once at most. */
  async most(count: number, submitter = openSubmitter(this.queue)): Promise<number> {
    const words = new Int32Array(this.ledger.workerData.words)
    Atomics.store(words, MOST, 0)
    const all = range(count).map(() =>
      submitter.submit('free', 'together', { index: this.#index++, ms: 10 }),
    )
    await within(Promise.all(all), 'all of them')
    return Atomics.load(words, MOST)
  }
}

function limitsOn(open: () => Promise<LeasedQueue>): void {
  test('no more commands of a lane run at once than its queue says, until that is reset', async () => {
    const stage = new Stage(await open())
    const lanes = stage.queue.lanes!
    await lanes.setConcurrency('free', 2)
    // Workers that start later know it.
    await Promise.all([stage.openPool(), stage.openPool()])
    expect(await stage.most(12)).toBe(2)
    await lanes.setConcurrency('free', 1)
    await stage.learned()
    expect(await stage.most(6)).toBe(1)
    expect(await lanes.limits()).toContainEqual({ laneId: 'free', concurrency: 1 })
    await lanes.setConcurrency('free', undefined)
    await stage.learned()
    await expect.poll(() => stage.most(12), { timeout: 20_000 }).toBeGreaterThan(2)
    expect((await lanes.limits()).map(({ laneId }) => laneId)).toEqual(['news'])
  })

  test('what runs when a concurrency is set counts, and what waits in workers does not start', async () => {
    const stage = new Stage(await open())
    await Promise.all([stage.openPool(), stage.openPool()])
    const submitter = openSubmitter(stage.queue)
    const running = [1, 2, 3].map((index) => submitter.submit('free', 'softGate', index))
    await stage.ledger.waitForStarts(3)
    await stage.queue.lanes!.setConcurrency('free', 3)
    await stage.learned()
    const later = [4, 5, 6, 7].map((index) => submitter.submit('free', 'mark', index))
    expect(await within(submitter.submit('paced', 'mark', 8), 'another lane')).toBe(8)
    await sleep(100)
    expect(stage.ledger.started).toBe(4)
    stage.ledger.openGate()
    await within(Promise.all([...running, ...later]), 'all of them')
    expect(stage.ledger.allRuns(9)).toEqual([0, 1, 1, 1, 1, 1, 1, 1, 1])
  })

  test('no more commands of a lane start than its queue says, and more than its managers say', async () => {
    const stage = new Stage(await open())
    const lanes = stage.queue.lanes!
    await lanes.setRateLimit('free', { limit: 2, windowMs: 2 * STEP_MS })
    await Promise.all([stage.openPool(), stage.openPool()])
    const submitter = openSubmitter(stage.queue)
    const startsOf = (indices: number[]) =>
      indices.reduce((sum, index) => sum + stage.ledger.runs(index), 0)
    const startedMs = performance.now()
    const flow = () => Math.floor((performance.now() - startedMs) / STEP_MS)
    const [ofFree, ofPaced] = [range(5), [5, 6, 7, 8]]
    const free = ofFree.map((index) => submitter.submit('free', 'mark', index))
    await until(() => startsOf(ofFree) >= 2, 'as many as the limit')
    const paced = ofPaced.map((index) => submitter.submit('paced', 'mark', index))
    await until(() => startsOf(ofPaced) >= 1, 'one more')
    await sleep(200)
    expect(startsOf(ofFree)).toBeLessThanOrEqual(2 + flow())
    expect(startsOf(ofPaced)).toBeLessThanOrEqual(1 + flow())
    await lanes.setRateLimit('paced', { limit: 1000 })
    await within(Promise.all(paced), 'those whose limit was raised')
    expect(startsOf(ofFree)).toBeLessThanOrEqual(2 + flow())
    for (const manager of stage.managers) {
      expect(manager.stats().lanes.paced!.rateLimit).toEqual({ limit: 1000, windowMs: 1000 })
    }
    await lanes.setRateLimit('free', undefined)
    await lanes.setRateLimit('paced', undefined)
    await within(Promise.all(free), 'those whose limit was reset')
    await stage.learned()
    for (const manager of stage.managers) {
      expect(manager.stats().lanes.paced!.rateLimit).toEqual(PACE)
    }
    expect(stage.ledger.allRuns(9)).toEqual([1, 1, 1, 1, 1, 1, 1, 1, 1])
  })

  test('a worker that is held up does not lose the token of a slow limit', async () => {
    const queue = await open()
    await queue.lanes!.setRateLimit('free', HOURLY)
    const takeTokens: typeof queue.limits.takeTokens = async (...given) => {
      const tokens = await queue.limits.takeTokens(...given)
      block(300)
      return tokens
    }
    const worker = withFaults(queue, { limits: withFaults(queue.limits, { takeTokens }) })
    await openWorker(worker, { lanes: { free: {} } })
    expect(await within(openSubmitter(queue).submit('free', 'mark', 7), 'it')).toBe(7)
  })

  test('tokens that a higher limit has granted count when it is back', async () => {
    const { limits } = await open()
    const take = async (limit: number) => {
      const { granted } = await limits.takeTokens('paced', { limit, windowMs: HOUR_MS }, 50)
      return granted
    }
    expect(await take(50)).toBe(50)
    for (const limit of [5, 50, 20, 50]) expect([limit, await take(limit)]).toEqual([limit, 0])
  })

  test('a limit that is raised while a worker is refused tokens holds from then on', async () => {
    const queue = await open()
    const takeTokens: typeof queue.limits.takeTokens = async (...given) => {
      const tokens = await queue.limits.takeTokens(...given)
      if (tokens.granted > 0 || given[1].limit > 1) return tokens
      await queue.lanes!.setRateLimit('paced', { limit: 1000 })
      await until(() => manager.stats().lanes.paced!.rateLimit!.limit > 1, 'it knows the limit')
      return tokens
    }
    const worker = withFaults(queue, { limits: withFaults(queue.limits, { takeTokens }) })
    const { manager } = await openWorker(worker, { lanes: { paced: { rateLimit: HOURLY } } })
    const submitter = openSubmitter(queue)
    const all = [0, 1, 2].map((index) => submitter.submit('paced', 'mark', index))
    expect(await within(Promise.all(all), 'all of them')).toEqual([0, 1, 2])
  })
}

describe('the engine of this process', () => {
  limitsOn(async () => openQueue(PartitionConfig.roundRobin(2)))

  test('a pool that ends leaves its manager with the limits that it had', async () => {
    const stage = new Stage(openQueue(PartitionConfig.roundRobin(2)))
    const pool = await stage.openPool()
    await stage.queue.lanes!.setRateLimit('paced', { limit: 1000 })
    await stage.learned()
    const [manager] = stage.managers
    expect(manager!.stats().lanes.paced!.rateLimit!.limit).toBe(1000)
    await within(pool.drain(), 'the drain')
    expect(manager!.stats().lanes.paced!.rateLimit).toEqual(PACE)
  })

  test('a command that runs takes its slot again when its bound is set anew', async () => {
    const worker = openQueue(PartitionConfig.roundRobin(2)).asWorker('one')
    const taken: (readonly string[])[] = []
    const limits = withFaults(worker.limits, {
      takeSlots: (laneId, max, names) => {
        taken.push(names)
        return worker.limits.takeSlots(laneId, max, names)
      },
    })
    const stage = new Stage(withFaults(worker, { limits }))
    await stage.openPool()
    const running = openSubmitter(stage.queue).submit('free', 'softGate', 1)
    await stage.ledger.waitForStarts(1)
    // While there is no bound it is not kept, and expires.
    for (const concurrency of [1, undefined, 1]) {
      await stage.queue.lanes!.setConcurrency('free', concurrency)
      await stage.learned()
    }
    expect(taken[0]).toHaveLength(1)
    expect(taken).toEqual([taken[0], taken[0]])
    stage.ledger.openGate()
    expect(await within(running, 'it')).toBe(1)
  })
})

describeWithRedis('the engine on Redis', () => {
  const queues = new RedisQueues()
  queues.setUp({ persistence: 'always' })
  limitsOn(queues.start)

  test('a limit outlives workers, and Redis, which is away while another worker starts', async () => {
    const { redis } = queues
    const stage = new Stage(await queues.start())
    await stage.queue.lanes!.setConcurrency('free', 1)
    const first = await stage.openPool()
    expect(await stage.most(3)).toBe(1)
    await within(first.close(), 'the end of the first worker')
    const other = new Stage(await queues.start())
    const submitter = openSubmitter(other.queue)
    await redis.shutdown()
    // It starts without Redis, and takes nothing before it knows.
    await other.openPool()
    const most = other.most(6, submitter)
    await redis.restart()
    expect(await most).toBe(1)
    // News that were lost while Redis was away are made up for.
    expect(await other.queue.lanes!.limits()).toEqual([{ laneId: 'free', concurrency: 1 }])
  })
})
