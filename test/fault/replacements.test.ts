// Replacements: what a new thread of a partition does before its first command, and what happens
// when it cannot be had. Nothing hangs: attempts are bounded, and then everything rejects with the
// cause.

import { setTimeout as sleep } from 'node:timers/promises'
import { PartitionConfig, type QueueManager } from 'corelane'
import { expect, test } from 'vitest'
import { failure, refused, until, within } from '../support/deadline.ts'
import { Ledger } from '../support/ledger.ts'
import { create, fixture, moduleOf, open, openLedger } from '../support/managers.ts'
import { range } from '../support/range.ts'

test('setup runs in every incarnation', async () => {
  const ledger = new Ledger(0)
  const manager = await open('life.js', {
    partitions: PartitionConfig.single(),
    workerData: ledger.workerData,
  })
  for (let deaths = 1; deaths <= 3; deaths++) {
    await failure(manager.run('exit'), 'exit')
    const look = await within(manager.run('look'), 'look')
    expect(look).toMatchObject({ incarnation: deaths + 1, isReady: true })
    expect(ledger.setups).toBe(deaths + 1)
  }
  expect(ledger.teardowns).toBe(0)
})

const remembering = moduleOf(`
  const seen = []
  export const setup = () => new Promise((resolve) => setTimeout(resolve, 50))
  export const set = async ({ value, ms = 0 }) => {
    if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms))
    if (value === undefined) throw new TypeError('no value')
    return seen.push(value)
  }
  export const other = ({ value }) => seen.push(value)
  export const patient = async (ms, { signal }) => {
    await new Promise((resolve) => setTimeout(resolve, ms))
    return signal.aborted
  }
  export const get = () => seen
  export const exit = () => process.exit(2)`)

/** What a replacement has run, once the present thread has been ended. */
async function seenAfterDeath(manager: QueueManager): Promise<unknown> {
  const killer = failure(manager.run('exit'), 'exit')
  const get = manager.run('get')
  await killer
  return within(get, 'get')
}

test('the latest sticky broadcast of each type is replayed on a replacement, before its first command', async () => {
  const handlers = remembering
  const manager = await open('values.js', { partitions: PartitionConfig.single(), handlers })
  expect(await within(manager.broadcast('set', { value: 'once' }), 'broadcast')).toEqual([1])
  const second = { second: new Map([[1, 2]]) }
  for (const [type, value] of [
    ['set', 'first'],
    ['other', 'between'],
    ['set', second],
  ] as const) {
    await within(manager.broadcast(type, { value }, { sticky: true }), 'sticky broadcast')
  }
  for (let deaths = 1; deaths <= 2; deaths++) {
    expect(await seenAfterDeath(manager)).toEqual(['between', second])
  }
})

test('a sticky broadcast with a key replaces the one with that key, of whatever type', async () => {
  const handlers = remembering
  const manager = await open('values.js', { partitions: PartitionConfig.single(), handlers })
  for (const [type, value, key] of [
    ['set', 'no key', undefined],
    ['set', 'a1', 'a'],
    ['set', 'b1', 'b'],
    ['other', 'a2', 'a'],
  ] as const) {
    await within(manager.broadcast(type, { value }, { sticky: true, key }), 'sticky broadcast')
  }
  expect(await seenAfterDeath(manager)).toEqual(['no key', 'b1', 'a2'])
})

test('a sticky broadcast that failed is not kept, and the one before it is', async () => {
  const handlers = remembering
  const manager = await open('values.js', {
    partitions: PartitionConfig.single(),
    broadcastTimeoutMs: 400,
    handlers,
  })
  const sticky = { sticky: true }
  await within(manager.broadcast('set', { value: 'good' }, sticky), 'the good one')
  const bad = await failure(manager.broadcast('set', {}, sticky), 'the bad one')
  expect(bad.message).toBe('no value')
  const slow = manager.broadcast('other', { value: () => {} }, sticky)
  await refused(slow, 'CORELANE_UNSERIALIZABLE')
  const late = manager.broadcast('set', { value: 'late', ms: 800 }, sticky)
  await refused(late, 'CORELANE_CONTROL_TIMEOUT')
  expect(await seenAfterDeath(manager)).toEqual(['good'])
  await within(manager.reload(), 'reload')
  expect(await within(manager.run('get'), 'get')).toEqual(['good'])
})

