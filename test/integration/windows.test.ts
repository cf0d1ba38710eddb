// Windows: a partition's window holds commands that can start soon. Commands that cannot (revoked,
// behind a busy key, in a lane at its limit, too large) take no slot, byte or turn from others.

import { execSync } from 'node:child_process'
import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PartitionConfig, RateLimitConfig } from 'corelane'
import { expect, test } from 'vitest'
import { until, within } from '../support/deadline.ts'
import { moduleOf, open } from '../support/managers.ts'
import { range } from '../support/range.ts'

/** Handlers that log their payload when they start, and wait at a gate that the test opens. */
const LOGGED = moduleOf(`
  import { workerData } from 'node:worker_threads'
  const gate = new Int32Array(workerData.gate), log = new Int32Array(workerData.log)
  export const hold = () => { Atomics.store(gate, 1, 1); Atomics.wait(gate, 0, 0, 20000) }
  export const work = (n) => { log[Atomics.add(log, 0, 1) + 1] = n.number ?? n }`)

const SLOTS = 1024

/** A manager whose one thread logs what it starts, in order. */
async function logged(options: object) {
  const gate = new Int32Array(new SharedArrayBuffer(8))
  const log = new Int32Array(new SharedArrayBuffer(4 * 4096))
  const manager = await open('values.js', {
    handlers: LOGGED,
    partitions: PartitionConfig.single(),
    workerData: { gate: gate.buffer, log: log.buffer },
    ...options,
  })
  return {
    manager,
    /** Keeps the thread busy until `release`. */
    hold: async (lane: string): Promise<{ readonly ended: Promise<unknown> }> => {
      const ended = manager.submit(lane, 'hold')
      await until(() => Atomics.load(gate, 1) === 1, 'the gate')
      return { ended }
    },
    release: () => {
      Atomics.store(gate, 0, 1)
      Atomics.notify(gate, 0)
    },
    order: () => [...log.slice(1, 1 + Atomics.load(log, 0))],
  }
}

/** Submits a command and aborts it once it is bound, many times. */
async function abortMany(count: number, submit: (signal: AbortSignal) => Promise<unknown>) {
  for (let i = 0; i < count; i++) {
    const controller = new AbortController()
    const ended = submit(controller.signal).catch((error) => error.code)
    if (i % 64 === 0) await new Promise((resolve) => setImmediate(resolve))
    controller.abort()
    expect(await ended).toBe('CORELANE_ABORTED')
  }
}

const forgotten = (promise: Promise<unknown>) => {
  promise.catch(() => {})
}

test('commands of a busy key that were aborted keep no slot from other keys', async () => {
  const manager = await open('nesting.js', {
    partitions: PartitionConfig.hash(1),
    concurrencyPerPartition: 8,
    closeTimeoutMs: 50,
  })
  forgotten(manager.submit('query', 'wait', 600_000, { key: 'a' }))
  await abortMany(SLOTS + 200, (signal) => manager.submit('query', 'echo', 1, { key: 'a', signal }))
  expect(await within(manager.submit('query', 'echo', 2, { key: 'b' }), 'another key')).toBe(2)
  expect(await within(manager.submit('system', 'echo', 3), 'no key')).toBe(3)
})

const FAST_AND_SLOW = {
  partitions: PartitionConfig.single(),
  concurrencyPerPartition: 4,
  closeTimeoutMs: 50,
  lanes: {
    fast: { priority: 0, rateLimit: RateLimitConfig.perSecond(1000) },
    slow: { priority: 5, maxConcurrency: 1 },
  },
}

test('commands of a lane at its maximum that were aborted keep no slot from other lanes', async () => {
  const manager = await open('nesting.js', FAST_AND_SLOW)
  forgotten(manager.submit('slow', 'wait', 600_000))
  forgotten(manager.submit('slow', 'echo'))
  await abortMany(SLOTS + 200, (signal) => manager.submit('slow', 'echo', 1, { signal }))
  expect(await within(manager.submit('fast', 'echo', 2), 'the other lane')).toBe(2)
})

