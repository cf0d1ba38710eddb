// Small ring: a ring of any size in memory of its own, with canary bytes on both sides.

import { type RingPlace, RingReader, RingWriter } from '../../../../src/memory/ring.ts'
import { type Views, viewsOf } from '../../../../src/memory/views.ts'

const CANARY_BYTES = 64
const CANARY = 0xc5
const TAIL_WORD = 0
const HEAD_WORD = 1

/** A record as it was read, its body copied. */
export interface Taken {
  readonly kind: number
  readonly offset: number
  readonly body: readonly number[]
}

/** Both ends of one ring. */
export class SmallRing {
  readonly views: Views
  readonly place: RingPlace
  readonly writer: RingWriter
  readonly reader: RingReader

  /**
   * @param bytes - A power of two, 16 or more.
   * @param start - Position at which it starts, a multiple of 8.
   */
  constructor(bytes: number, start = 0) {
    const offset = 8 + CANARY_BYTES
    this.views = viewsOf(new SharedArrayBuffer(offset + bytes + CANARY_BYTES))
    this.views.bytes.fill(CANARY)
    this.views.words[TAIL_WORD] = start
    this.views.words[HEAD_WORD] = start
    this.place = { offset, bytes, tailWord: TAIL_WORD, headWord: HEAD_WORD }
    this.writer = new RingWriter(this.views, this.place)
    this.reader = new RingReader(this.views, this.place)
  }

  /** The writer's published position. */
  get tail(): number {
    return this.views.words[TAIL_WORD]!
  }

  /** The reader's published position. */
  get head(): number {
    return this.views.words[HEAD_WORD]!
  }

  /** Whether nothing was written outside the ring. */
  get isIntact(): boolean {
    const { bytes } = this.views
    const before = bytes.subarray(8, this.place.offset)
    const after = bytes.subarray(this.place.offset + this.place.bytes)
    return [...before, ...after].every((byte) => byte === CANARY)
  }

  /** Claims room, fills it with a byte and commits; false if there is no room. */
  write(kind: number, length: number, fill = kind & 0xff): boolean {
    const offset = this.writer.tryClaim(length)
    if (offset === -1) return false
    this.views.bytes.fill(fill, offset, offset + length)
    this.writer.commit(offset, kind)
    return true
  }

  /** Takes what is there. */
  read(limit = Number.POSITIVE_INFINITY): Taken[] {
    const taken: Taken[] = []
    const onRecord = (kind: number, offset: number, length: number) => {
      taken.push({ kind, offset, body: [...this.views.bytes.subarray(offset, offset + length)] })
    }
    const count = this.reader.read({ onRecord }, limit)
    if (count !== taken.length) throw new Error(`read ${taken.length} records, said ${count}`)
    return taken
  }
}
