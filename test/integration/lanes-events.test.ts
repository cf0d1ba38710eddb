// Events: what subscribers are told. Goal: every event once, with all its fields, to those who want
// it, in order, in bounded memory, and an end when the manager ends. Method: each test reads a
// subscription to its end, or as many events as must come.

import {
  type EventSubscription,
  type LaneEvent,
  type LaneEventName,
  PartitionConfig,
} from 'corelane'
import { expect, test } from 'vitest'
import { failure, within } from '../support/deadline.ts'
import { openFloor } from '../support/floor.ts'
import { create, open } from '../support/managers.ts'
import { range } from '../support/range.ts'
import { uncaughtBy } from '../support/uncaught.ts'

const none = PartitionConfig.single()

/** The next so many events. */
async function take(subscription: EventSubscription, count: number): Promise<LaneEvent[]> {
  const events: LaneEvent[] = []
  while (events.length < count) {
    const { value, done } = await within(subscription.next(), `${count} events`)
    if (done) throw new Error(`it ended after ${events.length} of ${count} events`)
    events.push(value)
  }
  return events
}

/** All events until the end. */
async function readAll(subscription: EventSubscription): Promise<LaneEvent[]> {
  const events: LaneEvent[] = []
  const reading = (async () => {
    for await (const event of subscription) events.push(event)
  })()
  await within(reading, 'the end of the events')
  return events
}

const names = (events: readonly LaneEvent[]): LaneEventName[] => events.map(({ event }) => event)

/** The events of a command that succeeds. */
const COMMAND = ['queue.command.submitted', 'queue.command.started', 'queue.command.completed']

const FIELDS = `atMs attempt durationMs error event group id key lane output partition progress
  startedAtMs submittedAtMs threadId type unsettled`.split(/\s+/)

test('a command is submitted, started and completed, each told once with all that is known of it', async () => {
  const { manager } = await openFloor({
    partitions: PartitionConfig.hash(2),
    lanes: { lane: {} },
  })
  const subscription = manager.subscribe()
  const begin = performance.now()
  await within(manager.submit('lane', 'rest', 5, { key: 'k' }), 'the command')
  const [submitted, started, completed] = (await take(subscription, 3)) as [
    LaneEvent,
    LaneEvent,
    LaneEvent,
  ]
  for (const event of [submitted, started, completed]) {
    expect(Object.keys(event).sort()).toEqual(FIELDS)
    expect(event).toMatchObject({
      id: submitted.id,
      lane: 'lane',
      type: 'rest',
      key: 'k',
      attempt: 1,
    })
    expect(event).toMatchObject({ error: undefined, unsettled: undefined })
    expect(event.atMs).toBeGreaterThanOrEqual(begin)
    expect(event.submittedAtMs).toBe(submitted.atMs)
    expect(event.atMs).toBeLessThanOrEqual(performance.now())
  }
  expect(submitted).toMatchObject({ event: 'queue.command.submitted', partition: undefined })
  expect([submitted.startedAtMs, submitted.durationMs]).toEqual([undefined, undefined])
  expect(started).toMatchObject({ event: 'queue.command.started', durationMs: undefined })
  expect(completed).toMatchObject({
    event: 'queue.command.completed',
    partition: started.partition,
    startedAtMs: started.startedAtMs,
  })
  expect([0, 1]).toContain(started.partition)
  expect(started.startedAtMs).toBeGreaterThanOrEqual(begin)
  expect(completed.durationMs).toBeGreaterThan(3)
})

test('a failure is told with its error, whether the handler threw, the thread died or it came too late', async () => {
  const { manager } = await openFloor({
    partitions: none,
    lanes: { lane: { onDeadline: 'reject' } },
  })
  const events: LaneEventName[] = ['queue.command.failed']
  const subscription = manager.subscribe({ events })
  const thrown = await failure(manager.submit('lane', 'fail', 'oops'), 'the failure')
  const died = await failure(manager.submit('lane', 'die', 'exit'), 'the death')
  const late = await failure(
    manager.submit('lane', 'echo', 0, { delayMs: 9_000, deadlineMs: 10 }),
    'the late one',
  )
  const told = await take(subscription, 3)
  expect(told.map(({ error }) => error)).toEqual([thrown, died, late])
  expect(told[0]!.error).toBe(thrown)
  expect(told[0]).toMatchObject({ type: 'fail', partition: 0 })
  expect(told[0]!.startedAtMs).toBeTypeOf('number')
  expect(told[1]).toMatchObject({ type: 'die', partition: 0 })
  expect(told[2]).toMatchObject({ type: 'echo', partition: undefined, startedAtMs: undefined })
})

