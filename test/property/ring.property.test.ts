// Goal: a ring is a queue of records, whatever the order of its operations and wherever it starts.
// Method: random sequences of claim, commit, abort, publish and read on tiny rings, against an
// array; canary bytes on both sides of the ring; positions that start just below 2^32 and 2^31.

import fc from 'fast-check'
import { expect } from 'vitest'
import { align8, distance } from '../../src/base/bits.ts'
import { RECORD_HEADER_BYTES } from '../../src/memory/layout.ts'
import { NO_ROOM } from '../../src/memory/ring.ts'
import { lawOf } from '../support/law.ts'
import { SmallRing } from '../unit/memory/support/small-ring.ts'

const law = lawOf(1000)

const step = fc.record({
  kind: fc.constantFrom('write', 'write', 'publish', 'read'),
  /** Of a body, modulo what fits. */
  length: fc.oneof(fc.nat(16), fc.nat(127)),
  /** Whether a claim is committed. */
  isKept: fc.nat(3).map((n) => n > 0),
  limit: fc.nat(5),
  /** No further record is read after so many bytes. */
  bytesMax: fc.option(fc.nat(100), { nil: undefined }),
  /** The record whose sink throws. */
  throwsAt: fc.option(fc.nat(3), { nil: 1000, freq: 4 }),
})
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never

interface Written {
  readonly kind: number
  readonly length: number
}

/** A ring beside the queue that it must behave like, with the room that it must say it has. */
class World {
  readonly ring: SmallRing
  readonly committed: Written[] = []
  readonly published: Written[] = []
  readonly #bodyMax: number
  #next = 0

  constructor(bytes: number, start: number) {
    this.ring = new SmallRing(bytes, start)
    this.#bodyMax = bytes / 2 - RECORD_HEADER_BYTES
  }

  play({ kind, length, isKept, limit, bytesMax, throwsAt }: Step): void {
    if (kind === 'write') this.#write(length % (this.#bodyMax + 1), isKept)
    else if (kind === 'read') this.#read(limit, throwsAt, bytesMax)
    else {
      this.ring.writer.publish()
      this.published.push(...this.committed.splice(0))
      expect(this.ring.reader.isEmpty).toBe(this.published.length === 0)
    }
  }

  #write(length: number, isKept: boolean): void {
    const { writer, place, views } = this.ring
    const free = writer.freeBytes()
    const offset = writer.tryClaim(length)
    const stride = align8(length + RECORD_HEADER_BYTES)
    // With padding a record may need up to its own length and that of one as long again.
    if (offset === NO_ROOM) {
      expect(free).toBeLessThan(2 * stride)
      return
    }
    expect(offset % 8).toBe(0)
    expect(offset - RECORD_HEADER_BYTES).toBeGreaterThanOrEqual(place.offset)
    expect(offset + length).toBeLessThanOrEqual(place.offset + place.bytes)
    const kind = this.#next++ | 0
    views.bytes.fill(kind & 0xff, offset, offset + length)
    if (!isKept) {
      writer.abort()
      expect(writer.freeBytes()).toBe(free)
      return
    }
    writer.commit(offset, kind)
    expect(writer.freeBytes()).toBeLessThanOrEqual(free - stride)
    this.committed.push({ kind, length })
  }

  #read(limit: number, throwsAt: number, bytesMax: number | undefined): void {
    const taken: Written[] = []
    const onRecord = (kind: number, offset: number, length: number) => {
      taken.push({ kind, length })
      const body = this.ring.views.bytes.subarray(offset, offset + length)
      expect(body.every((byte) => byte === (kind & 0xff))).toBe(true)
      if (taken.length === throwsAt + 1) throw new Error('sink')
    }
    let answer: unknown
    try {
      answer = this.ring.reader.read({ onRecord }, limit, bytesMax)
    } catch (error) {
      answer = (error as Error).message
    }
    const count = Math.min(limit, this.published.length)
    expect(answer).toBe(taken.length === throwsAt + 1 ? 'sink' : taken.length)
    expect(taken).toEqual(this.published.splice(0, taken.length))
    if (bytesMax === undefined) expect(taken).toHaveLength(Math.min(count, throwsAt + 1))
    else this.#checkBound(taken, count, bytesMax)
    if (this.published.length === 0) expect(this.ring.reader.waitingBytes).toBe(0)
  }

  /** Padding, at most once and of less than half a ring, counts as read, too. */
  #checkBound(taken: readonly Written[], count: number, bytesMax: number): void {
    if (count > 0) expect(taken.length).toBeGreaterThan(0)
    const strides = taken.map(({ length }) => align8(length + RECORD_HEADER_BYTES))
    const before = strides.slice(0, -1).reduce((sum, stride) => sum + stride, 0)
    if (taken.length > 1) expect(before).toBeLessThan(bytesMax)
  }
}

const starts = fc.oneof(
  fc.integer({ min: -40, max: 0 }).map((eighths) => eighths * 8),
  fc.integer({ min: -40, max: 40 }).map((eighths) => (2 ** 31 + eighths * 8) | 0),
  fc.nat(1000).map((eighths) => eighths * 8),
)

law(
  'a ring behaves as a queue of records, and writes nothing outside itself',
  [fc.constantFrom(64, 128, 256), starts, fc.array(step, { maxLength: 120 })],
  (bytes, start, steps) => {
    const world = new World(bytes, start)
    for (const one of steps) world.play(one)
    const { ring, published, committed } = world
    expect(ring.isIntact).toBe(true)
    const used = distance(ring.tail, ring.head)
    expect(used).toBeGreaterThanOrEqual(0)
    expect(used).toBeLessThanOrEqual(bytes)
    // What is left comes out to the last record, and then all the room is there again.
    ring.writer.publish()
    const left = ring.read().map(({ kind, body }) => ({ kind, length: body.length }))
    expect(left).toEqual([...published, ...committed])
    expect(ring.writer.freeBytes()).toBe(bytes)
  },
)
