// Handler modules: what may be one, what it is told, and that one that cannot be used makes `start`
// reject with the cause instead of hanging.

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { SHARE_ENV } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { failure, refused, within } from '../support/deadline.ts'
import { create, fixture, lifeOf, moduleOf, open, share } from '../support/managers.ts'
import { describeOnNodes } from '../support/nodes.ts'
import { range } from '../support/range.ts'

const one = { partitions: { count: 1 } } as const
const surroundings = share('surroundings.js', { partitions: { strategy: 'hash', count: 1 } })
const ODD = "const error = Object.assign(new Error('odd'), { name: { toString: 1 } })"
const SYNTAX_ERRORS = fileURLToPath(fixture('syntax-errors.mjs'))

test('a CommonJS module serves its exported functions, and its setup runs', async () => {
  const manager = await open('plain.cjs', one)
  expect(await within(manager.run('join', ['a', 'b']), 'join')).toBe('a/b')
  expect(await within(manager.run('setups'), 'setups')).toBe(1)
  const error = await refused(manager.run('notAHandler'), 'CORELANE_UNKNOWN_TYPE')
  expect(error.message).toContain('handlers: join, setups')
})

test('a CommonJS module may replace its exports as a whole', async () => {
  const manager = await open('whole.cjs', one)
  expect(await within(manager.run('double', 21), 'double')).toBe(42)
  expect(await within(manager.run('triple', 2), 'triple')).toBe(6)
})

test('a TypeScript module is found by the name of the file that it is compiled to', async () => {
  const manager = await open('typed.js', one)
  expect(await within(manager.run('twice', 21), 'twice')).toBe(42)
  await within(manager.reload(fixture('typed.js')), 'reload')
  expect(await within(manager.run('join', ['a', 'b']), 'join')).toBe('a+b')
})

test('a default export that is a function is the handler "default"', async () => {
  const manager = await open('default-function.js', one)
  expect(await within(manager.run('default', 1), 'default')).toEqual(['default', 1])
  expect(await within(manager.run('other', 2), 'other')).toEqual(['other', 2])
})

test('a default export made by defineHandlers serves its members, and setup among them runs', async () => {
  const manager = await open('defined.js', one)
  expect(await within(manager.run('add', { a: 1, b: 2 }), 'add')).toBe(3)
  expect(await within(manager.run('greet', 'you'), 'greet')).toBe('hello you')
  expect(await within(manager.run('partition'), 'partition')).toBe(0)
  expect(await within(manager.run('beside'), 'beside')).toContain('beside')
  await refused(manager.run('setup'), 'CORELANE_UNKNOWN_TYPE')
})

test('the methods of an exported object have it as `this`, and handlers call each other by it', async () => {
  const file = fixture('methods.cjs')
  for (const handlers of [file, moduleOf(`export { default } from '${file}'`)]) {
    const manager = await open('plain.cjs', { ...one, handlers })
    expect(await within(manager.run('twice', 'bob'), 'twice')).toBe('hello dear bob,hello dear bob')
    const members = ['greet', 'prefix', 'self', 'setup', 'twice']
    expect(await within(manager.run('self'), 'self')).toEqual(members)
    const replies = await within(manager.broadcast('greet', 'all'), 'a broadcast')
    expect(replies).toEqual(['hello dear all'])
  }
})

