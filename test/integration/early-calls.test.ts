// Early calls: what comes before every thread of a manager is ready. Goal: commands run as soon as
// one is, no call passes another, and each ends once, whatever happens to the start. Method: a
// module whose second thread waits for a gate.

import { AsyncLocalStorage } from 'node:async_hooks'
import { QueueManager, RetryPolicy } from 'corelane'
import { expect, test } from 'vitest'
import { failure, refused, until, within } from '../support/deadline.ts'
import { Ledger } from '../support/ledger.ts'
import { create, lifeOf } from '../support/managers.ts'
import { range } from '../support/range.ts'

const one = { partitions: { count: 1 } } as const

test('a start that fails rejects the commands that began it', async () => {
  const manager = new QueueManager({ handlers: './no-such-module.js', partitions: 1 })
  const calls = [manager.run('echo', 1), manager.broadcast('echo', 1), manager.room('prompt')]
  for (const call of calls) {
    await refused(call, 'CORELANE_HANDLERS_FAILED')
  }
  await refused(manager.run('echo'), 'CORELANE_CLOSED')
})

test('a start that fails is an end as others are: subscribers hear of it once', async () => {
  const manager = create('life.js', { ...one, ...lifeOf({ setup: 'throws' }) })
  const subscription = manager.subscribe({
    events: ['queue.shutdown.started', 'queue.shutdown.complete'],
  })
  await refused(manager.start(), 'CORELANE_HANDLERS_FAILED')
  expect(manager.stats()).toMatchObject({ state: 'closed', unsettled: 0 })
  await within(manager.closed, 'its end')
  await within(manager.close(), 'close')
  const seen: string[] = []
  for await (const { event } of subscription) seen.push(event)
  expect(seen).toEqual(['queue.shutdown.started', 'queue.shutdown.complete'])
})

/** A manager whose second partition is not ready before a gate is open. */
function lateSecond(strategy: 'balanced' | 'hash' = 'balanced') {
  const ledger = new Ledger(0)
  const manager = create('life.js', {
    partitions: { strategy, count: 2 },
    workerData: { ...ledger.workerData, setup: 'waits' },
  })
  return { ledger, manager, states: () => manager.stats().partitions.map(({ state }) => state) }
}

test('commands run as soon as one thread is ready, and start waits for all', async () => {
  const { ledger, manager, states } = lateSecond()
  const started = manager.start()
  for (let i = 0; i < 3; i++) expect(await within(manager.run('where'), 'a command')).toBe(0)
  expect(states()).toEqual(['ready', 'starting'])
  expect(manager.stats()).toMatchObject({ state: 'starting', completed: 3 })
  const all = manager.broadcast('where')
  ledger.openGate()
  await within(started, 'start')
  expect(manager.stats().state).toBe('running')
  expect(await within(all, 'the broadcast')).toEqual([0, 1])
})

test('a dead letter is redriven while other threads start', async () => {
  const { ledger, manager } = lateSecond()
  const retry = RetryPolicy.fixed(1, 0)
  const failed = await failure(manager.run('fails', 'often', { id: 'one', retry }), 'its command')
  expect(failed.message).toBe('often')
  expect(manager.stats()).toMatchObject({ state: 'starting', deadLetters: 1 })
  expect((await failure(manager.deadLetters.redrive('one'), 'again')).message).toBe('often')
  expect(manager.stats()).toMatchObject({ state: 'starting', deadLetters: 1, submitted: 2 })
  ledger.openGate()
  await within(manager.start(), 'start')
})

test('a handler submits commands of its own while other threads start', async () => {
  const { ledger, manager, states } = lateSecond()
  const asked = manager.run('asks')
  await until(() => manager.stats().submitted === 2, 'its command')
  expect(states()).toEqual(['ready', 'starting'])
  ledger.openGate()
  expect(await within(asked, 'its result')).toBe(1)
})

