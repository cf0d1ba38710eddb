// Limits that change: a lane's concurrency and rate while its commands run. Goal: raising starts
// what waits at once, lowering starts nothing too many from the moment it returns, on all
// partitions and in threads to come. Method: handlers that count those that run at once and tell
// when they started.

import { PartitionConfig, QueueManager, type QueueManagerOptions } from 'corelane'
import { expect, test } from 'vitest'
import { block, refused, until, within } from '../support/deadline.ts'
import { openFloor } from '../support/floor.ts'
import { create } from '../support/managers.ts'
import { range } from '../support/range.ts'

async function openLane(lane: NonNullable<QueueManagerOptions['lanes']>[string], others = {}) {
  const partitions = PartitionConfig.balanced(2)
  const options = { partitions, concurrencyPerPartition: 4, lanes: { lane, other: {} } }
  const { floor, manager } = await openFloor({ ...options, ...others })
  return { manager, floor, control: manager.lane('lane') }
}

test('raising the concurrency starts what waits, lowering it starts nothing until few run', async () => {
  const { manager, floor, control } = await openLane({ maxConcurrency: 2 })
  const submits = range(12).map(() => manager.submit('lane', 'gate'))
  await until(() => floor.running === 2, 'two')
  control.setConcurrency(6)
  await until(() => floor.running === 6, 'six')
  control.setConcurrency(3)
  expect(manager.stats().lanes.lane).toMatchObject({ maxConcurrency: 3, running: 6 })
  floor.forget()
  floor.openGate()
  await within(Promise.all(submits), 'all')
  const later = range(20).map(() => manager.submit('lane', 'rest', 1))
  await within(Promise.all(later), 'those that came later')
  expect(floor.most).toBe(3)
})

test('a lane changed again and again under load never runs more than it may, and loses nothing', async () => {
  const { manager, floor, control } = await openLane({ maxConcurrency: 8 })
  const submits = range(1000).map(() => manager.submit('lane', 'rest', 0.2))
  for (let i = 0; i < 20; i++) {
    const limit = 1 + ((i * 5) % 8)
    control.setConcurrency(limit)
    await until(() => manager.stats().lanes.lane!.running <= limit, 'those that were too many')
    floor.forget()
    await new Promise((resolve) => setImmediate(resolve))
    block(3)
    expect(floor.most).toBeLessThanOrEqual(limit)
  }
  const others = manager.submitMany('other', 'echo', [1, 2, 3])
  await within(Promise.all([...submits, others]), 'all')
})

test.each([
  ['a token bucket', { limit: 1, windowMs: 60_000 }],
  ['a sliding window', { limit: 100, windowMs: 60_000, algorithm: 'sliding-window' } as const],
])('raising the rate of %s starts what waits', async (_, rateLimit) => {
  const { manager, control } = await openLane({ rateLimit })
  if (rateLimit.limit === 100) control.setRateLimit({ limit: 1 })
  const submits = range(20).map(() => manager.submit('lane', 'startedAt'))
  await until(() => manager.stats().completed === 1, 'the first')
  const raisedAt = performance.now()
  control.setRateLimit({ limit: 100 })
  const starts = (await within(Promise.all(submits), 'all')) as number[]
  expect(starts.filter((at) => at < raisedAt)).toHaveLength(1)
  expect(Math.max(...starts) - raisedAt).toBeLessThan(15_000)
})

test('from the moment the rate is lowered it holds, in a thread that comes later too', async () => {
  const { manager, control } = await openLane({ rateLimit: { limit: 1000, windowMs: 100 } })
  await within(manager.submitMany('lane', 'echo', Array(100).fill(1)), 'many')
  control.setRateLimit({ limit: 2, windowMs: 300 })
  const loweredAt = performance.now()
  expect(manager.stats().lanes.lane!.rateLimit).toEqual({ limit: 2, windowMs: 300 })
  expect(manager.lanes[0]!.rate).toMatchObject({ limit: 2, windowMs: 300 })
  await within(manager.reload(), 'new threads')
  const submits = range(6).map(() => manager.submit('lane', 'startedAt'))
  const starts = (await within(Promise.all(submits), 'few')) as number[]
  starts.sort((a, b) => a - b)
  for (const [i, at] of starts.entries()) expect(at - loweredAt).toBeGreaterThan((i - 1) * 150 - 1)
  for (let i = 3; i < starts.length; i++) expect(starts[i]! - starts[i - 3]!).toBeGreaterThan(149)
})

test('a change is an event', async () => {
  const { manager, control } = await openLane({ maxConcurrency: 2 })
  const events = manager.subscribe({ events: ['queue.lane.changed'] })
  control.setConcurrency(1)
  const { value } = await within(events.next(), 'the event')
  expect(value).toMatchObject({ event: 'queue.lane.changed', lane: 'lane' })
})

test('a limit that the lane cannot have is refused, and nothing changes', async () => {
  const sliding = { limit: 5, algorithm: 'sliding-window' } as const
  const manager = create('lanes-handlers.js', {
    partitions: PartitionConfig.balanced(2),
    lanes: { bare: {}, both: { minConcurrency: 1, maxConcurrency: 1, rateLimit: sliding } },
  })
  expect(manager).toBeInstanceOf(QueueManager)
  const bare = manager.lane('bare')
  const both = manager.lane('both')
  for (const [change, allowed] of [
    [() => bare.setConcurrency(1), 'called on a lane without maxConcurrency'],
    [() => bare.setConcurrency(0), 'called on a lane without maxConcurrency'],
    [() => bare.setRateLimit({ limit: 1 }), 'called on a lane without rateLimit'],
    [() => both.setConcurrency(0), 'an integer from 1 to 2'],
    [() => both.setConcurrency(3), 'an integer from 1 to 2'],
    [() => both.setConcurrency(Symbol('2') as never), 'an integer from 1 to 2'],
    [() => both.setRateLimit(undefined as never), 'RateLimitConfig'],
    [() => both.setRateLimit({ limit: 6 }), 'at most 5'],
    [() => both.setRateLimit({ limit: 0 }), 'an integer from 1'],
    [() => both.setRateLimit({ windowMs: -1 }), 'milliseconds'],
    [() => both.setRateLimit({ algorithm: 'token-bucket' }), 'sliding-window'],
    [() => both.setRateLimit({ scope: 'partition' }), 'global'],
    [() => both.setRateLimit({ most: 3 } as never), 'limit'],
  ] as const) {
    const error = await refused(Promise.resolve().then(change), 'CORELANE_INVALID_OPTION')
    expect(String(error)).toContain(allowed)
  }
  expect(manager.lanes[1]).toMatchObject({ maxConcurrency: 1, rate: { limit: 5, windowMs: 1000 } })
})
