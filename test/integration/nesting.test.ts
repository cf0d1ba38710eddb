// Nesting: commands that handlers submit with `context.submit`. Goal: they behave as commands of
// the main thread do, and handlers that wait for each other never wait for ever.

import { isDeepStrictEqual } from 'node:util'
import { PartitionConfig, type QueueManager } from 'corelane'
import { expect, test } from 'vitest'
import { failure, refused, until, within } from '../support/deadline.ts'
import { open, share } from '../support/managers.ts'

const two = PartitionConfig.balanced(2)

function wordsOf() {
  const shared = new SharedArrayBuffer(32)
  const words = new Int32Array(shared)
  return { words, options: { workerData: { words: shared } } }
}

const { words: lateWords, options: late } = wordsOf()
const shared = share('nesting.js', { partitions: two, ...late })

function run(manager: QueueManager, type: string, payload?: unknown, options = {}) {
  return within(manager.run(type, payload, options), type)
}

/** Keys of each of two partitions. */
async function keysOfBoth(manager: QueueManager): Promise<string[][]> {
  const keys: string[][] = [[], []]
  for (const key of 'abcdefghij') {
    keys[(await run(manager, 'where', undefined, { key })) as number]!.push(key)
  }
  return keys
}

test('a nested command gives its result, of any kind', async () => {
  const manager = shared()
  for (const payload of [
    5,
    'text',
    { a: [new Date(0), new Map([[1, 2]])] },
    Buffer.alloc(200_000, 1),
  ]) {
    // Vitest is slow with many bytes.
    const back = await run(manager, 'call', { type: 'echo', payload })
    expect(isDeepStrictEqual(back, payload)).toBe(true)
  }
  expect(await run(manager, 'call', { type: 'echo' })).toBeUndefined()
})

test('a nested command that fails rejects with the error as it was thrown', async () => {
  const manager = shared()
  const call = { type: 'fail', payload: 'deep down' }
  expect(await run(manager, 'tryCall', call)).toMatchObject({
    name: 'RangeError',
    message: 'deep down',
    extra: 7,
  })
  const error = await failure(manager.run('call', call), 'what the outer handler does not catch')
  expect(error).toBeInstanceOf(RangeError)
  expect(error).toMatchObject({ message: 'deep down', extra: 7 })
})

test('its options count: lane, key and priority', async () => {
  const manager = await open('nesting.js', {
    partitions: PartitionConfig.hash(1),
    concurrencyPerPartition: 4,
  })
  const options = {
    key: 'some key',
    priority: 3,
    deadlineMs: 60_000,
    delayMs: 1,
    timeoutMs: 60_000,
  }
  const about = await run(manager, 'call', { lane: 'skill', type: 'about', options })
  expect(about).toEqual({ lane: 'skill', type: 'about', key: 'some key' })
})

test.each([
  ['an unknown lane', { lane: 'nowhere', type: 'echo' }, 'CORELANE_UNKNOWN_LANE'],
  ['an unknown type', { type: 'nothing' }, 'CORELANE_UNKNOWN_TYPE'],
  ['a bad option', { type: 'echo', options: { priority: 1_000 } }, 'CORELANE_INVALID_OPTION'],
  ['an option it has not', { type: 'echo', options: { retry: {} } }, 'CORELANE_INVALID_OPTION'],
  [
    'a key where there are none',
    { type: 'echo', options: { key: 'k' } },
    'CORELANE_INVALID_COMMAND',
  ],
  ['a time-out', { type: 'wait', payload: 60_000, options: { timeoutMs: 20 } }, 'CORELANE_TIMEOUT'],
])('%s is refused as it is on the main thread', async (_, call, code) => {
  const manager = shared()
  expect(await run(manager, 'tryCall', call)).toMatchObject({ code })
  const { options, lane } = { lane: 'query', options: {}, ...call }
  if (!code.endsWith('TIMEOUT')) {
    const posted = { ...call, lane, options: { ...options, wait: false } }
    expect(await run(manager, 'tryCall', posted)).toMatchObject({ code })
  }
})

test('a payload or a result that cannot cross is refused in the handler', async () => {
  const manager = shared()
  const code = 'CORELANE_UNSERIALIZABLE'
  const says = (text: string) => expect.stringContaining(text)
  const [fails, stream, port] = ['tryBad', 'tryStream', 'tryPort'].map((type) => run(manager, type))
  expect(await fails).toMatchObject({ code, message: says('payload.method is a function') })
  expect(await stream).toMatchObject({ code, message: says('The payload cannot cross threads') })
  expect(await port).toMatchObject({ code, message: says('The result cannot cross threads') })
})

test.each([true, false])('a signal ends a nested command for its cause (%s)', async (early) => {
  const { words, options } = wordsOf()
  const manager = await open('nesting.js', { partitions: two, ...options })
  const call = { type: 'wait', payload: 60_000, early }
  expect(await run(manager, 'callAndAbort', call)).toMatchObject({
    name: 'AbortError',
    code: 'CORELANE_ABORTED',
    cause: 'enough',
  })
  if (!early) await until(() => words[1] === 1, 'its handler was told')
})

test('a signal that the payload of a nested command aborts is heeded', async () => {
  const aborted = { code: 'CORELANE_ABORTED', cause: 'enough' }
  expect(await run(shared(), 'callAndAbortItself')).toMatchObject(aborted)
})

