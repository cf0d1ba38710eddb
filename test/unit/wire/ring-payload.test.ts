// Goal: every kind of body, the limits, and what an encoder and a decoder owe each other.

import { expect, test } from 'vitest'
import {
  PayloadDecoder,
  PayloadEncoder,
  PayloadKind,
  SPILL,
} from '../../../src/wire/ring-payload.ts'
import { fromSideValue, sideRefused, toParcel } from '../../../src/wire/side-payload.ts'
import { range } from '../../support/range.ts'
import { ringMemory } from './support/ring-memory.ts'

const ring = ringMemory(1 << 20)

function kindOf(value: unknown): number {
  const encoder = new PayloadEncoder('payload', 60_000)
  encoder.prepare(value)
  return encoder.kind
}

test('the cheapest kind that keeps the value is chosen', () => {
  expect(kindOf(undefined)).toBe(PayloadKind.UNDEFINED)
  expect(kindOf(null)).toBe(PayloadKind.NULL)
  expect(kindOf(true)).toBe(PayloadKind.TRUE)
  expect(kindOf(false)).toBe(PayloadKind.FALSE)
  expect(kindOf(-0)).toBe(PayloadKind.NUMBER)
  expect(kindOf(-(2n ** 63n))).toBe(PayloadKind.BIGINT)
  expect(kindOf(2n ** 63n)).toBe(PayloadKind.VALUE)
  expect(kindOf('naïve')).toBe(PayloadKind.STRING_ONE_BYTE)
  expect(kindOf('日本')).toBe(PayloadKind.STRING_TWO_BYTE)
  expect(kindOf(new Uint8Array(3))).toBe(PayloadKind.BYTES)
  expect(kindOf(Buffer.alloc(3))).toBe(PayloadKind.BUFFER)
  expect(kindOf({ id: 1 })).toBe(PayloadKind.VALUE)
  expect(kindOf([{ id: -0 }, [undefined], '\udc00'])).toBe(PayloadKind.VALUE)
  expect(kindOf({ id: -0, at: new Date(0) })).toBe(PayloadKind.VALUE)
  expect(kindOf({ error: new Error('x') })).toBe(PayloadKind.VALUE)
  expect(kindOf({ shared: new SharedArrayBuffer(8) })).toBe(PayloadKind.SIDE)
})

test('every kind fits in the 6 bits that a record has for it', () => {
  for (const kind of Object.values(PayloadKind)) expect(kind).toBeLessThan(64)
})

test('strings of every short length arrive whole and leave their neighbours alone', () => {
  const decoder = new PayloadDecoder()
  const encoder = new PayloadEncoder('payload', 60_000)
  for (const unit of ['a', 'é', '日', '\udc00']) {
    for (let length = 0; length < 80; length++) {
      const text = unit.repeat(length)
      ring.bytes.fill(0xaa, 0, 512)
      const bytes = encoder.prepare(text)
      encoder.write(ring, 8)
      expect(decoder.decode(encoder.kind, false, ring, 8, bytes)).toBe(text)
      expect(ring.bytes[7]).toBe(0xaa)
      expect(ring.bytes[8 + bytes]).toBe(0xaa)
    }
  }
})

test('a body of exactly the inline limit stays in the ring, and one byte more spills', () => {
  const encoder = new PayloadEncoder('payload', 1_000)
  for (const make of [
    (length: number) => 'x'.repeat(length),
    (length: number) => new Uint8Array(length),
    (length: number) => Buffer.alloc(length),
    // The head of the record takes 8 bytes, and those of the array and of the text 6.
    (length: number) => ['x'.repeat(length - 14)],
  ]) {
    expect(encoder.prepare(make(1_000))).toBe(1_000)
    encoder.discard()
    expect(encoder.prepare(make(1_001))).toBe(SPILL)
    expect(encoder.kind).toBe(PayloadKind.SIDE)
  }
  for (const value of [new Array(125).fill(0.5), range(990).map((i) => `${i % 10}`)]) {
    expect(encoder.prepare(value)).toBe(SPILL)
  }
})

test('a long string arrives whole, by the ring and beside it', () => {
  const decoder = new PayloadDecoder()
  const encoder = new PayloadEncoder('payload', 500_000)
  const memory = ringMemory(1 << 19)
  for (const unit of ['a', 'é', 'x😀', '\udc00\ud83d']) {
    for (const units of [65_535, 65_536, 131_072, 147_384]) {
      const text = unit.repeat(Math.ceil(units / unit.length)).slice(0, units)
      for (const value of [text, { text }]) {
        const length = encoder.prepare(value)
        expect(length).toBeGreaterThanOrEqual(units)
        const { kind, resets } = encoder
        encoder.write(memory, 0)
        const arrived = decoder.decode(kind, resets, memory, 0, length)
        memory.bytes.fill(0x55)
        expect(arrived).toEqual(value)
        expect(fromSideValue(structuredClone(toParcel(value, 'payload').side))).toEqual(value)
      }
    }
  }
})

