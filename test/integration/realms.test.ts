// Realms: the package loaded inside a `node:vm` context, as test runners load it, keeps what
// docs/payloads.md says, both ways. What arrives is of the realm in which corelane is loaded.
// Method: the CommonJS build, compiled in a context whose language classes are its own.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { types } from 'node:util'
import { compileFunction, createContext, runInContext } from 'node:vm'
import type { QueueManager } from 'corelane'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { rejection, within } from '../support/deadline.ts'
import { findDifference } from '../support/difference.ts'
import { graph } from '../support/graphs.ts'
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

/** A value as text, so that it is made in the context; its text, how it arrives, and 'refused'. */
interface Passage {
  readonly sent: string
  readonly arrives: string
}
type Row = string | Passage

const refused = (sent: string): Passage => ({ sent, arrives: 'refused' })
const becomes = (sent: string, arrives: string): Passage => ({ sent, arrives })

/** The table of docs/payloads.md. */
const ROWS: Record<string, Row> = {
  '`undefined`, `null`, booleans': '[undefined, null, true, false]',
  'numbers, with `NaN`, `-0` and the infinities': '[0, -0, NaN, Infinity, -Infinity, 2 ** 53]',
  'bigints of any size': '[5n, 2n ** 64n, -(7n ** 900n)]',
  'strings, with lone surrogates and byte order marks': '["a", "\\ud800", "\\ufeffx", "日本"]',
  'plain objects': '({ b: 1, a: { c: [] }, 2: "two" })',
  'a member named `__proto__`': 'JSON.parse(\'{"__proto__": {"x": 1}, "a": 1}\')',
  'objects without a prototype': becomes(
    'Object.assign(Object.create(null), { a: 1 })',
    '({ a: 1 })',
  ),
  'class instances': becomes('new (class Point { x = 1; #y = 2 })()', '({ x: 1 })'),
  'objects with a `toJSON` method in their class': becomes(
    'new (class { x = 1; toJSON() { return 7 } })()',
    '({ x: 1 })',
  ),
  getters: becomes('({ get now() { return 5 } })', '({ now: 5 })'),
  'members keyed by a symbol, or not enumerable': becomes(
    'Object.defineProperty({ a: 1, [Symbol("s")]: 2 }, "hidden", { value: 3 })',
    '({ a: 1 })',
  ),
  'frozen and sealed objects': becomes('Object.freeze({ a: Object.seal([1]) })', '({ a: [1] })'),
  arrays: '[[], [1, "a", [2]], new Array(20_000).fill(0.5)]',
  'holes in arrays': '[1, , 3, Object.assign([], { 5: 1, length: 10 ** 8 })]',
  'named members of an array': becomes('Object.assign([1, 2], { index: 3 })', '[1, 2]'),
  '`Map` and `Set`': 'new Map([[{ key: 1 }, new Set([2, [3]])], [NaN, null]])',
  '`Date`, valid or not': '[new Date(5), new Date(NaN)]',
  '`RegExp`': '[/a+/giu, /(?:)/, /\\n\\//]',
  'boxed primitives': '[Object(1), Object("text"), Object(true), Object(5n)]',
  'own members of `Map`, `Set`, `Date`, `RegExp` and binary data': becomes(
    '[new Map(), new Date(0), /a/, new Uint8Array(2)].map((x) => Object.assign(x, { constructor: 1 }))',
    '[new Map(), new Date(0), /a/, new Uint8Array(2)]',
  ),
  'classes that extend `Array`, `Map`, `Set`, `Date`, `RegExp` or a typed array': becomes(
    `[Array, Map, Set, Date, RegExp, Float32Array].map((Class) => new (class extends Class {})())
      .map((x) => types.isDate(x) ? (x.setTime(5), x) : x)`,
    '[[], new Map(), new Set(), new Date(5), new RegExp(""), new Float32Array()]',
  ),
  'values of another realm (`node:vm`)': becomes('foreign', '[[1], new Map([[1, new Date(5)]])]'),
  'the same object in several places, cycles':
    '(() => { const a = { b: [] }; a.b.push(a); return [a, a] })()',
  '`ArrayBuffer`':
    '[new Uint8Array([1, 2, 3]).buffer, new ArrayBuffer(0), new ArrayBuffer(70_000)]',
  'resizable `ArrayBuffer`': 'new ArrayBuffer(2, { maxByteLength: 8 })',
  'typed arrays and `DataView`': `[new Float64Array([1, -0]), new BigInt64Array([-5n]),
    new DataView(new ArrayBuffer(2)), new Uint8Array(70_000), new Int16Array(50_000)]`,
  'several views of one buffer': becomes(
    '((memory) => [new Uint8Array(memory), new Int16Array(memory)])(new ArrayBuffer(8))',
    '[new Uint8Array(8), new Int16Array(4)]',
  ),
  '`Buffer`': '[Buffer.from("pooled"), Buffer.alloc(0), Buffer.alloc(70_000, 1)]',
  '`SharedArrayBuffer` and views of one': 'elsewhere',
  '`Blob`, `KeyObject`, `WebAssembly.Module`': 'elsewhere',
  'objects in the transfer list': 'elsewhere',
  'proxies of plain objects and arrays': becomes(
    '[new Proxy({ a: 1 }, {}), new Proxy([1], {})]',
    '[{ a: 1 }, [1]]',
  ),
  '`arguments`': becomes('(function () { return arguments })(4, 5)', '({ 0: 4, 1: 5 })'),
  "errors of the language's classes": `[Error, EvalError, RangeError, ReferenceError, SyntaxError,
    TypeError, URIError].map((Class) => Object.assign(new Class("bad", { cause: [1] }), { code: "E" }))`,
  'errors of your own classes': 'elsewhere',
  '`AggregateError`': 'new AggregateError([new TypeError("a"), "text", -0], "all failed")',
  '`DOMException`': 'elsewhere',
  "corelane's own errors": 'elsewhere',
  'a member of an error that cannot cross': 'elsewhere',
  'causes more than 8 deep': 'elsewhere',
  'functions and classes': refused('() => 1'),
  symbols: refused('[Symbol("s")]'),
  '`Promise`': refused('Promise.resolve()'),
  '`WeakMap`, `WeakSet`, `WeakRef`': refused('[new WeakRef({})]'),
  '`URL`, `Headers`, `AbortSignal` and others whose content cannot be copied': 'elsewhere',
  '`Event`, `EventTarget` and others of the environment, with no members of their own':
    refused('new Event("x")'),
  'instances whose content is all private, keyed by symbols or not enumerable': refused(
    'new (class { #one = 1; one() { return this.#one } })()',
  ),
  'generators and iterators': refused('[[1].values()]'),
  'proxies of anything else': refused('new Proxy(new Map(), {})'),
  'buffers that were transferred away': refused('detached'),
  'a getter that throws': refused('({ get bad() { throw 1 } })'),
  'nesting more than 1,000 levels deep': refused(
    'Array.from({ length: 1_001 }).reduce((inner) => [inner], 1)',
  ),
}

