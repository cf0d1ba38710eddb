// Goal: a worker pool takes, runs, settles and gives back as it promises. Method: the engine of
// this process and real managers; faults are put between the pool and the queue, and handlers write
// their runs down in shared memory.

import { setTimeout as sleep } from 'node:timers/promises'
import {
  type LaneOptions,
  type LeasedQueue,
  liftQueue,
  PartitionConfig,
  RateLimitConfig,
  RetryPolicy,
  Submitter,
  WorkerPool,
} from 'corelane'
import { expect, test } from 'vitest'
import { block, failure, refused, until, within } from '../support/deadline.ts'
import { deliveryOf } from '../support/envelopes.ts'
import { Ledger } from '../support/ledger.ts'
import { create } from '../support/managers.ts'
import {
  openPool,
  openQueue,
  openStage,
  openSubmitter,
  openWorkers,
  shareWorkers,
  withFaults,
} from '../support/pools.ts'
import { range } from '../support/range.ts'

const two = PartitionConfig.balanced(2)
const worker = shareWorkers({
  lanes: {
    query: {},
    patient: { retry: { retries: 3, delayMs: 30, backoff: 'exponential' } },
    eager: { retry: RetryPolicy.fixed(3, 1) },
  },
})

test('a failed command is retried by the queue after its delays, and then succeeds', async () => {
  const { manager, pool, submitter } = await openStage({ worker })
  const begun = performance.now()
  const done = submitter.submit('patient', 'unlucky', { index: 1, failures: 2 })
  expect(await within(done, 'the third run')).toBe(1)
  expect(performance.now() - begun).toBeGreaterThanOrEqual(90)
  expect(pool.stats()).toMatchObject({ retried: 2, completed: 1, deadLettered: 0 })
  expect(manager.stats()).toMatchObject({ retried: 0, deadLetters: 0 })
})

test('a handler knows the id of its command, and how often it has run on whatever worker', async () => {
  const queue = openQueue(PartitionConfig.hash(2))
  const { manager, submitter } = await openStage({ queue, worker })
  const options = { id: 'order-17', key: 'customer 5' }
  const seen = submitter.submit('eager', 'whoAmI', 2, options)
  expect(await within(seen, 'it')).toEqual({ id: 'order-17', attempt: 3, key: 'customer 5' })
  const outcome = await manager.execute('eager', 'whoAmI', 0, { id: 'local', attempt: 7 })
  expect(outcome).toMatchObject({ value: { id: 'local', attempt: 7 }, info: { id: 'local' } })
})

test('what fails for good is told to its submitter and kept among the dead', async () => {
  const retry = RetryPolicy.fixed(2, 1)
  const { queue, ledger, pool } = await openStage({
    lanes: {
      again: { retry },
      picky: { retry: retry.withRetryable(() => false) },
      once: {},
      brief: { timeoutMs: 50, retry },
    },
    pool: { unknownHandlerMs: 0 },
  })
  const submitter = openSubmitter(queue, { unknown: 'wait' })
  const submits = {
    'retries spent': ['again', 'unlucky', { index: 1, failures: 9 }],
    'not retryable': ['picky', 'unlucky', { index: 2, failures: 9 }],
    failed: ['once', 'unlucky', { index: 3, failures: 9 }],
    'timed out': ['brief', 'forever', 4],
    'unknown handler': ['once', 'nobody', 5],
  } as const
  const codes: Record<string, unknown> = {}
  for (const [reason, [lane, type, payload]] of Object.entries(submits)) {
    const error = await failure(submitter.submit(lane, type, payload), reason)
    codes[reason] = error.code ?? error.name
  }
  expect(codes).toEqual({
    'retries spent': 'RangeError',
    'not retryable': 'RangeError',
    failed: 'RangeError',
    'timed out': 'CORELANE_TIMEOUT',
    'unknown handler': 'CORELANE_UNKNOWN_TYPE',
  })
  const dead = await queue.dead.list()
  expect(dead.map(({ reason }) => reason).sort()).toEqual(Object.keys(submits).sort())
  expect(ledger.allRuns(5)).toEqual([0, 3, 1, 1, 1])
  expect(pool.stats()).toMatchObject({ deadLettered: 5, retried: 2, held: 0 })
})

