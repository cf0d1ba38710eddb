// Nesting without end: handlers that wait for each other. Goal: what could never run is refused,
// all else runs, and nothing ever hangs, whatever holds what.

import { PartitionConfig, type QueueManager, RetryPolicy } from 'corelane'
import { expect, test } from 'vitest'
import { failure, until, within } from '../support/deadline.ts'
import { open } from '../support/managers.ts'
import { range } from '../support/range.ts'

const two = PartitionConfig.balanced(2)
const REFUSED = { name: 'ConfigError', code: 'CORELANE_NESTED_WAIT' }

function run(manager: QueueManager, type: string, payload?: unknown, options = {}) {
  return within(manager.run(type, payload, options), type)
}

/** One partition, in which a handler of the lane `plain` with the key `k` waits for others. */
const keyed = {
  partitions: PartitionConfig.single(),
  lanes: { plain: {}, narrow: { maxConcurrency: 1 } },
  concurrencyPerPartition: 3,
  timeoutGraceMs: 600_000,
}

const hasRun = (manager: QueueManager, lane: string) => () => {
  const { running, completed } = manager.stats().lanes[lane]!
  return running + completed > 0
}

test('long commands that wait for a key keep out none of their lane that its holder waits for', async () => {
  const manager = await open('nesting.js', keyed)
  const call = { ms: 300, call: { lane: 'narrow', type: 'echo', payload: 1 } }
  const holder = run(manager, 'callLater', call, { lane: 'plain', key: 'k' })
  await until(hasRun(manager, 'plain'), 'the holder')
  const long = 'x'.repeat(100_000)
  const options = { lane: 'narrow', key: 'k', priority: 0 }
  const behind = range(3).map(() => run(manager, 'echo', long, options))
  expect(await holder).toBe(1)
  expect(await Promise.all(behind)).toEqual([long, long, long])
})

test('no command waits with a slot of its group behind a run that its caller has left', async () => {
  const manager = await open('nesting.js', {
    partitions: PartitionConfig.single(),
    lanes: { limited: { maxConcurrency: 1 }, grouped: { groupConcurrency: 1 } },
    concurrencyPerPartition: 2,
  })
  const group = 'a'
  const key = 'k'
  const controller = new AbortController()
  const call = { lane: 'grouped', type: 'mark', payload: 1, options: { group, delayMs: 300 } }
  const { signal } = controller
  const left = run(manager, 'call', call, { lane: 'limited', key, signal })
  await until(() => manager.stats().lanes.grouped!.queued === 1, 'what it waits for')
  controller.abort()
  await expect(left).rejects.toMatchObject({ code: 'CORELANE_ABORTED' })
  // It goes on without its caller, and keeps its key until then.
  expect(await run(manager, 'echo', 2, { lane: 'grouped', key, group })).toBe(2)
})

test('one that was taken back for a more urgent one holds no slot of its group', async () => {
  const manager = await open('nesting.js', {
    partitions: PartitionConfig.custom(2, ({ type }) => (type === 'echo' ? 1 : 0)),
    lanes: { urgent: { priority: 0 }, grouped: { priority: 1, groupConcurrency: 1 } },
    concurrencyPerPartition: 1,
  })
  const group = 'a'
  const wait = () => run(manager, 'wait', 40, { lane: 'urgent' })
  await wait()
  const call = { lane: 'grouped', type: 'echo', payload: 1, options: { group } }
  const holder = run(manager, 'callLater', { ms: 200, call }, { lane: 'urgent' })
  await until(() => manager.stats().lanes.urgent!.running === 1, 'the holder')
  const behind = run(manager, 'echoHere', 2, { lane: 'grouped', group })
  // They are more than the window of its partition has room for.
  const urgent = range(6).map(wait)
  expect(await holder).toBe(1)
  expect(await behind).toBe(2)
  await Promise.all(urgent)
})

test.each([{}, { group: 'b' }])(
  'held ones of a group at its limit hold up none (%j)',
  async (other) => {
    const manager = await open('nesting.js', {
      partitions: PartitionConfig.hash(1),
      lanes: { plain: {}, turns: { groupConcurrency: 1 } },
      concurrencyPerPartition: 5,
    })
    const key = 'k'
    const busy = run(manager, 'wait', 300, { lane: 'plain', key })
    await until(hasRun(manager, 'plain'), 'it')
    // All are held for their key, before their group has anything that runs.
    const behind = range(8).map((i) => run(manager, 'echo', i, { lane: 'turns', group: 'a', key }))
    const call = { lane: 'turns', type: 'echo', payload: 1, options: { key, ...other } }
    const holder = run(manager, 'callLater', { ms: 100, call }, { lane: 'turns', group: 'a' })
    expect(await holder).toBe(1)
    expect(await Promise.all(behind)).toEqual(range(8))
    await busy
  },
)

