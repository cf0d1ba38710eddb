// Goal: the engine of this process keeps the contract of distributed queues. Method: the published
// suite, each case on a queue of its own, whose workers are views of one object; and what is
// special about this engine by hand.

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { LocalDistributedQueue, PartitionConfig, QueueManager } from 'corelane'
import { type OpenQueue, queueContract } from 'corelane/testing'
import { expect, test } from 'vitest'
import { block, failure, refused, until, within } from '../support/deadline.ts'
import { envelopeOf as envelope, resultOf } from '../support/envelopes.ts'
import { collectGarbage } from '../support/garbage.ts'

/** Opens workers of one queue: the first call makes it. */
function localQueues(): OpenQueue {
  const queues = new Map<string, LocalDistributedQueue>()
  return async ({ queue: name, workerId, strategy, numPartitions, ...options }) => {
    const queue =
      queues.get(name) ?? new LocalDistributedQueue({ strategy, count: numPartitions }, options)
    queues.set(name, queue)
    return queue.asWorker(workerId)
  }
}

const { capabilities } = new LocalDistributedQueue({ strategy: 'hash', count: 4 })
const cases = queueContract({ open: localQueues(), capabilities, carriesClones: true })

test('the suite has a case for every sentence', () => {
  expect(cases.length).toBeGreaterThan(60)
  expect(new Set(cases.map(({ name }) => name)).size).toBe(cases.length)
})

for (const { name, run } of cases) test.concurrent(name, run)

const request = {
  partitions: [0],
  lanes: [{ laneId: 'lane', max: 10, priority: 5, boost: [] }],
  max: 10,
  waitMs: 0,
}

test('auto has a partition for each usable core and the strategy balanced', () => {
  const queue = LocalDistributedQueue.auto({ workerId: 'w' })
  const { count } = QueueManager.create({ handlers: 'none.js' }).partitioning
  expect([queue.strategy, queue.numPartitions, queue.workerId]).toEqual(['balanced', count, 'w'])
})

test('single has one partition, the others as many as are asked for', () => {
  expect(new LocalDistributedQueue({ strategy: 'single' }).numPartitions).toBe(1)
  expect(new LocalDistributedQueue(PartitionConfig.roundRobin(8)).numPartitions).toBe(8)
})

test('every queue has a worker id of its own', () => {
  const ids = [new LocalDistributedQueue(), new LocalDistributedQueue()].map((one) => one.workerId)
  expect(new Set(ids).size).toBe(2)
  for (const id of ids) expect(id).toMatch(/^local-[\w-]{16}$/)
})

test.each([
  ['PartitionConfig.count is 0', () => new LocalDistributedQueue({ count: 0 })],
  ['PartitionConfig.count is 7', () => new LocalDistributedQueue({ strategy: 'single', count: 7 })],
  ['custom', () => new LocalDistributedQueue(PartitionConfig.custom(2, () => 0))],
  ['leaseMs', () => new LocalDistributedQueue(undefined, { leaseMs: 0 })],
  ['maxDeliveries', () => new LocalDistributedQueue(undefined, { maxDeliveries: 0 })],
  ['workerId', () => new LocalDistributedQueue(undefined, { workerId: 'a b' })],
  ['lease', () => LocalDistributedQueue.auto({ lease: 5 } as never)],
])('bad options are refused: %s', (word, make) => {
  expect(make).toThrow(word)
})

test('past maxPending nothing of a batch is taken; duplicates always are', async () => {
  const queue = new LocalDistributedQueue({ strategy: 'single' }, { maxPending: 3 })
  await queue.enqueueMany([envelope('a'), envelope('b')])
  const refusal = await failure(queue.enqueueMany([envelope('c'), envelope('d')]), 'too many')
  expect(refusal).toMatchObject({ name: 'QueueFullError', code: 'CORELANE_QUEUE_FULL' })
  expect(refusal.details).toMatchObject({ pending: 2, maxPending: 3 })
  expect(await queue.enqueueMany([envelope('a'), envelope('b'), envelope('c')])).toEqual([
    'duplicate',
    'duplicate',
    'accepted',
  ])
  expect(await queue.enqueueMany([envelope('b')])).toEqual(['duplicate'])
  const [delivery] = await queue.lease({ ...request, max: 1 })
  await failure(queue.enqueue(envelope('d')), 'what is leased is pending')
  await queue.release([delivery!], { reason: 'retry', delayMs: 60_000 })
  await failure(queue.enqueue(envelope('d')), 'what is delayed is pending')
  await queue.close()
})

test('past maxPending no dead command of a call is enqueued again', async () => {
  const queue = new LocalDistributedQueue({ strategy: 'single' }, { maxPending: 2 })
  await queue.enqueueMany([envelope('a'), envelope('b')])
  for (const delivery of await queue.lease(request)) {
    await queue.deadLetter(delivery, 'failed', resultOf(delivery.envelope.id))
  }
  await queue.enqueue(envelope('c'))
  const refusal = await failure(queue.dead.redrive(['a', 'b', 'unknown']), 'too many')
  expect(refusal).toMatchObject({ code: 'CORELANE_QUEUE_FULL' })
  expect(await queue.counts()).toMatchObject({ waiting: 1, dead: 2 })
  expect(await queue.dead.redrive(['b', 'b', 'unknown'])).toBe(1)
  await queue.close()
})

