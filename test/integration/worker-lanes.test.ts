// Goal: what lanes promise holds over worker pools: order by key, shared limits, urgency; and under
// whatever goes wrong each command ends exactly once. Method: the engine of this process, several
// pools with managers of their own, handlers that write their runs down in shared memory.

import { PartitionConfig, QueueMetrics, RateLimitConfig, type WorkerPool } from 'corelane'
import { expect, test } from 'vitest'
import { randomFrom } from '../../build/base/random.js'
import { refused, until, within } from '../support/deadline.ts'
import { Ledger } from '../support/ledger.ts'
import { openQueue, openStage, openSubmitter, openWorker, type Stage } from '../support/pools.ts'
import { range } from '../support/range.ts'

const two = PartitionConfig.balanced(2)

/** As `openStage`, with a second worker of the same ledger. */
async function openPair({ queue = openQueue(PartitionConfig.roundRobin(2)), ...options }: Stage) {
  const stage = await openStage({ queue, through: queue.asWorker('a'), ...options })
  await openWorker(queue.asWorker('b'), { ...options, ledger: stage.ledger })
  return stage
}

test.each([
  { manager: 'balanced', partitions: two },
  { manager: 'hash', partitions: PartitionConfig.hash(2) },
])('commands of a key run in order though threads die ($manager)', async ({ partitions }) => {
  const count = 60
  const keys = 4
  const queue = openQueue(PartitionConfig.hash(4), { maxDeliveries: 9 })
  const { ledger, submitter } = await openPair({ queue, partitions })
  const results = range(count).map((index) => {
    const payload = { index, deaths: index % 15 === 7 ? 1 : 0, ms: 1 }
    return submitter.submit('query', 'unlucky', payload, { key: `key ${index % keys}` })
  })
  await within(Promise.all(results), 'all')
  for (let key = 0; key < keys; key++) {
    const own = ledger.order(count).filter((index) => index % keys === key)
    expect(own).toEqual(own.toSorted((a, b) => a - b))
  }
})

test('the next of a key waits until one that timed out has really ended', async () => {
  const { ledger, manager, submitter } = await openStage({
    queue: openQueue(PartitionConfig.hash(2)),
    partitions: two,
    lanes: { query: { timeoutMs: 60 }, gate: {} },
    timeoutGraceMs: 400,
  })
  const began = performance.now()
  const stuck = submitter.submit('query', 'forever', 0, { key: 'a' })
  await ledger.waitForStarts(1)
  const next = submitter.submit('query', 'mark', 1, { key: 'a' })
  await refused(stuck, 'CORELANE_TIMEOUT')
  await within(next, 'the next')
  expect(manager.stats().partitions.every(({ detached }) => detached === 0)).toBe(true)
  expect(performance.now() - began).toBeGreaterThan(400)
})

test('a rate limit holds over two pools, and is used', async () => {
  const [limit, windowMs, count] = [200, 500, 500]
  const lanes = { slow: { rateLimit: RateLimitConfig.per(limit, windowMs) } }
  const { ledger, submitter } = await openPair({ lanes })
  const runs = range(count).map((index) => submitter.submit('slow', 'where', index))
  const done = (await within(Promise.all(runs), 'all')) as { startedAt: number }[]
  const starts = done.map(({ startedAt }) => startedAt).sort((a, b) => a - b)
  let worst = 0
  for (const [i, from] of starts.entries()) {
    for (let j = i; j < count; j++) {
      const allowed = limit + (limit * (starts[j]! - from)) / windowMs
      worst = Math.max(worst, j - i + 1 - allowed)
    }
  }
  expect(worst).toBeLessThanOrEqual(1)
  // 200 at once and 300 as they flow in. In the best run of 100 a busy machine has half the time.
  const spans = starts.slice(limit, count - 100).map((at, i) => starts[limit + i + 100]! - at)
  expect(Math.min(...spans)).toBeLessThan((100 * windowMs * 2) / limit)
  expect(ledger.allRuns(count)).toEqual(new Array(count).fill(1))
})

test.each<[of: string, options: Stage]>([
  ['lane', { lanes: { narrow: {}, query: {} }, pool: { globalConcurrency: { narrow: 3 } } }],
  ['group', { lanes: { narrow: { groupConcurrency: 3, groupWeights: { b: 2 } } } }],
])('no more of a %s run at once over two pools than may', async (of, options) => {
  const open = { partitions: two, concurrencyPerPartition: 4, ...options }
  const { manager, submitter } = await openPair(open)
  const group = of === 'group' ? 'a' : undefined
  const runs = range(40).map((index) =>
    submitter.submit('narrow', 'together', { index, ms: 5 }, { group }),
  )
  await within(Promise.all(runs), 'all')
  expect(await manager.run('most')).toBe(3)
})

