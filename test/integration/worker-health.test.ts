// Goal: a worker whose manager can run nothing loses no command and keeps none from other workers,
// and works again once the manager does. Method: two workers of one queue, of which the handlers of
// one no longer load; on the engine of this process and on a real Redis.

import {
  type LeasedQueue,
  PartitionConfig,
  type PartitionOptions,
  type QueueIncident,
  type QueueManager,
  type WorkerPool,
} from 'corelane'
import { RedisDistributedQueue } from 'corelane/redis'
import { describe, expect, test } from 'vitest'
import { failure, until, within } from '../support/deadline.ts'
import { Ledger } from '../support/ledger.ts'
import { openPool, openQueue, openSubmitter, openWorkers, withFaults } from '../support/pools.ts'
import type { RedisProcess } from '../support/redis-process.js'
import { describeWithRedis, startRedis } from '../support/redis-server.ts'

type OpenWorker = (name: string) => Promise<LeasedQueue>
type Pool = WorkerPool & { readonly incidents: QueueIncident[] }

const one = PartitionConfig.single()
const two = PartitionConfig.balanced(2)
const hash = PartitionConfig.hash(4)

/** Ends the threads of a manager, and lets none of its replacements load the module. */
async function breakDown(manager: QueueManager, ledger: Ledger, threads = 1): Promise<void> {
  ledger.failsToLoad = true
  // Its priority lets it start next, whatever else there is.
  const die = () => manager.submit('query', 'die', { index: 0, how: 'exit' }, { priority: 0 })
  for (let i = 0; i < threads; i++) await failure(die(), 'a death')
}

const seen = ({ incidents }: Pool, kind: QueueIncident['what']) =>
  incidents.filter(({ what }) => what === kind)

function unfit(pool: Pool): boolean {
  return seen(pool, 'worker-unfit').length > seen(pool, 'worker-fit').length
}

/** Sentences that hold for queues of any kind. */
function healthTests(openShared: (partitions: PartitionOptions) => Promise<OpenWorker>): void {
  test.each([
    { strategy: 'balanced', partitions: PartitionConfig.balanced(4) },
    { strategy: 'hash', partitions: hash },
  ])('a module that is broken buries nothing ($strategy)', async ({ partitions }) => {
    const count = 1000
    const open = await openShared(partitions)
    const ledgers = [new Ledger(count), new Ledger(count)]
    const pools: Pool[] = []
    const managers: QueueManager[] = []
    for (const [index, ledger] of ledgers.entries()) {
      const manager = await openWorkers(ledger.workerData, { partitions: two })
      managers.push(manager)
      pools.push(await openPool(await open(`worker-${index}`), manager))
    }
    const queue = await open('observer')
    const submitter = openSubmitter(queue)
    const isKeyed = partitions.strategy === 'hash'
    const all = Array.from({ length: count }, (_, index) => {
      const options = isKeyed ? { key: `key ${index % 40}` } : {}
      return submitter.submit('query', 'burn', { index, ms: 0.2 }, options)
    })
    await until(() => pools[0]!.stats().completed > 20, 'the first has ended some')
    await breakDown(managers[0]!, ledgers[0]!, 2)
    await within(Promise.all(all), 'all')
    expect(await queue.dead.list()).toEqual([])
    expect(pools.map((pool) => pool.stats().deadLettered)).toEqual([0, 0])
    expect(pools.map((pool) => pool.stats().held)).toEqual([0, 0])
    expect(seen(pools[0]!, 'worker-unfit')).toMatchObject([
      { error: { code: 'CORELANE_HANDLERS_FAILED' } },
    ])
    expect(seen(pools[1]!, 'worker-unfit')).toEqual([])
  })

  test('a reload that loads brings the worker back', async () => {
    const ledger = new Ledger(100)
    const open = await openShared(hash)
    const manager = await openWorkers(ledger.workerData, { partitions: one })
    const pool = await openPool(await open('only'), manager)
    await breakDown(manager, ledger)
    await until(() => unfit(pool), 'it is unfit')
    const submitter = openSubmitter(await open('observer'))
    const all = Array.from({ length: 50 }, (_, index) =>
      submitter.submit('query', 'mark', index + 1, { key: `key ${index}` }),
    )
    await until(() => submitter.stats().unaccepted === 0, 'the queue has them')
    await until(() => !(pool.stats().held > 0), 'it holds nothing')
    expect(pool.stats().completed).toBe(0)
    ledger.failsToLoad = false
    await within(manager.reload(), 'a reload')
    await within(Promise.all(all), 'all')
    expect(seen(pool, 'worker-fit')).toHaveLength(1)
    expect(ledger.allRuns(51)).toEqual(Array(51).fill(1))
  })

  test('a manager that is closed under its pool gives everything to others', async () => {
    const ledger = new Ledger(400)
    const open = await openShared(hash)
    const doomed = await openWorkers(ledger.workerData, { partitions: two })
    const pool = await openPool(await open('doomed'), doomed)
    const submitter = openSubmitter(await open('observer'))
    const all = Array.from({ length: 300 }, (_, index) =>
      submitter.submit('query', 'burn', { index, ms: 1 }, { key: `key ${index % 30}` }),
    )
    await until(() => pool.stats().completed > 20, 'it works')
    await within(doomed.close(), 'the manager closes')
    const other = await openPool(
      await open('other'),
      await openWorkers(ledger.workerData, { partitions: two }),
    )
    await within(Promise.all(all), 'all')
    expect(seen(pool, 'worker-unfit')).toMatchObject([{ error: { code: 'CORELANE_CLOSED' } }])
    expect(pool.stats()).toMatchObject({ deadLettered: 0, held: 0 })
    expect(pool.stats().completed + other.stats().completed).toBe(300)
    await within(pool.drain(), 'the pool of the closed manager drains')
  })
}

