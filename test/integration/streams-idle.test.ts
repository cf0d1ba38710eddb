// Idle readers: a reader that takes its time stops its own stream and nothing else. Its stream's
// time stands still, its run goes to others, and its lane slot and key stay taken.

import { PartitionConfig, type QueueManager } from 'corelane'
import { expect, test } from 'vitest'
import { failure, until, within } from '../support/deadline.ts'
import { moduleOf, open } from '../support/managers.ts'
import { range } from '../support/range.ts'
import { collect, openStreams, StreamWords } from './support/streams.ts'

const one = PartitionConfig.single()
const CREDIT = 1024

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** Streams of which one value was taken, and whose generators have used their credit up. */
async function idle(
  manager: QueueManager,
  words: StreamWords,
  count: number,
  options: object = {},
  lane = 'query',
  values = 5_000,
): Promise<AsyncGenerator<unknown>[]> {
  const made = words.made
  const type = 'numbers'
  const streams = range(count).map(() => manager.stream(lane, type, { count: values }, options))
  for (const stream of streams) await within(stream.next(), 'the first value')
  await until(() => words.made >= made + count * CREDIT, 'all have used their credit up')
  return streams
}

test('a slow reader is not taken for a slow handler', async () => {
  const manager = await open('streams.js', {
    partitions: one,
    lanes: { web: { timeoutMs: 1_000 } },
  })
  const events = manager.subscribe({ events: ['queue.command.completed'] })
  for (const type of ['numbers', 'syncNumbers']) {
    let count = 0
    for await (const _ of manager.stream('web', type, { count: 5_000 })) {
      if (++count % 1_000 === 0) await sleep(500)
    }
    expect(count).toBe(5_000)
    const { value } = await within(events.next(), 'its end')
    // How long it ran, without the seconds of its reader.
    expect(value!.durationMs).toBeLessThan(1_500)
  }
})

test('the time that a stream has run counts on after its reader let it wait', async () => {
  const manager = await open('streams.js', { partitions: one })
  const payload = { count: 1_500, ms: 60_000 }
  const stream = manager.stream('query', 'burnsAfter', payload, { timeoutMs: 700 })
  await within(stream.next(), 'the first value')
  await sleep(900)
  const beganAt = performance.now()
  const error = await failure(collect(stream), 'the rest')
  expect(error).toMatchObject({ name: 'TimeoutError', details: { timeoutMs: 700 } })
  expect(performance.now() - beganAt).toBeGreaterThan(150)
  expect(await within(manager.run('echo', 1), 'a command after it')).toBe(1)
})

test.each([1, 3])(
  'idle readers stop no other (concurrency %i)',
  async (concurrencyPerPartition) => {
    const { words, manager } = await openStreams({
      partitions: PartitionConfig.balanced(2),
      concurrencyPerPartition,
    })
    const streams = await idle(manager, words, 12)
    const payloads = [...Array(2_000).keys()]
    expect(await within(manager.submitMany('query', 'echo', payloads), 'commands')).toEqual(
      payloads,
    )
    expect(words.made).toBeLessThanOrEqual(12 * (CREDIT + 1))
    const { partitions } = manager.stats()
    expect(partitions.map(({ bound }) => bound).reduce((a, b) => a + b)).toBe(12)
    const rest = await within(Promise.all(streams.map((stream) => collect(stream))), 'streams')
    expect(rest.map((values) => values.length)).toEqual(Array(12).fill(4_999))
    expect(manager.stats()).toMatchObject({ completed: 2_012, failed: 0, queued: 0 })
  },
)

test('more idle readers than a partition has room for leave room for other commands', async () => {
  const { words, manager } = await openStreams()
  const streams = range(1_100).map(() => manager.stream('query', 'numbers', { count: 3_000 }))
  for (const stream of streams) void stream.next()
  await until(() => words.made >= 900 * CREDIT, 'most have used their credit up')
  const payloads = [...Array(100).keys()]
  const commands = manager.submitMany('system', 'echo', payloads)
  expect(await within(commands, 'commands')).toEqual(payloads)
  for (const stream of streams) await stream.return(undefined)
  expect(await within(manager.run('echo', 1), 'a command after them')).toBe(1)
  await until(() => words.open === 0, 'all generators have ended')
})

test('a stream goes on in turn with the commands that wait', async () => {
  const { words, manager } = await openStreams()
  const streams = await idle(manager, words, 2, {}, 'query', 20_000)
  let isOver = false
  const feed = async () => {
    let count = 0
    // There is always a command that waits.
    for (; !isOver; count++) await Promise.all([manager.run('burn', 1), manager.run('burn', 1)])
    return count
  }
  const feeds = [feed(), feed()]
  const rest = await within(Promise.all(streams.map((stream) => collect(stream))), 'streams')
  isOver = true
  expect(rest.map((values) => values.length)).toEqual([19_999, 19_999])
  const counts = await within(Promise.all(feeds), 'commands')
  for (const count of counts) expect(count).toBeGreaterThan(3)
})

test('a generator is never entered while another handler has the only run', async () => {
  const { manager } = await openStreams()
  const streams = range(3).map(() => manager.stream('query', 'beside', { count: 6_000 }))
  const commands = range(60).map(() => manager.run('alone', 3))
  const read = async (stream: AsyncGenerator<unknown>) => {
    let count = 0
    for await (const _ of stream) if (++count % 500 === 0) await sleep(2)
    return count
  }
  const counts = await within(Promise.all(streams.map(read)), 'streams')
  expect(counts).toEqual([6_000, 6_000, 6_000])
  expect(await within(Promise.all(commands), 'commands')).toEqual(Array(60).fill('alone'))
})