test('commands enqueued one by one in a turn wake a worker once, with all of them', async () => {
  const queue = new LocalDistributedQueue({ strategy: 'single' })
  const waiting = queue.lease({ ...request, waitMs: 10_000 })
  for (const id of ['a', 'b', 'c']) void queue.enqueue(envelope(id))
  const given = await within(waiting, 'the commands')
  expect(given.map((delivery) => delivery.envelope.id)).toEqual(['a', 'b', 'c'])
  await queue.close()
})

test('a command past its deadline is more urgent than any other', async () => {
  const queue = new LocalDistributedQueue({ strategy: 'single' })
  await queue.enqueueMany([
    envelope('urgent', { priority: 0, laneId: 'fast' }),
    // Deadlines count from acceptance, by the difference of two moments of one clock.
    envelope('late', { priority: 255, createdAt: 5000, deadline: 5000 }),
    envelope('early', { priority: 255, createdAt: 5000, deadline: 65_000 }),
  ])
  const fast = { laneId: 'fast', max: 10, priority: 1, boost: [] }
  const given = await queue.lease({ ...request, lanes: [...request.lanes, fast] })
  expect(given.map((delivery) => delivery.envelope.id)).toEqual(['late', 'urgent', 'early'])
  await queue.close()
})

test('closing a worker ends its waits and no others; closing the queue ends everything', async () => {
  const queue = new LocalDistributedQueue({ strategy: 'single' })
  const [one, two] = [queue.asWorker('one'), queue.asWorker('two')]
  const waits = [one, two].map((worker) => worker.lease({ ...request, waitMs: 20_000 }))
  await one.close()
  expect(await within(waits[0]!, 'the wait of the closed one')).toEqual([])
  await queue.enqueue(envelope('a'))
  expect(await within(waits[1]!, 'the wait of the other')).toHaveLength(1)
  const last = two.lease({ ...request, waitMs: 20_000 })
  await queue.close()
  expect(await within(last, 'the last wait')).toEqual([])
  await refused(two.enqueue(envelope('b')), 'CORELANE_CLOSED')
  expect(() => queue.asWorker('three')).toThrow('closed')
})

test('a listener is not called after its announcement was ended, though a result was on its way', async () => {
  const queue = new LocalDistributedQueue({ strategy: 'single' })
  const told: string[] = []
  const end = await queue.announce('me', ({ commandId }) => told.push(commandId))
  await queue.enqueue(envelope('a', { submitter: 'me' }))
  const [delivery] = await queue.lease(request)
  const completed = queue.completeMany([{ delivery: delivery!, result: resultOf('a') }])
  const ended = end()
  await Promise.all([completed, ended])
  expect(told).toEqual([])
  await queue.close()
})

test('a poisoned command dies by itself, though nobody asks for commands', async () => {
  const queue = new LocalDistributedQueue({ strategy: 'single' }, { leaseMs: 50, maxDeliveries: 1 })
  const told: (string | undefined)[] = []
  await queue.announce('me', ({ error }) => told.push(error?.code))
  await queue.enqueue(envelope('a', { submitter: 'me' }))
  expect(await queue.start(await queue.lease(request))).toEqual(['done'])
  await until(() => told.length > 0, 'the submitter is told')
  expect(told).toEqual(['CORELANE_POISONED'])
  await queue.close()
})

test('a worker that was held up with everybody else still has its commands', async () => {
  const queue = new LocalDistributedQueue({ strategy: 'single' }, { leaseMs: 50 })
  await queue.enqueueMany([envelope('a'), envelope('b')])
  const given = await queue.lease(request)
  block(120)
  expect((await queue.extend([given[0]!])).lost).toEqual([])
  expect(await queue.release([given[1]!], { reason: 'unstarted' })).toEqual(['done'])
  const [again] = await queue.lease(request)
  expect(again).toMatchObject({ deliveries: 1, envelope: { id: 'b' } })
  await queue.close()
})

test('a queue with leases and delays keeps no process alive', async () => {
  const program = `
    import { LocalDistributedQueue } from 'corelane'
    const queue = new LocalDistributedQueue({ strategy: 'single' })
    const envelope = { id: 'a', commandType: 't', laneId: 'lane', partitionId: 0, createdAt: 1 }
    await queue.enqueue(envelope)
    await queue.lease({ partitions: [0], lanes: [{ laneId: 'lane', max: 1, priority: 5, boost: [] }],
      max: 1, waitMs: 0 })
    console.log('leased')`
  const run = promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    timeout: 15_000,
  })
  expect((await within(run, 'the process')).stdout).toBe('leased\n')
})

test('a worker that was closed leaves nothing in its queue', async () => {
  const queue = new LocalDistributedQueue()
  const closed: WeakRef<object>[] = []
  for (let i = 0; i < 1_000; i++) {
    const worker = queue.asWorker(`worker-${i}`)
    await worker.close()
    closed.push(new WeakRef(worker))
  }
  await new Promise((resolve) => setImmediate(resolve))
  collectGarbage()
  expect(closed.filter((one) => one.deref() !== undefined).length).toBeLessThan(200)
  await queue.close()
})