test('a result that cannot cross is a failure of its command, and the pool goes on', async () => {
  const { submitter } = await openStage({ worker })
  await refused(submitter.submit('query', 'giveFunction'), 'CORELANE_UNSERIALIZABLE')
  expect(await within(submitter.submit('query', 'echo', 1), 'the next')).toBe(1)
})

test('a result that the queue refuses is a failure of its command', async () => {
  const queue = openQueue(PartitionConfig.roundRobin(2))
  const tooLarge = Object.assign(new Error('too large'), { code: 'CORELANE_ENVELOPE_TOO_LARGE' })
  const picky = withFaults<LeasedQueue>(queue, {
    completeMany: async (completions) => {
      if (completions.some(({ result }) => result.value === 'large')) throw tooLarge
      return queue.completeMany(completions)
    },
  })
  const { pool, submitter } = await openStage({ queue, through: picky, worker })
  const all = ['a', 'large', 'b', 'c'].map((value) => submitter.submit('query', 'echo', value))
  const ends = await within(Promise.allSettled(all), 'all')
  const came = ends.map((end) => (end.status === 'fulfilled' ? end.value : end.reason.code))
  expect(came).toEqual(['a', 'CORELANE_ENVELOPE_TOO_LARGE', 'b', 'c'])
  expect((await queue.dead.list())[0]?.reason).toBe('result refused')
  expect(pool.stats().held).toBe(0)
})

test('a command that kills its threads is given out so often and no more', async () => {
  const queue = openQueue(PartitionConfig.roundRobin(2), { maxDeliveries: 2 })
  const { ledger, pool, submitter } = await openStage({ queue, partitions: two })
  const poison = failure(submitter.submit('query', 'die', { index: 0, how: 'exit' }), 'poison')
  const others = range(39).map((i) => submitter.submit('query', 'mark', i + 1))
  expect((await poison).code).toBe('CORELANE_POISONED')
  await within(Promise.all(others), 'the others')
  expect(ledger.allRuns(40)).toEqual([2, ...new Array(39).fill(1)])
  expect(pool.stats()).toMatchObject({ crashed: 2, lost: 0 })
})

test('completions wait for others while more run, and never at the end of a burst', async () => {
  const queue = openQueue(PartitionConfig.roundRobin(2))
  const calls: number[] = []
  let asked = 0
  const counted = withFaults<LeasedQueue>(queue, {
    lease: (request) => {
      asked++
      return queue.lease(request)
    },
    completeMany: (completions) => {
      calls.push(completions.length)
      return queue.completeMany(completions)
    },
  })
  const { pool, submitter } = await openStage({
    queue,
    through: counted,
    partitions: PartitionConfig.balanced(1),
    pool: { gatherMs: 1000 },
  })
  const burn = (index: number) => submitter.submit('query', 'burn', { index, ms: 1 })
  await within(Promise.all(range(20).map((i) => burn(i))), 'the pace is learnt')
  const startMs = performance.now()
  await within(burn(20), 'the only one')
  // It did not wait for the second that it might have.
  expect(performance.now() - startMs).toBeLessThan(900)
  calls.length = 0
  // The request that waits for the burst.
  asked = 1
  await within(Promise.all(range(200).map((i) => burn(i))), 'a burst')
  expect(calls.reduce((sum, count) => sum + count, 0)).toBe(200)
  // They go with a request for more, or when no more are held for a moment, which is one as well.
  expect(calls.length).toBeLessThanOrEqual(asked)
  await within(pool.drain(), 'drain')
})

test('completions that wait for others go with the next request for commands', async () => {
  const queue = openQueue(PartitionConfig.single())
  let pool: WorkerPool | undefined
  let sent = 0
  const left: number[] = []
  const watched = withFaults<LeasedQueue>(queue, {
    lease: (request) => {
      left.push((pool?.stats().completed ?? 0) - sent)
      return queue.lease(request)
    },
    completeMany: (completions) => {
      sent += completions.length
      return queue.completeMany(completions)
    },
  })
  const stage = await openStage({ queue, through: watched, worker, pool: { gatherMs: 1000 } })
  pool = stage.pool
  const burn = (index: number) => stage.submitter.submit('query', 'burn', { index, ms: 1 })
  await within(Promise.all(range(300).map((i) => burn(i))), 'a burst')
  expect(left.filter((count) => count > 0)).toEqual([])
})