const library = load(join(DIST, 'index.cjs'))
let manager: QueueManager

beforeAll(async () => {
  const { QueueManager: Manager } = library as { QueueManager: typeof QueueManager }
  const handlers = moduleOf(`import { types } from 'node:util'
    export const echo = (value) => value
    export const isOwn = (value) => value instanceof Object
    export const fail = () => { throw Object.assign(new RangeError('bad'), { code: 'E_BAD' }) }`)
  manager = Manager.create({ handlers, partitions: { count: 1 } })
  await within(manager.start(), 'start')
})

afterAll(() => within(manager.close(), 'close'))

/** Makes in the context what is given as a value of another realm. */
const transplant = runInContext(
  `(function make(value, types, made = new Map()) {
    if (typeof value !== 'object' || value === null) return value
    if (made.has(value)) return made.get(value)
    const keep = (copy) => { made.set(value, copy); return copy }
    const inner = (member) => make(member, types, made)
    if (types.isDate(value)) return keep(new Date(+value))
    if (types.isRegExp(value)) return keep(new RegExp(value.source, value.flags))
    if (types.isArrayBuffer(value)) return keep(new Uint8Array(new Uint8Array(value)).buffer)
    if (Buffer.isBuffer(value)) return keep(Buffer.from(value))
    if (ArrayBuffer.isView(value)) {
      const Class = globalThis[Object.getPrototypeOf(value).constructor.name]
      return keep(new Class(inner(value.buffer)))
    }
    if (types.isMap(value)) {
      const map = keep(new Map())
      for (const [key, member] of value) map.set(inner(key), inner(member))
      return map
    }
    if (types.isSet(value)) {
      const set = keep(new Set())
      for (const member of value) set.add(inner(member))
      return set
    }
    const isArray = Array.isArray(value)
    const copy = keep(isArray ? [] : types.isNativeError(value) ? new globalThis[value.name]() : {})
    if (isArray) copy.length = value.length
    for (const [key, property] of Object.entries(Object.getOwnPropertyDescriptors(value))) {
      if (isArray && key === 'length') continue
      // Newer versions of V8 have the stack of an error behind a getter.
      const { configurable, enumerable, writable = true } = property
      const own = { configurable, enumerable, writable, value: inner(value[key]) }
      Object.defineProperty(copy, key, own)
    }
    return copy
  })`,
  context,
) as (value: unknown, kinds: typeof types) => unknown