test.each([
  ['single', PartitionConfig.single()],
  ['balanced over one', PartitionConfig.balanced(1)],
  ['roundRobin over one', PartitionConfig.roundRobin(1)],
])('a handler may not wait for its partition (%s) but beside others', async (_, partitions) => {
  const alone = await open('nesting.js', { partitions })
  expect(await run(alone, 'tryCall', { type: 'echo', payload: 1 })).toMatchObject(REFUSED)
  expect(await run(alone, 'echo', 'goes on')).toBe('goes on')
  const beside = await open('nesting.js', { partitions, concurrencyPerPartition: 2 })
  expect(await run(beside, 'tryCall', { type: 'echo', payload: 1 })).toEqual({ value: 1 })
})

test('under hash a handler may wait for another partition, not for its own', async () => {
  const manager = await open('nesting.js', { partitions: PartitionConfig.hash(2) })
  const partitionOf = new Map<string, number>()
  for (const key of ['a', 'b', 'c', 'd', 'e', 'f'])
    partitionOf.set(key, (await run(manager, 'where', undefined, { key })) as number)
  expect(new Set(partitionOf.values()).size).toBe(2)
  for (const [key, partition] of partitionOf) {
    for (const [other, otherPartition] of partitionOf) {
      const call = { type: 'echo', payload: 1, options: { key: other } }
      const outcome = await run(manager, 'tryCall', call, { key })
      expect(outcome).toMatchObject(partition === otherPartition ? REFUSED : { value: 1 })
    }
  }
})

test('two handlers on two partitions may not wait for each other', async () => {
  const manager = await open('nesting.js', { partitions: two })
  const nested = { type: 'tryCall', payload: { type: 'echo', payload: 1 } }
  // The first may wait, the second holds the last partition.
  expect(await run(manager, 'tryCall', nested)).toMatchObject({ value: REFUSED })
  const outcomes = await Promise.all(
    range(20).map(() => run(manager, 'tryCall', { type: 'wait', payload: 5 })),
  )
  for (const outcome of outcomes) {
    const { value, code } = outcome as { value?: unknown; code?: string }
    expect([value, code]).toContain(value === undefined ? REFUSED.code : 'waited')
  }
})

test('deep recursion works where many handlers may run at once', async () => {
  for (const partitions of [PartitionConfig.single(), two]) {
    const manager = await open('nesting.js', { partitions, concurrencyPerPartition: 100 })
    expect(await run(manager, 'fibonacci', 10)).toBe(55)
  }
})

test('a lane whose slots are held by handlers that wait is refused, and another is not', async () => {
  const lanes = { single: { maxConcurrency: 1 }, pair: { maxConcurrency: 2 }, free: {} }
  const manager = await open('nesting.js', { partitions: two, lanes, concurrencyPerPartition: 8 })
  const call = (lane: string) => ({ lane, type: 'echo', payload: 1 })
  expect(await run(manager, 'tryCall', call('single'), { lane: 'single' })).toMatchObject(REFUSED)
  expect(await run(manager, 'tryCall', call('free'), { lane: 'single' })).toEqual({ value: 1 })
  expect(await run(manager, 'tryCall', call('pair'), { lane: 'pair' })).toEqual({ value: 1 })
  const chain = (...names: string[]) =>
    run(manager, 'chain', { lanes: names.slice(1) }, { lane: names[0] })
  expect(await chain('single', 'pair', 'free', 'pair', 'free')).toHaveLength(5)
  expect(await failure(chain('single', 'free', 'single'), 'back to the first')).toMatchObject(
    REFUSED,
  )
  expect(await failure(chain('pair', 'pair', 'free', 'pair'), 'a third of two')).toMatchObject(
    REFUSED,
  )
})

test('a handler whose lane is lowered does not wait for ever for another of it', async () => {
  const lanes = { pair: { maxConcurrency: 2 }, free: {} }
  const manager = await open('nesting.js', { partitions: two, lanes, concurrencyPerPartition: 8 })
  // Two handlers hold both slots, and one of them waits for a command of the lane.
  const call = { lane: 'pair', type: 'echo', payload: 1 }
  const controller = new AbortController()
  const { signal } = controller
  const first = failure(manager.run('wait', 600_000, { lane: 'pair', signal }), 'the first')
  const second = run(manager, 'tryCall', call, { lane: 'pair' })
  await until(() => {
    const { pair } = manager.stats().lanes
    return pair!.running === 2 && pair!.queued === 1
  }, 'the wait')
  manager.lane('pair').setConcurrency(1)
  expect(await second).toMatchObject(REFUSED)
  controller.abort()
  expect(await first).toMatchObject({ code: 'CORELANE_ABORTED' })
  expect(await run(manager, 'echo', 2, { lane: 'pair' })).toBe(2)
})

