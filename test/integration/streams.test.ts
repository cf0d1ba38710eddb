// Streams: what a consumer of `manager.stream` sees. Goal: every value once and in order, an end
// that says how it ended, and a producer that a slow or absent consumer stops.

import { isDeepStrictEqual } from 'node:util'
import { expect, test } from 'vitest'
import { block, failure, refused, until, within } from '../support/deadline.ts'
import { collect, openStreams, shareStreams } from './support/streams.ts'

const { words, manager: shared } = shareStreams()

/** How many commands of the shared manager have succeeded, and how many have failed. */
function ends(): readonly [completed: number, failed: number] {
  const { completed, failed } = shared().stats()
  return [completed, failed]
}

test.each(['numbers', 'syncNumbers'])('50,000 values of %s come once, in order', async (type) => {
  const count = 50_000
  const [completed, failed] = ends()
  const stream = shared().stream('query', type, { count })
  let next = 0
  let step = await within(stream.next(), 'the first value')
  while (!step.done) {
    if (step.value !== next) expect(step.value).toBe(next)
    next++
    step = await stream.next()
  }
  expect(next).toBe(count)
  expect(step.value).toBe(type === 'numbers' ? 'end' : 'sync end')
  expect(await stream.next()).toEqual({ value: undefined, done: true })
  expect(ends()).toEqual([completed + 1, failed])
})

test('anything that can be iterated is a stream, and promises in it are awaited', async () => {
  expect(await collect(shared().stream('query', 'list', [1, 'b', { c: 3 }]))).toEqual([
    1,
    'b',
    { c: 3 },
  ])
  expect(await collect(shared().stream('query', 'laterList', [4, 5]))).toEqual([4, 5])
  expect(await collect(shared().stream('query', 'promised', [6, 7]))).toEqual([12, 14])
  expect(await collect(shared().stream('query', 'list', []))).toEqual([])
  const stream = shared().stream('query', 'rejecting')
  expect(await within(stream.next(), 'a value')).toEqual({ value: 1, done: false })
  expect(await failure(stream.next(), 'a rejected value')).toMatchObject({
    message: 'rejected value',
  })
})

test.each(['plain', 'text', 'nothing'])('a handler without a stream (%s) fails', async (type) => {
  const error = await failure(collect(shared().stream('query', type)), type)
  expect(error).toMatchObject({
    name: 'ConfigError',
    code: 'CORELANE_NO_STREAM',
    details: { type },
  })
  expect(await within(shared().run('echo', 1), 'the partition goes on')).toBe(1)
})

test('values of every kind arrive as results do', async () => {
  const values = await collect(shared().stream('query', 'kinds'))
  const kinds = [
    { a: [1, { b: 'c' }], m: new Map([[1, 2]]) },
    Buffer.from('buffer'),
    new Uint8Array([1, 2, 3]),
    'x'.repeat(300_000),
    undefined,
    null,
    10n ** 30n,
    new TypeError('an error as a value'),
    new Uint8Array(100_000).fill(7),
    { last: true },
  ]
  // Vitest is slow with many bytes.
  expect(kinds.filter((kind, i) => !isDeepStrictEqual(values[i], kind))).toEqual([])
  expect(values).toHaveLength(kinds.length)
})

test.each([false, true])('a value that cannot cross ends its stream (moved: %s)', async (moved) => {
  const { values, error } = await words.drain(shared().stream('query', 'bad', { after: 3, moved }))
  expect(values).toEqual([0, 1, 2])
  expect(error).toMatchObject({ name: 'SerializationError', code: 'CORELANE_UNSERIALIZABLE' })
  expect(words.ended).toBe(1)
})

