// Groups: tenants share a lane. Goal: each gets its turns while another floods the lane, limits of
// a group hold over all partitions by the stamps, and all else that lanes promise holds in groups.
// Method: floods beside trickles, gates that count what runs at once, and every way to leave.

import { type LaneOptions, PartitionConfig, QueueMetrics } from 'corelane'
import { expect, test } from 'vitest'
import { failure, until, within } from '../support/deadline.ts'
import { openFloor } from '../support/floor.ts'
import { create, open } from '../support/managers.ts'
import { range } from '../support/range.ts'

type Stamped = [payload: unknown, partition: number, startedAtMs: number, endedAtMs: number]

test('a group that comes late has its turns beside one that floods the lane', async () => {
  const { manager } = await openFloor({
    partitions: PartitionConfig.single(),
    lanes: { api: { groupWeights: { gold: 3 } } },
  })
  const flood = 300
  const starts: { group: string; at: number }[] = []
  const run = async (group: string) => {
    const [, , at] = (await manager.submit('api', 'burn', 1, { group })) as Stamped
    starts.push({ group, at })
  }
  const runs = range(flood).map(() => run('flood'))
  for (let i = 0; i < 30; i++) runs.push(run('late'))
  for (let i = 0; i < 60; i++) runs.push(run('gold'))
  await within(Promise.all(runs), 'all', 30_000)
  const order = starts.toSorted((a, b) => a.at - b.at).map(({ group }) => group)
  const lastOf = (group: string) => order.lastIndexOf(group)
  // A window of work was bound before they came; then 1 of each group and 3 of gold by turn.
  const gold = order.slice(order.indexOf('gold'), lastOf('gold') + 1)
  const share = (group: string) => gold.filter((one) => one === group).length
  expect(share('flood')).toBeLessThan(40)
  expect(share('late')).toBeGreaterThan(10)
  expect(lastOf('late')).toBeLessThan(flood / 2)
  expect(lastOf('gold')).toBeLessThan(flood / 2)
})

test.each(['balanced', 'roundRobin', 'hash'] as const)(
  'no more of a group run at once than its maximum, and as many do: %s',
  async (strategy) => {
    const { floor, manager } = await openFloor({
      partitions: PartitionConfig[strategy](2),
      concurrencyPerPartition: 4,
      lanes: { api: { groupConcurrency: 3 }, other: {} },
    })
    const held = range(40).map((i) =>
      manager.submit('api', 'gate', i, {
        group: 'a',
        ...(strategy === 'hash' ? { key: `k${i}` } : {}),
      }),
    )
    await until(() => floor.running === 3, 'three run')
    // Another group, no group and another lane go on beside it.
    const others = [{ group: 'b' }, {}].map((options) => manager.submit('api', 'place', 0, options))
    await within(Promise.all(others), 'others')
    await within(manager.submit('other', 'place', 0, { group: 'a' }), 'the other lane')
    const timed = { group: 'a', deadlineMs: 600_000 }
    await within(manager.submit('other', 'place', 0, timed), 'one with a deadline')
    floor.openGate()
    await within(Promise.all(held), 'all')
    expect(floor.most).toBe(3)
  },
)

test.each([
  ['a token bucket', 'token-bucket'],
  ['a sliding window', 'sliding-window'],
] as const)('starts of a group keep its rate over all partitions: %s', async (_, algorithm) => {
  const groupRateLimit = { limit: 5, windowMs: 200, algorithm }
  const { floor, manager } = await openFloor({
    partitions: PartitionConfig.balanced(2),
    concurrencyPerPartition: 20,
    lanes: { api: { groupRateLimit } },
  })
  const groups = ['a', 'b']
  const runs = groups.map(async (group) => {
    const all = range(16).map(() => manager.submit('api', 'gate', 0, { group }))
    const results = (await Promise.all(all)) as Stamped[]
    return results.map(([, , at]) => at).sort((x, y) => x - y)
  })
  // Handlers run until all have started: what runs must not keep others from starting.
  await until(() => floor.running === 32, 'all run at once')
  floor.openGate()
  for (const starts of await within(Promise.all(runs), 'all', 15_000)) {
    for (const [i, from] of starts.entries()) {
      for (let j = i; j < starts.length; j++) {
        const ms = starts[j]! - from
        const refill = algorithm === 'token-bucket' ? (5 * ms) / 200 : ms < 200 ? 0 : Infinity
        expect(j - i + 1).toBeLessThanOrEqual(5 + refill + 1e-6)
      }
    }
  }
})

