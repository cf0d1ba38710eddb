// Submitting: the ways in besides `submit`: run, submitMany, map, the typed proxy, broadcast,
// builder.

import { QueueManager, QueueManagerBuilder } from 'corelane'
import { expect, test } from 'vitest'
import { failure, refused, within } from '../support/deadline.ts'
import { Ledger } from '../support/ledger.ts'
import { fixture, open, openLedger } from '../support/managers.ts'
import { range } from '../support/range.ts'

const two = { partitions: { count: 2 } } as const

async function gather<T>(source: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of source) all.push(item)
  return all
}

test('run uses the default lane unless it is told another', async () => {
  const manager = await open('surroundings.js', two)
  expect(await within(manager.run('context'), 'run')).toMatchObject({ lane: 'query' })
  const untold = manager.run('context', null, { lane: undefined, priority: 3 })
  expect(await within(untold, 'run')).toMatchObject({ lane: 'query' })
  const told = manager.run('context', null, { lane: 'skill', priority: 3 })
  expect(await within(told, 'run')).toMatchObject({ lane: 'skill' })
  const named = await open('surroundings.js', { ...two, defaultLane: 'prompt' })
  expect(await within(named.run('context'), 'run')).toMatchObject({ lane: 'prompt' })
  const own = await open('surroundings.js', { ...two, lanes: { only: {}, other: {} } })
  expect(await within(own.run('context'), 'run')).toMatchObject({ lane: 'only' })
})

test('the proxy calls handlers like local functions, and is no thenable', async () => {
  const manager = await open('values.js', two)
  const api = manager.handlers() as Record<string, (...given: unknown[]) => Promise<unknown>>
  expect(await within(api.echo!({ a: 1 }), 'echo')).toEqual({ a: 1 })
  expect(await within(api.look!(), 'look')).toMatchObject({ argument: 'undefined' })
  expect(await within(api.echo!(1, { lane: 'system', priority: 0 }), 'echo')).toBe(1)
  expect(manager.stats().lanes.system!.completed).toBe(1)
  expect(api.echo).toBe(api.echo)
  expect(await Promise.resolve(api)).toBe(api)
  expect(api.nothing).toBeUndefined()
  expect(JSON.stringify({ api })).toBe('{"api":{}}')
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
  const manager = await open('values.js', two)
  const payloads = range(3_000).map((index) => ({ index }))
  expect(await within(manager.submitMany('query', 'echo', payloads), 'many')).toEqual(payloads)
  expect(await within(manager.submitMany('query', 'echo', new Set([1, 2])), 'a set')).toEqual([
    1, 2,
  ])
  expect(await within(manager.submitMany('query', 'echo', []), 'none')).toEqual([])
})

test('a source of submitMany that throws leaves what it gave running', async () => {
  const { ledger, manager } = await openLedger(3, { ...two })
  function* source() {
    yield* [0, 1, 2]
    throw new RangeError('the source broke')
  }
  const error = await failure(manager.submitMany('query', 'fail', source()), 'many')
  expect(error.message).toBe('the source broke')
  await within(manager.drain(), 'drain')
  expect(ledger.allRuns(3)).toEqual([1, 1, 1])
})

test('submitMany rejects when the manager ends before its commands', async () => {
  const manager = await open('values.js', { partitions: { count: 1 } })
  const many = failure(manager.submitMany('query', 'echo', Array(20_000).fill(1)), 'many')
  await manager.close()
  expect((await many).code).toBe('CORELANE_COMMAND_DROPPED')
  await refused(manager.submitMany('query', 'echo', [1]), 'CORELANE_CLOSED')
})

test('submitMany rejects with the first failure while the others run on', async () => {
  const { ledger, manager } = await openLedger(100, { ...two })
  const indices = range(100)
  const error = await failure(manager.submitMany('query', 'fail', indices), 'many')
  expect(error).toBeInstanceOf(RangeError)
  await within(manager.drain(), 'drain')
  expect(ledger.allRuns(100)).toEqual(new Array(100).fill(1))
})

test('submitMany over a source that throws rejects with that, and nothing else is reported', async () => {
  const manager = await open('values.js', two)
  function* source() {
    yield 'error'
    yield 'string'
    throw new RangeError('the source is broken')
  }
  const error = await failure(manager.submitMany('query', 'throwIt', source()), 'many')
  expect(error.message).toBe('the source is broken')
  await within(manager.drain(), 'drain')
})

test('map gives results in order, from arrays, generators and asynchronous generators', async () => {
  const manager = await open('values.js', two)
  const numbers = range(1_000)
  async function* slowly() {
    for (const number of numbers) {
      if (number % 100 === 0) await new Promise((resolve) => setImmediate(resolve))
      yield number
    }
  }
  for (const source of [numbers, numbers.values(), slowly()]) {
    const mapped = gather(manager.map('query', 'echo', source, { concurrency: 16 }))
    expect(await within(mapped, 'map')).toEqual(numbers)
  }
  expect(await within(gather(manager.map('query', 'echo', [])), 'an empty source')).toEqual([])
})