test('a thread gets no more than it can run while others start', async () => {
  const { ledger, manager } = lateSecond()
  const memory = new ArrayBuffer(8)
  let isHeld = false
  const onProgress = () => {
    isHeld = true
  }
  const held = manager.run('untilAborted', 0, { onProgress })
  const next = manager.run('where', memory, { transferList: [memory] })
  await until(() => isHeld, 'the first command runs')
  expect(manager.stats().submitted).toBe(1)
  expect(memory.byteLength).toBe(8)
  ledger.openGate()
  // From partition 0, where the first one never ends, it could not be taken back.
  expect(await within(next, 'the next command')).toBe(1)
  await within(manager.close(), 'close')
  expect(await within(held, 'the first command')).toMatchObject({ code: 'CORELANE_CLOSED' })
})

test('a command does not pass an earlier call that needs every thread', async () => {
  const { ledger, manager, states } = lateSecond()
  const all = manager.broadcast('where')
  const one = manager.run('where')
  await until(() => states()[0] === 'ready', 'one thread')
  expect(manager.stats().submitted).toBe(0)
  ledger.openGate()
  expect(await within(all, 'the broadcast')).toEqual([0, 1])
  await within(one, 'the command')
})

/** The state of the first partition each time that a thread is made. */
function firstStates(manager: QueueManager): string[] {
  const states: string[] = []
  manager.on('queue.partition.spawned', () => states.push(manager.stats().partitions[0]!.state))
  return states
}

test.each<[string, string, (manager: QueueManager) => Promise<unknown>, 'balanced' | 'hash']>([
  ['one command', 'ready', (manager) => manager.run('where'), 'balanced'],
  ['one command that has a thread', 'starting', (manager) => manager.run('where'), 'hash'],
  ['two', 'starting', (manager) => manager.submitMany('query', 'where', [1, 2]), 'balanced'],
  [
    'a command and another',
    'starting',
    (manager) => Promise.all([manager.run('where'), manager.run('where')]),
    'balanced',
  ],
  [
    'a command and start',
    'starting',
    (manager) => Promise.all([manager.run('where'), manager.start()]),
    'balanced',
  ],
])('for %s the second thread is made while the first is %s', async (_, state, call, strategy) => {
  const manager = create('life.js', { partitions: { strategy, count: 2 }, ...lifeOf() })
  const states = firstStates(manager)
  await within(call(manager), 'the call')
  await until(() => manager.stats().state === 'running', 'every thread')
  expect(states).toEqual(['starting', state])
})

test('a module that does not load costs one command one thread', async () => {
  const manager = create('life.js', { partitions: 2, ...lifeOf({ setup: 'throws' }) })
  const states = firstStates(manager)
  await refused(manager.run('where'), 'CORELANE_HANDLERS_FAILED')
  expect(states).toEqual(['starting'])
})

test('close lets the only thread tear down, and no other starts meanwhile', async () => {
  const life = lifeOf({ teardown: 'never settles' })
  const manager = create('life.js', { partitions: 2, closeTimeoutMs: 100, ...life })
  const states = firstStates(manager)
  await within(manager.run('where'), 'the command')
  const made = states.length
  const closedAt = performance.now()
  await within(manager.close(), 'close')
  expect(performance.now() - closedAt).toBeGreaterThan(90)
  expect(states).toHaveLength(made)
})

test('a thread that fails to start ends the commands of those that are ready', async () => {
  const { ledger, manager } = lateSecond('hash')
  const started = failure(manager.start(), 'start')
  const keys = range(8).map((i) => `key ${i}`)
  const short = keys.map((key) => manager.run('where', 0, { key }))
  await within(Promise.any(short), 'a short command')
  let runs = 0
  const onProgress = () => runs++
  const long = keys.map((key) => failure(manager.run('untilAborted', 0, { key, onProgress }), key))
  await until(() => runs > 0, 'a long command')
  ledger.failsToLoad = true
  ledger.openGate()
  expect((await started).code).toBe('CORELANE_HANDLERS_FAILED')
  const ends = await within(Promise.allSettled(short), 'the short commands')
  for (const end of ends) {
    if (end.status === 'fulfilled') expect(end.value).toBe(0)
    else expect(end.reason.code).toBe('CORELANE_HANDLERS_FAILED')
  }
  expect(new Set(ends.map(({ status }) => status)).size).toBe(2)
  const [running, ...waiting] = (await within(Promise.all(long), 'the long commands')).sort(
    (a, b) => a.code!.localeCompare(b.code!),
  )
  expect(running).toMatchObject({
    code: 'CORELANE_COMMAND_DROPPED',
    cause: { code: 'CORELANE_HANDLERS_FAILED' },
  })
  for (const { code } of waiting) expect(code).toBe('CORELANE_HANDLERS_FAILED')
  await refused(manager.run('where'), 'CORELANE_CLOSED')
})