test('a filter lets through its events of its lanes, and the events of the manager whatever the lanes', async () => {
  const manager = await open('lanes-handlers.js', { partitions: none, lanes: { a: {}, b: {} } })
  const ofA = manager.subscribe({ lanes: ['a'] })
  const ends = manager.subscribe({ events: ['queue.command.completed'], lanes: ['b'] })
  const nothing = manager.subscribe({ events: [] })
  for (const lane of ['a', 'b', 'a']) await within(manager.submit(lane, 'echo', 0), 'a command')
  await within(manager.close(), 'close')
  const a = await readAll(ofA)
  const shutdown = ['queue.shutdown.started', 'queue.partition.exited', 'queue.shutdown.complete']
  expect(names(a)).toEqual([...COMMAND, ...COMMAND, ...shutdown])
  expect(a.map(({ lane }) => lane)).toEqual([
    ...new Array(6).fill('a'),
    ...new Array(3).fill(undefined),
  ])
  for (const event of a) expect(Object.keys(event).sort()).toEqual(FIELDS)
  expect((await readAll(ends)).map(({ event, lane }) => [event, lane])).toEqual([
    ['queue.command.completed', 'b'],
  ])
  expect(await readAll(nothing)).toEqual([])
})

test('leaving the loop ends a subscription, and readers that wait are told the end', async () => {
  const manager = await open('lanes-handlers.js', { partitions: none, lanes: { lane: {} } })
  const subscription = manager.subscribe({ events: ['queue.command.completed'] })
  const loop = (async () => {
    for await (const event of subscription) return event.type
    return 'ended'
  })()
  await within(manager.submit('lane', 'echo', 0), 'a command')
  expect(await within(loop, 'the loop')).toBe('echo')
  await within(manager.submit('lane', 'echo', 0), 'another')
  expect(await within(subscription.next(), 'next')).toEqual({ value: undefined, done: true })
  expect(subscription.missed).toBe(0)
  const other = manager.subscribe()
  const waiting = [other.next(), other.next()]
  await other.return()
  for (const end of await within(Promise.all(waiting), 'the waiting')) expect(end.done).toBe(true)
})

test('starts are sent only while somebody listens for them', async () => {
  const manager = await open('lanes-handlers.js', { partitions: none, lanes: { lane: {} } })
  const started: LaneEventName[] = ['queue.command.started']
  const run = () => within(manager.submit('lane', 'echo', 0), 'a command')
  await run()
  const first = manager.subscribe({ events: started })
  const completed = manager.subscribe({ events: ['queue.command.completed'] })
  await run()
  expect(await take(first, 1)).toHaveLength(1)
  await first.return()
  await run()
  const second = manager.subscribe({ events: started })
  await run()
  const told = await take(second, 1)
  expect(told[0]!.id).toBe((await take(completed, 3))[2]!.id)
  await within(manager.close(), 'close')
  expect(await readAll(second)).toEqual([])
})

test('several subscribers are told the same events, in the same order', async () => {
  const manager = await open('lanes-handlers.js', {
    partitions: PartitionConfig.balanced(2),
    lanes: { a: {}, b: {} },
  })
  const subscriptions = [manager.subscribe(), manager.subscribe(), manager.subscribe()]
  const all = range(100).map((i) => manager.submit(i % 2 ? 'a' : 'b', 'echo', i))
  await within(Promise.all(all), 'all commands')
  await within(manager.close(), 'close')
  const [first, ...others] = await Promise.all(subscriptions.map(readAll))
  // Three for each command, two of the manager's end, and one for the end of each thread.
  expect(first).toHaveLength(304)
  for (const other of others) expect(other).toEqual(first)
  for (const index of range(100)) {
    expect(names(first!.filter(({ id }) => id === String(index)))).toEqual(COMMAND)
  }
})

/** A manager whose lane holds its commands until the gate opens. */
const gated = () =>
  openFloor({
    partitions: none,
    concurrencyPerPartition: 8,
    lanes: { lane: { pressureThreshold: 3 }, other: {} },
  })