test('an idle stream keeps its key and its lane slot, and others go on', async () => {
  const words = new StreamWords()
  const manager = await open('streams.js', {
    partitions: PartitionConfig.hash(1),
    lanes: { query: {}, narrow: { maxConcurrency: 1 } },
    ...words.options,
  })
  const [stream] = await idle(manager, words, 1, { key: 'mine' }, 'narrow')
  const ends: string[] = []
  const note = (name: string) => () => ends.push(name)
  const waiting = [
    manager.run('echo', 0, { key: 'mine' }).then(note('of its key')),
    manager.submit('narrow', 'echo', 0).then(note('of its lane')),
  ]
  for (let i = 0; i < 20; i++)
    await within(manager.run('echo', 0, { key: `${i}` }), 'of other keys')
  expect(ends).toEqual([])
  await stream!.return(undefined)
  await within(Promise.all(waiting), 'those that waited')
  expect(ends).toHaveLength(2)
})

test('idle streams count for a maximum that running handlers cannot reach', async () => {
  const words = new StreamWords()
  const manager = await open('streams.js', {
    partitions: PartitionConfig.balanced(2),
    lanes: { query: {}, narrow: { maxConcurrency: 2 } },
    ...words.options,
  })
  // Bound behind the streams before those come to rest, and so hard to take for short that none may
  // stand in the way of others.
  await within(manager.submitMany('narrow', 'burn', Array(8).fill(20)), 'long ones')
  const streams = [1, 2].map(() => manager.stream('narrow', 'numbers', { count: 5_000 }))
  for (const stream of streams) void stream.next()
  let burnt = 0
  const behind = range(8).map(() => manager.submit('narrow', 'burn', 20).then(() => burnt++))
  await until(() => words.made >= 2 * CREDIT, 'both streams rest')
  const others = async () => {
    for (let i = 0; i < 20; i++) await within(manager.submit('query', 'burn', 5), 'of another lane')
    return burnt
  }
  // One may have run before the second stream began.
  const before = await others()
  expect(await others()).toBe(before)
  for (const stream of streams) await stream.return(undefined)
  await within(Promise.all(behind), 'those of the lane')
})

test('many commands of the key of an idle stream do not stand in the way of others', async () => {
  const { words, manager } = await openStreams({ partitions: PartitionConfig.hash(1) })
  const run = (key: string) => manager.run('burn', 20, { key })
  await within(Promise.all(range(8).map(() => run('mine'))), 'long ones')
  const stream = manager.stream('query', 'numbers', { count: 5_000 }, { key: 'mine' })
  void stream.next()
  let ended = 0
  const behind = range(12).map(() => run('mine').then(() => ended++))
  await until(() => words.made >= CREDIT, 'the stream rests')
  for (let i = 0; i < 10; i++) await within(run(`${i}`), 'of another key')
  expect(ended).toBe(0)
  await stream.return(undefined)
  await within(Promise.all(behind), 'those of its key')
})

test('an idle stream that is aborted ends though a handler has the only run', async () => {
  const { words, manager } = await openStreams()
  const [stream] = await idle(manager, words, 1)
  const long = manager.run('wait', 1_000)
  const stats = () => manager.stats().partitions[0]!
  await until(() => stats().started === 2, 'a long command has started')
  await stream!.return(undefined)
  await until(() => words.ended === 1, 'the generator has ended')
  expect(await Promise.race([long, 'runs'])).toBe('runs')
  expect(await within(long, 'the long one')).toBe('waited')
})

test('a partition works on while its reload waits for an idle stream', async () => {
  const { words, manager } = await openStreams()
  const [stream] = await idle(manager, words, 1)
  const reload = manager.reload()
  await until(() => manager.stats().partitions[0]!.incarnations === 2, 'the next thread')
  for (let i = 0; i < 50; i++) expect(await within(manager.run('echo', i), 'a command')).toBe(i)
  expect(await collect(stream!)).toHaveLength(4_999)
  await within(reload, 'the reload')
  expect(manager.stats()).toMatchObject({ failed: 0, queued: 0 })
})

test('a command that killed its thread runs by itself beside idle streams', async () => {
  const shared = new Int32Array(new SharedArrayBuffer(8))
  const handlers = moduleOf(`
    import { workerData } from 'node:worker_threads'
    const words = new Int32Array(workerData)
    export function* endless() { for (let i = 0; ; i++) yield i }
    export const echo = (x) => x
    export const dies = () => {
      if (Atomics.add(words, 0, 1) === 0) process.exit(3)
      return 'survived'
    }`)
  const manager = await open('values.js', {
    partitions: one,
    workerData: shared.buffer,
    handlers,
  })
  const [lost, kept] = [manager.stream('query', 'endless'), manager.stream('query', 'endless')]
  await within(lost.next(), 'a value')
  const command = manager.run('dies', 0, { retry: { retries: 1, retryLost: true, delayMs: 300 } })
  const read = failure(collect(lost), 'the stream')
  expect(await read).toMatchObject({ code: 'CORELANE_PARTITION_LOST' })
  // The next thread has an idle stream before the suspect comes again.
  await within(kept.next(), 'a value of the other')
  expect(await within(command, 'the suspect')).toBe('survived')
  expect(await within(manager.run('echo', 1), 'a command after it')).toBe(1)
})