describe('on the engine of this process', () => {
  healthTests(async (partitions) => {
    const queue = openQueue(partitions)
    return async (name) => queue.asWorker(name)
  })
})

describeWithRedis('on Redis', () => {
  let queues = 0
  let server: Promise<RedisProcess> | undefined
  healthTests(async (partitions) => {
    server ??= startRedis()
    const { url } = await server
    const queue = `health-${queues++}`
    return (workerId) =>
      RedisDistributedQueue.open({
        url,
        queue,
        workerId,
        partitions,
        leaseMs: 10_000,
        durability: 'ignore',
      })
  })
})

test.each(['hash', 'roundRobin'] as const)(
  'where each command has its own partition, one that is down makes the worker unfit (%s)',
  async (strategy) => {
    const count = 200
    const ledgers = [new Ledger(count), new Ledger(count)]
    const queue = openQueue(PartitionConfig.roundRobin(2))
    const broken = await openWorkers(ledgers[0]!.workerData, {
      partitions: { strategy, count: 4 },
    })
    const pool = await openPool(queue.asWorker('broken'), broken)
    await breakDown(broken, ledgers[0]!)
    await until(() => unfit(pool), 'it is unfit')
    await openPool(
      queue.asWorker('sound'),
      await openWorkers(ledgers[1]!.workerData, { partitions: two }),
    )
    const submitter = openSubmitter(queue)
    const all = Array.from({ length: count }, (_, index) =>
      submitter.submit('query', 'mark', index),
    )
    await within(Promise.all(all), 'all')
    expect(await queue.dead.list()).toEqual([])
    expect(pool.stats()).toMatchObject({ deadLettered: 0, held: 0 })
  },
)

test('where any partition will do, a worker goes on with those that are left', async () => {
  const ledger = new Ledger(100)
  const manager = await openWorkers(ledger.workerData, { partitions: two })
  const queue = openQueue(PartitionConfig.roundRobin(2))
  const pool = await openPool(queue, manager)
  const before = pool.stats().target
  await breakDown(manager, ledger)
  await until(() => pool.stats().target < before, 'it wants less')
  const submitter = openSubmitter(queue)
  const all = Array.from({ length: 99 }, (_, index) => submitter.submit('query', 'mark', index + 1))
  await within(Promise.all(all), 'all')
  expect(pool.incidents).toEqual([])
})

test('a command whose handler this worker lacks goes to one that has it', async () => {
  const queue = openQueue(PartitionConfig.roundRobin(2))
  const ledger = new Ledger(10)
  const old = await openPool(
    queue.asWorker('old'),
    await openWorkers(ledger.workerData, { partitions: one }),
  )
  const submitter = openSubmitter(queue, { unknown: 'wait' })
  const fresh = submitter.submit('query', 'fresh', 7)
  await until(() => seen(old, 'handler-unknown').length > 0, 'the old one hands it on')
  const newer = `data:text/javascript,export const fresh = (value) => value * 6`
  const manager = await openWorkers(ledger.workerData, { handlers: newer, partitions: one })
  await openPool(queue.asWorker('new'), manager)
  expect(await within(fresh, 'it')).toBe(42)
  expect(seen(old, 'handler-unknown')).toMatchObject([{ error: { code: 'CORELANE_UNKNOWN_TYPE' } }])
  expect(await queue.dead.list()).toEqual([])
})

test('a command that nobody has a handler for is dead after a while', async () => {
  const queue = openQueue(PartitionConfig.roundRobin(2))
  const manager = await openWorkers(new Ledger(1).workerData, { partitions: one })
  const pool = await openPool(queue, manager, { unknownHandlerMs: 300 })
  const submitter = openSubmitter(queue, { unknown: 'wait' })
  const error = await failure(submitter.submit('query', 'nobody', 7), 'it')
  expect(error.code).toBe('CORELANE_UNKNOWN_TYPE')
  expect(pool.stats()).toMatchObject({ deadLettered: 1 })
  expect(pool.stats().returned).toBeGreaterThan(0)
  expect(await queue.dead.list()).toMatchObject([{ reason: 'unknown handler' }])
})

test('a worker that is unfit asks the queue for nothing', async () => {
  const ledger = new Ledger(10)
  const queue = openQueue(hash)
  let leases = 0
  const counted = withFaults<LeasedQueue>(queue, {
    lease: (request) => {
      leases++
      return queue.lease(request)
    },
  })
  const manager = await openWorkers(ledger.workerData, { partitions: one })
  const pool = await openPool(counted, manager)
  await breakDown(manager, ledger)
  expect(pool.stats().isFit).toBe(true)
  await until(() => unfit(pool), 'it is unfit')
  expect(pool.stats().isFit).toBe(false)
  const before = leases
  const submitter = openSubmitter(queue)
  const never = failure(submitter.submit('query', 'mark', 1), 'it')
  await until(() => submitter.stats().unaccepted === 0, 'the queue has it')
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect(leases).toBe(before)
  expect((await queue.counts()).waiting).toBe(1)
  await within(submitter.close(), 'the submitter closes')
  await never
})
