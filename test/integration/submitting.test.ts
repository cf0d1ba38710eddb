// Submitting: the ways in besides `submit`: run, submitMany, map, the typed proxy, broadcast,
// builder.

import { QueueManager, QueueManagerBuilder } from 'corelane'
import { expect, test } from 'vitest'
import { failure, refused, within } from '../support/deadline.ts'
import { fixture, open, openLedger, share } from '../support/managers.ts'
import { range } from '../support/range.ts'

const one = { partitions: { count: 1 } } as const
const two = { partitions: { count: 2 } } as const
const shared = share('values.js', two)

async function gather<T>(source: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of source) all.push(item)
  return all
}

test('run uses the default lane unless it is told another', async () => {
  const manager = await open('surroundings.js', one)
  expect(await within(manager.run('context'), 'run')).toMatchObject({ lane: 'query' })
  const untold = manager.run('context', null, { lane: undefined, priority: 3 })
  expect(await within(untold, 'run')).toMatchObject({ lane: 'query' })
  const told = manager.run('context', null, { lane: 'skill', priority: 3 })
  expect(await within(told, 'run')).toMatchObject({ lane: 'skill' })
  const named = await open('surroundings.js', { ...one, defaultLane: 'prompt' })
  expect(await within(named.run('context'), 'run')).toMatchObject({ lane: 'prompt' })
  const own = await open('surroundings.js', { ...one, lanes: { only: {}, other: {} } })
  expect(await within(own.run('context'), 'run')).toMatchObject({ lane: 'only' })
})

test('the proxy calls handlers like local functions, and is no thenable', async () => {
  const manager = shared()
  const api = manager.handlers() as Record<string, (...given: unknown[]) => Promise<unknown>>
  expect(await within(api.echo!({ a: 1 }), 'echo')).toEqual({ a: 1 })
  expect(await within(api.look!(), 'look')).toMatchObject({ argument: 'undefined' })
  expect(await within(api.echo!(1, { lane: 'system', priority: 0 }), 'echo')).toBe(1)
  expect(manager.stats().lanes.system!.completed).toBe(1)
  expect(await Promise.resolve(api)).toBe(api)
  expect((await failure(api.throwIt!('error'), 'throwIt')).message).toBe('wrong')
  await refused(api.echo!(1, { lane: 'x' }), 'CORELANE_UNKNOWN_LANE')
})

test('a member of the proxy that was taken before the start can be called', async () => {
  const manager = QueueManager.create({ ...two, handlers: fixture('values.js') })
  const { echo } = manager.handlers() as unknown as { echo(payload: unknown): Promise<unknown> }
  try {
    expect(await within(echo(1), 'echo')).toBe(1)
  } finally {
    await manager.close()
  }
})

test('submitMany gives results in the order of the payloads', async () => {
  const manager = shared()
  const payloads = range(3_000).map((index) => ({ index }))
  expect(await within(manager.submitMany('query', 'echo', payloads), 'many')).toEqual(payloads)
  expect(await within(manager.submitMany('query', 'echo', new Set([1, 2])), 'a set')).toEqual([
    1, 2,
  ])
  expect(await within(manager.submitMany('query', 'echo', []), 'none')).toEqual([])
})

function* broken() {
  yield* range(100)
  throw new RangeError('the source broke')
}

// An unhandled rejection of one of the others would fail this test.
test.each([
  ['with the first failure', () => range(100), 'command 0 fails'],
  ['with what its source throws', broken, 'the source broke'],
])('submitMany rejects %s while all that it was given runs on', async (_, source, message) => {
  const { ledger, manager } = await openLedger(100, { partitions: { count: 1 } })
  const error = await failure(manager.submitMany('query', 'fail', source()), 'many')
  expect(error).toBeInstanceOf(RangeError)
  expect(error.message).toBe(message)
  await within(manager.drain(), 'drain')
  expect(ledger.allRuns(100)).toEqual(new Array(100).fill(1))
})