test('pressure is told once when a lane reaches its threshold, and idle once when it is empty again', async () => {
  const { manager, floor } = await gated()
  const subscription = manager.subscribe({ events: ['queue.lane.pressure', 'queue.lane.idle'] })
  const held = range(5).map((i) => manager.submit('lane', 'gate', i))
  const others = range(5).map((i) => manager.submit('other', 'echo', i))
  floor.openGate()
  await within(Promise.all([...held, ...others]), 'all commands')
  const first = await take(subscription, 2)
  expect(names(first)).toEqual(['queue.lane.pressure', 'queue.lane.idle'])
  expect(first.map(({ lane, unsettled, id }) => [lane, unsettled, id])).toEqual([
    ['lane', 3, undefined],
    ['lane', 0, undefined],
  ])
  for (const event of first) expect(Object.keys(event).sort()).toEqual(FIELDS)
  // Below the threshold there is neither; at the next crossing both again.
  for (let i = 0; i < 4; i++) {
    const two = [0, 1].map(() => manager.submit('lane', 'echo', i))
    await within(Promise.all(two), 'two commands')
  }
  const three = [0, 1, 2].map(() => manager.submit('lane', 'echo', 0))
  await within(Promise.all(three), 'three commands')
  await within(manager.close(), 'close')
  expect(names(await readAll(subscription))).toEqual(['queue.lane.pressure', 'queue.lane.idle'])
})

test('a subscription ends when the manager is closed, and one that comes later ends at once', async () => {
  const manager = await open('lanes-handlers.js', { partitions: none, lanes: { lane: {} } })
  const subscription = manager.subscribe({
    events: ['queue.shutdown.started', 'queue.shutdown.complete'],
  })
  manager.shutdown()
  manager.shutdown()
  await within(manager.drain(), 'drain')
  await within(manager.close(), 'close')
  await within(manager.close(), 'close again')
  expect(names(await readAll(subscription))).toEqual([
    'queue.shutdown.started',
    'queue.shutdown.complete',
  ])
  expect(await within(manager.subscribe().next(), 'a late one')).toMatchObject({ done: true })
})

test('a subscription from before the start is told of the first command', async () => {
  const manager = create('lanes-handlers.js', { partitions: none, lanes: { lane: {} } })
  const subscription = manager.subscribe({ events: ['queue.command.started'] })
  await within(manager.start(), 'start')
  await within(manager.submit('lane', 'echo', 0), 'a command')
  expect(await take(subscription, 1)).toHaveLength(1)
})

test('events of five thousand commands reach a reader that keeps up, none missed', async () => {
  const manager = await open('lanes-handlers.js', {
    partitions: PartitionConfig.balanced(2),
    lanes: { lane: { maxPending: 100 } },
  })
  const subscription = manager.subscribe({ capacity: 20_000 })
  let count = 0
  const reading = (async () => {
    for await (const { event } of subscription) if (event === 'queue.command.completed') count++
  })()
  const all = range(5_000).map((i) => manager.submit('lane', 'echo', i))
  await within(Promise.all(all), 'all commands')
  await within(manager.close(), 'close')
  await within(reading, 'the end')
  expect([count, subscription.missed]).toEqual([5_000, 0])
})

test('on calls a listener with every event of its name, off ends that', async () => {
  const manager = await open('values.js', { partitions: 1 })
  const ended: unknown[] = []
  const count = (event: { id: string | undefined; event: string }) => ended.push(event.event)
  expect(manager.on('queue.command.completed', count).on('queue.shutdown.complete', count)).toBe(
    manager,
  )
  const many = range(3_000)
  await within(manager.submitMany('prompt', 'echo', many), 'many')
  await new Promise(setImmediate)
  expect(ended).toEqual(many.map(() => 'queue.command.completed'))
  manager.off('queue.command.completed', count)
  await within(manager.run('echo', 1), 'one more')
  await within(manager.close(), 'close')
  expect(ended.slice(3_000)).toEqual(['queue.shutdown.complete'])
})

test('a listener may call the manager, and what it throws is uncaught', async () => {
  const manager = await open('values.js', { partitions: 1 })
  const nested = new Promise<unknown>((resolve) => {
    manager.on('queue.command.submitted', ({ type }) => {
      if (type === 'look') resolve(manager.run('echo', 'nested'))
    })
  })
  await within(manager.run('look'), 'look')
  expect(await within(nested, 'nested')).toBe('nested')
  const thrown = await uncaughtBy(async () => {
    manager.on('queue.command.completed', () => {
      throw new Error('of the listener')
    })
    await within(manager.run('echo', 1), 'echo')
  })
  expect(thrown).toEqual([new Error('of the listener')])
})

test.each([
  ['queue.command.done', () => {}, 'on.event is "queue.command.done"; allowed: '],
  ['queue.command.failed', 5, 'on.listener is 5; allowed: a function'],
])('on refuses %s and %s', (name, listener, message) => {
  const manager = create('values.js')
  expect(() => manager.on(name as never, listener as never)).toThrow(message)
})
