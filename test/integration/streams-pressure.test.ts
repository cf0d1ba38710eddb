// Streams under pressure: slow consumers, small rings, other commands beside them, and all the ways
// in which a stream that waits must be let go: an abort, a time-out, a death, a close, a broadcast.

import { PartitionConfig } from 'corelane'
import { expect, test } from 'vitest'
import { block, failure, refused, until, within } from '../support/deadline.ts'
import { create, open } from '../support/managers.ts'
import { range } from '../support/range.ts'
import { collect, openStreams, StreamWords } from './support/streams.ts'

const one = PartitionConfig.single()
const SMALL = 2 ** 14
/** What a stream may have on its way, and what it may exceed that by: half of it is given back. */
const CREDIT = 1024
const ENDLESS = { count: 1e9 }

/** Takes one value, and waits until the generator has used its credit up. */
async function stall(
  stream: AsyncGenerator<unknown>,
  words: StreamWords,
  credit = CREDIT,
): Promise<void> {
  await within(stream.next(), 'the first value')
  await until(() => words.made >= credit, `a stalled generator: ${words.made} values made`)
}

test('a slow consumer is never more than the credit behind its producer', async () => {
  const { words, manager } = await openStreams()
  let taken = 0
  let ahead = 0
  for await (const value of manager.stream('query', 'numbers', { count: 6_000 })) {
    expect(value).toBe(taken++)
    if (taken % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
    ahead = Math.max(ahead, words.made - taken)
  }
  expect(taken).toBe(6_000)
  // It did run ahead, and no further than it may.
  expect(ahead).toBeGreaterThan(CREDIT / 4)
  expect(ahead).toBeLessThanOrEqual(CREDIT)
})

test.each([
  [{ bytes: 10_000 }, 'numbers', Math.ceil(CREDIT / 10)],
  [{ bytes: 100_000 }, 'large', Math.ceil(CREDIT / 98)],
  [{ bytes: 100_000, moves: true }, 'large', CREDIT / 128],
])('large values (%o of %s) use the credit up sooner', async (options, type, most) => {
  const { words, manager } = await openStreams({ concurrencyPerPartition: 2 })
  const stream = manager.stream('query', type, { count: 400, ...options })
  await stall(stream, words, most)
  // The thread turns its event loop meanwhile, and the generator could go on if it might.
  await within(manager.run('wait', 20), 'a command beside it')
  expect(words.made).toBe(most)
  expect(await collect(stream)).toHaveLength(399)
})

test('streams side by side on one partition, each read slowly, are all complete', async () => {
  const { words, manager } = await openStreams({ concurrencyPerPartition: 100 })
  const read = async (index: number) => {
    let next = 0
    const type = index % 2 === 0 ? 'numbers' : 'syncNumbers'
    for await (const value of manager.stream('query', type, { count: 1_500 + index })) {
      if (value !== next++) throw new Error(`${value} of ${index} came where ${next - 1} was due`)
      if (next % 400 === index) await new Promise((resolve) => setTimeout(resolve, 2))
    }
    return next
  }
  const counts = await within(Promise.all(range(60).map((i) => read(i))), 'streams')
  expect(counts).toEqual(range(60).map((i) => 1_500 + i))
  expect(words.open).toBe(0)
})

test.each([1, 4])(
  'streams and plain commands get through full rings (concurrency %i)',
  async (concurrencyPerPartition) => {
    const manager = await open('streams.js', {
      partitions: PartitionConfig.balanced(2),
      ringBytes: SMALL,
      concurrencyPerPartition,
    })
    const text = 'c'.repeat(900)
    const streams = range(4).map(() =>
      collect(manager.stream('query', 'numbers', { count: 600, bytes: 1_500 })),
    )
    const commands = range(2_000).map((i) => manager.run('echo', { i, text }))
    await new Promise((resolve) => setTimeout(resolve, 20))
    block(100)
    for (const values of await within(Promise.all(streams), 'all streams')) {
      expect(values.map((value) => (value as { i: number }).i)).toEqual([...Array(600).keys()])
    }
    const results = (await within(Promise.all(commands), 'all commands')) as { i: number }[]
    expect(results.map(({ i }) => i)).toEqual([...Array(2_000).keys()])
  },
)

test('a stalled stream lets other commands of its partition run, and goes on itself', async () => {
  const { words, manager } = await openStreams({ concurrencyPerPartition: 2 })
  const stream = manager.stream('query', 'numbers', { count: 3_000 })
  await stall(stream, words)
  const results = await within(manager.submitMany('query', 'echo', [1, 2, 3]), 'commands beside it')
  expect(results).toEqual([1, 2, 3])
  expect(words.made).toBeLessThanOrEqual(CREDIT + 1)
  // Parked beside the stalled stream, the partition is woken by credit alone.
  expect(await collect(stream)).toHaveLength(2_999)
})

test('a stream goes on while a command of its partition burns, and after it', async () => {
  const { words, manager } = await openStreams({ concurrencyPerPartition: 2 })
  const stream = manager.stream('query', 'numbers', { count: 10_000 })
  await stall(stream, words)
  const burns = manager.submitMany('query', 'burn', Array(20).fill(5))
  expect(await collect(stream)).toHaveLength(9_999)
  await within(burns, 'commands beside it')
})

test('a generator that ends while another is stalled does not disturb it', async () => {
  const { words, manager } = await openStreams({ concurrencyPerPartition: 2 })
  const stream = manager.stream('query', 'numbers', { count: 4_000 })
  await stall(stream, words)
  for (let round = 0; round < 5; round++) {
    expect(
      await collect(manager.stream('query', 'numbers', { count: 10, pauseMs: 1 })),
    ).toHaveLength(10)
  }
  expect(await collect(stream)).toHaveLength(3_999)
})

test.each([1, 2])(
  'a broadcast does not wait for a stalled stream, and both come to an end (concurrency %i)',
  async (concurrencyPerPartition) => {
    const { words, manager } = await openStreams({ concurrencyPerPartition })
    const stream = manager.stream('query', 'numbers', { count: 5_000 })
    await stall(stream, words)
    const broadcast = manager.broadcast('echo', 'heard')
    const command = manager.run('echo', 'after')
    expect(await within(broadcast, 'the broadcast')).toEqual(['heard'])
    expect(await within(command, 'the command')).toBe('after')
    expect(await collect(stream)).toHaveLength(4_999)
  },
)

test.each([1, 2])(
  'a signal ends a stalled stream and frees its partition (concurrency %i)',
  async (concurrencyPerPartition) => {
    const { words, manager } = await openStreams({ concurrencyPerPartition })
    const controller = new AbortController()
    const { signal } = controller
    const stream = manager.stream('query', 'numbers', ENDLESS, { signal })
    await stall(stream, words)
    controller.abort(new Error('enough'))
    const { values, error } = await words.drain(stream)
    // What had come can still be taken.
    expect(values).toEqual(Array.from(values, (_, i) => i + 1))
    expect(error).toMatchObject({ name: 'AbortError', cause: { message: 'enough' } })
    expect(await within(manager.run('echo', 1), 'a command after it')).toBe(1)
    await until(() => words.ended === 1, 'its finally ran')
  },
)

test('a stream that waits for its own timer hears of its abort', async () => {
  const { words, manager } = await openStreams()
  for await (const value of manager.stream('query', 'attentive')) {
    expect(value).toBe('first')
    break
  }
  await until(() => words.ended === 1, 'its finally ran')
  expect(await within(manager.run('echo', 1), 'a command after it')).toBe(1)
})

test('a time-out ends a stream with what had come before it', async () => {
  const { words, manager } = await openStreams()
  const stream = manager.stream('query', 'numbers', { ...ENDLESS, pauseMs: 5 }, { timeoutMs: 200 })
  const { values, error } = await words.drain(
    (async function* slowly() {
      for await (const value of stream) {
        yield value
        if (value === 5) await until(() => words.ended === 1, 'its finally ran')
      }
    })(),
  )
  expect(values.length).toBeLessThanOrEqual(words.made)
  expect(values).toEqual([...values.keys()])
  expect(error).toMatchObject({ name: 'TimeoutError', code: 'CORELANE_TIMEOUT' })
  expect(await within(manager.run('echo', 1), 'a command after it')).toBe(1)
})

test('a thread that dies under a stream fails it after what had arrived', async () => {
  const { words, manager } = await openStreams()
  const { values, error } = await words.drain(manager.stream('query', 'dying', { after: 500 }))
  expect(values).toEqual([...Array(500).keys()])
  expect(error).toMatchObject({ name: 'PartitionLostError', started: true })
  expect(await collect(manager.stream('query', 'list', [1]))).toEqual([1])
})

test.each([
  [1, 'iterated by nobody'],
  [3, 'iterated by nobody'],
  [1, 'awaited'],
] as const)(
  'close ends a stalled stream (%i at once, %s)',
  async (concurrencyPerPartition, how) => {
    const words = new StreamWords()
    const manager = create('streams.js', {
      partitions: one,
      concurrencyPerPartition,
      closeTimeoutMs: 20_000,
      ...words.options,
    })
    await within(manager.start(), 'start')
    const stream = manager.stream('query', 'numbers', ENDLESS)
    await stall(stream, words)
    const startedAt = performance.now()
    const rest = how === 'awaited' ? words.drain(stream) : undefined
    await within(manager.close(), 'close', 15_000)
    expect(performance.now() - startedAt).toBeLessThan(10_000)
    const { values, error } = await (rest ?? words.drain(stream))
    expect(values).toEqual(Array.from(values, (_, i) => i + 1))
    expect(error).toMatchObject({ name: 'ClosedError' })
    expect(words.ended).toBe(1)
    await refused(manager.stream('query', 'list', [1]).next(), 'CORELANE_CLOSED')
  },
)

test('close does not wait longer than it may for a generator that never gives another value', async () => {
  const manager = create('streams.js', { partitions: one, closeTimeoutMs: 100 })
  await within(manager.start(), 'start')
  const stream = manager.stream('query', 'numbers', { count: 2, pauseMs: 60_000 })
  await within(stream.next(), 'the first value')
  const next = failure(stream.next(), 'the second value')
  await within(manager.close(), 'close', 10_000)
  expect(await next).toMatchObject({ name: 'ClosedError' })
})

test('streams wait for room in their lane, and those that are left give up their place', async () => {
  const words = new StreamWords()
  const lanes = { narrow: { maxPending: 1 } }
  const manager = await open('streams.js', { partitions: one, lanes, ...words.options })
  const first = manager.stream('narrow', 'numbers', { count: 3_000 })
  await stall(first, words)
  const left = manager.stream('narrow', 'numbers', ENDLESS)
  const pending = left.next()
  const last = collect(manager.stream('narrow', 'list', [1, 2]))
  await left.return(undefined)
  expect(await within(pending, 'the step of the one that was left')).toMatchObject({ done: true })
  expect(await collect(first)).toHaveLength(2_999)
  expect(await last).toEqual([1, 2])
  await within(manager.room('narrow'), 'room')
  expect(words.open).toBe(0)
})

test('memory stays bounded while a slow consumer reads a long stream of large values', async () => {
  const manager = await open('streams.js', { partitions: one })
  let most = 0
  let count = 0
  const before = process.memoryUsage().rss
  for await (const _ of manager.stream('query', 'large', { count: 1_000, bytes: 400_000 })) {
    count++
    if (count % 100 === 0) {
      await new Promise((resolve) => setTimeout(resolve, 5))
      most = Math.max(most, process.memoryUsage().rss)
    }
  }
  expect(count).toBe(1_000)
  // 400 MB went through; a few values are on their way, and the rest is what collectors leave.
  expect(most - before).toBeLessThan(300e6)
})
