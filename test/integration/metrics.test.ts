// Metrics: what a manager with metrics counts. Goal: every run once, in its lane and partition,
// also of threads that have died; ages of what is stuck; nothing without the option. Method:
// commands of known number and length, and snapshots of a manager at rest.

import {
  Histogram,
  type MetricsSnapshot,
  PartitionConfig,
  QueueManagerBuilder,
  QueueMetrics,
  RetryPolicy,
} from 'corelane'
import { expect, test } from 'vitest'
import { block, failure, until, within } from '../support/deadline.ts'
import { openFloor } from '../support/floor.ts'
import { create, fixture, open } from '../support/managers.ts'
import { describeOnNodes } from '../support/nodes.ts'
import { range } from '../support/range.ts'

const two = PartitionConfig.roundRobin(2)

test('every run is counted once, by lane and partition, with its wait and its length', async () => {
  const metrics = QueueMetrics.local()
  const { manager } = await openFloor({ partitions: two, lanes: { fast: {}, slow: {} }, metrics })
  const fast = range(500).map((i) => manager.submit('fast', 'echo', i))
  const slow = range(4).map(() => manager.submit('slow', 'burn', 20))
  await within(Promise.all([...fast, ...slow]), 'all commands')
  const { lanes, partitions } = metrics.snapshot()
  expect(lanes.fast).toMatchObject({ submitted: 500, started: 500, completed: 500, failed: 0 })
  expect(lanes.fast).toMatchObject({ queued: 0, running: 0, unsettled: 0, oldestMs: 0 })
  expect([lanes.fast!.wait.count, lanes.fast!.run.count]).toEqual([500, 500])
  expect(lanes.fast!.partitions.map(({ run }) => run.count)).toEqual([250, 250])
  expect(lanes.slow!.run.min).toBeGreaterThanOrEqual(20)
  // Two of them wait behind two others.
  expect(lanes.slow!.wait.max).toBeGreaterThanOrEqual(19)
  expect(partitions[0]!.busyMs + partitions[1]!.busyMs).toBeGreaterThanOrEqual(80)
  expect(partitions.map(({ state, restarts }) => [state, restarts])).toEqual([
    ['ready', 0],
    ['ready', 0],
  ])
  await within(manager.close(), 'close')
  expect(metrics.snapshot().lanes.fast!.run.count).toBe(500)
})

test('the age of the oldest command grows while its lane is stuck, and what runs is named', async () => {
  const metrics = QueueMetrics.local()
  const { floor, manager } = await openFloor({
    partitions: PartitionConfig.single(),
    lanes: { lane: {} },
    metrics,
  })
  const held = manager.submit('lane', 'hardGate', 1, { id: 'the-gate' })
  const others = range(5000).map((i) => manager.submit('lane', 'echo', i))
  let taken = metrics.snapshot()
  const isOld = () => {
    taken = metrics.snapshot()
    return (taken.partitions[0]!.runs[0]?.runningMs ?? 0) >= 50
  }
  await until(isOld, 'the gate is held')
  const { lanes, partitions } = taken
  expect(lanes.lane!.oldestMs).toBeGreaterThan(50)
  expect(lanes.lane).toMatchObject({ queued: 5000, running: 1, unsettled: 5001 })
  expect(manager.stats().lanes.lane).toMatchObject({ queued: 5000, running: 1, unsettled: 5001 })
  const [run] = partitions[0]!.runs
  expect(run).toMatchObject({ id: 'the-gate', lane: 'lane', type: 'hardGate' })
  floor.openGate()
  await within(Promise.all([held, ...others]), 'all commands')
  expect(metrics.snapshot().lanes.lane).toMatchObject({ oldestMs: 0, queued: 0 })
})

