// Goal: docs/payloads.md says exactly what the codec does.
// Method: each row of its table has a case here of the same name, and each case a row.

import { AsyncResource, createHook } from 'node:async_hooks'
import { createECDH, createSecretKey } from 'node:crypto'
import { opendirSync, readFileSync } from 'node:fs'
import { mock } from 'node:test'
import { MIMEType } from 'node:util'
import { runInNewContext } from 'node:vm'
import { MessageChannel, MessagePort } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { ConfigError, LaneError, laneError } from '../../../src/base/errors.ts'
import { findDifference } from '../../support/difference.ts'
import { travel, travelAside } from './support/travel.ts'

/** Sends values by both roads, and expects them back exactly. */
function same(...values: unknown[]): void {
  for (const value of values) {
    expect(findDifference(value, travel(value))).toBeUndefined()
    expect(findDifference([value], travel([value]))).toBeUndefined()
    expect(findDifference([value], travelAside([value]))).toBeUndefined()
  }
}

/** Sends a value by both roads, alone and within another, and expects another value back. */
function becomes(value: unknown, expected: unknown): void {
  expect(findDifference(expected, travel(value))).toBeUndefined()
  expect(findDifference(expected, travelAside(value))).toBeUndefined()
  expect(findDifference([expected], travel([value]))).toBeUndefined()
}

function refuses(...values: unknown[]): void {
  for (const value of values) {
    const refusal = expect.objectContaining({ code: 'CORELANE_UNSERIALIZABLE' })
    expect(() => travel(value)).toThrow(refusal)
    expect(() => travelAside(value)).toThrow(refusal)
    expect(() => travel({ deep: [value] })).toThrow(refusal)
  }
}

function nest(levels: number): unknown {
  let value: unknown = 1
  for (let i = 0; i < levels; i++) value = [value]
  return value
}

// The types of Node 20 do not tell of it.
const wasm = globalThis as unknown as {
  WebAssembly: { Module: new (bytes: Uint8Array) => object }
}

// Written out, the flag needs a newer language level than the tests have.
const unicodeSets = 'v'

class Point {
  x = 1
  #hidden = 2
  toJSON(): unknown {
    return this.#hidden
  }
}

/** What a formatter of stacks gets. */
function callSite(): unknown {
  const before = Error.prepareStackTrace
  Error.prepareStackTrace = (_, sites) => sites[0]
  const site = new Error('x').stack
  Error.prepareStackTrace = before
  return site
}

class PaymentError extends TypeError {
  override name = 'PaymentError'
  amount = 12
}