test('within a group the most urgent goes first, and so does one past its deadline', async () => {
  const { floor, manager } = await openFloor({
    partitions: PartitionConfig.single(),
    lanes: { api: { groupConcurrency: 1 } },
  })
  const held = manager.submit('api', 'hardGate', 0, { group: 'a' })
  await until(() => floor.running === 1, 'the gate')
  const options = [{ priority: 200 }, { priority: 10 }, { priority: 200, deadlineMs: 1 }, {}]
  const results = options.map((own) =>
    manager.submit('api', 'startedAt', 0, { group: 'a', ...own }),
  )
  await new Promise((resolve) => setTimeout(resolve, 5))
  floor.openGate()
  await held
  const starts = (await within(Promise.all(results), 'all')) as number[]
  const order = [...starts.keys()].sort((a, b) => starts[a]! - starts[b]!)
  expect(order).toEqual([2, 1, 3, 0])
})

test('commands of groups leave from wherever they wait, and their slots and turns go on', async () => {
  const { floor, manager } = await openFloor({
    partitions: PartitionConfig.single(),
    concurrencyPerPartition: 8,
    lanes: { api: { groupConcurrency: 2 } },
  })
  const group = 'a'
  const aborts = range(6).map(() => new AbortController())
  const started = [0, 1].map((i) =>
    manager.submit('api', 'gate', i, { group, signal: aborts[i]!.signal }),
  )
  await until(() => floor.running === 2, 'two run')
  const waiting = [2, 3, 4, 5].map((i) =>
    manager.submit('api', 'gate', i, { group, signal: aborts[i]!.signal }),
  )
  const late = failure(manager.submit('api', 'gate', 6, { group, startWithinMs: 20 }), 'it')
  aborts[3]!.abort()
  expect(await failure(waiting[1]!, 'a waiting one')).toMatchObject({ name: 'AbortError' })
  expect(await late).toMatchObject({ code: 'CORELANE_DEADLINE_EXCEEDED' })
  // A run that is aborted holds its slot until it has ended.
  aborts[0]!.abort()
  expect(await failure(started[0]!, 'a running one')).toMatchObject({ name: 'AbortError' })
  await within(manager.submit('api', 'place', 0, { group: 'b' }), 'another group')
  expect(floor.running).toBe(2)
  floor.openGate()
  const rest = [started[1]!, waiting[0]!, waiting[2]!, waiting[3]!]
  await within(Promise.all(rest), 'the others')
  expect(floor.most).toBe(2)
})

test('a command keeps its id through its turns, and a retry takes another turn', async () => {
  const manager = create('lanes-handlers.js', {
    partitions: PartitionConfig.single(),
    lanes: { api: { groupConcurrency: 1, retry: { retries: 2, delayMs: 1 } } },
  })
  const seen = new Map<string, string[]>()
  for (const event of ['submitted', 'started', 'retry', 'failed', 'completed'] as const) {
    manager.on(`queue.command.${event}`, ({ id }) => {
      seen.set(id!, [...(seen.get(id!) ?? []), event].sort())
    })
  }
  await manager.start()
  const flood = range(20).map(() => manager.submit('api', 'idOf', 0, { group: 'b' }))
  const failing = [0, 1].map(() =>
    failure(manager.submit('api', 'fail', 'x', { group: 'a' }), 'it'),
  )
  const named = manager.submit('api', 'idOf', 0, { group: 'a', id: 'mine' })
  await within(Promise.all([...flood, ...failing]), 'all')
  expect(await within(named, 'a named one')).toBe('mine')
  expect(await within(Promise.all(flood), 'the flood')).toEqual(flood.map((_, i) => String(i)))
  const ran = ['completed', 'started', 'submitted']
  const failed = ['failed', 'retry', 'retry', 'started', 'started', 'started', 'submitted']
  await until(() => seen.get('21')?.length === failed.length, 'events')
  expect(Object.fromEntries(seen)).toEqual({
    ...Object.fromEntries(flood.map((_, i) => [i, ran])),
    20: failed,
    21: failed,
    mine: ran,
  })
})

test('a command that waits for its next run holds no slot of its group', async () => {
  const manager = await open('lanes-handlers.js', {
    partitions: PartitionConfig.none(),
    lanes: { api: { groupConcurrency: 1 } },
  })
  const retry = { retries: 1, delayMs: 10_000 }
  const controller = new AbortController()
  const { signal } = controller
  const failing = manager.submit('api', 'fail', 'x', { group: 'a', retry, signal })
  const delayed = manager.submit('api', 'place', 0, { group: 'a', delayMs: 10_000, signal })
  const next = manager.submit('api', 'place', 0, { group: 'a' })
  const ends = Promise.allSettled([failing, delayed])
  expect(await within(next, 'the next')).toHaveLength(2)
  expect(manager.stats().lanes.api).toMatchObject({ retried: 1, unsettled: 2 })
  controller.abort()
  await within(ends, 'both')
})