const detached = runInContext('new ArrayBuffer(4)', context) as ArrayBuffer
structuredClone(detached, { transfer: [detached] })
Object.assign(inner, { types, detached, foreign: [[1], new Map([[1, new Date(5)]])] })

test('there is a row here for each of docs/payloads.md', () => {
  const docs = readFileSync(join(import.meta.dirname, '../../docs/payloads.md'), 'utf8')
  const names = [...docs.matchAll(/^\| (.+?) \| .+? \|$/gm)].map(([, name]) => name!)
  expect(Object.keys(ROWS)).toEqual(names.filter((name) => name !== 'Value'))
})

const rows = Object.entries(ROWS).filter(([, row]) => row !== 'elsewhere')

test.each(rows)('%s: arrive, and come back as values of the context', async (_name, row) => {
  const { sent: text, arrives } = typeof row === 'string' ? becomes(row, row) : row
  const sent = runInContext(text, context)
  if (arrives === 'refused') {
    const error = await rejection(manager.run('echo', sent), 'echo')
    expect(error).toMatchObject({ code: 'CORELANE_UNSERIALIZABLE' })
    return
  }
  const expected = arrives === text ? sent : runInContext(arrives, context)
  expect(await within(manager.run('isOwn', [sent]), 'isOwn')).toBe(true)
  const back = await within(manager.run('echo', sent), 'echo')
  expect(findDifference(expected, back)).toBeUndefined()
})

test('what only a port carries is of the realm of Node', async () => {
  const memory = runInContext('new SharedArrayBuffer(8)', context) as SharedArrayBuffer
  const back = await within(manager.run('echo', [memory, new Blob(['abc'])]), 'echo')
  const [shared, blob] = back as [SharedArrayBuffer, Blob]
  new Uint8Array(memory)[0] = 7
  expect(new Uint8Array(shared)[0]).toBe(7)
  expect(blob.size).toBe(3)
})

test('a buffer that is moved comes back as one of the context', async () => {
  const memory = runInContext('new ArrayBuffer(70_000)', context) as ArrayBuffer
  const promise = manager.run('echo', { memory }, { transferList: [memory] })
  expect(memory.byteLength).toBe(0)
  const back = await within(promise, 'echo')
  const expected = runInContext('({ memory: new ArrayBuffer(70_000) })', context)
  expect(findDifference(expected, back)).toBeUndefined()
})

test('errors of classes of its own, and those of the package', async () => {
  const sent = runInContext(
    `Object.assign(new (class PaymentError extends TypeError {})('declined', { cause: 1 }),
      { retry: () => 1, left: 2 })`,
    context,
  )
  const back = (await within(manager.run('echo', sent), 'echo')) as Error
  expect(runInContext('(error) => error instanceof TypeError', context)(back)).toBe(true)
  const retry = '[a function (retry) that cannot cross threads]'
  expect(back).toMatchObject({
    name: 'PaymentError',
    message: 'declined',
    cause: 1,
    retry,
    left: 2,
  })
  const stopped = await within(manager.run('echo', new DOMException('no', 'AbortError')), 'echo')
  expect(stopped).toMatchObject({ name: 'AbortError', code: 20 })
  const late = await rejection(manager.run('echo', (() => 1) as unknown), 'echo')
  const again = await within(manager.run('echo', late), 'echo')
  expect(again).toBeInstanceOf((library as { SerializationError: typeof Error }).SerializationError)
})

test('what a handler throws is an error of the context', async () => {
  const error = await rejection(manager.run('fail'), 'fail')
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

test('any graph of values of the context comes back as it went', async () => {
  expect(findDifference(transplant({}, types), {})).toBe('value: another prototype')
  await fc.assert(
    fc.asyncProperty(graph, async (value) => {
      const sent = transplant(value, types)
      const back = await within(manager.run('echo', sent), 'echo')
      expect(findDifference(sent, back)).toBeUndefined()
    }),
    { numRuns: 300 },
  )
})
