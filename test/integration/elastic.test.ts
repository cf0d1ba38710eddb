// Elastic partitions: threads come with load and go when they are idle, and nothing is lost.

import { PartitionConfig, QueueManager } from 'corelane'
import { expect, test } from 'vitest'
import { failure, until, within } from '../support/deadline.ts'
import { fixture, moduleOf, open } from '../support/managers.ts'
import { range } from '../support/range.ts'

const file = fixture('file-exports.mjs')

test('threads come with load up to the maximum, and those above the minimum go', async () => {
  const partitions = { min: 1, max: 3, idleTimeoutMs: 20 }
  const manager = await open('basic.js', { partitions })
  const states = () => manager.stats().partitions.map(({ state }) => state)
  const dormant = () => states().filter((state) => state === 'dormant').length
  expect(states()).toEqual(['ready', 'dormant', 'dormant'])
  const gate = new Int32Array(new SharedArrayBuffer(8))
  const held = range(3).map(() => manager.submit('query', 'stay', gate, { file }))
  await until(() => gate[1] === 3, 'a thread for each')
  expect(dormant()).toBe(0)
  Atomics.store(gate, 0, 1)
  Atomics.notify(gate, 0)
  expect(new Set(await within(Promise.all(held), 'held')).size).toBe(3)
  await until(() => dormant() === 2, 'the end of two')
  expect(await manager.submit('query', 'default', 1, { file })).toEqual(['default', 1])
})

test('with a minimum of 0 no thread stays, and the next command gets one', async () => {
  const manager = await open('basic.js', { partitions: { min: 0, max: 1, idleTimeoutMs: 1 } })
  for (let i = 0; i < 5; i++) {
    await until(() => manager.stats().partitions[0]!.state === 'dormant', 'its end')
    expect(await within(manager.run('add', { a: i, b: 0 }), 'add')).toBe(i)
  }
})

test('nothing is lost while threads come and go at once', async () => {
  const manager = await open('basic.js', { partitions: { min: 0, max: 3, idleTimeoutMs: 0 } })
  for (let round = 0; round < 10; round++) {
    const count = 1 + (round % 7) * 5
    const results = range(count).map((i) => manager.run('add', { a: i, b: 0 }))
    expect(await within(Promise.all(results), `round ${round}`)).toEqual(range(count))
    if (round % 3 === 0) await new Promise((resolve) => setTimeout(resolve, round % 10))
  }
  const { submitted, completed } = manager.stats()
  expect(completed).toBe(submitted)
})

test('a reload reaches the threads that there are and those that come later', async () => {
  const manager = await open('basic.js', { partitions: { min: 1, max: 3, idleTimeoutMs: 5 } })
  await within(manager.reload(fixture('file-exports.mjs')), 'reload')
  const results = range(30).map(() => manager.run('hold', 5))
  const threads = new Set(await within(Promise.all(results), 'after the reload'))
  expect(threads.size).toBeGreaterThan(0)
})

test('no thread of the old module comes while a reload loads the new one', async () => {
  const named = (version: number, load = '') =>
    moduleOf(`${load}
      export const stay = (gate) => Atomics.wait(gate, 0, 0, 20_000)
      export const version = async () => {
        await new Promise((resolve) => setTimeout(resolve, 50))
        return ${version}
      }`)
  const partitions = { min: 0, max: 2, idleTimeoutMs: 100 }
  const manager = await open('basic.js', { handlers: named(1), partitions })
  const gate = new Int32Array(new SharedArrayBuffer(4))
  // Its thread was idle before: it is looked at again while the module loads.
  const slowly = 'await new Promise((resolve) => setTimeout(resolve, 500))'
  const reload = manager.reload(named(2, slowly))
  const stay = manager.run('stay', gate)
  const behind = manager.run('version')
  await until(() => manager.stats().partitions[1]!.incarnations > 0, 'a second thread')
  expect(await within(behind, 'what waited')).toBe(2)
  Atomics.store(gate, 0, 1)
  Atomics.notify(gate, 0)
  await within(Promise.all([reload, stay]), 'reload')
  const versions = range(4).map(() => manager.run('version'))
  expect(await within(Promise.all(versions), 'after it')).toEqual([2, 2, 2, 2])
})