test('an exported function has no `this`, and its stack names it and nothing of the library', async () => {
  const text = `let ofSetup = 'not called'
    export function setup() { ofSetup = typeof this }
    export function own() { return [typeof this, ofSetup] }
    export function fail() { throw new Error('here') }`
  const manager = await open('plain.cjs', { ...one, handlers: moduleOf(text) })
  expect(await within(manager.run('own'), 'own')).toEqual(['undefined', 'undefined'])
  const replies = await within(manager.broadcast('own'), 'a broadcast')
  expect(replies).toEqual([['undefined', 'undefined']])
  const { stack } = await failure(manager.run('fail'), 'fail')
  expect(stack?.split('\n')[1]).toMatch(/^ +at fail \(/)
})

const broken: Record<string, { text: string; says: RegExp; cause?: object }> = {
  'throws while it loads': {
    text: 'export const a = () => 1; throw new RangeError("broken at load")',
    says: /RangeError: broken at load/,
    cause: { name: 'RangeError', message: 'broken at load' },
  },
  'throws a string while it loads': {
    text: 'export const a = () => 1; throw "a bare string"',
    says: /a bare string/,
  },
  'has a syntax error': { text: 'export const a = (', says: /SyntaxError/ },
  'imports what is missing': { text: 'import "node:no-such-module"', says: /no-such-module/ },
  'exports nothing': { text: '', says: /exports no function/ },
  'exports no function': { text: 'export const a = 1', says: /exports no function/ },
  'exports only setup': { text: 'export const setup = () => {}', says: /exports no function/ },
  'exports a setup that is no function': {
    text: 'export const a = () => 1; export const setup = 5',
    says: /"setup" is reserved/,
  },
  'exits while it loads': {
    text: 'export const a = () => 1; process.exit(3)',
    says: /exited with code 3/,
    cause: { code: 'CORELANE_PARTITION_LOST' },
  },
  'throws in a timer while it loads': {
    text: 'export const a = () => 1; setTimeout(() => { throw new TypeError("timer") }); await new Promise(() => {})',
    says: /TypeError: timer/,
  },
  'throws what has no text': {
    text: 'export const a = () => 1; throw { toString: 1 }',
    says: /: an object \{ toString \}$/,
  },
  'throws an error whose name is none': {
    text: `export const a = () => 1; ${ODD}; throw error`,
    says: /: an object \{ toString \}: odd$/,
  },
}

test.each(Object.entries(broken))(
  'start rejects: a module %s',
  async (_, { text, says, cause }) => {
    const manager = create('plain.cjs', { ...one, handlers: moduleOf(text) })
    const error = await failure(manager.start(), 'start')
    expect(error).toMatchObject({ name: 'ConfigError', code: 'CORELANE_HANDLERS_FAILED' })
    expect(error.message).toMatch(says)
    expect(error.cause).toBeDefined()
    if (cause !== undefined) expect(error.cause).toMatchObject(cause)
    expect(manager.stats().state).toBe('closed')
    await refused(manager.run('a'), 'CORELANE_CLOSED')
  },
)

test('a thread that ends by an error whose name is none costs its own command alone', async () => {
  const handlers = moduleOf(`
    export const echo = (value) => value
    export const late = () => new Promise(() => setTimeout(() => { ${ODD}; throw error }))`)
  const manager = create('plain.cjs', { ...one, handlers })
  const error = await failure(manager.run('late'), 'the one that fails')
  expect(error.code).toBe('CORELANE_PARTITION_LOST')
  expect(error.message).toContain('(an object { toString }: odd)')
  expect(await within(manager.run('echo', 1), 'another')).toBe(1)
})

const PLACES = {
  'own.mjs': 'own.mjs:2',
  'outer.mjs': 'inner.mjs:2',
  'own.cjs': 'own.cjs:3',
  'missing.mjs': 'missing.mjs:1',
  command: 'own.mjs:2',
  again: 'own.mjs:2',
}

test('a syntax error is named with its file and line', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [SYNTAX_ERRORS])
  expect(JSON.parse(stdout)).toEqual(PLACES)
})

describeOnNodes((run) => {
  test('a syntax error is named with its file and line', async () => {
    expect(JSON.parse(await run('syntax-errors.mjs', 60_000))).toEqual(PLACES)
  }, 60_000)
})

test('start rejects for a module that is missing, naming it', async () => {
  const manager = create('no-such-module.js', { partitions: { count: 2 } })
  const error = await refused(manager.start(), 'CORELANE_HANDLERS_FAILED')
  expect(error.message).toMatch(/Cannot find module '[^']+no-such-module.js'$/)
  expect(error.cause).toMatchObject({ code: 'ERR_MODULE_NOT_FOUND' })
})

test.each([
  ['a top-level await that never settles', 'export const a = () => 1; await new Promise(() => {})'],
  ['an endless loop', 'export const a = () => 1; for (;;);'],
])('start gives up after startTimeoutMs for a module with %s', async (_, text) => {
  const manager = create('plain.cjs', { ...one, handlers: moduleOf(text), startTimeoutMs: 300 })
  const error = await refused(manager.start(), 'CORELANE_HANDLERS_FAILED')
  expect(error.message).toContain('not ready after 300 ms')
})