test('failures, retries, dead letters and refusals of a limit are counted', async () => {
  const metrics = QueueMetrics.local()
  const manager = await open('survival.js', {
    partitions: PartitionConfig.single(),
    lanes: {
      retried: { retry: RetryPolicy.fixed(2, 150) },
      limited: { rateLimit: { limit: 1, windowMs: 50 } },
    },
    metrics,
  })
  await failure(manager.submit('retried', 'alwaysFails', 1), 'the failing one')
  await within(Promise.all([1, 2, 3].map((i) => manager.submit('limited', 'echo', i))), 'limited')
  const { lanes, deadLetters } = metrics.snapshot()
  expect(lanes.retried).toMatchObject({ submitted: 1, failed: 1, retried: 2, deadLettered: 1 })
  expect(lanes.retried!.partitions[0]!.failed).toBe(3)
  expect(lanes.retried!.run.count).toBe(3)
  expect(deadLetters).toBe(1)
  // A run waits from the end of its delay, so no wait has a delay or a run in it.
  expect(lanes.retried!.wait.min).toBeLessThan(150)
  expect(lanes.limited!.limited).toBeGreaterThan(0)
  expect(lanes.limited!.wait.max).toBeGreaterThan(50)
})

test('runs that time out or end with their thread are started once, and never taken back', async () => {
  const metrics = QueueMetrics.local()
  const { floor, manager } = await openFloor({
    partitions: PartitionConfig.single(),
    lanes: { lane: {} },
    timeoutGraceMs: 600_000,
    metrics,
  })
  const counts = () => {
    const { started, run, timedOut, failed } = metrics.snapshot().lanes.lane!
    return [started, run.count, timedOut, failed]
  }
  await failure(manager.submit('lane', 'gate', 1, { timeoutMs: 20 }), 'the time-out')
  // Its run goes on.
  expect(counts()).toEqual([1, 0, 1, 1])
  floor.openGate()
  await until(() => metrics.snapshot().lanes.lane!.run.count === 1, 'the end of the run')
  expect(counts()).toEqual([1, 1, 1, 1])
  await failure(manager.submit('lane', 'die', 'exit'), 'the death')
  expect(counts()).toEqual([2, 1, 1, 2])
  await within(manager.submit('lane', 'idOf', 1), 'another thread')
  expect(counts()).toEqual([3, 2, 1, 2])
  const restarts = () => metrics.snapshot().partitions[0]!.restarts
  expect(restarts()).toBe(1)
  await within(manager.reload(), 'a thread that is replaced was not lost')
  expect(restarts()).toBe(1)
})

test('counts add up over pauses, aborts, delays, a reload, and threads that come and go', async () => {
  const metrics = QueueMetrics.local()
  const manager = await open('basic.js', {
    partitions: { min: 0, max: 2, idleTimeoutMs: 1 },
    lanes: { lane: {} },
    metrics,
  })
  const lane = () => metrics.snapshot().lanes.lane!
  const starts: number[] = []
  const watch = setInterval(() => starts.push(lane().started), 1)
  try {
    await within(manager.submitMany('lane', 'noop', new Array(40).fill(1)), 'the first')
    manager.lane('lane').pause()
    const leave = new AbortController()
    const { signal } = leave
    const left = [1, 2, 3].map((i) =>
      failure(manager.submit('lane', 'noop', i, { signal }), 'left'),
    )
    const held = manager.submitMany('lane', 'noop', [1, 2, 3, 4])
    expect(lane()).toMatchObject({ queued: 7, running: 0, unsettled: 7, isPaused: true })
    leave.abort()
    await within(Promise.all(left), 'the aborted ones')
    manager.lane('lane').resume()
    await within(held, 'the held ones')
    await within(manager.reload(), 'the reload')
    await within(manager.submit('lane', 'noop', 1, { delayMs: 5 }), 'the delayed one')
  } finally {
    clearInterval(watch)
  }
  await within(manager.close(), 'close')
  const { wait, run, partitions } = lane()
  expect(lane()).toMatchObject({ submitted: 48, started: 45, completed: 45, failed: 3, queued: 0 })
  const inAll = partitions.reduce((sum, share) => sum + share.run.count, 0)
  expect([wait.count, run.count, inAll]).toEqual([45, 45, 45])
  expect(starts).toEqual([...starts].sort((a, b) => a - b))
})

test("up to 32 submits of one turn share a reading of the clock, and none shares another turn's", async () => {
  const metrics = QueueMetrics.local()
  const manager = await open('basic.js', { partitions: 1, lanes: { lane: {} }, metrics })
  const times: (number | undefined)[] = []
  manager.on('queue.command.submitted', ({ submittedAtMs }) => times.push(submittedAtMs))
  const submit = () => {
    block(0.05)
    return manager.submit('lane', 'noop', 1)
  }
  await within(Promise.all(Array.from({ length: 65 }, submit)), 'one turn')
  expect(new Set(times).size).toBe(3)
  await within(submit(), 'another turn')
  expect(times).toHaveLength(66)
  expect(times.at(-1)).toBeGreaterThan(times.at(-2)!)
})