test('submitMany rejects when the manager ends before its commands', async () => {
  const manager = await open('values.js', { partitions: { count: 1 } })
  const many = failure(manager.submitMany('query', 'echo', Array(20_000).fill(1)), 'many')
  await manager.close()
  expect((await many).code).toBe('CORELANE_COMMAND_DROPPED')
  await refused(manager.submitMany('query', 'echo', [1]), 'CORELANE_CLOSED')
})

test('map gives results in the order of its source, and ends with the failure of a command', async () => {
  const { manager } = await openLedger(1000, two)
  const marked = gather(manager.map('query', 'mark', range(1000).values(), { concurrency: 16 }))
  expect(await within(marked, 'map')).toEqual(range(1000))
  const failed = await failure(gather(manager.map('query', 'fail', range(1000))), 'map')
  expect(failed.message).toBe('command 0 fails')
  await refused(gather(manager.map('x', 'mark', [1])), 'CORELANE_UNKNOWN_LANE')
  for (const options of [{ concurrency: 0 }, { ordered: 1 }, { nope: 1 }]) {
    const mapped = gather(manager.map('query', 'mark', [1], options as never))
    await refused(mapped, 'CORELANE_INVALID_OPTION')
  }
})

test('broadcast runs once on every partition, outside lanes, and gives results by partition', async () => {
  const manager = await open('surroundings.js', { partitions: { strategy: 'hash', count: 3 } })
  const contexts = (await within(manager.broadcast('context'), 'broadcast')) as object[]
  expect(contexts).toMatchObject([
    { partition: 0, lane: 'broadcast', attempt: 1 },
    { partition: 1, lane: 'broadcast', attempt: 1 },
    { partition: 2, lane: 'broadcast', attempt: 1 },
  ])
  expect(manager.stats().submitted).toBe(0)
})

test('broadcast carries payloads and results of every kind, and errors as they are thrown', async () => {
  const manager = shared()
  const payload = { map: new Map([[1, new Date(5)]]), bytes: new Uint8Array(100_000).fill(1) }
  expect(await within(manager.broadcast('echo', payload), 'echo')).toEqual([payload, payload])
  expect(await within(manager.broadcast('later', undefined), 'later')).toEqual([
    undefined,
    undefined,
  ])
  const error = await failure(manager.broadcast('throwIt', 'error'), 'throwIt')
  expect(error).toBeInstanceOf(TypeError)
  expect(error).toMatchObject({ code: 'E_WRONG', extra: { list: [1, 2] } })
  const given = await within(manager.broadcast('give', { length: 10, fill: 3 }), 'give')
  expect(given).toEqual([new Uint8Array(10).fill(3), new Uint8Array(10).fill(3)])
})

test('a broadcast runs between commands: never while one runs, and while it runs no command starts', async () => {
  const { ledger, manager } = await openLedger(12, { partitions: { count: 1 } })
  const held = manager.run('softGate', 0)
  await ledger.waitForStarts(1)
  const broadcast = manager.broadcast('softGate', 1)
  const after = range(10).map((index) => manager.run('mark', index + 2))
  ledger.openGate()
  await within(Promise.all([held, broadcast, ...after]), 'all')
  expect(ledger.order(12)[0]).toBe(0)
  expect(ledger.allRuns(12)).toEqual(new Array(12).fill(1))
})

test('the builder makes what create makes, and each call gives a new builder', async () => {
  const base = new QueueManagerBuilder().withHandlers(fixture('values.js'))
  const left = base.withPartitions({ count: 1 }).withLane('api', {}, 3).withLane('bulk')
  const right = base
    .withLane('skill', { maxPending: 5 }, 4)
    .withDefaultLanes()
    .withLane('api', { priority: 9 })
  const manager = await left.withOptions({ defaultLane: 'bulk' }).build()
  expect(manager).toBeInstanceOf(QueueManager)
  expect(Object.keys(manager.stats().lanes)).toEqual(['api', 'bulk'])
  expect(manager.stats().lanes.api!.priority).toBe(3)
  const other = await right.build()
  expect(other.lanes.find(({ name }) => name === 'skill')).toMatchObject({ maxPending: 5 })
  const names = ['system', 'control', 'query', 'session', 'skill', 'prompt']
  const priorities = Object.fromEntries(
    Object.entries(other.stats().lanes).map(([name, { priority }]) => [name, priority]),
  )
  expect(priorities).toEqual({
    ...Object.fromEntries(names.map((name, priority) => [name, priority])),
    api: 9,
  })
  await within(manager.start(), 'start')
  expect(await within(manager.run('echo', 1), 'echo')).toBe(1)
  expect(manager.stats().lanes.bulk!.completed).toBe(1)
  await within(manager.close(), 'close')
})