test('a worker that holds most of what it wants asks for no more', async () => {
  const queue = openQueue(PartitionConfig.single())
  const asked: { max: number; target: number }[] = []
  let pool: WorkerPool | undefined
  const watched = withFaults<LeasedQueue>(queue, {
    lease: (request) => {
      asked.push({ max: request.max, target: pool?.stats().target ?? 0 })
      return queue.lease(request)
    },
  })
  const stage = await openStage({ queue, through: watched, worker })
  const { submitter } = stage
  pool = stage.pool
  const many = (count: number) => range(count).map((i) => submitter.submit('query', 'echo', i))
  await within(Promise.all(many(2000)), 'the pace is learnt')
  const { target } = pool.stats()
  expect(target).toBeGreaterThan(8)
  // So many that all but two are there, behind one that is not over soon.
  const long = submitter.submit('query', 'burn', { index: 0, ms: 100 })
  await within(Promise.all([long, ...many(target - 2)]), 'the others')
  const tooFew = asked.filter((each) => each.max < Math.floor(each.target / 4))
  expect(tooFew).toEqual([])
})

test('what shares its thread with a killer is not dead-lettered with it', async () => {
  const queue = openQueue(PartitionConfig.roundRobin(2), { maxDeliveries: 3 })
  const { ledger, manager, pool, submitter } = await openStage({
    queue,
    partitions: PartitionConfig.balanced(1),
    concurrencyPerPartition: 50,
  })
  const all = () =>
    range(39).map((i) => submitter.submit('query', 'together', { index: i + 1, ms: 30 }))
  const neighbours = all()
  const killer = failure(submitter.submit('query', 'die', { index: 0, how: 'exit' }), 'the killer')
  expect((await killer).code).toBe('CORELANE_POISONED')
  expect(await within(Promise.all(neighbours), 'the neighbours')).toHaveLength(39)
  expect(ledger.runs(0)).toBe(3)
  expect(pool.stats().isolated).toBeGreaterThan(1)
  // Afterwards it takes as many at once as ever.
  await within(Promise.all(all()), 'some more')
  expect(await manager.submit('query', 'most', 0)).toBeGreaterThan(1)
})

