// Commands that name their module: several modules in one manager.

import { SerializationError } from 'corelane'
import { expect, test } from 'vitest'
import { failure, refused, within } from '../support/deadline.ts'
import { create, fixture, moduleOf, open, share } from '../support/managers.ts'
import { range } from '../support/range.ts'

const exports = fixture('file-exports.mjs')
const shared = share('basic.js', { partitions: 1 })

test('a command may name a module: CommonJS, ESM, default and promised exports', async () => {
  const manager = shared()
  const run = (name: string, file: URL | string, payload?: unknown) =>
    within(manager.submit('query', name, payload, { file }), name)
  expect(await run('default', fixture('file-default.cjs'), 1)).toEqual(['whole', 1, 'default'])
  expect(await run('default', exports, 2)).toEqual(['default', 2])
  expect(await run('later', exports, 3)).toEqual(['later', 3])
  expect(await run('later', 'test/fixtures/file-exports.mjs', 4)).toEqual(['later', 4])
  expect(await run('twice', fixture('typed.js'), 21)).toBe(42)
  // With a query it is imported, not required.
  for (const query of ['', '?v=1']) {
    const made = new URL(query, fixture('file-made.cjs'))
    expect(await run('default', made, 5)).toEqual(['made', 5])
    expect(await run('other', made, 6)).toEqual(['other', 6])
  }
})

test('each thread loads a module once, however it is named by its commands', async () => {
  const manager = await open('basic.js', { partitions: { count: 2 } })
  const loads = await within(
    Promise.all(range(200).map(() => manager.submit('query', 'count', 0, { file: exports }))),
    'counts',
  )
  expect(new Set(loads)).toEqual(new Set([1]))
})

test('a module that cannot be loaded rejects its commands alone', async () => {
  const manager = shared()
  const file = moduleOf('throw new RangeError("at load")')
  const error = await failure(manager.submit('query', 'x', 0, { file }), 'a bad module')
  expect(error.message).toBe('at load')
  await refused(manager.submit('query', 'no', 0, { file: exports }), 'CORELANE_UNKNOWN_TYPE')
  await refused(manager.submit('query', 'value', 0, { file: exports }), 'CORELANE_UNKNOWN_TYPE')
  const bad = await failure(
    manager.submit('query', 'default', { f: () => 0 }, { file: exports }),
    'a function as payload',
  )
  expect(bad).toBeInstanceOf(SerializationError)
  expect(await manager.submit('query', 'default', 5, { file: exports })).toEqual(['default', 5])
})

test('a handler as the name of one, and a module that is none, are refused, and others run on', async () => {
  const manager = shared()
  for (const name of [() => 1, Symbol('s'), null, 5]) {
    const refused = manager.run(name as never, 1, { file: exports })
    expect((await failure(refused, 'no name')).code).toBe('CORELANE_UNKNOWN_TYPE')
  }
  for (const file of [() => 1, null, 5, Object.create(null)]) {
    const refused = manager.run('default', 1, { file: file as never })
    expect((await failure(refused, 'no module')).code).toBe('CORELANE_INVALID_OPTION')
  }
  expect(await within(manager.run('default', 1, { file: exports }), 'another')).toEqual([
    'default',
    1,
  ])
})

test('a dead letter of a command that names its module is redriven', async () => {
  const manager = await open('basic.js', { partitions: { count: 1 } })
  const file = moduleOf(
    'let runs = 0\nexport const flaky = (x) => { if (++runs < 3) throw new Error("no"); return x }',
  )
  const retry = { retries: 1 }
  await failure(manager.submit('query', 'flaky', 9, { file, retry }), 'spent')
  const [letter] = manager.deadLetters.list()
  expect(letter).toMatchObject({ type: 'flaky', payload: 9 })
  expect(await within(manager.deadLetters.redrive(letter!.id), 'redriven')).toBe(9)
})

test('what a thread prints is an event with the command that printed it', async () => {
  const manager = create('basic.js', { partitions: { count: 1 } })
  const events = manager.subscribe({
    events: ['queue.partition.output', 'queue.partition.spawned', 'queue.partition.exited'],
  })
  await within(manager.start(), 'start')
  const { value: spawned } = await events.next()
  await within(manager.submit('query', 'print', 'hi', { file: exports, id: 'printer' }), 'print')
  const both = [(await events.next()).value, (await events.next()).value]
  expect(both).toMatchObject([
    { partition: 0, id: 'printer', output: { stream: 'stdout', text: 'hi\n' } },
    { partition: 0, id: 'printer', output: { stream: 'stderr', text: 'hi!\n' } },
  ])
  expect(both[0].threadId).toBe(spawned.threadId)
  expect(manager.stats().partitions[0]!.threadId).toBe(spawned.threadId)
  expect(await manager.submit('query', 'self', 0, { file: exports })).toBe(spawned.threadId)
  await within(manager.close(), 'close')
  expect((await events.next()).value).toMatchObject({
    event: 'queue.partition.exited',
    threadId: spawned.threadId,
  })
})