test.each([1, 10, 500])('%i commands behind a busy key keep no other key back', async (count) => {
  const manager = await open('nesting.js', {
    partitions: PartitionConfig.hash(1),
    concurrencyPerPartition: 8,
    closeTimeoutMs: 50,
  })
  // Known to take a while, so that few fill a window.
  for (let i = 0; i < 3; i++) await within(manager.submit('query', 'wait', 20), 'first runs')
  forgotten(manager.submit('query', 'wait', 600_000, { key: 'a' }))
  for (let i = 0; i < count; i++) forgotten(manager.submit('query', 'wait', 20, { key: 'a' }))
  const others = ['b', 'c', 'd'].map((key) => manager.submit('query', 'wait', 20, { key }))
  await within(Promise.all([...others, manager.submit('prompt', 'echo')]), 'other keys and lanes')
})

test('large payloads of a lane at its maximum keep no other limited lane waiting', async () => {
  const manager = await open('nesting.js', FAST_AND_SLOW)
  for (let i = 0; i < 40; i++) await manager.submit('slow', 'echo', 'x')
  forgotten(manager.submit('slow', 'wait', 600_000))
  for (let i = 0; i < 40; i++) forgotten(manager.submit('slow', 'echo', 'x'.repeat(200_000)))
  expect(await within(manager.submit('fast', 'echo', 'y'), 'the other lane')).toBe('y')
})

test.each([
  ['a rate limit', { rateLimit: RateLimitConfig.perSecond(1000) }],
  ['a rate limit that never binds', { rateLimit: RateLimitConfig.perSecond(100_000) }],
  ['a maximum', { maxConcurrency: 3 }],
  ['no limit', {}],
])('an urgent command starts first in a lane with %s', async (_, lane) => {
  const { manager, hold, release, order } = await logged({
    lanes: { a: lane, other: { priority: 0 } },
    concurrencyPerPartition: 2,
  })
  const all = [(await hold('other')).ended]
  for (let n = 1; n <= 800; n++) all.push(manager.submit('a', 'work', n, { priority: 200 }))
  await new Promise((resolve) => setImmediate(resolve))
  for (const n of [9001, 9002, 9003]) all.push(manager.submit('a', 'work', n, { priority: 0 }))
  await new Promise((resolve) => setImmediate(resolve))
  release()
  await within(Promise.all(all), 'all commands')
  expect(order().slice(0, 3)).toEqual([9001, 9002, 9003])
  expect(order().slice(3)).toEqual(range(800).map((index) => index + 1))
})

test('an urgent command of a busy key starts before others of that key', async () => {
  const { manager, hold, release, order } = await logged({ concurrencyPerPartition: 2 })
  const all = [(await hold('query')).ended]
  for (let n = 1; n <= 300; n++) all.push(manager.submit('query', 'work', n, { key: 'k' }))
  await new Promise((resolve) => setImmediate(resolve))
  all.push(manager.submit('query', 'work', 9001, { key: 'k', priority: 0 }))
  all.push(manager.submit('system', 'work', 9000, { key: 'k' }))
  await new Promise((resolve) => setImmediate(resolve))
  release()
  await within(Promise.all(all), 'all commands')
  expect(order().slice(0, 2)).toEqual([9000, 9001])
  expect(order().slice(2)).toEqual(range(300).map((index) => index + 1))
})

test('with one partition a reload keeps the order around a command that cannot be sent again', async () => {
  for (const partitions of [PartitionConfig.single(), PartitionConfig.balanced(1)]) {
    const { manager, hold, release, order } = await logged({ partitions })
    const all = [(await hold('query')).ended]
    all.push(manager.submit('query', 'work', 1))
    const moved = new ArrayBuffer(8)
    const transferList = [moved]
    all.push(manager.submit('query', 'work', { number: 2, moved }, { transferList }))
    all.push(manager.submit('query', 'work', 3))
    await new Promise((resolve) => setImmediate(resolve))
    const reloaded = manager.reload()
    await until(() => manager.stats().partitions[0]!.state === 'draining', 'the reload')
    release()
    await within(Promise.all([reloaded, ...all]), 'the reload and all commands')
    expect(order()).toEqual([1, 2, 3])
  }
})