test('a thread that is made while a sticky broadcast is under way runs it too', async () => {
  const handlers = remembering
  const manager = await open('values.js', { partitions: PartitionConfig.hash(2), handlers })
  const broadcasts = [
    manager.broadcast('set', { value: 'first', ms: 300 }, { sticky: true }),
    manager.broadcast('other', { value: 'second' }, { sticky: true }),
  ]
  await within(manager.reload(), 'reload')
  await within(Promise.all(broadcasts), 'broadcasts')
  const seen = ['first', 'second']
  expect(await within(manager.broadcast('get'), 'what was seen')).toEqual([seen, seen])
})

test('a reload lets broadcasts that are under way end on the old threads', async () => {
  const handlers = remembering
  const manager = await open('values.js', { partitions: PartitionConfig.hash(2), handlers })
  const broadcasts = [manager.broadcast('patient', 1000), manager.broadcast('other', {})]
  await within(manager.reload(), 'reload')
  expect(await within(Promise.all(broadcasts), 'broadcasts')).toEqual([
    [false, false],
    [1, 1],
  ])
  expect(await within(manager.broadcast('get'), 'what the new threads saw')).toEqual([[], []])
})

test('a broadcast that waits for a thread to load outlives one that takes its place', async () => {
  const loadsSlowly = `await new Promise((resolve) => setTimeout(resolve, 500))
    export const die = () => process.exit(1)
    export const where = (_, { partition }) => partition`
  const handlers = moduleOf(loadsSlowly)
  const manager = await open('values.js', { partitions: PartitionConfig.single(), handlers })
  const reload = manager.reload()
  await sleep(250)
  await failure(manager.run('die'), 'the deadly command')
  await until(() => manager.stats().partitions[0]!.incarnations === 3, 'the replacement')
  const broadcast = manager.broadcast('where')
  await within(reload, 'reload')
  expect(await within(broadcast, 'the broadcast')).toEqual([0])
})

test('a reload to a module without the handler of a sticky broadcast forgets it', async () => {
  const handlers = remembering
  const manager = await open('values.js', { partitions: PartitionConfig.single(), handlers })
  await within(manager.broadcast('other', { value: 1 }, { sticky: true }), 'a sticky broadcast')
  await within(manager.reload(fixture('values.js')), 'reload')
  await within(manager.reload(handlers), 'reload back')
  expect(await within(manager.run('get'), 'get')).toEqual([])
})

test('commands that wait for a module to load again run once it does', async () => {
  const { ledger, manager } = await openLedger(3, { partitions: PartitionConfig.single() })
  ledger.failsToLoad = true
  const killer = failure(manager.run('die', { index: 0, how: 'exit' }), 'the deadly command')
  const queued = [1, 2].map((index) => manager.run('mark', index))
  await killer
  await until(() => ledger.loads >= 3, 'a few failed loads')
  ledger.failsToLoad = false
  expect(await within(Promise.all(queued), 'the queued ones')).toEqual([1, 2])
})

test('when one partition is given up the others take over what any of them may run', async () => {
  const { ledger, manager } = await openLedger(300, { partitions: PartitionConfig.balanced(2) })
  ledger.failsToLoad = true
  await failure(manager.run('die', { index: 0, how: 'exit' }), 'the deadly command')
  await until(
    () => manager.stats().partitions.some(({ state }) => state === 'failed'),
    'one partition is given up',
  )
  const all = range(299).map((i) => manager.run('mark', i + 1))
  await within(Promise.all(all), 'the other partition runs all')
  expect(ledger.allRuns(300)).toEqual(new Array(300).fill(1))
})

test('where threads come and go, too, one that is left is replaced after another was given up', async () => {
  const { ledger, manager } = await openLedger(3, { partitions: PartitionConfig.elastic(2, 2) })
  const die = (index: number) => failure(manager.run('die', { index, how: 'exit' }), 'a death')
  ledger.failsToLoad = true
  await die(0)
  const states = () => manager.stats().partitions.map(({ state }) => state)
  await until(() => states().includes('failed'), 'one partition is given up')
  ledger.failsToLoad = false
  const death = die(1)
  expect(await within(manager.run('mark', 2), 'what came behind it')).toBe(2)
  await death
})

test('a thread that a reload has given, and that has ended as idle, has no late replacement', async () => {
  const { ledger, manager } = await openLedger(2, { partitions: PartitionConfig.elastic(0, 1, 0) })
  const state = () => manager.stats().partitions[0]!.state
  const before = ledger.loads
  ledger.failsToLoad = true
  const queued = manager.run('mark', 1)
  await until(() => ledger.loads >= before + 3, 'a few failed loads')
  ledger.failsToLoad = false
  await within(manager.reload(), 'reload')
  await within(queued, 'the queued one')
  await until(() => state() === 'dormant', 'its end')
  const { loads } = ledger
  // Longer than the next attempt to load would have waited.
  await new Promise((resolve) => setTimeout(resolve, 600))
  expect(ledger.loads).toBe(loads)
})