const CASES: Record<string, () => void> = {
  '`undefined`, `null`, booleans': () => same(undefined, null, true, false),
  'numbers, with `NaN`, `-0` and the infinities': () =>
    same(0, -0, Number.NaN, Infinity, -Infinity, 2 ** 53, 5e-324, 1.5, -7, 255, 65_536),
  'bigints of any size': () => same(0n, -1n, 2n ** 63n, -(2n ** 63n), 2n ** 64n, 7n ** 9_000n),
  'strings, with lone surrogates and byte order marks': () =>
    same(
      '',
      'abc',
      'é'.repeat(100),
      '日本'.repeat(99),
      '\ud800',
      'a\udc00b',
      `\ufeff${'x'.repeat(99)}`,
    ),
  'plain objects': () => same({}, { b: 1, a: { c: [] } }, { 2: 'two', 1: 'one' }),
  'a member named `__proto__`': () => {
    const value = JSON.parse('{"__proto__": {"polluted": 1}, "a": 1}') as object
    same(value)
    expect(Object.keys(travel(value) as object)).toEqual(['__proto__', 'a'])
    expect(({} as { polluted?: number }).polluted).toBeUndefined()
  },
  'objects without a prototype': () =>
    becomes(Object.assign(Object.create(null) as object, { a: 1 }), { a: 1 }),
  'class instances': () => becomes(new Point(), { x: 1 }),
  'objects with a `toJSON` method in their class': () =>
    becomes({ point: new Point(), date: new Date(1) }, { point: { x: 1 }, date: new Date(1) }),
  getters: () =>
    becomes(
      {
        get now() {
          return 5
        },
      },
      { now: 5 },
    ),
  'members keyed by a symbol, or not enumerable': () =>
    becomes(Object.defineProperty({ a: 1, [Symbol('s')]: 2 }, 'hidden', { value: 3 }), { a: 1 }),
  'frozen and sealed objects': () => {
    const value = Object.freeze({ a: Object.seal([1]) })
    becomes(value, { a: [1] })
    expect(Object.isExtensible(travel(value))).toBe(true)
  },
  arrays: () => same([], [1, 'a', [2]], new Array(70_000).fill(7)),
  // biome-ignore lint/suspicious/noSparseArray: holes are what this is about.
  'holes in arrays': () => same([1, , 3], new Array(5), { a: [, 1] }),
  'named members of an array': () => becomes(Object.assign([1, 2], { index: 3 }), [1, 2]),
  '`Map` and `Set`': () => {
    same(
      new Map<unknown, unknown>([
        [{ key: 1 }, 2],
        ['b', new Set([3, [4]])],
        [Number.NaN, null],
      ]),
    )
    same(new Map(), new Set())
  },
  '`Date`, valid or not': () =>
    same(new Date(0), new Date(-1), new Date(8.64e15), new Date(-8.64e15), new Date(Number.NaN)),
  '`RegExp`': () => {
    const pattern = /a+\ud800/giu
    pattern.lastIndex = 3
    same(pattern, /(?:)/, new RegExp('[[a-z]--[b]]', unicodeSets))
    expect((travel(pattern) as RegExp).lastIndex).toBe(0)
  },
  'boxed primitives': () => {
    for (const boxed of [Object(1), Object('text'), Object(true), Object(5n)] as object[]) {
      const arrived = travel([boxed]) as [object]
      expect(Object.getPrototypeOf(arrived[0])).toBe(Object.getPrototypeOf(boxed))
      expect(arrived[0].valueOf()).toBe(boxed.valueOf())
    }
  },
  'own members of `Map`, `Set`, `Date`, `RegExp` and binary data': () => {
    const extra = { extra: 1 }
    for (const make of [
      () => new Map(),
      () => new Set(),
      () => new Date(0),
      () => /a/,
      () => new Uint8Array(2),
      () => new ArrayBuffer(2),
    ]) {
      becomes(Object.assign(make(), extra), make())
      expect(travel(Object.assign(make(), extra))).not.toHaveProperty('extra')
    }
  },
  'classes that extend `Array`, `Map`, `Set`, `Date`, `RegExp` or a typed array': () => {
    becomes(new (class extends Array<number> {})(1, 2, 3), [1, 2, 3])
    becomes(new (class extends Map<number, number> {})([[1, 2]]), new Map([[1, 2]]))
    becomes(new (class extends Set<number> {})([1]), new Set([1]))
    becomes(new (class extends Date {})(5), new Date(5))
    becomes(new (class extends RegExp {})('a', 'g'), /a/g)
    becomes(new (class extends Float32Array {})([1, 2]), new Float32Array([1, 2]))
  },
  'values of another realm (`node:vm`)': () => {
    becomes(
      runInNewContext('({ list: [1], map: new Map([[1, 2]]), date: new Date(5), re: /a/g })'),
      { list: [1], map: new Map([[1, 2]]), date: new Date(5), re: /a/g },
    )
    becomes(runInNewContext('new Uint8Array([1, 2])'), new Uint8Array([1, 2]))
    const error = travel(runInNewContext('new TypeError("bad")')) as TypeError
    expect(error).toBeInstanceOf(TypeError)
    expect(error.message).toBe('bad')
  },
  'the same object in several places, cycles': () => {
    const shared = { list: [1] }
    const loop: Record<string, unknown> = { a: shared, b: [shared], map: new Map() }
    loop.self = loop
    ;(loop.map as Map<unknown, unknown>).set(loop, loop.map)
    same({ a: shared, b: shared }, loop)
    const error = new Error('loop')
    error.cause = { error }
    same(error)
  },
  '`ArrayBuffer`': () => same(new Uint8Array([1, 2, 3]).buffer, new ArrayBuffer(0)),
  'resizable `ArrayBuffer`': () => {
    const value = new ArrayBuffer(2, { maxByteLength: 8 })
    same(value)
    expect((travel(value) as ArrayBuffer).maxByteLength).toBe(8)
  },
  'typed arrays and `DataView`': () => {
    same(new Uint8Array([1, 2]), new Float64Array([0.5, -0]), new BigInt64Array([-5n]))
    same(new Uint8Array(0), new Uint8ClampedArray([300]), new Int16Array(40_000))
    const memory = new Uint8Array([0, 1, 2, 3, 4, 5, 6, 7]).buffer
    becomes(new Uint16Array(memory, 2, 2), new Uint16Array(memory.slice(2, 6)))
    becomes(new DataView(memory, 1, 3), new DataView(memory.slice(1, 4)))
    becomes(new Uint8Array(memory, 5), new Uint8Array([5, 6, 7]))
  },
  'several views of one buffer': () => {
    const memory = new ArrayBuffer(8)
    const arrived = travel([new Uint8Array(memory), new Uint16Array(memory)]) as Uint8Array[]
    expect(arrived[0]!.buffer).not.toBe(arrived[1]!.buffer)
  },
  '`Buffer`': () => same(Buffer.from('pooled'), Buffer.alloc(0), Buffer.alloc(70_000, 1)),
  '`SharedArrayBuffer` and views of one': () => {
    const memory = new SharedArrayBuffer(8)
    const arrived = travel({ memory, view: new Int32Array(memory), bytes: Buffer.from(memory) })
    const { view, bytes } = arrived as { view: Int32Array; bytes: Buffer }
    Atomics.store(view, 0, 7)
    expect(new Int32Array(memory)[0]).toBe(7)
    expect(bytes[0]).toBe(7)
    expect(Buffer.isBuffer(bytes)).toBe(true)
    expect((travel(new Uint8Array(memory)) as Uint8Array).buffer).toBeInstanceOf(SharedArrayBuffer)
  },
  '`Blob`, `KeyObject`, `WebAssembly.Module`': () => {
    expect((travel({ blob: new Blob(['abc']) }) as { blob: Blob }).blob.size).toBe(3)
    expect(travelAside(new File(['abc'], 'name'))).toBeInstanceOf(Blob)
    const key = createSecretKey(Buffer.from('secret'))
    expect((travel([key]) as [typeof key])[0].equals(key)).toBe(true)
    const { Module } = wasm.WebAssembly
    const module = new Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))
    expect(travel(module)).toBeInstanceOf(Module)
  },
  'objects in the transfer list': () => {
    const memory = new ArrayBuffer(8)
    const view = new Uint16Array(memory, 2, 2)
    const { port1, port2 } = new MessageChannel()
    const arrived = travel({ view, port1 }, [memory, port1]) as {
      view: Uint16Array
      port1: unknown
    }
    expect(memory.byteLength).toBe(0)
    expect(arrived.view.byteOffset).toBe(2)
    expect(arrived.view.buffer.byteLength).toBe(8)
    expect(arrived.port1).toBeInstanceOf(MessagePort)
    port2.close()
  },
  'proxies of plain objects and arrays': () => {
    becomes(new Proxy({ a: 1 }, {}), { a: 1 })
    becomes({ list: new Proxy([1, -0], {}) }, { list: [1, -0] })
  },
  '`arguments`': () => {
    function take(..._: number[]): unknown {
      // biome-ignore lint/complexity/noArguments: this is what the case is about.
      return arguments
    }
    becomes(take(4, 5), { 0: 4, 1: 5 })
  },
  "errors of the language's classes": () => {
    for (const Class of [Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError]) {
      const error = new Class('bad', { cause: { why: [new URIError('deep')] } })
      same(
        error,
        Object.assign(error, { code: 'E_BAD', details: { n: -0, bytes: Buffer.from('x') } }),
      )
    }
  },
  'errors of your own classes': () => {
    const sent = new PaymentError('declined')
    const error = travel(sent) as PaymentError
    expect(error).toBeInstanceOf(TypeError)
    expect(error).not.toBeInstanceOf(PaymentError)
    expect(error).toMatchObject({ name: 'PaymentError', message: 'declined', amount: 12 })
    expect(error.stack).toBe(sent.stack)
  },
  '`AggregateError`': () =>
    same(new AggregateError([new TypeError('a'), 'text', -0], 'all failed')),
  '`DOMException`': () => {
    const error = travel(new DOMException('stop', 'AbortError')) as DOMException
    expect(error).toBeInstanceOf(DOMException)
    expect(error).toMatchObject({ name: 'AbortError', message: 'stop', code: 20 })
  },
  "corelane's own errors": () => {
    const sent = laneError(
      'CORELANE_UNKNOWN_LANE',
      { received: 'x', allowed: 'api' },
      new Error('c'),
    )
    const error = travel(sent) as ConfigError
    expect(error).toBeInstanceOf(ConfigError)
    expect(error).toBeInstanceOf(LaneError)
    expect(error).toMatchObject({ code: sent.code, details: sent.details, retryable: false })
    expect([error.message, error.stack]).toEqual([sent.message, sent.stack])
    expect((error.cause as Error).message).toBe('c')
  },
  'a member of an error that cannot cross': () => {
    const sent = Object.assign(new Error('bad'), { retry: () => 1, left: 2, port: new Blob([]) })
    sent.cause = Promise.resolve()
    expect(travel(sent)).toMatchObject({
      message: 'bad',
      retry: '[a function (retry) that cannot cross threads]',
      left: 2,
      port: '[a Blob that cannot cross threads]',
      cause: '[a Promise that cannot cross threads]',
    })
  },
  'causes more than 8 deep': () => {
    let error = new Error('0')
    for (let i = 1; i <= 10; i++) error = new Error(String(i), { cause: error })
    let arrived = travel(error) as Error
    for (let i = 10; i > 2; i--) arrived = arrived.cause as Error
    expect(arrived.message).toBe('2')
    expect(arrived.cause).toBeUndefined()
  },
  'functions and classes': () => refuses(() => 1, Point, new Proxy(() => 1, {})),
  symbols: () => refuses(Symbol('s'), Object(Symbol('s'))),
  '`Promise`': () => refuses(Promise.resolve(1)),
  '`WeakMap`, `WeakSet`, `WeakRef`': () => refuses(new WeakMap(), new WeakSet(), new WeakRef({})),
  '`URL`, `Headers`, `AbortSignal` and others whose content cannot be copied': () =>
    refuses(
      new URL('http://localhost'),
      new URLSearchParams('a=1'),
      new (class extends URL {})('http://localhost'),
      new Headers(),
      new Response(),
      new Request('http://localhost'),
      new FormData(),
      new AbortController(),
      new AbortController().signal,
      new TextEncoder(),
      new TextDecoder(),
      new CompressionStream('gzip'),
    ),
  '`Event`, `EventTarget` and others of the environment, with no members of their own': () => {
    refuses(
      new Event('x'),
      new MessageEvent('message', { data: 1 }),
      new EventTarget(),
      new (class extends EventTarget {})(),
      performance,
      performance.mark('x', { detail: 1 }),
      crypto.subtle,
      new CountQueuingStrategy({ highWaterMark: 1 }),
    )
    class Stock extends EventTarget {
      items = 3
    }
    becomes(new Stock(), { items: 3 })
    becomes(Object.assign(new Event('x'), { at: 1 }), { at: 1 })
    class Ping {}
    Object.assign(globalThis, { Ping })
    try {
      becomes(new Ping(), {})
    } finally {
      Reflect.deleteProperty(globalThis, 'Ping')
    }
  },
  'instances whose content is all private, keyed by symbols or not enumerable': () => {
    class Money {
      readonly #cents: number
      constructor(cents: number) {
        this.#cents = cents
      }
      get cents(): number {
        return this.#cents
      }
    }
    class Bag {
      *[Symbol.iterator]() {
        yield 1
      }
    }
    class Marker {}
    refuses(
      new Money(1),
      new (class extends Money {})(1),
      new Bag(),
      Object.assign(new Marker(), { [Symbol('content')]: 1 }),
      Object.defineProperty(new Marker(), 'content', { value: 1 }),
      new MIMEType('text/plain'),
      new MIMEType('text/plain').params,
      createECDH('secp256k1'),
      createHook({}),
      new AsyncResource('x'),
      mock.fn().mock,
      new Intl.Segmenter('en').segment('a b'),
      new ReadableStream().values(),
      callSite(),
    )
    expect(() => travel([new Money(1)])).toThrow('payload[0] is an object of class Money')
    const dir = opendirSync('.')
    refuses(dir)
    dir.closeSync()
    for (const empty of [
      new Marker(),
      Object.create(new Marker()),
      Object.create(Object.create(null)),
    ])
      becomes(empty, {})
    becomes(Object.assign(new Money(1), { of: 'x' }), { of: 'x' })
    becomes(Object.assign(new Bag(), { of: 'x' }), { of: 'x' })
    for (const plain of [{}, runInNewContext('({})') as object])
      becomes(Object.assign(plain, { [Symbol('s')]: 1 }), {})
  },
  'generators and iterators': () =>
    refuses(
      (function* () {})(),
      (async function* () {})(),
      [1].values(),
      new Map().entries(),
      new Set().values(),
      'text'[Symbol.iterator](),
    ),
  'proxies of anything else': () => refuses(new Proxy(new Map(), {}), new Proxy(new Date(), {})),
  'buffers that were transferred away': () => {
    const memory = new ArrayBuffer(4)
    const views = [new Uint8Array(memory), Buffer.from(memory), new DataView(memory)]
    structuredClone(memory, { transfer: [memory] })
    refuses(memory, ...views)
  },
  'a getter that throws': () => {
    const cause = new Error('no')
    const value = {
      get bad() {
        throw cause
      },
    }
    refuses(value)
    expect(() => travel({ value })).toThrow(expect.objectContaining({ cause }))
  },
  'nesting more than 1,000 levels deep': () => {
    same(nest(999))
    refuses(nest(1_001), nest(100_000))
  },
}

const docs = readFileSync(new URL('../../../docs/payloads.md', import.meta.url), 'utf8')
const rows = [...docs.matchAll(/^\| (.+?) \| (.+?) \|$/gm)]
  .map(([, value, arrives]) => ({ value: value!, arrives: arrives! }))
  .filter(({ value }) => value !== 'Value')

test('every row of the table in docs/payloads.md has a case here, and every case a row', () => {
  expect(Object.keys(CASES)).toEqual(rows.map(({ value }) => value))
})

for (const { value, arrives } of rows) {
  test(`in the table, ${value}: ${arrives}`, () => {
    CASES[value]!()
  })
}
