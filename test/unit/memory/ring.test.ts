import { expect, test } from 'vitest'
import { InvariantError } from '../../../src/base/errors.ts'
import { RECORD_HEADER_BYTES } from '../../../src/memory/layout.ts'
import { NO_ROOM, RingReader, RingWriter } from '../../../src/memory/ring.ts'
import { range } from '../../support/range.ts'
import { SmallRing } from './support/small-ring.ts'

const BYTES = 128
const BODY_MAX = BYTES / 2 - RECORD_HEADER_BYTES

/** Every index that a record can start at. */
const INDICES = range(BYTES / 8).map((i) => i * 8)

function kinds(taken: readonly { kind: number }[]): number[] {
  return taken.map(({ kind }) => kind)
}

test('a record may be empty, and kinds may be any Int32 but that of padding', () => {
  const ring = new SmallRing(BYTES)
  const all = [0, 1, -2, 2 ** 31 - 1, -(2 ** 31)]
  for (const kind of all) expect(ring.write(kind, 0)).toBe(true)
  ring.writer.publish()
  expect(ring.read()).toEqual(all.map((kind) => expect.objectContaining({ kind, body: [] })))
})

test('what is claimed and committed shows only once it is published', () => {
  const ring = new SmallRing(BYTES)
  ring.write(1, 8)
  ring.write(2, 8)
  expect(ring.reader.isEmpty).toBe(true)
  expect(ring.reader.waitingBytes).toBe(0)
  expect(ring.read()).toEqual([])
  ring.writer.publish()
  expect(ring.reader.isEmpty).toBe(false)
  expect(ring.reader.waitingBytes).toBe(32)
  expect(kinds(ring.read())).toEqual([1, 2])
  expect(ring.reader.isEmpty).toBe(true)
})

test('a full ring refuses the claim and leaves everything where it was', () => {
  const ring = new SmallRing(64)
  for (let kind = 0; kind < 4; kind++) expect(ring.write(kind, 8)).toBe(true)
  ring.writer.publish()
  const { tail } = ring
  expect(ring.writer.freeBytes()).toBe(0)
  expect(ring.writer.tryClaim(0)).toBe(NO_ROOM)
  expect(ring.tail).toBe(tail)
  expect(kinds(ring.read())).toEqual([0, 1, 2, 3])
})

test('a full ring has no free byte, an empty one has all', () => {
  const ring = new SmallRing(64, -32)
  expect(ring.writer.freeBytes()).toBe(64)
  for (let free = 48; free >= 0; free -= 16) {
    ring.write(1, 8)
    // Committed records count although the reader does not see them yet.
    expect(ring.writer.freeBytes()).toBe(free)
  }
  ring.writer.publish()
  ring.read(1)
  expect(ring.writer.freeBytes()).toBe(16)
  ring.read()
  expect(ring.writer.freeBytes()).toBe(64)
})

test('the longest body fits an empty ring at every index', () => {
  for (const index of INDICES) {
    const ring = new SmallRing(BYTES, index)
    expect(ring.writer.bodyBytesMax).toBe(BODY_MAX)
    expect(ring.write(9, BODY_MAX, 0x77)).toBe(true)
    ring.writer.publish()
    const [record] = ring.read()
    expect(record!.body).toHaveLength(BODY_MAX)
    expect(record!.body.every((byte) => byte === 0x77)).toBe(true)
    expect(ring.isIntact).toBe(true)
  }
})

test('a record of any length at any index never straddles the end of the ring', () => {
  for (const index of INDICES) {
    for (let length = 0; length <= BODY_MAX; length++) {
      const ring = new SmallRing(BYTES, index)
      ring.write(5, length, 0x5a)
      ring.writer.publish()
      const [record] = ring.read()
      const from = record!.offset - ring.place.offset
      expect(from).toBe(index + 8 + ((length + 7) & ~7) <= BYTES ? index + 8 : 8)
      expect(record!.body).toEqual(new Array(length).fill(0x5a))
      expect(ring.isIntact).toBe(true)
    }
  }
})

test('a read sees what was published before it, not what comes while it runs', () => {
  const ring = new SmallRing(BYTES)
  ring.write(1, 8)
  ring.writer.publish()
  const seen: number[] = []
  const sink = {
    onRecord(kind: number) {
      seen.push(kind)
      ring.write(2, 8)
      ring.writer.publish()
    },
  }
  expect(ring.reader.read(sink, 10)).toBe(1)
  expect(seen).toEqual([1])
  expect(ring.reader.isEmpty).toBe(false)
})

test('bytes are given back only after the sink has seen them', () => {
  const ring = new SmallRing(64)
  while (ring.write(1, 8));
  ring.writer.publish()
  const onRecord = () => {
    expect(ring.writer.tryClaim(8)).toBe(NO_ROOM)
  }
  expect(ring.reader.read({ onRecord }, 10)).toBe(4)
  expect(ring.writer.tryClaim(8)).not.toBe(NO_ROOM)
})

test('ends that are made later go on where the words say', () => {
  const ring = new SmallRing(64, -16)
  ring.write(1, 8)
  ring.write(2, 8)
  ring.writer.publish()
  ring.read(1)
  const writer = new RingWriter(ring.views, ring.place)
  writer.commit(writer.tryClaim(8), 3)
  writer.publish()
  const seen: number[] = []
  new RingReader(ring.views, ring.place).read({ onRecord: (kind) => seen.push(kind) }, 10)
  expect(seen).toEqual([2, 3])
})

test('a body that can never fit is a broken assumption, not a full ring', () => {
  const ring = new SmallRing(64)
  ring.write(1, 8)
  expect(() => ring.writer.tryClaim(64)).toThrow(InvariantError)
  expect(() => ring.writer.tryClaim(64)).toThrow('a body of 64 bytes never fits')
})