test('a lane that is paused gives no turns, and close leaves nothing behind', async () => {
  const manager = await open('lanes-handlers.js', {
    partitions: PartitionConfig.balanced(2),
    lanes: { api: { groupConcurrency: 2 } },
  })
  manager.lane('api').pause()
  const results = ['a', 'b', 'a', 'c', 'a', 'a'].map((group) =>
    manager.submit('api', 'startedAt', 0, { group }),
  )
  const first = results.slice(0, 3)
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(manager.stats().lanes.api).toMatchObject({ queued: 6, running: 0 })
  manager.lane('api').resume()
  await within(Promise.all(first), 'the first')
  await within(Promise.all(results), 'all')
  manager.lane('api').pause()
  const dropped = ['a', 'b', 'a'].map((group) =>
    failure(manager.submit('api', 'startedAt', 0, { group }), 'a dropped one'),
  )
  await manager.close()
  for (const error of await Promise.all(dropped)) {
    expect(error).toMatchObject({ code: 'CORELANE_COMMAND_DROPPED' })
  }
})

test('statistics and metrics name the ten groups that have waited longest, and then none', async () => {
  const { floor, manager } = await openFloor({
    partitions: PartitionConfig.single(),
    concurrencyPerPartition: 40,
    lanes: { api: { groupConcurrency: 1 }, other: {} },
    metrics: QueueMetrics.local(),
  })
  const results: Promise<unknown>[] = []
  const openedAt = performance.now()
  await new Promise((resolve) => setTimeout(resolve, 3))
  const submittedAt: number[] = []
  for (let i = 0; i < 15; i++) {
    submittedAt.push(performance.now())
    for (const _ of [1, 2, 3]) {
      results.push(manager.submit('api', 'gate', 0, { group: `g${i}` }))
    }
    await new Promise((resolve) => setTimeout(resolve, 3))
  }
  await until(() => floor.running === 15, 'one of each runs')
  const { groups } = manager.stats().lanes.api!
  expect(groups.map(({ group }) => group)).toEqual([...Array(10).keys()].map((i) => `g${i}`))
  for (const one of groups) expect(one).toMatchObject({ queued: 2, released: 1 })
  // Each is as old as its first command that waits, in whole milliseconds: that one may count as up
  // to a millisecond older, but not as older than the command before, 3 ms ahead of it.
  for (const [i, { oldestMs }] of groups.entries()) {
    const before = submittedAt[i - 1] ?? openedAt
    expect(oldestMs).toBeLessThanOrEqual(performance.now() - before)
    expect(oldestMs).toBeGreaterThan(groups[i + 1]?.oldestMs ?? 0)
  }
  const metrics = manager.metrics!.snapshot().lanes
  expect(metrics.api!.groups.map(({ group }) => group)).toEqual(groups.map(({ group }) => group))
  expect(metrics.other!.groups).toEqual([])
  floor.openGate()
  await within(Promise.all(results), 'all')
  expect(manager.stats().lanes.api!.groups).toEqual([])
})

test('a key that is busy holds no slot of its group', async () => {
  const { floor, manager } = await openFloor({
    partitions: PartitionConfig.hash(2),
    concurrencyPerPartition: 8,
    lanes: { api: { groupConcurrency: 4 } },
  })
  const group = 'a'
  const held = range(20).map((i) => manager.submit('api', 'gate', i, { group, key: 'busy' }))
  await until(() => floor.running === 1, 'one runs')
  const others = ['x', 'y', 'z'].map((key) => manager.submit('api', 'place', 0, { group, key }))
  await within(Promise.all(others), 'other keys')
  floor.openGate()
  const results = (await within(Promise.all(held), 'the busy key')) as Stamped[]
  const starts = results.map(([, , at]) => at)
  expect(starts).toEqual(starts.toSorted((a, b) => a - b))
})

test('bad groups are refused by name', async () => {
  const manager = await open('lanes-handlers.js', { partitions: 1, lanes: { api: {} } })
  for (const group of ['', 7, 'x'.repeat(1025)] as string[]) {
    const error = await failure(manager.submit('api', 'place', 0, { group }), 'a bad group')
    expect(error).toMatchObject({ details: { option: 'command.group' } })
  }
  const tenant = { tenant: 'a' } as object
  const hinted = await failure(manager.submit('api', 'place', 0, tenant), 'another name')
  expect((hinted as Error).message).toContain('did you mean "group"')
  const lanes: [LaneOptions, string][] = [
    [{ groupConcurrency: 0 }, 'lanes.api.groupConcurrency'],
    [{ groupRateLimit: { limit: 1, scope: 'partition' } }, 'lanes.api.groupRateLimit.scope'],
    [{ groupWeights: { a: 0 } }, 'lanes.api.groupWeights'],
  ]
  for (const [lane, option] of lanes) {
    expect(() => create('lanes-handlers.js', { lanes: { api: lane } })).toThrow(
      expect.objectContaining({ details: expect.objectContaining({ option }) }),
    )
  }
})