test.each([0, 3, 700])('an error after %i values comes after all of them', async (after) => {
  const stream = shared().stream('query', 'failing', { after })
  const first = within(stream.next(), 'the first step')
  first.catch(() => {})
  // It has failed before the consumer asks for the second value.
  await until(() => words.ended === 1, 'the generator failed')
  await within(shared().run('echo'), 'a command behind it')
  if (after === 0) {
    expect(await failure(first, 'the failure')).toMatchObject({ message: 'after 0' })
    return
  }
  const { values, error } = await words.drain(stream)
  expect([(await first).value, ...values]).toEqual([...Array(after).keys()])
  expect(error).toMatchObject({ name: 'RangeError', message: `after ${after}` })
  expect(await stream.next()).toEqual({ value: undefined, done: true })
})

test.each([1, 3])(
  'leaving the loop ends the generator and frees the partition (concurrency %i)',
  async (concurrencyPerPartition) => {
    const { words, manager } = await openStreams({ concurrencyPerPartition })
    for await (const value of manager.stream('query', 'numbers', { count: 1e9 })) {
      if (value === 10) break
    }
    expect(await within(manager.run('echo', 'after'), 'a command after it')).toBe('after')
    await until(() => words.ended === 1, 'its finally ran')
    expect(manager.stats().lanes.query).toMatchObject({ completed: 2, failed: 0 })
  },
)

test('a generator that throws when it is left harms nobody', async () => {
  for await (const value of shared().stream('query', 'stubborn')) if (value === 5) break
  expect(await within(shared().run('echo', 'after'), 'a command after it')).toBe('after')
  expect(words.ended).toBe(1)
})

test('a stream that is left before its first value came ends', async () => {
  const busy = shared().run('burn', 50)
  const stream = shared().stream('query', 'numbers', { count: 1e9 })
  const first = stream.next()
  await stream.return(undefined)
  expect(await within(first, 'the pending step')).toEqual({ value: undefined, done: true })
  await within(busy, 'the command before it')
  expect(await within(shared().run('echo', 1), 'a command behind it')).toBe(1)
  expect(words.open).toBe(0)
})

test('a generator as the result of a plain command is refused, and the message says so', async () => {
  const error = await failure(shared().run('numbers', { count: 5 }), 'a generator as result')
  expect(error).toMatchObject({ name: 'SerializationError', code: 'CORELANE_UNSERIALIZABLE' })
  expect(error.message).toMatch(/enerator/)
  const outcome = await within(shared().execute('query', 'syncNumbers', { count: 5 }), 'execute')
  expect(outcome).toMatchObject({ ok: false, error: { code: 'CORELANE_UNSERIALIZABLE' } })
})

test('a blocked main thread finds what came meanwhile, and the producer waited for it', async () => {
  const stream = shared().stream('query', 'numbers', { count: 5_000 })
  const first = await within(stream.next(), 'the first value')
  block(300)
  expect(words.made).toBeLessThan(1_100)
  const rest = await collect(stream)
  expect([first.value, ...rest]).toEqual([...Array(5_000).keys()])
})

test('leaving a generator at its first value ends its command once, whenever its end comes', async () => {
  const { manager } = await openStreams()
  for (const [index, count] of [1, 3, 10, 100].entries()) {
    for (let round = 0; round < 100; round++) {
      for await (const _ of manager.stream('query', 'syncNumbers', { count })) break
    }
    const all = 100 * (index + 1)
    const once = { submitted: all, completed: all, failed: 0, queued: 0 }
    expect(manager.stats(), `${count} values`).toMatchObject(once)
  }
  let hasEnded = false
  const last = manager.run('wait', 300).then(() => {
    hasEnded = true
  })
  await within(manager.drain(), 'drain')
  expect(hasEnded).toBe(true)
  await last
})

test('a stream whose payload cannot cross fails once, also if it was left meanwhile', async () => {
  const [completed, failed] = ends()
  const unfit = shared().stream('query', 'list', [() => {}])
  await refused(unfit.next(), 'CORELANE_UNSERIALIZABLE')
  const left: AsyncGenerator = shared().stream('query', 'list', {
    get values() {
      void left.return(undefined)
      return () => {}
    },
  })
  expect(await within(left.next(), 'the one that was left')).toMatchObject({ done: true })
  expect(ends()).toEqual([completed, failed + 2])
})