test('once a partition is given up no handler waits for a command that it alone could run', async () => {
  const words = new Int32Array(new SharedArrayBuffer(12))
  const handlers = moduleOf(`
    import { workerData } from 'node:worker_threads'
    const words = new Int32Array(workerData)
    export const setup = () => {
      if (Atomics.load(words, 0) === 1) throw new Error('it must not load')
    }
    export const die = () => process.exit(7)
    export const echo = (payload) => payload
    export const outer = async (_, context) => {
      Atomics.add(words, 1, 1)
      await Atomics.waitAsync(words, 2, 0, 20_000).value
      return context.submit('query', 'echo')
    }`)
  const partitions = PartitionConfig.balanced(2)
  const manager = await open('values.js', { partitions, handlers, workerData: words.buffer })
  const early = failure(manager.run('outer'), 'one that waits while the other partition ends')
  await until(() => Atomics.load(words, 1) === 1, 'it runs')
  Atomics.store(words, 0, 1)
  await failure(manager.run('die'), 'the deadly command')
  Atomics.store(words, 2, 1)
  Atomics.notify(words, 2)
  expect((await early).code).toBe('CORELANE_NESTED_WAIT')
  expect(
    manager
      .stats()
      .partitions.map(({ state }) => state)
      .toSorted(),
  ).toEqual(['failed', 'ready'])
  expect((await failure(manager.run('outer'), 'a late one')).code).toBe('CORELANE_NESTED_WAIT')
  expect(await within(manager.run('echo', 1), 'the partition that is left')).toBe(1)
})

test('under hash only the commands of the partition that was given up are refused', async () => {
  const { ledger, manager } = await openLedger(10, {
    partitions: PartitionConfig.custom(2, ({ key }) => Number(key)),
  })
  ledger.failsToLoad = true
  const options = { key: '1' }
  const killer = manager.run('die', { index: 0, how: 'exit' }, options)
  const queued = failure(manager.run('mark', 1, options), 'a queued one')
  await failure(killer, 'the deadly command')
  expect((await queued).code).toBe('CORELANE_HANDLERS_FAILED')
  await refused(manager.run('mark', 1, options), 'CORELANE_HANDLERS_FAILED')
  expect(await within(manager.run('mark', 2, { key: '0' }), 'the other partition')).toBe(2)
  await within(manager.drain(), 'drain')
  await within(manager.close(), 'close')
})

test('a module whose thread dies soon after each start, with no command run, is given up', async () => {
  const handlers = moduleOf(`
    // Not before its thread has reported that it is loaded, however slow that is.
    export const setup = () => {
      setTimeout(() => { throw new RangeError('it cannot live') }, 20)
    }
    export const echo = (payload) => payload`)
  const manager = create('values.js', { partitions: PartitionConfig.single(), handlers })
  await within(manager.start(), 'start')
  await until(() => manager.stats().partitions[0]!.state === 'failed', 'it is given up')
  expect(manager.stats().partitions[0]!.incarnations).toBeLessThan(20)
  const error = await refused(manager.run('echo', 1), 'CORELANE_PARTITION_LOST')
  expect(error.message).toContain('it cannot live')
})

test('a thread that cannot even be made is given up like one that cannot load', async () => {
  const ledger = new Ledger(3)
  const workerData: Record<string, unknown> = { ...ledger.workerData }
  const manager = await open('ledger.js', { partitions: PartitionConfig.single(), workerData })
  workerData.unfit = () => {}
  const killer = failure(manager.run('die', { index: 0, how: 'exit' }), 'the deadly command')
  const queued = failure(manager.run('mark', 1), 'a queued one')
  await killer
  expect((await queued).message).toContain('could not be cloned')
  expect((await failure(manager.run('mark', 2), 'a late one')).message).toContain('cloned')
})

test('close while a replacement backs off or loads is clean, and drops what waits', async () => {
  const ledger = new Ledger(3)
  for (const loads of [2, 3]) {
    const manager = await open('ledger.js', {
      partitions: PartitionConfig.single(),
      workerData: ledger.workerData,
    })
    const before = ledger.loads
    ledger.failsToLoad = true
    const killer = failure(manager.run('die', { index: 0, how: 'exit' }), 'the deadly command')
    const queued = failure(manager.run('mark', 1), 'a queued one')
    await killer
    await until(() => ledger.loads >= before + loads - 1, 'failed loads')
    await within(manager.close(), 'close')
    expect((await queued).code).toBe('CORELANE_COMMAND_DROPPED')
    ledger.failsToLoad = false
  }
})