test('a string is moved from the length on at which Node keeps its memory beside the heap', () => {
  for (const unit of ['a', 'é', '日', '\udc00']) {
    for (const [units, moved] of [
      [0xfbee8, 0],
      [0xfbee9, 1],
    ] as const) {
      const text = unit.repeat(units)
      const { side, transferList } = toParcel(text, 'payload')
      expect(transferList.length).toBe(moved)
      const transfer = transferList as ArrayBuffer[]
      expect(fromSideValue(structuredClone(side, { transfer })) === text).toBe(true)
      expect(transfer.every(({ byteLength }) => byteLength === 0)).toBe(true)
    }
  }
})

test('a shape is sent once: the second record of it is shorter', () => {
  const encoder = new PayloadEncoder('payload', 1_000)
  const first = encoder.prepare({ aLongMemberName: 1 })
  encoder.write(ring, 0)
  expect(encoder.prepare({ aLongMemberName: 1 })).toBeLessThan(first)
})

test('a value that is too long is read no further', () => {
  let reads = 0
  const value = {
    text: 'x'.repeat(2_000),
    get read() {
      return ++reads
    },
  }
  expect(new PayloadEncoder('payload', 1_000).prepare(value)).toBe(SPILL)
  expect(reads).toBe(0)
})

test('writing after another encoder used the arena is refused instead of sending its bytes', () => {
  const one = new PayloadEncoder('payload', 1_000)
  one.prepare({ a: 1 })
  new PayloadEncoder('payload', 1_000).prepare({ b: 2 })
  expect(() => one.write(ring, 0)).toThrow(/another is encoded/)
})

test('a nested value that cannot cross is named by its place', () => {
  const pathOf = (value: unknown): unknown => {
    try {
      new PayloadEncoder('payload', 1_000).prepare(value)
    } catch (error) {
      return (error as { details: { path: string } }).details.path
    }
    return undefined
  }
  const bad = () => 1
  expect(pathOf(bad)).toBe('payload')
  expect(pathOf({ items: [0, 1, 2, { callback: bad }] })).toBe('payload.items[3].callback')
  expect(pathOf({ map: new Map([['k', { deep: bad }]]) })).toBe('payload.map.get("k").deep')
  expect(pathOf(new Map([[bad, 1]]))).toBe('payload.<key 0>')
  expect(pathOf([new Set([1, 2, bad])])).toBe('payload[0].<set 2>')
  expect(pathOf({ 'two words': { 7: bad } })).toBe('payload["two words"]["7"]')
  expect(pathOf({ a: { b: 1 }, c: { d: 2 }, e: bad })).toBe('payload.e')
  const many = range(50).map((i) => ({ i }))
  expect(pathOf([...many, { at: many, last: bad }])).toBe('payload[50].last')
})

test('a refused value leaves nothing behind that a later one could trip over', () => {
  const encoder = new PayloadEncoder('payload', 1_000)
  expect(() => encoder.prepare({ a: [{ b: () => 1 }] })).toThrow(/payload\.a\[0\]\.b is a function/)
  const value = { a: [{ b: 1 }] }
  expect(encoder.prepare(value)).toBeGreaterThan(0)
})

test('a revoked proxy is refused by its place, not by an error of its own', () => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  const encoder = new PayloadEncoder('payload', 1_000)
  const refusal = expect.objectContaining({ code: 'CORELANE_UNSERIALIZABLE' })
  expect(() => encoder.prepare(proxy)).toThrow(refusal)
  expect(() => encoder.prepare({ a: [proxy] })).toThrow(/payload\.a\[0\]/)
  expect(() => toParcel(proxy, 'payload')).toThrow(refusal)
})

test('a polluted Object.prototype neither crosses nor stands in the way', () => {
  const prototype = Object.prototype as unknown as Record<string, unknown>
  prototype.polluted = () => 1
  try {
    const encoder = new PayloadEncoder('payload', 1_000)
    const length = encoder.prepare({ a: { b: 1 } })
    encoder.write(ring, 0)
    const arrived = new PayloadDecoder().decode(encoder.kind, false, ring, 0, length)
    expect(Object.entries(arrived as object)).toEqual([['a', { b: 1 }]])
  } finally {
    delete prototype.polluted
  }
})

test('what a port refuses becomes an error with a code', () => {
  const refusal = new Error('could not be cloned')
  expect(sideRefused('result', refusal)).toMatchObject({
    code: 'CORELANE_UNSERIALIZABLE',
    cause: refusal,
  })
})

test('large memory is copied once and moved, alone or within a value', () => {
  const bytes = new Uint8Array(100_000).fill(7)
  for (const value of [bytes, { bytes }, { memory: bytes.buffer }]) {
    const { side, transferList } = toParcel(value, 'payload')
    expect(side.beside).toEqual(transferList)
    expect((transferList as ArrayBuffer[])[0]).not.toBe(bytes.buffer)
    expect((transferList as ArrayBuffer[])[0]!.byteLength).toBe(100_000)
  }
  expect(bytes.length).toBe(100_000)
})

test('a string alone goes through the port as it is', () => {
  const text = 'x'.repeat(100_000)
  expect(toParcel(text, 'payload').side.beside).toEqual([text])
})