test('bounds of elastic partitions are checked, and need the strategy balanced', () => {
  const make = (partitions: object) => () =>
    QueueManager.create({ handlers: fixture('basic.js'), partitions })
  expect(make({ min: 3, max: 2 })).toThrow('PartitionConfig.min')
  expect(make({ min: 1, count: 2 })).toThrow('PartitionConfig.count')
  expect(make({ max: 2, strategy: 'hash' })).toThrow('PartitionConfig.max')
  expect(make(PartitionConfig.elastic(0, 2, 5))).not.toThrow()
})

test('a drain starts the threads that the commands before it need', async () => {
  const manager = await open('basic.js', { partitions: { min: 0, max: 2, idleTimeoutMs: 1 } })
  await until(() => manager.stats().partitions[0]!.state === 'dormant', 'its end')
  const sums = [1, 2, 3].map((a) => manager.run('add', { a, b: 1 }))
  await within(manager.drain(), 'drain')
  expect(await Promise.all(sums)).toEqual([2, 3, 4])
})

test('a thread that dies during a reload that fails is replaced for what waits', async () => {
  const handlers = moduleOf(
    'export const exit = () => process.exit(9); export const echo = (x) => x',
  )
  const manager = await open('basic.js', { handlers, partitions: { min: 1, max: 1 } })
  const late = 'await new Promise((resolve) => setTimeout(resolve, 300)); throw new Error()'
  const reload = failure(manager.reload(moduleOf(late)), 'the reload')
  const death = failure(manager.run('exit'), 'the death')
  const behind = manager.run('echo', 1)
  expect(await death).toMatchObject({ code: 'CORELANE_PARTITION_LOST' })
  expect(await reload).toMatchObject({ code: 'CORELANE_HANDLERS_FAILED' })
  expect(await within(behind, 'what waited')).toBe(1)
})

test('a drain replaces a thread that dies for the commands behind it', async () => {
  const handlers = moduleOf(
    'export const exit = () => process.exit(9); export const echo = (x) => x',
  )
  const manager = new QueueManager({ handlers, partitions: { min: 1, max: 1, idleTimeoutMs: 1 } })
  await manager.start()
  const death = manager.run('exit').catch(({ code }) => code)
  const behind = manager.run('echo', 7)
  await within(manager.drain(), 'drain')
  expect([await death, await behind]).toEqual(['CORELANE_PARTITION_LOST', 7])
  await manager.close()
})

test('commands of a paused lane get no thread until it goes on', async () => {
  const partitions = { min: 0, max: 3, idleTimeoutMs: 60_000 }
  const lanes = { held: {}, narrow: { maxConcurrency: 1 } }
  const manager = await open('basic.js', { partitions, lanes })
  const threads = () => manager.stats().partitions.filter(({ incarnations }) => incarnations > 0)
  const add = (lane: 'held' | 'narrow', group?: string) =>
    manager.submit(lane, 'add', { a: 1, b: 1 }, { group })
  manager.lane('held').pause()
  const held = [add('held'), add('held', 'one'), add('held', 'two')]
  expect(await within(Promise.all([add('narrow'), add('narrow')]), 'the other lane')).toEqual([
    2, 2,
  ])
  expect(threads()).toHaveLength(1)
  manager.lane('held').resume()
  await until(() => threads().length === 3, 'two more threads')
  expect(await within(Promise.all(held), 'the paused lane')).toEqual([2, 2, 2])
})

test('what comes behind a run that goes on without its caller gets a thread of its own', async () => {
  const handlers = moduleOf(
    'export const never = () => new Promise(() => {}); export const echo = (x) => x',
  )
  const partitions = { min: 1, max: 2 }
  const manager = await open('basic.js', { handlers, partitions, closeTimeoutMs: 50 })
  const controller = new AbortController()
  const left = manager.run('never', 0, { signal: controller.signal }).catch(({ code }) => code)
  await until(() => manager.stats().running === 1, 'the run')
  controller.abort()
  expect(await within(left, 'the run')).toBe('CORELANE_ABORTED')
  expect(await within(manager.run('echo', 7), 'the next')).toBe(7)
})
