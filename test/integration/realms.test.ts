// Realms: the package loaded inside a `node:vm` context, as test runners load it, keeps what
// docs/payloads.md says, both ways. What arrives is of the realm that corelane runs in.
// Method: the CommonJS build, compiled in a context whose language classes are its own.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { inspect } from 'node:util'
import { compileFunction, createContext, runInContext } from 'node:vm'
import type { QueueManager } from 'corelane'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { rejection, within } from '../support/deadline.ts'
import { moduleOf } from '../support/managers.ts'

const DIST = join(import.meta.dirname, '../../dist')

/** A context that has Node's globals, and the classes of the language for itself. */
const context = createContext({})
const inner = runInContext('globalThis', context)
for (const [name, property] of Object.entries(Object.getOwnPropertyDescriptors(globalThis))) {
  if (!Object.hasOwn(inner, name)) Object.defineProperty(inner, name, property)
}

const loaded = new Map<string, { exports: Record<string, unknown> }>()

/** Loads a file of the build into the context. */
function load(file: string): Record<string, unknown> {
  const known = loaded.get(file)
  if (known !== undefined) return known.exports
  const module = { exports: {} }
  loaded.set(file, module)
  const native = createRequire(file)
  const require = (name: string) =>
    name.startsWith('.') ? load(join(dirname(file), name)) : native(name)
  const names = ['exports', 'require', 'module', '__filename', '__dirname']
  const options = { parsingContext: context, filename: file }
  const body = compileFunction(readFileSync(file, 'utf8'), names, options)
  body(module.exports, Object.assign(require, native), module, file, dirname(file))
  return module.exports
}

/** Values as text, so that they can be made in the context. */
const VALUES = [
  '[undefined, null, true, 0, -0, NaN, 5n, 2n ** 90n, "text", "\\ud800"]',
  '({ b: 1, a: { c: [] } })',
  'JSON.parse(\'{"__proto__": {"x": 1}, "a": 1}\')',
  'new (class Point { x = 1 })()',
  '[1, , 3]',
  'new Map([[{ key: 1 }, new Set([2])]])',
  '[new Date(5), new Date(NaN), /a+/giu]',
  '[Object(1), Object("text"), Object(true), Object(5n)]',
  'new Uint8Array([1, 2, 3]).buffer',
  '[new Float64Array([1, -0]), new DataView(new ArrayBuffer(2)), new Uint8Array(70_000)]',
  '(() => { const one = { list: [] }; one.list.push(one); return [one, one] })()',
  'Object.assign(new RangeError("bad", { cause: new TypeError("why") }), { code: "E_BAD" })',
  'new AggregateError([new Error("a"), 1], "all")',
]

let manager: QueueManager

beforeAll(async () => {
  const { QueueManager: Manager } = load(join(DIST, 'index.cjs')) as {
    QueueManager: typeof QueueManager
  }
  const handlers = moduleOf(`import { inspect } from 'node:util'
    export const echo = (value) => value
    export const look = (value) => inspect(value, { depth: 9, showHidden: false })
    export const isOwn = (value) => value instanceof Object
    export const fail = () => { throw Object.assign(new RangeError('bad'), { code: 'E_BAD' }) }`)
  manager = Manager.create({ handlers, partitions: { count: 1 } })
  await within(manager.start(), 'start')
})

afterAll(() => within(manager.close(), 'close'))

const shown = (value: unknown) => inspect(value, { depth: 9 })

/** Whether an object and all in it are of the context. */
const isOfContext = runInContext(
  `(function check(value, seen = new Set()) {
    if (typeof value !== 'object' || value === null || seen.has(value)) return true
    seen.add(value)
    if (!(value instanceof Object)) return false
    if (value instanceof Map || value instanceof Set) {
      return [...value].flat().every((one) => check(one, seen))
    }
    return ArrayBuffer.isView(value) || Object.values(value).every((one) => check(one, seen))
  })`,
  context,
) as (value: unknown) => boolean

test.each(VALUES)('%s arrives as it is, and comes back as a value of the context', async (text) => {
  const sent = runInContext(text, context)
  // What a class made arrives as a plain object.
  const expected = shown(sent).replace('Point ', '')
  expect(await within(manager.run('look', sent), 'look')).toBe(expected)
  expect(await within(manager.run('isOwn', [sent]), 'isOwn')).toBe(true)
  const back = await within(manager.run('echo', sent), 'echo')
  expect(shown(back)).toBe(expected)
  expect(isOfContext(back)).toBe(true)
})

test('what a handler throws is an error of the context', async () => {
  const error = await rejection(manager.run('fail'), 'fail')
  expect(isOfContext(error)).toBe(true)
  expect(runInContext('(error) => error instanceof RangeError', context)(error)).toBe(true)
  expect(error).toMatchObject({ name: 'RangeError', message: 'bad', code: 'E_BAD' })
})

test('a value that cannot cross is refused by its place', async () => {
  const error = await rejection(
    manager.run('echo', runInContext('({ a: [() => 1] })', context)),
    'it',
  )
  const message = expect.stringContaining('payload.a[0] is a function')
  expect(error).toMatchObject({ code: 'CORELANE_UNSERIALIZABLE', message })
})

test('any mixture of those comes back as it went', async () => {
  const pick = fc.array(fc.constantFrom(...VALUES), { minLength: 1, maxLength: 5 })
  await fc.assert(
    fc.asyncProperty(pick, async (texts) => {
      const sent = runInContext(`[${texts.join()}]`, context)
      const back = await within(manager.run('echo', sent), 'echo')
      expect(shown(back)).toBe(shown(sent).replaceAll('Point ', ''))
      expect(isOfContext(back)).toBe(true)
    }),
    { numRuns: 100 },
  )
})