test('stats tell about the host', async () => {
  const manager = shared()
  const { host } = manager.stats()
  expect(host.cores).toBeGreaterThan(0)
  expect(host.totalMemoryMb).toBeGreaterThan(host.freeMemoryMb)
  expect(host.loadAverage).toBeGreaterThanOrEqual(0)
  expect(host.uptimeSeconds).toBeGreaterThan(0)
})

test('execute tells how a command ended, where and when, and does not reject for a failure', async () => {
  const { ledger, manager } = await openLedger(10, { partitions: { strategy: 'hash', count: 2 } })
  const before = performance.now()
  const done = await within(
    manager.execute('skill', 'burn', { index: 0, ms: 5 }, { key: 'k', priority: 3 }),
    'execute',
  )
  expect(done).toMatchObject({
    ok: true,
    value: 0,
    info: { lane: 'skill', type: 'burn', key: 'k', attempt: 1, partition: ledger.partition(0) },
  })
  expect(done.info.durationMs).toBeGreaterThanOrEqual(4)
  expect(done.info.startedAtMs).toBeGreaterThanOrEqual(before - 1)
  expect(done.info.startedAtMs).toBeLessThanOrEqual(performance.now())

  const failed = await within(manager.execute('query', 'fail', 1), 'a handler that throws')
  expect(failed).toMatchObject({ ok: false, info: { type: 'fail', attempt: 1 } })
  const { error } = failed as { error: Error }
  expect(error).toBeInstanceOf(RangeError)
  expect(error.message).toBe('command 1 fails')
  expect(failed.info.id).not.toBe(done.info.id)

  const unfit = await within(manager.execute('query', 'mark', (() => {}) as unknown), 'unfit')
  expect(unfit).toMatchObject({ ok: false, error: { code: 'CORELANE_UNSERIALIZABLE' } })
  expect(unfit.info.startedAtMs).toBeUndefined()
  const lost = await within(manager.execute('query', 'die', { index: 2, how: 'exit' }), 'a death')
  expect(lost).toMatchObject({ ok: false, error: { code: 'CORELANE_PARTITION_LOST' } })
  expect(manager.stats()).toMatchObject({ submitted: 4, completed: 1, failed: 3 })
})

test('execute rejects a command that is not accepted, and tells of one that close dropped', async () => {
  const { ledger, manager } = await openLedger(3, { partitions: { count: 1 }, closeTimeoutMs: 50 })
  await refused(manager.execute('x', 'mark', 0), 'CORELANE_UNKNOWN_LANE')
  await refused(manager.execute('query', 'x'), 'CORELANE_UNKNOWN_TYPE')
  const bad = failure(manager.execute('query', 'mark', 0, { priority: -1 }), 'options')
  expect((await bad).code).toBe('CORELANE_INVALID_OPTION')
  const running = manager.execute('query', 'never', 0)
  const waiting = manager.execute('query', 'mark', 1)
  await ledger.waitForStarts(1)
  await within(manager.close(), 'close')
  for (const outcome of await within(Promise.all([running, waiting]), 'both')) {
    expect(outcome).toMatchObject({ ok: false, error: { code: 'CORELANE_COMMAND_DROPPED' } })
  }
  await refused(manager.execute('query', 'mark', 2), 'CORELANE_CLOSED')
})