test('a command that runs is awaited to its end, though its lane is lowered meanwhile', async () => {
  const { words, options } = wordsOf()
  const lanes = { pair: { maxConcurrency: 2 }, free: {} }
  const rest = { partitions: two, lanes, concurrencyPerPartition: 8 }
  const manager = await open('nesting.js', { ...options, ...rest })
  const call = { lane: 'pair', type: 'wait', payload: 200 }
  const outer = run(manager, 'tryCall', call, { lane: 'pair' })
  await until(() => Atomics.load(words, 6) === 1, 'the inner one')
  manager.lane('pair').setConcurrency(1)
  expect(await outer).toEqual({ value: 'waited' })
})

test.each([
  ['of its lane', { lanes: { narrow: { maxPending: 1 } } }],
  ['of its manager', { lanes: { narrow: {} }, maxPending: 1 }],
])('a handler that holds the room %s does not wait for it', async (_, options) => {
  const manager = await open('nesting.js', { partitions: two, ...options })
  const call = { lane: 'narrow', type: 'echo', payload: 1 }
  expect(await run(manager, 'tryCall', call, { lane: 'narrow' })).toEqual({ value: 1 })
  expect(await run(manager, 'echo', 2, { lane: 'narrow' })).toBe(2)
})

test('a nested command that may have killed a thread runs by itself, and its handler goes on', async () => {
  const { words, options } = wordsOf()
  const lanes = { query: { retry: RetryPolicy.fixed(5, 1).withLost() }, plain: {} }
  const manager = await open('nesting.js', {
    partitions: two,
    lanes,
    concurrencyPerPartition: 2,
    ...options,
  })
  // Several die with each thread, so that nobody knows whose doing it was.
  const calls = range(4).map(() =>
    run(manager, 'tryCall', { type: 'exitOnce', payload: 20 }, { lane: 'plain' }).catch((e) => e),
  )
  for (const outcome of await Promise.all(calls)) {
    const { value, code } = outcome as { value?: unknown; code?: string }
    if (value !== 'survived') expect(code).toMatch(/NESTED_WAIT|PARTITION_LOST/)
  }
  expect(words[5]).toBe(1)
  expect(await run(manager, 'echo', 1)).toBe(1)
})

test('a handler that runs by itself after a death may still wait for another command', async () => {
  const { options } = wordsOf()
  const lanes = { query: { retry: RetryPolicy.fixed(5, 1).withLost() } }
  const manager = await open('nesting.js', {
    partitions: PartitionConfig.single(),
    lanes,
    concurrencyPerPartition: 3,
    ...options,
  })
  const call = { type: 'exitOnce', payload: 20 }
  const runs = [manager.run('call', call), manager.run('wait', 50), manager.run('call', call)]
  expect(await within(Promise.all(runs), 'all')).toEqual(['survived', 'waited', 'survived'])
})

test.each([
  ['single', PartitionConfig.single()],
  ['hash', PartitionConfig.hash(2)],
  ['balanced', two],
])('a reload waits for handlers that are still to wait themselves (%s)', async (_, partitions) => {
  const manager = await open('nesting.js', { partitions, concurrencyPerPartition: 10 })
  const call = { type: 'call', payload: { type: 'echo', payload: 'deep' } }
  const runs = [100, 150, 200].map((ms) => run(manager, 'callLater', { ms, call }))
  const reload = manager.reload()
  expect(await within(Promise.all(runs), 'the commands')).toEqual(['deep', 'deep', 'deep'])
  await within(reload, 'the reload')
  expect(manager.stats().partitions[0]).toMatchObject({ state: 'ready', incarnations: 2 })
  expect(await run(manager, 'call', call)).toBe('deep')
})

test.each([
  ['single', PartitionConfig.single()],
  ['hash', PartitionConfig.hash(2)],
])('a handler may not wait for a command of its own key (%s)', async (_, partitions) => {
  const manager = await open('nesting.js', { partitions, concurrencyPerPartition: 4 })
  const call = (key: string) => ({ type: 'echo', payload: 1, options: { key } })
  expect(await run(manager, 'tryCall', call('k'), { key: 'k' })).toMatchObject(REFUSED)
  expect(await run(manager, 'tryCall', call('other'), { key: 'k' })).toEqual({ value: 1 })
  // The key of a handler that waits for the one that would wait for it.
  const chain = { type: 'tryCall', payload: call('k'), options: { key: 'other' } }
  expect(await run(manager, 'tryCall', chain, { key: 'k' })).toMatchObject({ value: REFUSED })
  expect(await run(manager, 'echo', 2, { key: 'k' })).toBe(2)
})

function wordsOf() {
  const shared = new SharedArrayBuffer(32)
  return { words: new Int32Array(shared), options: { workerData: { words: shared } } }
}