test('map gives results as they are done if order does not matter', async () => {
  const { ledger, manager } = await openLedger(20, { ...two })
  const held = manager.run('softGate', 19)
  const numbers = range(19)
  const mapped = gather(manager.map('query', 'mark', numbers, { ordered: false, concurrency: 4 }))
  expect((await within(mapped, 'map')).toSorted((a, b) => a - b)).toEqual(numbers)
  ledger.openGate()
  await within(held, 'the held one')
})

test('map never has more in flight than its concurrency, and reads no further than that', async () => {
  const manager = await open('values.js', two)
  let read = 0
  function* endless() {
    for (;;) yield read++
  }
  const results = manager.map('query', 'echo', endless(), { concurrency: 8 })
  for (let taken = 1; taken <= 50; taken++) {
    expect(await within(results.next(), 'next')).toEqual({ value: taken - 1, done: false })
    expect(read).toBeLessThanOrEqual(taken + 8)
  }
  await within(results.return(), 'return')
  expect(manager.stats().submitted).toBeLessThanOrEqual(58)
})

test('map gives a result while the source makes it wait for the next item', async () => {
  const manager = await open('values.js', two)
  let taken!: () => void
  const firstTaken = new Promise<void>((resolve) => {
    taken = resolve
  })
  async function* source() {
    yield 'first'
    await firstTaken
    yield 'second'
  }
  const results = manager.map('query', 'echo', source(), { concurrency: 4 })
  expect(await within(results.next(), 'the first')).toEqual({ value: 'first', done: false })
  taken()
  expect(await within(results.next(), 'the second')).toEqual({ value: 'second', done: false })
  expect(await within(results.next(), 'the end')).toEqual({ value: undefined, done: true })
})

test('map ends with the failure of a command, and closes its source', async () => {
  const manager = await open('ledger.js', { ...two, workerData: new Ledger(1000).workerData })
  let isClosed = false
  function* source() {
    try {
      for (let index = 0; index < 1000; index++) yield index
    } finally {
      isClosed = true
    }
  }
  const error = await failure(gather(manager.map('query', 'fail', source())), 'map')
  expect(error).toBeInstanceOf(RangeError)
  expect(error.message).toBe('command 0 fails')
  expect(isClosed).toBe(true)
})

test('leaving a loop over map early closes its source', async () => {
  const manager = await open('values.js', two)
  let isClosed = false
  async function* source() {
    try {
      for (let index = 0; ; index++) yield index
    } finally {
      isClosed = true
    }
  }
  for await (const result of manager.map('query', 'echo', source())) {
    if (result === 20) break
  }
  expect(isClosed).toBe(true)
})

test('map ends with the failure of its source, and bad options end it at once', async () => {
  const manager = await open('values.js', two)
  async function* source() {
    yield 1
    throw new RangeError('the source is broken')
  }
  const error = await failure(gather(manager.map('query', 'echo', source())), 'map')
  expect(error.message).toBe('the source is broken')
  for (const options of [{ concurrency: 0 }, { concurrency: 1.5 }, { ordered: 1 }, { nope: 1 }]) {
    const mapped = gather(manager.map('query', 'echo', [1], options as never))
    await refused(mapped, 'CORELANE_INVALID_OPTION')
  }
  await refused(gather(manager.map('x', 'echo', [1])), 'CORELANE_UNKNOWN_LANE')
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
  const manager = await open('values.js', two)
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

test('a broadcast waits no longer than broadcastTimeoutMs', async () => {
  const { ledger, manager } = await openLedger(2, {
    partitions: { count: 1 },
    broadcastTimeoutMs: 50,
    closeTimeoutMs: 50,
  })
  const held = manager.run('gate', 0)
  await ledger.waitForStarts(1)
  const error = await failure(manager.broadcast('mark', 1), 'broadcast')
  expect(error).toMatchObject({ name: 'LaneError', code: 'CORELANE_CONTROL_TIMEOUT' })
  ledger.openGate()
  await within(held, 'the held one')
})

test('the builder makes what create makes, and each call gives a new builder', async () => {
  const base = new QueueManagerBuilder().withHandlers(fixture('values.js'))
  const left = base.withPartitions({ count: 1 }).withLane('api', {}, 3).withLane('bulk')
  const right = base.withDefaultLanes().withLane('api', { priority: 9 })
  const manager = await left.withOptions({ defaultLane: 'bulk' }).build()
  expect(manager).toBeInstanceOf(QueueManager)
  expect(Object.keys(manager.stats().lanes)).toEqual(['api', 'bulk'])
  expect(manager.stats().lanes.api!.priority).toBe(3)
  const other = await right.build()
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
  const manager = await open('values.js', two)
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
