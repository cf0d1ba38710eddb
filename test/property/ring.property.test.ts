// Goal: a ring is a queue of records, whatever the order of its operations and wherever it starts.
// Method: random sequences of claim, commit, abort, publish and read on tiny rings, against an
// array; canary bytes on both sides of the ring; positions that start just below 2^32 and 2^31.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { align8, distance } from '../../src/base/bits.ts'
import { RECORD_HEADER_BYTES } from '../../src/memory/layout.ts'
import { NO_ROOM } from '../../src/memory/ring.ts'
import { SmallRing } from '../unit/memory/support/small-ring.ts'

const RUNS = Number(process.env.CORELANE_PROPERTY_RUNS ?? 1000)
const TIMEOUT_MS = 30_000 + RUNS * 30

interface Written {
  readonly kind: number
  readonly length: number
}

/** The queue that the ring must behave like, with the room that it must say it has. */
interface Model {
  readonly bytes: number
  readonly committed: Written[]
  readonly published: Written[]
  next: number
}

type Command = fc.Command<Model, SmallRing>

class Write implements Command {
  readonly length: number
  readonly isKept: boolean

  constructor(length: number, isKept: boolean) {
    this.length = length
    this.isKept = isKept
  }

  check(model: Readonly<Model>): boolean {
    return this.length <= model.bytes / 2 - RECORD_HEADER_BYTES
  }

  run(model: Model, ring: SmallRing): void {
    const { writer, place, views } = ring
    const free = writer.freeBytes()
    const offset = writer.tryClaim(this.length)
    const stride = align8(this.length + RECORD_HEADER_BYTES)
    if (offset === NO_ROOM) {
      // With padding a record may need up to its own length and that of one as long again.
      expect(free).toBeLessThan(2 * stride)
      return
    }
    expect(offset % 8).toBe(0)
    expect(offset - RECORD_HEADER_BYTES).toBeGreaterThanOrEqual(place.offset)
    expect(offset + this.length).toBeLessThanOrEqual(place.offset + place.bytes)
    const kind = model.next++ | 0
    views.bytes.fill(kind & 0xff, offset, offset + this.length)
    if (!this.isKept) {
      writer.abort()
      expect(writer.freeBytes()).toBe(free)
      return
    }
    writer.commit(offset, kind)
    expect(writer.freeBytes()).toBeLessThanOrEqual(free - stride)
    model.committed.push({ kind, length: this.length })
  }

  toString(): string {
    return `${this.isKept ? 'commit' : 'abort'}(${this.length})`
  }
}

class Publish implements Command {
  check(): boolean {
    return true
  }

  run(model: Model, ring: SmallRing): void {
    ring.writer.publish()
    model.published.push(...model.committed.splice(0))
    expect(ring.reader.isEmpty).toBe(model.published.length === 0)
  }

  toString(): string {
    return 'publish'
  }
}

class Read implements Command {
  readonly limit: number
  readonly throwsAt: number

  constructor(limit: number, throwsAt: number) {
    this.limit = limit
    this.throwsAt = throwsAt
  }

  check(): boolean {
    return true
  }

  run(model: Model, ring: SmallRing): void {
    const count = Math.min(this.limit, model.published.length)
    const due = model.published.splice(0, Math.min(count, this.throwsAt + 1))
    const taken: Written[] = []
    const onRecord = (kind: number, offset: number, length: number) => {
      taken.push({ kind, length })
      const body = ring.views.bytes.subarray(offset, offset + length)
      expect(body.every((byte) => byte === (kind & 0xff))).toBe(true)
      if (taken.length === this.throwsAt + 1) throw new Error('sink')
    }
    let answer: unknown
    try {
      answer = ring.reader.read({ onRecord }, this.limit)
    } catch (error) {
      answer = (error as Error).message
    }
    expect(answer).toBe(this.throwsAt < count ? 'sink' : count)
    expect(taken).toEqual(due)
    if (model.published.length === 0) expect(ring.reader.waitingBytes).toBe(0)
  }

  toString(): string {
    return `read(${this.limit}${this.throwsAt < this.limit ? `, throws at ${this.throwsAt}` : ''})`
  }
}

const commands = (bytes: number) =>
  fc.commands(
    [
      fc
        .tuple(fc.nat(bytes / 2 - RECORD_HEADER_BYTES), fc.boolean(), fc.boolean())
        .map(([length, a, b]) => new Write(length, a || b)),
      fc.nat(16).map((length) => new Write(length, true)),
      fc.constant(new Publish()),
      fc
        .tuple(fc.nat(5), fc.option(fc.nat(3), { nil: 1000, freq: 4 }))
        .map(([limit, throwsAt]) => new Read(limit, throwsAt)),
    ],
    { maxCommands: 120 },
  )

const starts = fc.oneof(
  fc.integer({ min: -40, max: 0 }).map((eighths) => eighths * 8),
  fc.integer({ min: -40, max: 40 }).map((eighths) => (2 ** 31 + eighths * 8) | 0),
  fc.nat(1000).map((eighths) => eighths * 8),
)

test(
  'a ring behaves as a queue of records, and writes nothing outside itself',
  () => {
    const cases = fc
      .constantFrom(64, 128, 256)
      .chain((bytes) => fc.tuple(fc.constant(bytes), starts, commands(bytes)))
    fc.assert(
      fc.property(cases, ([bytes, start, sequence]) => {
        const ring = new SmallRing(bytes, start)
        const model: Model = { bytes, committed: [], published: [], next: 0 }
        fc.modelRun(() => ({ model, real: ring }), sequence)
        expect(ring.isIntact).toBe(true)
        const used = distance(ring.tail, ring.head)
        expect(used).toBeGreaterThanOrEqual(0)
        expect(used).toBeLessThanOrEqual(bytes)
        // What is left comes out to the last record, and then all the room is there again.
        ring.writer.publish()
        const left = ring.read().map(({ kind, body }) => ({ kind, length: body.length }))
        expect(left).toEqual([...model.published, ...model.committed])
        expect(ring.writer.freeBytes()).toBe(bytes)
      }),
      { numRuns: RUNS },
    )
  },
  TIMEOUT_MS,
)