test('what waits long for a permit keeps no suspect from running alone', async () => {
  const { pool, submitter } = await openStage({
    queue: openQueue(PartitionConfig.roundRobin(2), { maxDeliveries: 2 }),
    partitions: PartitionConfig.balanced(1),
    concurrencyPerPartition: 10,
    lanes: { query: {}, rare: { rateLimit: { limit: 1, windowMs: 600_000 } } },
  })
  const rare = [1, 2, 3].map((index) => submitter.submit('rare', 'mark', index))
  await within(Promise.race(rare), 'the first, for which there is a permit')
  await until(() => pool.stats().held > 0, 'another waits for its own')
  const die = (index: number) => submitter.submit('query', 'die', { index, how: 'exit' })
  const killers = [4, 5].map((index) => failure(die(index), 'a killer'))
  const killed = await Promise.all(killers)
  expect(killed.map(({ code }) => code)).toEqual(['CORELANE_POISONED', 'CORELANE_POISONED'])
  expect(await within(submitter.submit('query', 'mark', 6), 'one that comes later')).toBe(6)
  expect(pool.stats().isolated).toBe(2)
  const left = Promise.allSettled(rare)
  await within(submitter.close(), 'the submitter closes')
  expect((await left).filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
})

test('what cannot be extended is stopped before its lease ends, and runs elsewhere', async () => {
  const queue = openQueue(PartitionConfig.roundRobin(1), { leaseMs: 600 })
  const mute = withFaults<LeasedQueue>(queue, { extend: () => new Promise(() => {}) })
  const { ledger, manager, pool, submitter } = await openStage({
    queue,
    through: mute,
    worker,
  })
  const { incarnations } = manager.stats().partitions[0]!
  const result = submitter.submit('query', 'gate', 1)
  await ledger.waitForStarts(1)
  await until(() => pool.stats().lost === 1, 'the lease is given up')
  // Its thread ends with it: what nobody waits for must not run on beside its next run.
  await until(() => manager.stats().partitions[0]!.incarnations > incarnations, 'a replacement')
  expect(pool.incidents.map(({ what }) => what)).toContain('leases-expired')
  await pool.close()
  ledger.openGate()
  const other = await openPool(queue.asWorker('other'), manager)
  expect(await within(result, 'the second run')).toBe(1)
  expect(ledger.runs(1)).toBe(2)
  expect(pool.stats()).toMatchObject({ completed: 0, lost: 1, held: 0 })
  expect(other.stats()).toMatchObject({ completed: 1 })
})

test('a lease is extended as long as its command runs', async () => {
  const queue = openQueue(PartitionConfig.roundRobin(1), { leaseMs: 600 })
  const { ledger, pool, submitter } = await openStage({ queue, worker })
  const result = submitter.submit('query', 'burn', { index: 1, ms: 1300 })
  expect(await within(result, 'a run of two leases')).toBe(1)
  expect(ledger.runs(1)).toBe(1)
  expect(pool.stats()).toMatchObject({ lost: 0, completed: 1 })
})

test('a worker that was frozen past its leases starts and completes nothing of them', async () => {
  const queue = openQueue(PartitionConfig.roundRobin(1), { leaseMs: 400 })
  const { ledger, pool, submitter } = await openStage({ queue, worker })
  const results = [0, 1, 2].map((index) => submitter.submit('query', 'burn', { index, ms: 60 }))
  await ledger.waitForStarts(1)
  block(700)
  expect(await within(Promise.all(results), 'the results')).toEqual([0, 1, 2])
  const { lost, completed, stale } = pool.stats()
  expect(lost).toBeGreaterThan(0)
  expect([completed, stale]).toEqual([3, 0])
  expect(pool.incidents.map(({ what }) => what)).toContain('leases-expired')
})

test('a thread starts nothing of a lease that is over, though nobody could tell it', async () => {
  const queue = openQueue(PartitionConfig.roundRobin(1), { leaseMs: 400 })
  const { ledger, pool, submitter } = await openStage({ queue, worker })
  const all = [500, 1].map((ms, index) => submitter.submit('query', 'burn', { index, ms }))
  await ledger.waitForStarts(1)
  await until(() => pool.stats().submitted === 2, 'the second is bound behind the first')
  // The first ends meanwhile, after their leases.
  block(900)
  expect(ledger.runs(1)).toBe(0)
  expect(await within(Promise.all(all), 'the results')).toEqual([0, 1])
  expect(ledger.runs(1)).toBe(1)
})

test('ends that the queue does not answer for are told again, also while it drains', async () => {
  const queue = openQueue(PartitionConfig.roundRobin(1), { resultTtlMs: 60_000 })
  const calls: number[] = []
  let isDown = true
  const shaky = withFaults<LeasedQueue>(queue, {
    completeMany: async (completions) => {
      calls.push(completions.length)
      // The first is carried out, and only its answer is lost.
      if (calls.length === 1) await queue.completeMany(completions)
      if (isDown) throw new Error('connection lost')
      return queue.completeMany(completions)
    },
  })
  const { pool, submitter } = await openStage({ queue, through: shaky, worker })
  expect(await within(submitter.submit('query', 'echo', 1), 'the first')).toBe(1)
  const second = submitter.submit('query', 'echo', 2)
  await until(() => pool.stats().unsettled === 2, 'the second has run')
  const drained = pool.drain()
  await until(() => calls.length > 2, 'it is tried again')
  isDown = false
  await within(drained, 'the drain')
  expect(await within(second, 'the second')).toBe(2)
  expect(pool.stats()).toMatchObject({ held: 0, unsettled: 0, completed: 2 })
  expect(await queue.counts()).toMatchObject({ leased: 0, waiting: 0 })
})

test('drain gives back what has not started and completes what runs', async () => {
  const { queue, ledger, manager, pool, submitter } = await openStage({ worker })
  const first = submitter.submit('query', 'gate', 0)
  await ledger.waitForStarts(1)
  const rest = range(9).map((i) => submitter.submit('query', 'mark', i + 1))
  await until(() => pool.stats().held > 1, 'some are prefetched')
  await refused(pool.drain(30), 'CORELANE_DRAIN_TIMEOUT')
  expect(await queue.counts()).toMatchObject({ leased: 1, waiting: 9 })
  ledger.openGate()
  await within(pool.drain(), 'the drain')
  expect(await within(first, 'what ran')).toBe(0)
  expect(pool.stats()).toMatchObject({ held: 0, submitted: 0, completed: 1, crashed: 0 })
  await openPool(queue.asWorker('other'), manager)
  expect(await within(Promise.all(rest), 'the rest')).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9])
  expect(ledger.allRuns(10)).toEqual(new Array(10).fill(1))
})