// The queue has given a command its turn and counts it for the limits of its group, until its run
// has really ended. Its manager, whose lane has the same terms for commands of its own, must not do
// so again. A command of the queue may come while one of the manager's has the only slot of its
// group there: it must not wait. Others may wait for that slot: it must not give back at its end,
// after a failure or a death of its thread, a slot that it never took. And one that waits for a
// command of its group must not count as one that has the slot which that needs.
test('a command of a queue names its group, and its manager limits it no second time', async () => {
  const { ledger, manager, submitter } = await openStage({
    queue: openQueue(PartitionConfig.roundRobin(1)),
    concurrencyPerPartition: 4,
    lanes: { narrow: { groupConcurrency: 1, retry: { retries: 1, delayMs: 1 } } },
    metrics: QueueMetrics.local(),
  })
  const group = 'a'
  const named = new Map<string, Set<string | undefined>>()
  for (const event of ['submitted', 'started', 'failed', 'completed'] as const) {
    manager.on(`queue.command.${event}`, (told) => {
      named.set(event, (named.get(event) ?? new Set()).add(told.group))
    })
  }
  const throughQueue = (type: string, payload: unknown) =>
    within(submitter.submit('narrow', type, payload, { group }), `${type} of the queue`)
  const own = [0, 1].map((index) => manager.submit('narrow', 'softGate', index, { group }))
  await ledger.waitForStarts(1)
  await throughQueue('mark', 2)
  await throughQueue('unlucky', { index: 3, failures: 1 })
  const held = throughQueue('secondGate', 4)
  await until(() => ledger.runs(4) === 1, 'one of the queue')
  const { runs } = manager.metrics!.snapshot().partitions[0]!
  const sorted = runs.map((run) => [run.type, run.group]).sort()
  expect(sorted).toEqual([
    ['secondGate', group],
    ['softGate', group],
  ])
  // The slot is where it was.
  expect(manager.stats().lanes.narrow!.groups).toMatchObject([{ group, queued: 1, released: 1 }])
  expect(ledger.runs(1)).toBe(0)
  ledger.openSecondGate()
  await held
  ledger.openGate()
  await within(Promise.all(own), 'those of the manager')
  expect(await throughQueue('nests', { index: 5, lane: 'narrow', group })).toBe(6)
  await throughQueue('unlucky', { index: 7, deaths: 1 })
  await within(manager.submit('narrow', 'mark', 8, { group }), 'another of the manager')
  expect(manager.stats().lanes.narrow!.groups).toEqual([])
  const all = ['completed', 'failed', 'started', 'submitted'].map((name) => [name, [group]])
  const seen = () => [...named].map(([name, groups]) => [name, [...groups]]).sort()
  await until(() => named.size === all.length, 'all events')
  expect(seen()).toEqual(all)
})

test('little is held, and what is urgent overtakes what is', async () => {
  const count = 300
  const lanes = { urgent: { priority: 0 }, patient: { priority: 5 } }
  const { queue, ledger, pool, submitter } = await openStage({ partitions: two, lanes })
  const patient = range(count).map((index) => submitter.submit('patient', 'burn', { index, ms: 2 }))
  await ledger.waitForStarts(60)
  const { leased } = await queue.counts()
  // Two threads end one command in a millisecond at most: 35 of them are 35 ms of work.
  expect(leased).toBeLessThan(90)
  const startedBefore = ledger.started
  await within(submitter.submit('urgent', 'mark', count), 'the urgent one')
  expect(ledger.place(count) - startedBefore).toBeLessThan(40)
  await within(Promise.all(patient), 'the others')
  expect(pool.stats()).toMatchObject({ completed: count + 1, lost: 0 })
})

test('an urgent command is taken on though nothing that is held ends', async () => {
  const lanes = { urgent: { priority: 0 }, patient: { priority: 5 } }
  const { ledger, pool, submitter } = await openStage({ lanes, pool: { prefetchMax: 4 } })
  const patient = [0, 1, 2, 3, 4, 5].map((index) => submitter.submit('patient', 'gate', index))
  await ledger.waitForStarts(1)
  const held = pool.stats().held
  const urgent = submitter.submit('urgent', 'mark', 9)
  await until(() => pool.stats().held === held + 1, 'it is taken on')
  ledger.openGate()
  await within(Promise.all([urgent, ...patient]), 'all')
  expect(ledger.place(9)).toBe(2)
})

test('a lane that is limited does not keep others from being taken', async () => {
  const queue = openQueue(PartitionConfig.roundRobin(1))
  const lanes = { narrow: { priority: 0, maxConcurrency: 1 }, wide: { priority: 5 } }
  const { ledger, submitter } = await openStage({ queue, partitions: two, lanes })
  const narrow = range(50).map((i) => submitter.submit('narrow', 'gate', i))
  await ledger.waitForStarts(1)
  expect(await within(submitter.submit('wide', 'mark', 55), 'the other lane')).toBe(55)
  ledger.openGate()
  await within(Promise.all(narrow), 'the narrow lane')
})