test('a thread that was set up tears down if another fails to start', async () => {
  const { ledger, manager, states } = lateSecond()
  const started = failure(manager.start(), 'start')
  await until(() => states()[0] === 'ready', 'one thread')
  ledger.failsToLoad = true
  ledger.openGate()
  expect((await started).code).toBe('CORELANE_HANDLERS_FAILED')
  expect(ledger.teardowns).toBe(1)
})

test('a signal ends what waits for the start at once', async () => {
  const manager = create('life.js', { ...one, ...lifeOf({ setup: 'never settles' }) })
  const controller = new AbortController()
  const { signal } = controller
  const calls = [
    manager.run('where', 0, { signal }),
    manager.execute('query', 'where', 0, { signal }),
    manager.submitMany('query', 'where', [0, 1], { signal }),
    manager.stream('query', 'where', 0, { signal }).next(),
  ].map((call) => failure(call, 'early'))
  controller.abort('enough')
  calls.push(failure(manager.run('where', 0, { signal }), 'late'))
  for (const error of await Promise.all(calls)) {
    expect(error).toMatchObject({ name: 'AbortError', code: 'CORELANE_ABORTED', cause: 'enough' })
  }
})

test('options that throw when they are read reject, before the start too', async () => {
  const manager = create('life.js', { ...one, ...lifeOf() })
  const options = {
    get signal(): AbortSignal {
      throw new Error('mine')
    },
  }
  expect(await failure(manager.run('where', 0, options), 'before')).toMatchObject({
    message: 'mine',
  })
  await within(manager.start(), 'start')
  expect(await failure(manager.run('where', 0, options), 'after')).toMatchObject({
    message: 'mine',
  })
})

test('a command whose time is over does not wait for the start any more', async () => {
  const { workerData } = new Ledger(0)
  const manager = create('life.js', {
    ...one,
    workerData: { ...workerData, setup: 'never settles' },
    lanes: { query: {}, live: { onDeadline: 'reject', priorityBoost: { deadlineMs: 20 } } },
  })
  const within20 = { startWithinMs: 20 }
  const patient = failure(manager.run('where', 0, { deadlineMs: 1 }), 'one that may be late')
  const late = [
    manager.run('where', 0, within20),
    manager.execute('query', 'where', 0, within20),
    manager.submitMany('query', 'where', [0, 1], within20),
    manager.stream('query', 'where', 0, within20).next(),
    manager.run('where', 0, { deadlineMs: 20, onDeadline: 'reject' }),
    manager.run('where', 0, { lane: 'live' }),
  ].map((call) => failure(call, 'early'))
  for (const { code, details } of await Promise.all(late)) {
    expect(code).toBe('CORELANE_DEADLINE_EXCEEDED')
    expect(details).toMatchObject({ deadlineMs: 20 })
    expect(details.waitedMs).toBeGreaterThanOrEqual(20)
  }
  await within(manager.close(), 'close')
  expect((await patient).code).toBe('CORELANE_CLOSED')
})

test('an early command keeps the async context of its submit', async () => {
  const storage = new AsyncLocalStorage<string>()
  const manager = create('streams.js', one)
  const seen: unknown[] = []
  await within(
    storage.run('request', () =>
      manager.run('report', { count: 3 }, { onProgress: () => seen.push(storage.getStore()) }),
    ),
    'run',
  )
  expect(seen).toEqual(['request', 'request', 'request'])
})
