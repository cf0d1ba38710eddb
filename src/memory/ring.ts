// Ring: single-writer single-reader records of any length in shared memory.
// Thread: each end belongs to one thread.
// Owns: the writer its tail, the reader its head.
// Must not: know what is in a record.
//
// After Agrona's one-to-one ring buffer: a writer claims, fills and commits a record; the reader
// takes records in order and gives their bytes back. Positions only grow and wrap at 2^32; the
// index is the position's low bits. A record never straddles the ring's end: padding fills the
// rest.

import { align8, distance } from '../base/bits.ts'
import { invariant } from '../base/errors.ts'
import { PADDING_KIND, RECORD_HEADER_BYTES } from './layout.ts'
import type { Views } from './views.ts'

/** Where a ring lies in its region. */
export interface RingPlace {
  /** Byte offset of its first byte. */
  readonly offset: number
  /** Length in bytes, a power of two. */
  readonly bytes: number
  /** Int32 index of the writer's position. */
  readonly tailWord: number
  /** Int32 index of the reader's position. */
  readonly headWord: number
}

/** What a claim answers when the ring has no room for it now. */
export const NO_ROOM = -1

/** The writing end. Belongs to one thread. */
export class RingWriter {
  /** Longest body that ever fits: half the ring less a header, whatever the ring's position. */
  readonly bodyBytesMax: number
  readonly #views: Views
  readonly #place: RingPlace
  readonly #mask: number
  /** Next byte to write; ahead of the shared tail by what is committed and not yet published. */
  #position: number
  /**
   * Reader's position as last seen: may be behind, so room is under-reported, never over-reported.
   */
  #headSeen: number
  #claimed = 0
  #claimedLength = 0

  constructor(views: Views, place: RingPlace) {
    this.#views = views
    this.#place = place
    this.#mask = place.bytes - 1
    this.#position = Atomics.load(views.words, place.tailWord)
    this.#headSeen = Atomics.load(views.words, place.headWord)
    this.bodyBytesMax = place.bytes / 2 - RECORD_HEADER_BYTES
  }

  /**
   * Claims room for a record. Nothing is visible to the reader until it is committed and published.
   *
   * @param bodyLength - Bytes of the body, 0 to {@link RingWriter.bodyBytesMax}.
   * @returns The byte offset of the body in the region, a multiple of 8, or {@link NO_ROOM}.
   */
  tryClaim(bodyLength: number): number {
    const length = bodyLength + RECORD_HEADER_BYTES
    const stride = align8(length)
    const index = this.#position & this.#mask
    const tillEnd = this.#place.bytes - index
    const needed = stride <= tillEnd ? stride : tillEnd + stride
    if (needed > this.#free(needed)) {
      invariant(bodyLength <= this.bodyBytesMax, `a body of ${bodyLength} bytes never fits`)
      return NO_ROOM
    }
    let recordOffset = this.#place.offset + index
    if (stride > tillEnd) {
      this.#views.words[recordOffset >> 2] = tillEnd
      this.#views.words[(recordOffset >> 2) + 1] = PADDING_KIND
      recordOffset = this.#place.offset
    }
    this.#claimed = needed
    this.#claimedLength = length
    return recordOffset + RECORD_HEADER_BYTES
  }

  /**
   * Finishes the claimed record.
   *
   * @param bodyOffset - What {@link RingWriter.tryClaim} returned.
   * @param kind - The reader gets it back; any Int32 but {@link PADDING_KIND}.
   */
  commit(bodyOffset: number, kind: number): void {
    const word = (bodyOffset - RECORD_HEADER_BYTES) >> 2
    this.#views.words[word] = this.#claimedLength
    this.#views.words[word + 1] = kind
    this.#position = (this.#position + this.#claimed) | 0
    this.#claimed = 0
  }

  /** Gives the claimed room back; the reader never learns of it. */
  abort(): void {
    this.#claimed = 0
  }

  /** Shows the reader all that is committed. */
  publish(): void {
    // PUBLISH(ring-tail): the records' bytes are stored before this; pairs with RingReader.read.
    Atomics.store(this.#views.words, this.#place.tailWord, this.#position)
  }

  /**
   * Whether a claim of so many bytes would succeed now.
   *
   * @param bodyLength - Bytes of the body, 0 to {@link RingWriter.bodyBytesMax}.
   */
  hasRoomFor(bodyLength: number): boolean {
    const offset = this.tryClaim(bodyLength)
    this.abort()
    return offset !== NO_ROOM
  }

  /** Bytes that may be written now: a fresh answer, and the reader can only make it larger. */
  freeBytes(): number {
    // OBSERVE(ring-head): the reader is done with all before this position.
    this.#headSeen = Atomics.load(this.#views.words, this.#place.headWord)
    return this.#place.bytes - distance(this.#position, this.#headSeen)
  }

  #free(needed: number): number {
    const known = this.#place.bytes - distance(this.#position, this.#headSeen)
    return needed <= known ? known : this.freeBytes()
  }
}

/** Takes the records of a ring one by one. */
export interface RecordSink {
  /**
   * Called for each record; its bytes may be overwritten once the call returns.
   *
   * @param kind - What the writer committed it with.
   * @param offset - Byte offset of the body, a multiple of 8.
   * @param length - Bytes of the body.
   */
  onRecord(kind: number, offset: number, length: number): void
}

/** The reading end. Belongs to one thread. */
export class RingReader {
  readonly #views: Views
  readonly #place: RingPlace
  readonly #mask: number
  #position: number

  constructor(views: Views, place: RingPlace) {
    this.#views = views
    this.#place = place
    this.#mask = place.bytes - 1
    this.#position = Atomics.load(views.words, place.headWord)
  }

  /** Whether nothing is waiting. Stale at once: a record may arrive right after. */
  get isEmpty(): boolean {
    // OBSERVE(ring-tail): a different position means that records before it can be read.
    return Atomics.load(this.#views.words, this.#place.tailWord) === this.#position
  }

  /** Bytes published and not yet read. */
  get waitingBytes(): number {
    return distance(Atomics.load(this.#views.words, this.#place.tailWord), this.#position)
  }

  /**
   * Hands the waiting records to a sink, in order. If the sink throws, that record counts as read.
   *
   * @param sink - Takes each record.
   * @param limit - At most so many records.
   * @param bytesMax - Takes no second record after so many bytes. Default: no bound.
   * @returns How many it took.
   */
  read(sink: RecordSink, limit: number, bytesMax: number = Number.POSITIVE_INFINITY): number {
    const { words } = this.#views
    const { offset, tailWord, headWord } = this.#place
    // OBSERVE(ring-tail): every byte before this position is stored.
    const tail = Atomics.load(words, tailWord)
    if (tail === this.#position) return 0
    const from = this.#position
    let count = 0
    try {
      while (
        this.#position !== tail &&
        count < limit &&
        (distance(this.#position, from) < bytesMax || count === 0)
      ) {
        const recordOffset = offset + (this.#position & this.#mask)
        const length = words[recordOffset >> 2]!
        const kind = words[(recordOffset >> 2) + 1]!
        this.#position = (this.#position + align8(length)) | 0
        if (kind === PADDING_KIND) continue
        count++
        sink.onRecord(kind, recordOffset + RECORD_HEADER_BYTES, length - RECORD_HEADER_BYTES)
      }
    } finally {
      // PUBLISH(ring-head): the records' bytes are read before this; pairs with
      // RingWriter.freeBytes.
      Atomics.store(words, headWord, this.#position)
    }
    return count
  }
}
