// Broadcasts: what they wait for, and what becomes of one whose time is up. Goal: a broadcast never
// stops a partition for longer than its own time, whatever handlers do.

import { PartitionConfig } from 'corelane'
import { expect, test } from 'vitest'
import { failure, refused, until, within } from '../support/deadline.ts'
import { moduleOf, open } from '../support/managers.ts'
import { range } from '../support/range.ts'

const one = PartitionConfig.single()

const handlers = moduleOf(`
  import { workerData } from 'node:worker_threads'
  const words = new Int32Array(workerData)
  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
  export const echo = (x) => x
  export const note = (at) => Atomics.add(words, at, 1)
  export async function outer({ ms, inner, payload }, context) {
    if (ms > 0) await sleep(ms)
    return context.submit('query', inner, payload)
  }
  export async function steps({ count }, context) {
    for (let i = 0; i < count; i++) await context.submit('query', 'echo', i)
    return 'all'
  }
  export const never = () => new Promise(() => {})
  export function* endless() { for (let i = 0; ; i++) yield i }
  export const spin = () => { for (;;); }
  export const untilAborted = (at, { signal }) => new Promise((resolve) => {
    Atomics.add(words, at, 1)
    signal.addEventListener('abort', () => {
      Atomics.add(words, at + 1, 1)
      resolve(signal.reason.code)
    })
  })`)

function world() {
  const words = new Int32Array(new SharedArrayBuffer(32))
  return { words, options: { handlers, partitions: one, workerData: words.buffer } }
}

test.each([0, 50])(
  'a broadcast runs while a handler waits for a command of its own, which runs after it (%i ms)',
  async (ms) => {
    const { options } = world()
    const manager = await open('values.js', { ...options, concurrencyPerPartition: 8 })
    const outer = manager.run('outer', { ms, inner: 'echo', payload: 'inner' })
    const broadcast = manager.broadcast('echo', 'heard')
    expect(await within(broadcast, 'the broadcast')).toEqual(['heard'])
    expect(await within(outer, 'the handler that waited')).toBe('inner')
  },
)

test('broadcasts and nested commands in any number come to their ends', async () => {
  const { options } = world()
  const manager = await open('values.js', {
    ...options,
    partitions: PartitionConfig.balanced(2),
    concurrencyPerPartition: 4,
  })
  const handlersThatWait = range(6).map(() => manager.run('steps', { count: 20 }))
  for (let i = 0; i < 20; i++) {
    expect(await within(manager.broadcast('echo', i), `broadcast ${i}`)).toEqual([i, i])
  }
  expect(await within(Promise.all(handlersThatWait), 'handlers')).toEqual(Array(6).fill('all'))
})

test('a broadcast runs between two values of a stream that is read without a pause', async () => {
  const { options } = world()
  const manager = await open('values.js', options)
  const stream = manager.stream('query', 'endless')
  let isOver = false
  const reading = (async () => {
    let next = 0
    for await (const value of stream) {
      if (value !== next++) throw new Error(`${value} came where ${next - 1} was due`)
      if (isOver) break
    }
  })()
  for (let i = 0; i < 20; i++) {
    expect(await within(manager.broadcast('echo', i), 'a broadcast')).toEqual([i])
  }
  isOver = true
  await within(reading, 'the stream')
})

test('a broadcast that could not begin in time never does, and its partition goes on', async () => {
  const { words, options } = world()
  const manager = await open('values.js', {
    ...options,
    concurrencyPerPartition: 2,
    broadcastTimeoutMs: 100,
  })
  const controller = new AbortController()
  const held = failure(manager.run('never', 0, { signal: controller.signal }), 'the held one')
  await until(() => manager.stats().partitions[0]!.started === 1, 'its start')
  const broadcast = manager.broadcast('note', 0)
  const command = manager.run('echo', 'after')
  await refused(broadcast, 'CORELANE_CONTROL_TIMEOUT')
  expect(await within(command, 'a command that waited with it')).toBe('after')
  controller.abort()
  await held
  for (let i = 0; i < 20; i++) await within(manager.run('echo', i), 'a later command')
  expect(words[0]).toBe(0)
})

test.each(['untilAborted', 'never'])(
  'a broadcast that runs for too long is aborted and no longer keeps commands (%s)',
  async (type) => {
    const { words, options } = world()
    const manager = await open('values.js', { ...options, broadcastTimeoutMs: 500 })
    const broadcast = manager.broadcast(type, 2)
    await refused(broadcast, 'CORELANE_CONTROL_TIMEOUT')
    expect(await within(manager.run('echo', 'after'), 'a command')).toBe('after')
    expect(await within(manager.broadcast('echo', 1), 'the next broadcast')).toEqual([1])
    if (type === 'untilAborted') expect([words[2], words[3]]).toEqual([1, 1])
    expect(manager.stats().partitions[0]).toMatchObject({ incarnations: 1, terminating: 0 })
  },
)

test('a thread that is stuck in a broadcast is replaced', async () => {
  const { options } = world()
  const manager = await open('values.js', { ...options, broadcastTimeoutMs: 500 })
  const broadcast = failure(manager.broadcast('spin'), 'the broadcast')
  expect(await broadcast).toMatchObject({ code: 'CORELANE_CONTROL_TIMEOUT' })
  expect(await within(manager.run('echo', 'after'), 'a command after it')).toBe('after')
  expect(manager.stats().partitions[0]!.incarnations).toBe(2)
})

test('a thread that is busy with a command is not taken for stuck in a broadcast', async () => {
  const { options } = world()
  const manager = await open('values.js', { ...options, broadcastTimeoutMs: 50 })
  const busy = failure(manager.run('spin', 0, { timeoutMs: 2_000 }), 'the busy one')
  await until(() => manager.stats().partitions[0]!.started === 1, 'its start')
  const broadcast = failure(manager.broadcast('echo', 1), 'the broadcast')
  expect(await broadcast).toMatchObject({ code: 'CORELANE_CONTROL_TIMEOUT' })
  // Its own time-out ends it, and not the broadcast's.
  expect(await busy).toMatchObject({ code: 'CORELANE_TIMEOUT' })
})
