// Tree codec: what it carries arrives exactly, what it does not know it leaves alone, and both ends
// know the same shapes whatever becomes of a record.

import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { TreeDecoder } from '../../../src/wire/tree-decoder.ts'
import { TreeEncoder } from '../../../src/wire/tree-encoder.ts'
import { ringMemory } from './support/ring-memory.ts'

const ring = ringMemory(1 << 22)

function stream(maxBytes = 60_000) {
  const encoder = new TreeEncoder(maxBytes)
  const decoder = new TreeDecoder()
  return {
    encoder,
    send(value: object): unknown {
      const length = encoder.encode(value)
      expect(length).toBeGreaterThan(0)
      encoder.write(ring, 64)
      const arrived = decoder.decode(ring, 64, length, encoder.resets)
      ring.bytes.fill(0x55, 64, 64 + length)
      return arrived
    },
  }
}

const numbers = [
  0,
  -0,
  1,
  127,
  128,
  255,
  256,
  -1,
  -128,
  65_535,
  2 ** 31 - 1,
  -(2 ** 31),
  2 ** 31,
  2 ** 53,
  0.1,
  -1e-300,
  Number.MAX_VALUE,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
]
const texts = ['', 'a', 'é', 'ÿ', 'Ā', '日本', '\udc00', '\0', 'x'.repeat(63), 'x'.repeat(64)]

test('values of every kind arrive exactly, side by side', () => {
  const { send } = stream()
  for (const one of [...numbers, ...texts, null, undefined, true, false, [], {}, [[]], [{}]]) {
    const value = { before: 'b', one, list: [one, 'c', one], after: 7.5 }
    if (typeof one === 'object' && one !== null) value.list = ['c']
    const arrived = send(value) as typeof value
    expect(arrived).toStrictEqual(value)
    expect(Object.is(arrived.one, one) || typeof one === 'object').toBe(true)
  }
})

test('text arrives whole at every length, and past what one record shares', () => {
  const { send } = stream()
  for (const unit of ['a', 'é', '日', '\udc00']) {
    for (let length = 0; length < 140; length++) {
      const value = [unit.repeat(length), 'next']
      expect(send(value)).toStrictEqual(value)
    }
  }
  const many = Array.from({ length: 300 }, (_, i) => `${i}-`.repeat(10))
  expect(send(many)).toStrictEqual(many)
})

test('arrays of numbers arrive exactly, short or long, mixed or not', () => {
  const { send } = stream()
  for (let length = 0; length < 40; length++) {
    const value = { odd: 'x', list: Array.from({ length }, (_, i) => numbers[i % numbers.length]!) }
    expect(send(value)).toStrictEqual(value)
    const mixed = [...value.list, 'end']
    expect(send(mixed)).toStrictEqual(mixed)
  }
})

test('members keep their order, and keys may be any text but __proto__', () => {
  const { send, encoder } = stream()
  const odd = { b: 1, a: 2, 10: 3, 9: 4, '': 5, constructor: 6, __keys__: 7, 'ключ "\\\n\u2028': 8 }
  for (let i = 0; i < 40; i++) {
    const arrived = send({ ...odd, '\udc00': i })
    expect(JSON.stringify(arrived)).toBe(JSON.stringify({ ...odd, '\udc00': i }))
    expect(Object.getPrototypeOf(arrived)).toBe(Object.prototype)
  }
  expect(encoder.encode(JSON.parse('{"a":{"__proto__":1}}'))).toBe(-1)
  expect(send({ a: 1 })).toStrictEqual({ a: 1 })
})

