// Value codec: values arrive exactly, what cannot lie in a record changes nothing, both ends know
// the same shapes whatever becomes of a record, and bytes that are no record do no harm.

import { expect, test } from 'vitest'
import { decodeAlone, decodeCopied, ValueDecoder } from '../../../src/wire/value-decoder.ts'
import {
  encodeAlone,
  encodeBriefly,
  refusal,
  ValueEncoder,
} from '../../../src/wire/value-encoder.ts'
import { type Beside, ONLY_BESIDE, TOO_LONG } from '../../../src/wire/value-tags.ts'
import { findDifference } from '../../support/difference.ts'
import { range } from '../../support/range.ts'
import { ringMemory } from './support/ring-memory.ts'

const ring = ringMemory(1 << 22)

function stream(maxBytes = 60_000) {
  const encoder = new ValueEncoder(maxBytes)
  const decoder = new ValueDecoder()
  return {
    encoder,
    send(value: unknown): unknown {
      const length = encoder.encode(value)
      expect(length).toBeGreaterThan(0)
      encoder.write(ring, 64)
      const arrived = decoder.decode(ring, 64, length, encoder.resets)
      ring.bytes.fill(0x55, 64, 64 + length)
      return arrived
    },
  }
}

const value0 = { once: 1 }
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

test('text arrives whole at every length, and past what one record shares', () => {
  const { send } = stream()
  for (const unit of ['a', 'é', '日', '\udc00']) {
    for (let length = 0; length < 140; length++) {
      const value = [unit.repeat(length), 'next']
      expect(send(value)).toStrictEqual(value)
    }
  }
  const many = range(300).map((i) => `${i}-`.repeat(10))
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

test('members keep their order, and keys may be any text', () => {
  const { send } = stream()
  const odd = { b: 1, a: 2, 10: 3, 9: 4, '': 5, constructor: 6, __keys__: 7, 'ключ "\\\n\u2028': 8 }
  for (let i = 0; i < 40; i++) {
    const arrived = send({ ...odd, '\udc00': i })
    expect(JSON.stringify(arrived)).toBe(JSON.stringify({ ...odd, '\udc00': i }))
    expect(Object.getPrototypeOf(arrived)).toBe(Object.prototype)
  }
  const named = JSON.parse('{"a":{"x":1,"__proto__":{"polluted":1}},"__proto__":2}')
  for (let i = 0; i < 40; i++) expect(findDifference(named, send(named))).toBeUndefined()
  expect(send({ a: 1 })).toStrictEqual({ a: 1 })
})

test('objects of every kind arrive side by side, and those met twice are one', () => {
  const { send } = stream()
  const twice = { x: 1 }
  const cycle: Record<string, unknown> = { list: [] }
  cycle.self = cycle
  ;(cycle.list as unknown[]).push(cycle, twice, twice)
  const kinds = [
    new Date(5),
    new Map<unknown, unknown>([[twice, [twice]]]),
    new Set([twice, 'a']),
    /a+/giu,
    new Float64Array([1, -0]),
    new Uint8Array([1, 2, 3]).buffer,
    Buffer.from('bytes'),
    [twice, twice],
    cycle,
    5n,
    2n ** 90n,
    Object.assign(new TypeError('x', { cause: twice }), { twice }),
    // biome-ignore lint/suspicious/noSparseArray: holes are what this is about.
    [1, , , 4, ,],
  ]
  for (const one of kinds) {
    const value = { before: 'b', one, list: [one, 'c', one], twice, after: 7.5 }
    expect(findDifference(value, send(value))).toBeUndefined()
    const far = [...range(60).map((i) => ({ i })), one, one]
    expect(findDifference(far, send(far))).toBeUndefined()
  }
  expect(findDifference(kinds, send(kinds))).toBeUndefined()
})

test('an object of many members arrives with all of them, and is not remembered', () => {
  const { send, encoder } = stream(1_000_000)
  const wide = (count: number) => Object.fromEntries(range(count).map((i) => [`k${i}`, [i]]))
  for (const count of [63, 64, 65, 66, 5_000]) {
    const value = { inner: wide(count), next: [wide(count), 'x'], map: new Map([[1, wide(70)]]) }
    expect(findDifference(value, send(value))).toBeUndefined()
  }
  const first = encoder.encode(wide(65))
  encoder.write(ring, 64)
  expect(encoder.encode(wide(65))).toBe(first)
})

test('an array costs as much as it has members, however long it is', () => {
  const { send } = stream()
  for (const length of [100, 1_000_000, 100_000_000, 2 ** 32 - 1]) {
    const sparse: unknown[] = Object.assign([], { 5: 'five', 70: { at: 70 } })
    sparse.length = length
    sparse[length - 1] = 'last'
    const arrived = send({ sparse, after: 'after' }) as { sparse: unknown[]; after: string }
    expect(arrived.after).toBe('after')
    expect(arrived.sparse.length).toBe(length)
    expect(Object.entries(arrived.sparse)).toEqual(Object.entries(sparse))
    const few: unknown[] = Object.assign([], { 0: 1, [length - 1]: 2 })
    expect(Object.entries(send(few) as unknown[])).toEqual(Object.entries(few))
    const empty: unknown[] = []
    empty.length = length
    expect((send([empty]) as unknown[][])[0]!.length).toBe(length)
  }
  const named = Object.assign([], { name: 'no member', length: 50 })
  expect(Object.keys(send(named) as object)).toEqual([])
})

test('own members of objects of other kinds change nothing, whatever their names', () => {
  const { send } = stream()
  for (const make of [() => new Float64Array(2), () => new Map([[1, 2]]), () => new Date(0)]) {
    for (const name of ['constructor', 'toString', 'byteLength', 'size', '__keys__']) {
      const odd = Object.defineProperty(make(), name, { value: 'own', enumerable: true })
      const since = new Date(1)
      const arrived = send([odd, { user: 1, since }])
      expect(findDifference([make(), { user: 1, since }], arrived)).toBeUndefined()
      expect(send({ user: 2, since })).toEqual({ user: 2, since })
    }
  }
})

test('what cannot lie in a record of a ring is left to the port, or refused, and changes nothing', () => {
  const { send, encoder } = stream()
  const shared = new SharedArrayBuffer(8)
  for (const beside of [new Blob([]), shared, new Int32Array(shared), Buffer.from(shared)]) {
    expect(encoder.encode({ fresh: { shape: 1 }, beside, more: { unseen: 2 } })).toBe(-1)
    expect(send({ fresh: { shape: 1 } })).toStrictEqual({ fresh: { shape: 1 } })
  }
  const bad = new Error('no')
  const throwing = {
    get bad(): never {
      throw bad
    },
  }
  for (const refused of [() => 1, Symbol('s'), Promise.resolve(), throwing, new WeakMap()]) {
    const value = { fresh: { other: 1 }, refused, more: { unseen: 2 } }
    expect(() => encoder.encode(value)).toThrow(refused === throwing ? bad : /cannot cross/)
    expect(() => encodeAlone(value, undefined)).toThrow()
    expect(send({ fresh: { other: 1 } })).toStrictEqual({ fresh: { other: 1 } })
  }
})

test('a member of an error that is refused half-way leaves nothing behind', () => {
  const { send } = stream()
  const shared = { x: 1 }
  const wide = Object.fromEntries(range(70).map((i) => [`w${i}`, i]))
  const error = Object.assign(new Error('x'), {
    half: { shared, wide, text: 'some text', list: [shared, shared], f: () => 1 },
    whole: { shared, wide, list: [shared] },
  })
  const arrived = send([error, shared, wide]) as [typeof error, object, object]
  expect(arrived[0].half).toBe(
    '[an object { shared, wide, text, list, f } that cannot cross threads]',
  )
  expect(arrived[0].whole).toEqual({ shared, wide, list: [shared] })
  expect(arrived[0].whole.shared).toBe(arrived[1])
  expect(arrived[0].whole.wide).toBe(arrived[2])
})

test('a value that stands for itself takes what only a port carries beside it', () => {
  const buffer = new ArrayBuffer(8)
  const pooled = Buffer.from('p'.repeat(100_000)).subarray(10, 90_000)
  const blob = new Blob(['x'])
  const list: Beside = { values: [], copies: [], transferred: new Set([buffer]) }
  const value = { blob, again: blob, buffer, view: new Uint16Array(buffer, 2, 2), pooled, small: 1 }
  const record = encodeAlone(value, list)
  expect(record.length).toBeLessThan(500)
  expect(list.values[0]).toBe(blob)
  expect(list.copies.map(({ byteLength }) => byteLength)).toEqual([pooled.length])
  const arrived = decodeAlone(record, list.values) as typeof value
  expect(arrived).toMatchObject({ blob, again: blob, buffer, small: 1 })
  expect([arrived.view.buffer, arrived.view.byteOffset, arrived.view.length]).toEqual([
    buffer,
    2,
    2,
  ])
  expect(Buffer.isBuffer(arrived.pooled) && arrived.pooled.equals(pooled)).toBe(true)
  expect(() => encodeAlone(value, undefined)).toThrow()
})

test('records of one scratch memory stand for themselves, whatever was there before', () => {
  const values: unknown[] = [
    { a: 1, b: 'two' },
    { a: 2, b: 'three' },
    [new Map([[1, { a: 3, b: new Uint8Array([1, 2, 3]) }]]), 'x'.repeat(30_000)],
    new Float64Array([1.5, 2.5]),
    { a: 4, b: { a: 5, b: 6 } },
    'text',
    7,
    ...range(20).map((i) => ({ a: i, b: [{ c: i }] })),
    ...range(3).map((i) => ({
      a: i,
      rare: Object.fromEntries(range(70).map((j) => [`k${j}`, i])),
    })),
  ]
  const all = [...values, ...structuredClone(values)]
  const records = all.map((value) => {
    const record = encodeBriefly(value)
    const moved = Buffer.alloc(record.length + 3)
    moved.set(record, 3)
    return moved.subarray(3)
  })
  const arrived = records.map((record) => decodeCopied(record))
  expect(findDifference(all, arrived)).toBeUndefined()
  expect(
    findDifference(
      all,
      records.map((record) => decodeCopied(record)),
    ),
  ).toBeUndefined()
})

test('a record cut short is refused, and shows nothing of the one before it', () => {
  const secret = Buffer.from(encodeBriefly(['secret secret', { of: 'another command' }]))
  const record = Buffer.from(encodeBriefly({ a: 'text', b: [1, 2, 3.5] }))
  for (let length = 0; length < record.length; length++) {
    decodeCopied(secret)
    expect(() => decodeCopied(record.subarray(0, length))).toThrow()
  }
  for (let at = 0; at < record.length; at++) {
    const changed = Buffer.from(record)
    changed[at] = changed[at]! ^ 0x7f
    decodeCopied(secret)
    let text = ''
    try {
      text = JSON.stringify(decodeCopied(changed)) ?? ''
    } catch {
      // Refused.
    }
    expect(text).not.toContain('secret')
  }
})

test('a getter of a value under way may encode another', () => {
  let inner: unknown
  const outer = {
    get now(): number {
      inner = decodeCopied(encodeBriefly({ deep: [1, 'x'] }).slice())
      return 1
    },
    rest: ['y'],
  }
  expect(decodeCopied(encodeBriefly(outer).slice())).toEqual({ now: 1, rest: ['y'] })
  expect(inner).toEqual({ deep: [1, 'x'] })
})

test('a getter behind very many shapes may encode another', () => {
  const list: object[] = range(200_000).map((i) => ({ [`key${i % 1000}`]: i }))
  let inner: unknown
  const outer = {
    list,
    get now(): number {
      inner = decodeAlone(encodeAlone({ deep: [1] }, undefined))
      return 1
    },
  }
  const arrived = decodeAlone(encodeAlone(outer, undefined))
  expect(findDifference({ list, now: 1 }, arrived)).toBeUndefined()
  expect(inner).toEqual({ deep: [1] })
})

test('records that grow the arena arrive, and the arena does not stay so large', () => {
  const { send } = stream(4_000_000)
  const value = { list: range(40_000).map((i) => ({ i, name: `name ${i}` })) }
  expect(send(value)).toStrictEqual(value)
  const floats = { floats: range(200_000).map((i) => i / 3) }
  expect(send(floats)).toStrictEqual(floats)
  expect(send({ small: 1 })).toStrictEqual({ small: 1 })
})

test('a getter that sends another value meanwhile gets no place in the arena', () => {
  const { send, encoder } = stream()
  const other = new ValueEncoder(1_000)
  const aside: unknown[] = []
  let inner = 0
  const shared = { x: 1 }
  const nested = { list: [shared, shared], text: 'other text', wide: { a: [1], b: 'two' } }
  const outer = {
    a: 'text before',
    shared,
    get b(): unknown {
      inner = other.encode({ c: 1 })
      aside.push(decodeAlone(encodeAlone(nested, undefined)))
      return shared
    },
    after: ['text after', shared],
  }
  const expected = { a: 'text before', shared, b: shared, after: ['text after', shared] }
  expect(findDifference(expected, send(outer))).toBeUndefined()
  expect(inner).toBe(-1)
  expect(findDifference([nested], aside)).toBeUndefined()
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

test('a record that is too long is refused as that, and one that only a port carries', () => {
  expect(refusal([1], 'payload', TOO_LONG).message).toMatch(/payload is longer than 1 GiB$/)
  expect(refusal([1], 'payload', ONLY_BESIDE).message).toMatch(/bound to this process$/)
})

test('bytes that are no record end in an error or a value, soon', () => {
  const value = {
    list: [1, 2.5, 'text', { a: new Date(5) }],
    map: new Map([['k', new Set([1n, 2n ** 90n])]]),
    error: new RangeError('x', { cause: /a/g }),
    floats: new Float64Array([1, 2]),
    twice: [value0, value0],
    numbers: range(30).map((i) => i / 3),
  }
  const record = encodeAlone(value, undefined)
  let seed = 12_345
  const random = (below: number) => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0
    return seed % below
  }
  let survived = 0
  for (let round = 0; round < 20_000; round++) {
    const broken = record.slice(0, round % 3 === 0 ? random(record.length) : record.length)
    for (let i = 0; i < 1 + (round % 4); i++) broken[random(broken.length)] = random(256)
    try {
      decodeAlone(broken)
      survived++
    } catch (error) {
      expect(error).toBeInstanceOf(Error)
    }
  }
  expect(survived).toBeGreaterThan(0)
})

test('binary data lies at a multiple of 8, from where shared memory is copied by words', () => {
  const { encoder, send } = stream()
  const bytes = new Uint8Array(100).fill(0xee)
  for (let before = 0; before < 8; before++) {
    const value = [...new Array<boolean>(before).fill(true), bytes]
    expect(findDifference(value, send(value))).toBeUndefined()
    encoder.encode(value)
    encoder.write(ring, 64)
    expect((ring.bytes.lastIndexOf(0xee) + 1 - bytes.length) % 8).toBe(0)
  }
})