test.each([
  ['throws', {}, /RangeError: setup is broken/],
  ['rejects with a string', {}, /a bare string/],
  ['never settles', { startTimeoutMs: 300 }, /not ready after 300 ms/],
])('start rejects where setup %s', async (setup, options, says) => {
  const manager = create('life.js', { ...one, ...lifeOf({ setup }), ...options })
  const error = await refused(manager.start(), 'CORELANE_HANDLERS_FAILED')
  expect(error.message).toMatch(says)
})

test('setup is awaited before the first command and is told its partition and incarnation', async () => {
  const partitions = { strategy: 'roundRobin', count: 2 } as const
  const manager = await open('life.js', { partitions, ...lifeOf() })
  const looks = await within(manager.submitMany('query', 'look', [0, 1]), 'look')
  const common = { incarnation: 1, isReady: true, isFrozen: true }
  expect(looks).toEqual([
    { partition: 0, ...common },
    { partition: 1, ...common },
  ])
  await failure(manager.run('exit'), 'exit')
  const replaced = await within(manager.submitMany('query', 'look', [0, 1]), 'look again')
  const incarnations = (replaced as { incarnation: number }[]).map((look) => look.incarnation)
  expect(incarnations.sort()).toEqual([1, 2])
})

test('a handler gets its payload and a context with what it should know', async () => {
  const manager = surroundings()
  const before = performance.now()
  const keyed = manager.submit('skill', 'context', null, { key: 'the key' })
  const first = (await within(keyed, 'context')) as Record<string, number>
  const after = performance.now()
  expect(first).toMatchObject({ lane: 'skill', type: 'context', key: 'the key', attempt: 1 })
  expect(first.deadline).toBe(undefined)
  // One clock for all threads, give or take its resolution.
  expect(first.startedAt).toBeGreaterThanOrEqual(before - 1)
  expect(first.startedAt).toBeLessThanOrEqual(first.now!)
  expect(first.now).toBeLessThanOrEqual(after + 1)
  const second = await within(manager.submit('skill', 'context', null), 'context')
  expect(second).toMatchObject({ key: undefined })
  expect(typeof first.id).toBe('string')
  expect((second as { id: string }).id).not.toBe(first.id)
  expect(await within(manager.run('argumentCount'), 'arguments')).toBe(2)
})

test('a context belongs to one command even when it is kept, and its signal is one object', async () => {
  const manager = surroundings()
  expect(await within(manager.run('signal'), 'signal')).toEqual({ isSame: true, aborted: false })
  const kept = await within(Promise.all(range(5).map(() => manager.run('contextKept'))), 'contexts')
  const ids = (kept as { id: string }[]).map(({ id }) => id)
  expect(new Set(ids).size).toBe(5)
})

test('workerData is exactly what the caller gave', async () => {
  const given = { list: [1, 2], map: new Map([['k', new Date(0)]]) }
  const manager = await open('surroundings.js', { ...one, workerData: given })
  expect(await within(manager.run('data'), 'data')).toEqual(given)
  expect(await within(surroundings().run('data'), 'no data')).toBeUndefined()
})

test('env, execArgv and resourceLimits reach the threads', async () => {
  const manager = await open('surroundings.js', {
    ...one,
    env: { CORELANE_TEST: 'from the test' },
    execArgv: ['--no-warnings'],
    resourceLimits: { maxOldGenerationSizeMb: 64 },
  })
  const given = 'from the test'
  expect(await within(manager.run('env'), 'env')).toEqual({ atLoad: given, now: given })
  expect(await within(manager.run('execArgv'), 'execArgv')).toEqual(['--no-warnings'])
  const limits = { maxOldGenerationSizeMb: 64 }
  expect(await within(manager.run('limits'), 'limits')).toMatchObject(limits)
})

test('SHARE_ENV shares the environment, and the default is a copy', async () => {
  const shared = await open('surroundings.js', { ...one, env: SHARE_ENV })
  try {
    process.env.CORELANE_TEST = 'set later'
    expect(await within(shared.run('env'), 'shared')).toMatchObject({ now: 'set later' })
    expect(await within(surroundings().run('env'), 'copied')).toMatchObject({ now: null })
  } finally {
    delete process.env.CORELANE_TEST
  }
})