test('what the manager has no room for is given back like anything else', async () => {
  const { queue, ledger, manager, pool, submitter } = await openStage({
    lanes: { query: { maxPending: 3 } },
    pool: { prefetchMs: 10_000 },
  })
  const burn = (index: number) => submitter.submit('query', 'burn', { index, ms: 1 })
  await within(burn(0), 'the pace is learnt')
  const running = submitter.submit('query', 'gate', 1)
  await ledger.waitForStarts(2)
  const rest = range(10).map((i) => burn(i + 2))
  await until(() => pool.stats().submitted > 5, 'some are bound, some wait, some find no room')
  await refused(pool.drain(30), 'CORELANE_DRAIN_TIMEOUT')
  expect(await queue.counts()).toMatchObject({ leased: 1, waiting: 10 })
  ledger.openGate()
  await within(pool.drain(), 'the drain')
  expect(await within(running, 'what ran')).toBe(1)
  await openPool(queue.asWorker('other'), manager)
  await within(Promise.all(rest), 'the rest')
  expect(ledger.allRuns(12)).toEqual(new Array(12).fill(1))
})

test('close gives back what runs once its thread has ended, and it counts for nothing', async () => {
  const queue = openQueue(PartitionConfig.roundRobin(1))
  const { ledger, manager, pool, submitter } = await openStage({ queue, partitions: two })
  const results = [0, 1].map((index) => submitter.submit('query', 'gate', index))
  await ledger.waitForStarts(2)
  await within(pool.close(), 'close')
  expect(await queue.counts()).toMatchObject({ leased: 0, waiting: 2 })
  expect(manager.stats().partitions.every(({ terminating }) => terminating === 0)).toBe(true)
  ledger.openGate()
  const next = { laneId: 'query', priority: 0, boost: [], max: 1 }
  const [again] = await queue
    .asWorker('other')
    .lease({ partitions: [0], lanes: [next], max: 1, waitMs: 0 })
  expect(again).toMatchObject({ deliveries: 1, envelope: { retryCount: 0 } })
  for (const result of results) result.catch(() => {})
})

test('a pool that was closed cannot be started', async () => {
  const manager = create('distributed.js')
  const pool = new WorkerPool(openQueue(PartitionConfig.roundRobin(1)), manager)
  await pool.close()
  await refused(pool.start(), 'CORELANE_WORKER_CLOSED')
  expect(pool.stats().state).toBe('closed')
})

test('a pool whose queue is closed, or was while it started, cannot be started', async () => {
  const queue = openQueue(PartitionConfig.roundRobin(1))
  const open = async () => new WorkerPool(queue, await openWorkers(new Ledger(1).workerData))
  const [late, never] = [await open(), await open()]
  const starting = late.start()
  await queue.close()
  await refused(starting, 'CORELANE_CLOSED')
  await refused(never.start(), 'CORELANE_CLOSED')
})