test('payloads by the side port are counted, and so are sleeps', async () => {
  const metrics = QueueMetrics.local()
  const manager = await open('basic.js', {
    partitions: PartitionConfig.single(),
    lanes: { lane: {} },
    metrics,
  })
  for (const length of [1, 500_000, 600_000]) {
    await within(manager.submit('lane', 'noop', new Uint8Array(length)), `${length} bytes`)
  }
  await until(() => metrics.snapshot().partitions[0]!.parked > 0, 'a sleep')
  expect(metrics.snapshot().partitions[0]).toMatchObject({ sidePosts: 2, stalled: 0 })
})

test('JSON keeps the histograms of a snapshot', async () => {
  const metrics = QueueMetrics.local()
  const manager = await open('basic.js', { partitions: 1, lanes: { lane: {} }, metrics })
  await within(manager.submit('lane', 'noop', 1), 'a command')
  const json: MetricsSnapshot = JSON.parse(JSON.stringify(metrics.snapshot()))
  expect(Histogram.from(json.lanes.lane!.run as never).count).toBe(1)
})

test('a backend of the user is given counters, gauges and durations', async () => {
  const counters = new Map<string, number>()
  const durations = new Map<string, number>()
  const add = (map: Map<string, number>, name: string, value: number) =>
    map.set(name, (map.get(name) ?? 0) + value)
  const backend = {
    increment: (name: string, value: number) => add(counters, name, value),
    set: (name: string, value: number) => counters.set(name, value),
    record: (name: string, _ms: number, times: number) => add(durations, name, times),
  }
  const builder = new QueueManagerBuilder()
    .withHandlers(fixture('basic.js'))
    .withPartitions(PartitionConfig.single())
    .withLane('lane')
    .withMetrics(new QueueMetrics(backend, { intervalMs: 10 }))
  const manager = await builder.build()
  await within(manager.start(), 'start')
  await within(manager.submitMany('lane', 'noop', [1, 2, 3]), 'three')
  await until(() => counters.get('lane.commands.completed') === 3, 'the interval')
  await within(manager.submit('lane', 'noop', 4), 'one more')
  await within(manager.close(), 'close')
  expect(counters.get('lane.commands.completed')).toBe(4)
  expect([...durations]).toEqual([
    ['lane.command.wait_time', 4],
    ['lane.command.latency', 4],
  ])
})

test('metrics belong to one manager, and a manager without has none', async () => {
  const metrics = QueueMetrics.local()
  create('basic.js', { metrics })
  expect(() => create('basic.js', { metrics })).toThrow(/metrics of its own for each manager/)
  expect(() => QueueMetrics.local().snapshot()).toThrow(/QueueManager.create/)
  expect(create('basic.js').metrics).toBeUndefined()
  expect(() => create('basic.js', { metrics: {} as never })).toThrow(/QueueMetrics/)
})

test('a handler that blocks its event loop shows as its delay, a thread that sleeps does not', async () => {
  const metrics = QueueMetrics.local()
  const { manager } = await openFloor({ partitions: two, lanes: { lane: {} }, metrics })
  const before = metrics.snapshot()
  await within(manager.submit('lane', 'burn', 1_000), 'the block')
  const delays = () => metrics.delta(before).partitions.map(({ loopDelay }) => loopDelay)
  await until(() => delays().every(({ count }) => count >= 3), 'samples of both threads')
  const [blocked, asleep] = delays().sort((a, b) => b.max - a.max)
  expect(blocked!.max).toBeGreaterThan(700)
  expect(asleep!.p50).toBeLessThan(100)
  await within(manager.reload(), 'new threads')
  expect(delays().some(({ max }) => max > 700)).toBe(true)
})

describeOnNodes((run) => {
  test('a histogram goes through the bytes of Node where Node has them', async () => {
    expect(await run('native-histogram.mjs', 20_000)).toMatch(/^4,4,(true|false)\n$/)
  })
})