test('what is more than a tree of plain data is left to others, and the stream stays right', () => {
  const { send, encoder } = stream()
  const twice = { x: 1 }
  const cycle: { self?: unknown } = {}
  cycle.self = cycle
  const far = Array.from({ length: 50 }, (_, i) => ({ i }))
  let deep: unknown = 1
  for (let i = 0; i < 80; i++) deep = [deep]
  const wide = Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`k${i}`, i]))
  const revoked = Proxy.revocable({}, {})
  revoked.revoke()
  const others = [
    new Date(0),
    new Map(),
    new Set(),
    /x/,
    new Error('x'),
    new Uint8Array(1),
    new (class A {})(),
    Object.create(null),
    1n,
    Symbol('x'),
    () => 1,
    new Array(2),
    Object.assign([], { length: 3 }),
    [twice, twice],
    cycle,
    [...far, far[3]],
    [...far, far[45]],
    deep,
    wide,
    new Number(1),
    new (class B extends Array {})(),
    revoked.proxy,
    runInNewContext('({ a: 1 })'),
    {
      get bad(): never {
        throw new Error('no')
      },
    },
  ]
  for (const other of others) {
    expect(encoder.encode({ fresh: { shape: 1 }, other, more: { unseen: 2 } })).toBe(-1)
    expect(send({ fresh: { shape: 1 } })).toStrictEqual({ fresh: { shape: 1 } })
  }
})

test('a polluted prototype adds nothing to what is sent', () => {
  const { encoder } = stream()
  const prototype = Object.prototype as Record<string, unknown>
  prototype.polluted = 1
  try {
    expect(encoder.encode({ a: 1 })).toBe(-1)
  } finally {
    delete prototype.polluted
  }
  expect(encoder.encode({ a: 1 })).toBeGreaterThan(0)
})

test('a record of exactly the limit is taken, and one byte more is not', () => {
  const { encoder } = stream(1_000)
  const sized = (bytes: number) => ['x'.repeat(bytes - 14)]
  expect(encoder.encode(sized(1_000))).toBe(1_000)
  expect(encoder.encode(sized(1_001))).toBe(-1)
  expect(encoder.encode(new Array(125).fill(0.5))).toBe(-1)
  expect(encoder.encode(new Array(990).fill('').map((_, i) => `${i % 10}`))).toBe(-1)
})

test('records that grow the arena arrive, and the arena does not stay so large', () => {
  const { send } = stream(4_000_000)
  const value = { list: Array.from({ length: 40_000 }, (_, i) => ({ i, name: `name ${i}` })) }
  expect(send(value)).toStrictEqual(value)
  const floats = { floats: Array.from({ length: 200_000 }, (_, i) => i / 3) }
  expect(send(floats)).toStrictEqual(floats)
  expect(send({ small: 1 })).toStrictEqual({ small: 1 })
})

test('a getter that sends another tree meanwhile gets no place in the arena', () => {
  const { send, encoder } = stream()
  const other = new TreeEncoder(1_000)
  let inner = 0
  const outer = {
    a: 1,
    get b(): number {
      inner = other.encode({ c: 1 })
      return 2
    },
  }
  expect(send(outer)).toStrictEqual({ a: 1, b: 2 })
  expect(inner).toBe(-1)
  encoder.encode({ d: 1 })
  other.encode({ d: 1 })
  expect(() => encoder.write(ring, 64)).toThrow(/before another is encoded/)
})

test('thousands of shapes, and records that are never written, leave both ends in step', () => {
  const { send, encoder } = stream()
  let resets = 0
  for (let i = 0; i < 6_000; i++) {
    const value = { [`only${i}`]: i, steady: { id: i, name: 'n' } }
    if (i % 5 === 0) encoder.encode({ lost: i, [`lost${i}`]: 1 })
    if (i % 7 === 0) {
      encoder.encode({ [`dropped${i}`]: 1 })
      encoder.discard()
    }
    expect(send(value)).toStrictEqual(value)
    if (encoder.resets) resets++
  }
  expect(resets).toBeGreaterThan(10)
  expect(resets).toBeLessThan(300)
})

test('where no code may be made from strings, objects are read key by key', () => {
  const { Function: real } = globalThis
  globalThis.Function = function refuse() {
    throw new EvalError('Code generation from strings disallowed for this context')
  } as never
  try {
    const { send } = stream()
    for (let i = 0; i < 60; i++)
      expect(send({ a: i, b: { c: i } })).toStrictEqual({ a: i, b: { c: i } })
  } finally {
    globalThis.Function = real
  }
})