test('a pool that was closed while it started listens to nothing any more', async () => {
  const queue = openQueue(PartitionConfig.roundRobin(1))
  let answer = (): void => {}
  const claimed = new Promise<void>((resolve) => {
    answer = resolve
  })
  let beats = 0
  let listeners = 0
  const listen = () => {
    listeners++
    return () => listeners--
  }
  const slow = withFaults<LeasedQueue>(queue, {
    lanes: withFaults(queue.lanes, { onLimits: listen, onPause: listen }),
    ownership: {
      heartbeat: async () => {
        beats++
        await claimed
        return { owned: [], surplus: [] }
      },
      release: async () => {},
      leave: async () => {},
    },
  })
  const partitions = PartitionConfig.single()
  const manager = await openWorkers(new Ledger(1).workerData, { partitions })
  const pool = new WorkerPool(slow, manager)
  const started = pool.start()
  await until(() => beats > 0, 'its first heartbeat')
  await within(pool.close(), 'its end')
  answer()
  await within(started, 'the end of its start')
  expect(listeners).toBe(0)
})

/** A queue that does the least, and has nothing. */
const LEAST = {
  workerId: 'least',
  enqueue: async () => {},
  dequeue: async () => null,
  complete: async () => {},
}

test('a pool refuses lanes that the queue cannot serve, unless it may do without', async () => {
  const rateLimit = RateLimitConfig.perSecond(5, { algorithm: 'sliding-window' })
  const make = (lanes: Record<string, LaneOptions>) => create('distributed.js', { lanes })
  const manager = make({ a: { rateLimit } })
  const queue = openQueue(PartitionConfig.roundRobin(1))
  const code = (construct: () => unknown) => {
    try {
      construct()
      return 'none'
    } catch (error) {
      return (error as { code: string }).code
    }
  }
  expect(code(() => new WorkerPool(queue, manager))).toBe('CORELANE_DEGRADED')
  expect(code(() => new WorkerPool(queue, manager, { allowDegraded: true }))).toBe('none')
  expect(code(() => new WorkerPool(queue, manager, { lanes: ['b'] }))).toBe('CORELANE_UNKNOWN_LANE')
  const sliding = make({ a: { groupRateLimit: rateLimit } })
  expect(code(() => new WorkerPool(queue, sliding))).toBe('CORELANE_DEGRADED')
  const lifted = liftQueue({ ...LEAST, numPartitions: 1 })
  const perSecond = RateLimitConfig.perSecond(5)
  for (const groups of [
    { groupConcurrency: 1 },
    { groupRateLimit: perSecond },
    { groupWeights: { x: 2 } },
  ]) {
    const grouped = make({ a: groups })
    expect(code(() => new WorkerPool(queue, grouped))).toBe('none')
    expect(code(() => new WorkerPool(lifted, grouped))).toBe('CORELANE_DEGRADED')
    expect(code(() => new WorkerPool(lifted, grouped, { allowDegraded: true }))).toBe('none')
  }
  await expect(new Submitter(lifted).submit('a', 'echo', 1, { group: 'x' })).rejects.toMatchObject({
    code: 'CORELANE_DEGRADED',
  })
  const wrong = { prefetchMs: -1 }
  expect(code(() => new WorkerPool(queue, manager, wrong))).toBe('CORELANE_INVALID_OPTION')
})

test('progress goes nowhere where the queue cannot tell it, and is no fault', async () => {
  const lifted = liftQueue({ ...LEAST, numPartitions: 1 })
  const members = { laneId: 'query', commandType: 'counting', payload: { index: 1, to: 300 } }
  const given = deliveryOf('a', { ...members, submitter: 'me', options: { progress: true } })
  let leases = 0
  const queue = withFaults<LeasedQueue>(lifted, {
    lease: async (request) =>
      leases++ === 0 ? [{ ...given, leasedUntilMs: 1e9 }] : lifted.lease(request),
    completeMany: async () => ['done'],
  })
  const { ledger, pool } = await worker(queue, { allowDegraded: true })
  await ledger.waitForStarts(1)
  // So long that progress would have been reported.
  await sleep(100)
  ledger.openGate()
  await until(() => pool.stats().completed === 1, 'it is done')
  expect(pool.incidents).toEqual([])
})
