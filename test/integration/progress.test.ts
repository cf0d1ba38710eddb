// Progress: what handlers report with `context.progress` while they run. Goal: in order, the last
// one before the result, never in the way of anything else, whatever the rings and threads do.

import { PartitionConfig } from 'corelane'
import { expect, test } from 'vitest'
import { block, failure, until, within } from '../support/deadline.ts'
import { open, share } from '../support/managers.ts'
import { range } from '../support/range.ts'
import { uncaughtBy } from '../support/uncaught.ts'
import { openStreams } from './support/streams.ts'

const one = PartitionConfig.single()
const shared = share('streams.js', { partitions: one })
const SMALL = 2 ** 14
/** Reports of a number that fit a small ring. */
const FIT = SMALL / 40

test.each(['report', 'reportSync'])('reports of %s come in order before results', async (type) => {
  const manager = shared()
  const seen: unknown[] = []
  const onProgress = (value: unknown) => seen.push(value)
  const result = manager.run(type, { count: 2_000, every: 7 }, { onProgress })
  const atResult = result.then((value) => [value, seen.length])
  expect(await within(atResult, type)).toEqual(['reported', 2_000])
  expect(seen).toEqual([...Array(2_000).keys()])
})

test('reports of commands side by side reach each its own caller', async () => {
  const manager = await open('streams.js', {
    partitions: PartitionConfig.balanced(2),
    concurrencyPerPartition: 4,
  })
  const runs = range(20).map(async (index) => {
    const seen: unknown[] = []
    const onProgress = (value: unknown) => seen.push(value)
    await manager.run('report', { count: 10 + index, every: 2 }, { onProgress })
    return seen
  })
  for (const [index, seen] of (await within(Promise.all(runs), 'all commands')).entries()) {
    expect(seen).toEqual([...Array(10 + index).keys()])
  }
})

test('reports are events too, with the command they are of', async () => {
  const manager = shared()
  const events = manager.subscribe({
    events: ['queue.command.progress', 'queue.command.completed'],
  })
  await within(manager.submit('query', 'report', { count: 3 }), 'the command')
  const seen = []
  for (let i = 0; i < 4; i++) seen.push((await within(events.next(), 'an event')).value)
  expect(seen.map(({ event, progress }) => [event, progress])).toEqual([
    ['queue.command.progress', 0],
    ['queue.command.progress', 1],
    ['queue.command.progress', 2],
    ['queue.command.completed', undefined],
  ])
  for (const { lane, type, partition } of seen) {
    expect({ lane, type, partition }).toEqual({ lane: 'query', type: 'report', partition: 0 })
  }
  await events.return()
})

test('while the ring is full only the latest report is kept, and it comes before the result', async () => {
  const count = 100_000
  const manager = await open('streams.js', { partitions: one, ringBytes: SMALL })
  const seen: number[] = []
  const onProgress = (value: unknown) => seen.push(value as number)
  const result = manager.run('reportSync', { count }, { onProgress })
  const seenAtResult = result.then(() => seen.at(-1))
  await Promise.resolve()
  // Longer than the handler takes: all it has to say must be there, in a ring that cannot hold it.
  block(1_000)
  expect(await within(seenAtResult, 'the result')).toBe(count - 1)
  expect(seen.length).toBeGreaterThan(FIT / 2)
  expect(seen.length).toBeLessThan(count)
  expect(seen).toEqual(seen.toSorted((a, b) => a - b))
})

test.each([
  ['reportSync', { count: 2_300, burst: 2_000, burnMs: 2 }, 2_000],
  ['report', { count: 60_000, every: 100 }, 40_000],
] as const)('reports of %s come again once the full ring has room', async (type, payload, late) => {
  const manager = await open('streams.js', { partitions: one, ringBytes: SMALL })
  const seen: number[] = []
  const onProgress = (value: unknown) => seen.push(value as number)
  const result = manager.run(type, payload, { onProgress })
  await Promise.resolve()
  block(100)
  await within(result, 'the command')
  const { count } = payload
  expect(seen.at(-1)).toBe(count - 1)
  // Not only what fitted at first and the last one.
  expect(seen.filter((value) => value >= late && value < count - 1).length).toBeGreaterThan(10)
})

test('the last report comes though its handler says nothing more for long', async () => {
  const manager = await open('streams.js', { partitions: one, ringBytes: SMALL })
  const seen: number[] = []
  const onProgress = (value: unknown) => seen.push(value as number)
  const controller = new AbortController()
  const { signal } = controller
  const result = manager.run('reportThenWait', { count: 5_000, ms: 60_000 }, { onProgress, signal })
  const ended = failure(result, 'the aborted command')
  await Promise.resolve()
  block(100)
  await until(() => seen.at(-1) === 4_999, 'the last report')
  controller.abort()
  expect(await ended).toMatchObject({ name: 'AbortError' })
})

test('a result that found the ring full comes though a broadcast waits and its caller runs', async () => {
  const { words, manager } = await openStreams({ concurrencyPerPartition: 2, ringBytes: SMALL })
  const result = manager.run('waitForFill', { reports: 5_000, burnMs: 100 })
  await until(() => words.made === 1, 'the nested command runs')
  const broadcast = manager.broadcast('echo', 'heard')
  block(400)
  expect(await within(result, 'the handler that waits for the nested command')).toBe('filled')
  expect(await within(broadcast, 'the broadcast')).toEqual(['heard'])
})

test('a report that cannot cross throws in the handler, which may go on', async () => {
  const manager = shared()
  const seen: unknown[] = []
  const onProgress = (value: unknown) => seen.push(value)
  const result = await within(manager.run('reportBadly', undefined, { onProgress }), 'the command')
  expect(result).toMatchObject({ code: 'CORELANE_UNSERIALIZABLE' })
  expect(seen).toEqual([])
})

test('reports that come after their command has ended are dropped', async () => {
  const manager = shared()
  const seen: unknown[] = []
  const onProgress = (value: unknown) => seen.push(value)
  const late = manager.run('reportLate', { times: 40, everyMs: 1 }, { onProgress })
  expect(await within(late, 'it')).toBe('ended')
  const before = seen.length
  // Its slot is used again and again while it reports.
  for (let i = 0; i < 300; i++) {
    expect(await within(manager.run('wait', 1, { onProgress }), 'a command')).toBe('waited')
  }
  expect(seen.length).toBe(before)
})

test('a callback that throws is an uncaught exception, and nothing else is lost', async () => {
  const manager = shared()
  const seen: unknown[] = []
  const onProgress = (value: unknown) => {
    seen.push(value)
    if ((value as number) % 2 === 1) throw new Error(`callback ${value}`)
  }
  const thrown = await uncaughtBy(async () => {
    const result = manager.run('report', { count: 6, every: 2 }, { onProgress })
    expect(await within(result, 'the command')).toBe('reported')
  })
  expect(seen).toEqual(range(6))
  expect(thrown.map(String)).toEqual([1, 3, 5].map((value) => `Error: callback ${value}`))
  expect(await within(manager.run('echo', 'after'), 'a command after it')).toBe('after')
})