/**
 * What a command of the campaign may come to. A run that its pool's end cuts short counts for its
 * handler and for nobody else, so one that was to fail may not.
 */
function fatesOf(plan: { failures: number; hangs: number }): string[] {
  const fates = ['succeeds']
  if (plan.failures > 2) fates.push('fails')
  if (plan.hangs > 0) fates.push('times out')
  return fates
}

test('under deaths, failures, time-outs and closed pools each command ends exactly once', async () => {
  const seed = Math.floor(Date.now() % 2 ** 31)
  console.log(`seed ${seed}`)
  const chance = randomFrom(seed)
  const count = 150
  const ledger = new Ledger(count)
  const queue = openQueue(PartitionConfig.hash(4), { leaseMs: 2000, maxDeliveries: 1000 })
  const lanes = { query: { timeoutMs: 1000, retry: { retries: 2, delayMs: 5 } } }
  const pools: WorkerPool[] = []
  const join = async (): Promise<void> => {
    const options = { ledger, partitions: two, lanes }
    pools.push((await openWorker(queue.asWorker(`worker-${pools.length}`), options)).pool)
  }
  await Promise.all([join(), join()])
  const submitter = openSubmitter(queue)
  let fulfilled = 0
  const plans = range(count).map((index) => ({
    index,
    deaths: chance() < 0.05 ? 1 : 0,
    failures: chance() < 0.1 ? Math.ceil(chance() * 4) : 0,
    hangs: chance() < 0.02 ? 1 : 0,
    ms: chance() < 0.3 ? chance() * 4 : 0,
  }))
  const ends = plans.map((plan) => {
    const options = chance() < 0.5 ? { key: `key ${Math.floor(chance() * 6)}` } : {}
    return submitter.submit('query', 'unlucky', plan, options).then(
      (value) => (value === plan.index ? 'succeeds' : `gives ${value}`),
      (error) => (error.code === 'CORELANE_TIMEOUT' ? 'times out' : 'fails'),
    )
  })
  for (const end of ends) void end.then(() => fulfilled++)
  await until(() => fulfilled > count / 4, 'a quarter')
  await Promise.all([pools[0]!.close(), join()])
  await until(() => fulfilled > count / 2, 'a half')
  await within(pools[1]!.drain(), 'a drain')
  const fates = await within(Promise.all(ends), `all, seed ${seed}`)
  for (const [index, fate] of fates.entries()) {
    expect(fatesOf(plans[index]!), `command ${index}, seed ${seed}`).toContain(fate)
    expect(ledger.runs(index)).toBeGreaterThan(0)
  }
  await within(pools[2]!.drain(), 'the last drain')
  expect(await queue.counts()).toMatchObject({ waiting: 0, delayed: 0, leased: 0 })
  const sum = pools.map((pool) => pool.stats())
  const settled = sum.map(({ completed, deadLettered, stale }) => completed + deadLettered - stale)
  expect(settled.reduce((all, each) => all + each)).toBe(count)
})

test('a deadline counts from acceptance, whatever the clocks of submitters say', async () => {
  const queue = openQueue(PartitionConfig.single())
  const boost = { deadlineMs: 10_000 }
  const live = { onDeadline: 'reject', priorityBoost: boost } as const
  const ended = new Map<string, string | undefined>()
  await queue.announce('me', ({ commandId, error }) => void ended.set(commandId, error?.code))
  const rest = { commandType: 'mark', laneId: 'live', partitionId: 0, retryCount: 0, version: 1 }
  const clocks = { behind: Date.now() - 30_000, ahead: Date.now() + 30_000 }
  for (const [clock, createdAt] of Object.entries(clocks)) {
    const command = { ...rest, createdAt, submitter: 'me', payload: 0 }
    await queue.enqueue({ ...command, id: `${clock}-lane` })
    await queue.enqueue({ ...command, id: `${clock}-own`, deadline: createdAt + 10_000 })
    await queue.enqueue({ ...command, id: `${clock}-late`, deadline: createdAt + 20 })
  }
  const acceptedAtMs = performance.now()
  await until(() => performance.now() > acceptedAtMs + 40, 'some are late')
  await openWorker(queue, { lanes: { live } })
  await until(() => ended.size === 6, 'all have ended')
  const late = 'CORELANE_DEADLINE_EXCEEDED'
  for (const clock of ['behind', 'ahead']) {
    const codes = ['lane', 'own', 'late'].map((name) => ended.get(`${clock}-${name}`))
    expect(codes, clock).toEqual([undefined, undefined, late])
  }
})
