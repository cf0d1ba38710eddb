// Goal: a worker whose manager can run nothing loses no command and keeps none from other workers,
// and works again once the manager does. Method: two workers of one queue, of which the handlers of
// one no longer load; on the engine of this process and on a real Redis.

import {
  type LeasedQueue,
  PartitionConfig,
  type PartitionOptions,
  type QueueIncident,
} from 'corelane'
import { describe, expect, test } from 'vitest'
import { block, failure, refused, until, within } from '../support/deadline.ts'
import { openQueue, openStage, openSubmitter, openWorker, withFaults } from '../support/pools.ts'
import { range } from '../support/range.ts'
import { describeWithRedis } from '../support/redis-server.ts'
import { RedisQueues } from './support/redis-moves.ts'

type OpenWorker = (name: string) => Promise<LeasedQueue>
type Worker = Awaited<ReturnType<typeof openWorker>>
type Pool = Worker['pool']

const two = PartitionConfig.balanced(2)
const hash = PartitionConfig.hash(4)

/** Ends the threads of a manager, and lets none of its replacements load the module. */
async function breakDown({ manager, ledger }: Worker, threads = 1): Promise<void> {
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
    const workers = [
      await openWorker(await open('worker-0'), { partitions: two }),
      await openWorker(await open('worker-1'), { partitions: two }),
    ]
    const pools = workers.map(({ pool }) => pool)
    const queue = await open('observer')
    const submitter = openSubmitter(queue)
    const isKeyed = partitions.strategy === 'hash'
    const all = range(count).map((index) => {
      const options = isKeyed ? { key: `key ${index % 40}` } : {}
      return submitter.submit('query', 'burn', { index, ms: 0.2 }, options)
    })
    await until(() => pools[0]!.stats().completed > 20, 'the first has ended some')
    await breakDown(workers[0]!, 2)
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
    const open = await openShared(hash)
    const worker = await openWorker(await open('only'))
    const { ledger, manager, pool } = worker
    await breakDown(worker)
    await until(() => unfit(pool), 'it is unfit')
    const submitter = openSubmitter(await open('observer'))
    const all = range(50).map((index) =>
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
    const open = await openShared(hash)
    const { ledger, manager, pool } = await openWorker(await open('doomed'), { partitions: two })
    const submitter = openSubmitter(await open('observer'))
    const all = range(300).map((index) =>
      submitter.submit('query', 'burn', { index, ms: 1 }, { key: `key ${index % 30}` }),
    )
    await until(() => pool.stats().completed > 20, 'it works')
    await within(manager.close(), 'the manager closes')
    const other = await openWorker(await open('other'), { ledger, partitions: two })
    await within(Promise.all(all), 'all')
    expect(seen(pool, 'worker-unfit')).toMatchObject([{ error: { code: 'CORELANE_CLOSED' } }])
    expect(pool.stats()).toMatchObject({ deadLettered: 0, held: 0 })
    expect(pool.stats().completed + other.pool.stats().completed).toBe(300)
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
  const queues = new RedisQueues()
  queues.setUp()
  healthTests(
    async (partitions) => (workerId) => queues.start({ workerId, partitions, leaseMs: 10_000 }),
  )
})

test.each(['hash', 'roundRobin'] as const)(
  'where each command has its own partition, one that is down makes the worker unfit (%s)',
  async (strategy) => {
    const queue = openQueue(PartitionConfig.roundRobin(2))
    const partitions = { strategy, count: 2 }
    const broken = await openWorker(queue.asWorker('broken'), { partitions })
    await breakDown(broken)
    await until(() => unfit(broken.pool), 'it is unfit')
    await openWorker(queue.asWorker('sound'), { partitions: two })
    const submitter = openSubmitter(queue)
    const all = range(200).map((index) => submitter.submit('query', 'mark', index))
    await within(Promise.all(all), 'all')
    expect(await queue.dead.list()).toEqual([])
    expect(broken.pool.stats()).toMatchObject({ deadLettered: 0, held: 0 })
  },
)

test('where any partition will do, a worker goes on with those that are left', async () => {
  const stage = await openStage({ partitions: two })
  const { pool, submitter } = stage
  const before = pool.stats().target
  await breakDown(stage)
  await until(() => pool.stats().target < before, 'it wants less')
  const all = range(99).map((index) => submitter.submit('query', 'mark', index + 1))
  await within(Promise.all(all), 'all')
  expect(pool.incidents).toEqual([])
})

test('a worker tells that its event loop was held up, and goes on', async () => {
  const told: string[] = []
  const onIncident = ({ what }: QueueIncident) => void told.push(what)
  const queue = openQueue(PartitionConfig.single(), { leaseMs: 300 })
  const { submitter } = await openStage({ queue, pool: { onIncident } })
  block(300)
  await until(() => told.includes('loop-held-up'), 'it is told')
  expect(await within(submitter.submit('query', 'echo', 1), 'a command')).toBe(1)
})

test('a command whose handler this worker lacks goes to one that has it', async () => {
  const queue = openQueue(PartitionConfig.roundRobin(2))
  const { pool: old } = await openWorker(queue.asWorker('old'))
  const submitter = openSubmitter(queue, { unknown: 'wait' })
  const fresh = submitter.submit('query', 'fresh', 7)
  await until(() => seen(old, 'handler-unknown').length > 0, 'the old one hands it on')
  const handlers = `data:text/javascript,export const fresh = (value) => value * 6`
  await openWorker(queue.asWorker('new'), { handlers })
  expect(await within(fresh, 'it')).toBe(42)
  expect(seen(old, 'handler-unknown')).toMatchObject([{ error: { code: 'CORELANE_UNKNOWN_TYPE' } }])
  expect(await queue.dead.list()).toEqual([])
})

test('a command that nobody has a handler for is dead after a while', async () => {
  const { queue, pool } = await openStage({ pool: { unknownHandlerMs: 300 } })
  const submitter = openSubmitter(queue, { unknown: 'wait' })
  await refused(submitter.submit('query', 'nobody', 7), 'CORELANE_UNKNOWN_TYPE')
  expect(pool.stats()).toMatchObject({ deadLettered: 1 })
  expect(pool.stats().returned).toBeGreaterThan(0)
  expect(await queue.dead.list()).toMatchObject([{ reason: 'unknown handler' }])
})

test('a worker that is unfit asks the queue for nothing', async () => {
  const queue = openQueue(hash)
  let leases = 0
  const counted = withFaults<LeasedQueue>(queue, {
    lease: (request) => {
      leases++
      return queue.lease(request)
    },
  })
  const worker = await openWorker(counted)
  const { pool } = worker
  await breakDown(worker)
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