/** Native calls that log when a process of their own starts and ends, and the most at once. */
function nativeCalls() {
  const file = join(mkdtempSync(join(tmpdir(), 'corelane-native-')), 'log')
  const handlers = moduleOf(`
    import { execSync } from 'node:child_process'
    export const native = ({ file, tag }) =>
      execSync('date +"S %s.%N ' + tag + '" >> ' + file + '; sleep 0.7; date +"E %s.%N ' + tag + '" >> ' + file)
    export const echo = (x) => x`)
  const lines = () => {
    try {
      return readFileSync(file, 'utf8').trim().split('\n')
    } catch {
      return []
    }
  }
  /** The most calls that overlapped, of those with a tag. */
  const most = (tag: string) => {
    const events = lines()
      .map((line) => line.split(' '))
      .filter((words) => words[2] === tag)
      .map(([kind, at]) => [Number(at), kind === 'S' ? 1 : -1] as const)
      .sort((a, b) => a[0] - b[0])
    let running = 0
    return Math.max(...events.map(([, change]) => (running += change)))
  }
  return { file, handlers, lines, most }
}

const hasDate = execSync('date +%N').toString().trim() !== 'N'

test.runIf(hasDate)('a maximum holds beside threads that native code keeps', async () => {
  const { file, handlers, most, lines } = nativeCalls()
  const manager = await open('values.js', {
    handlers,
    partitions: PartitionConfig.balanced(2),
    lanes: { a: { maxConcurrency: 2, timeoutMs: 100 }, b: {} },
    timeoutGraceMs: 10,
  })
  const runs = range(5).map(() => manager.submit('a', 'native', { file, tag: 'a' }))
  runs.forEach(forgotten)
  await until(() => manager.stats().partitions.some(({ terminating }) => terminating > 0), 'it')
  // Other lanes run on the replacements meanwhile.
  expect(await within(manager.submit('b', 'echo', 1), 'the other lane')).toBe(1)
  await within(Promise.allSettled(runs), 'all runs')
  await until(() => lines().length === 10, 'the end of the last call')
  expect(most('a')).toBe(2)
})

test.runIf(hasDate)('a key is held until the thread of its run has ended', async () => {
  const { file, handlers, most, lines } = nativeCalls()
  const manager = await open('values.js', {
    handlers,
    partitions: PartitionConfig.hash(1),
    timeoutGraceMs: 10,
  })
  const calls = range(3).map(() =>
    manager.submit('query', 'native', { file, tag: 'k' }, { key: 'k', timeoutMs: 100 }),
  )
  calls.forEach(forgotten)
  await until(() => manager.stats().partitions[0]!.terminating === 1, 'the time-out')
  expect(await within(manager.submit('query', 'echo', 2, { key: 'other' }), 'other key')).toBe(2)
  await within(Promise.allSettled(calls), 'all calls')
  await until(() => lines().length === 6, 'the end of the last call')
  expect(most('k')).toBe(1)
})

test('short commands of a busy key pass no long one that waits before them', async () => {
  const manager = await open('nesting.js', {
    partitions: PartitionConfig.hash(1),
    concurrencyPerPartition: 8,
  })
  // One type is known to be long, the other to be short.
  for (let i = 0; i < 5; i++) await within(manager.submit('query', 'wait', 20), 'a long one')
  for (let i = 0; i < 40; i++) await within(manager.submit('query', 'echo', 1), 'a short one')
  const order: number[] = []
  const all = range(60).map(async (index) => {
    const type = index % 3 === 0 ? 'wait' : 'echo'
    await manager.submit('query', type, 10, { key: 'k' })
    order.push(index)
  })
  await within(Promise.all(all), 'all commands of the key')
  expect(order).toEqual(range(60))
})