test('what a handler does not wait for runs, and may need what the handler holds', async () => {
  const { words, options } = wordsOf()
  const manager = await open('nesting.js', { partitions: PartitionConfig.single(), ...options })
  const call = { type: 'mark', payload: 3, options: { wait: false } }
  expect(await run(manager, 'call', call)).toBeUndefined()
  await until(() => words[0] === 3, 'the command ran')
  const failing = { type: 'fail', payload: 'unheard', options: { wait: false } }
  expect(await run(manager, 'call', failing)).toBeUndefined()
  await within(manager.drain(), 'drain')
})

test('handlers that run may submit after the shutdown, and a drain waits for that', async () => {
  const { words, options } = wordsOf()
  const manager = await open('nesting.js', {
    partitions: two,
    lanes: { query: {}, narrow: { maxPending: 1 } },
    ...options,
  })
  const call = (type: string, payload: unknown, more = {}) =>
    manager.run('call', { type, payload, ...more })
  const left = { lane: 'narrow', options: { wait: false } }
  // Of those that are left one has to wait for room.
  const calls = [call('echo', 'later'), call('mark', 1, left), call('mark', 2, left)]
  await within(manager.drain(), 'drain')
  expect(await Promise.all(calls)).toEqual(['later', undefined, undefined])
  expect(words[0]).toBe(3)
  await refused(manager.run('echo'), 'CORELANE_CLOSED')
})

test('the signal of a command that no handler waits for ends it, until it has ended', async () => {
  const { words, options } = wordsOf()
  const manager = await open('nesting.js', {
    partitions: PartitionConfig.single(),
    concurrencyPerPartition: 2,
    lanes: { narrow: { maxConcurrency: 1 }, query: {} },
    ...options,
  })
  const events = manager.subscribe({ events: ['queue.command.failed'] })
  // One that has ended is not listened for any more, however long its signal lives.
  await run(manager, 'leaveForLater', { type: 'mark', payload: 1 })
  await until(() => words[0] === 1, 'it ran')
  let listeners = 1
  while (listeners > 0) listeners = (await run(manager, 'listenersOfLater')) as number
  // One that runs, and one that waits behind it.
  const call = { lane: 'narrow', type: 'wait', payload: 60_000 }
  // Both are ended by one listener, or Node.js would warn of a leak past ten of them.
  expect(await run(manager, 'leaveForLater', call)).toBe(1)
  expect(await run(manager, 'leaveForLater', call)).toBe(1)
  const abort = manager.run('abortLater')
  const failed = [await within(events.next(), 'one'), await within(events.next(), 'the other')]
  for (const { value } of failed) expect(value!.error).toMatchObject({ code: 'CORELANE_ABORTED' })
  await within(abort, 'the abort')
  await within(manager.drain(), 'drain')
})

test('what a handler does not wait for outlives its thread, with a signal and without', async () => {
  const { words, options } = wordsOf()
  const manager = await open('nesting.js', { partitions: PartitionConfig.single(), ...options })
  const gate = manager.run('leaveForLater', { type: 'mark', payload: 1 })
  const death = failure(manager.run('exit'), 'the death')
  await within(gate, 'the submitter')
  expect(await death).toMatchObject({ name: 'PartitionLostError' })
  await until(() => words[0] === 1, 'it ran on the replacement')
})

test('a context that is kept for later submits nothing once its command has ended', async () => {
  expect(await run(shared(), 'late')).toBe('ended')
  await until(() => lateWords[4] === 1, 'the late submit was refused')
})

test('a broadcast submits nothing', async () => {
  const manager = shared()
  const results = await within(manager.broadcast('tryCall', { type: 'echo' }), 'broadcast')
  for (const result of results) {
    expect(result).toMatchObject({ code: 'CORELANE_INVALID_COMMAND' })
  }
})

test('a nested command is aborted when the thread of its handler dies', async () => {
  const { words, options } = wordsOf()
  const manager = await open('nesting.js', {
    partitions: PartitionConfig.hash(2),
    concurrencyPerPartition: 2,
    ...options,
  })
  const [[here, beside], [there]] = (await keysOfBoth(manager)) as [string[], string[]]
  const before = manager.stats().lanes.query!.submitted
  const call = { type: 'wait', payload: 60_000, options: { key: there } }
  const parent = failure(manager.run('call', call, { key: here }), 'the dying handler')
  await until(() => manager.stats().lanes.query!.submitted === before + 2, 'both are submitted')
  // One that has not started is taken back, and its handler never hears of it.
  await until(() => manager.stats().running === 2, 'both run')
  const death = failure(manager.run('exit', undefined, { key: beside }), 'the death')
  expect(await death).toMatchObject({ name: 'PartitionLostError' })
  expect(await parent).toMatchObject({ name: 'PartitionLostError' })
  await until(() => words[1] === 1, 'the nested handler was told')
  expect(await run(manager, 'where', undefined, { key: there })).toBe(1)
})

test('a nested command whose own thread dies rejects in its handler, which goes on', async () => {
  const manager = await open('nesting.js', { partitions: PartitionConfig.hash(2) })
  const [[here], [there]] = (await keysOfBoth(manager)) as [string[], string[]]
  const call = { type: 'exit', options: { key: there } }
  expect(await run(manager, 'tryCall', call, { key: here })).toMatchObject({
    code: 'CORELANE_PARTITION_LOST',
  })
})
