// Nested waits: a handler that could only wait for ever is told so, in real threads.

import { PartitionConfig, type QueueManagerOptions } from 'corelane'
import { expect, test } from 'vitest'
import { until, within } from '../support/deadline.ts'
import { moduleOf, open } from '../support/managers.ts'

const HANDLERS = `
  export const narrow = (depth, context) =>
    depth > 0 ? context.submit('wide', 'wide', depth - 1) : 'end'
  export const wide = (depth, context) => context.submit('narrow', 'narrow', depth)
  export const keyed = (key, context) => context.submit('wide', 'end', 0, { key })
  export const end = () => 'end'
  export const toNarrow = async (ms, context) => {
    if (ms > 0) await new Promise((go) => setTimeout(go, ms))
    return context.submit('narrow', 'end')
  }
  export function* count(to) { for (let i = 0; i < to; i++) yield i }
`

const openOver = (options: QueueManagerOptions) =>
  open('basic.js', { handlers: moduleOf(HANDLERS), concurrencyPerPartition: 4, ...options })

const STUCK = { code: 'CORELANE_NESTED_WAIT', name: 'ConfigError' }

test('a handler that comes back to the lane whose only slot it holds is refused', async () => {
  const manager = await openOver({
    partitions: { count: 2 },
    lanes: { narrow: { maxConcurrency: 1 }, wide: {} },
  })
  const refused = within(manager.submit('narrow', 'narrow', 1), 'a refusal')
  await expect(refused).rejects.toMatchObject(STUCK)
  // Nothing of it is held afterwards.
  expect(await within(manager.submit('wide', 'wide', 0), 'an end')).toBe('end')
})

test('a handler may not wait for its own key, and may for another', async () => {
  const manager = await openOver({
    partitions: { strategy: 'hash', count: 1 },
    lanes: { wide: {} },
  })
  const refused = within(manager.submit('wide', 'keyed', 'k', { key: 'k' }), 'a refusal')
  await expect(refused).rejects.toMatchObject(STUCK)
  expect(await within(manager.submit('wide', 'keyed', 'l', { key: 'k' }), 'an end')).toBe('end')
})

test('a handler may not wait for a slot of a stream that needs its run to go on', async () => {
  const manager = await openOver({
    partitions: PartitionConfig.custom(2, ({ type }) => (type === 'end' ? 1 : 0)),
    concurrencyPerPartition: 1,
    lanes: { narrow: { maxConcurrency: 1 }, wide: {} },
  })
  const values = manager.stream('narrow', 'count', 5_000)[Symbol.asyncIterator]()
  expect((await within(values.next(), 'a value')).value).toBe(0)
  // It begins while the stream rests, for want of a reader.
  const refused = within(manager.submit('wide', 'toNarrow'), 'a refusal')
  await expect(refused).rejects.toMatchObject(STUCK)
  let read = 1
  while ((await within(values.next(), 'the next')).done !== true) read++
  expect(read).toBe(5_000)
  expect(await within(manager.submit('wide', 'toNarrow'), 'an end')).toBe('end')
})

test('what is bound where all handlers wait keeps out none of its lane that they wait for', async () => {
  const manager = await openOver({
    partitions: PartitionConfig.custom(2, ({ type }) => (type === 'toNarrow' ? 0 : 1)),
    concurrencyPerPartition: 1,
    lanes: { narrow: { maxConcurrency: 2 }, wide: {} },
  })
  // One slot is taken by a stream that rests, and one is free.
  const values = manager.stream('narrow', 'count', 5_000)[Symbol.asyncIterator]()
  expect((await within(values.next(), 'a value')).value).toBe(0)
  const holder = manager.submit('wide', 'toNarrow', 100)
  await until(() => manager.stats().lanes.wide!.running === 1, 'the holder')
  const behind = manager.submit('narrow', 'toNarrow', 0)
  expect(await within(holder, 'the holder')).toBe('end')
  while ((await within(values.next(), 'the next')).done !== true);
  expect(await within(behind, 'the one behind it')).toBe('end')
})

test('what is bound behind a key keeps out none of its lane that the holder of the key waits for', async () => {
  const manager = await openOver({
    partitions: PartitionConfig.single(),
    concurrencyPerPartition: 2,
    lanes: { narrow: { maxConcurrency: 2 }, wide: {} },
  })
  // One slot is taken by a stream that rests, and one is free.
  const values = manager.stream('narrow', 'count', 5_000)[Symbol.asyncIterator]()
  expect((await within(values.next(), 'a value')).value).toBe(0)
  const key = 'a'
  const holder = manager.submit('wide', 'toNarrow', 100, { key })
  await until(() => manager.stats().lanes.wide!.running === 1, 'the holder')
  const behind = manager.submit('narrow', 'end', 0, { key })
  expect(await within(holder, 'the holder')).toBe('end')
  expect(await within(behind, 'the one behind it')).toBe('end')
  while ((await within(values.next(), 'the next')).done !== true);
})

test('a handler that does not wait learns whether its command was accepted, and no more', async () => {
  const posting = `
    export const post = ({ lane, type }, context) => context.submit(lane, type, 0, { wait: false })
    export const fails = () => { throw new Error('unseen') }
  `
  const manager = await open('basic.js', {
    handlers: moduleOf(posting),
    lanes: { a: {}, full: { maxPending: 1, overflow: 'reject' } },
  })
  const post = (lane: string, type = 'fails') =>
    within(manager.submit('a', 'post', { lane, type }), 'a post')
  expect(await post('a')).toBeUndefined()
  await expect(post('nowhere')).rejects.toMatchObject({ code: 'CORELANE_UNKNOWN_LANE' })
  await expect(post('a', 'nothing')).rejects.toMatchObject({ code: 'CORELANE_UNKNOWN_TYPE' })
  const pending = manager.submit('full', 'post', { lane: 'full', type: 'fails' })
  await expect(within(pending, 'a refusal')).rejects.toMatchObject({ code: 'CORELANE_QUEUE_FULL' })
})

test('a report of a handler that has ended long ago harms nobody', async () => {
  const late = `
    export const start = (ms, context) => void setTimeout(() => context.progress('late'), ms)
    export const next = async (ms) => void (await new Promise((go) => setTimeout(go, ms)))
  `
  const manager = await open('basic.js', { handlers: moduleOf(late), partitions: { count: 1 } })
  const reports: unknown[] = []
  const onProgress = (value: unknown) => reports.push(value)
  await within(manager.run('start', 20), 'start')
  for (let i = 0; i < 5; i++) await within(manager.run('next', 10, { onProgress }), 'next')
  expect(reports).toEqual([])
})
