// Object stream: objects through msgpackr, whose shapes are sent once per stream.
// Thread: any.   Owns: the shapes learnt by one end of one ring.
// Must not: be used for a ring whose records are skipped or decoded out of order.
//
// A record may use every shape defined by an earlier one, so both ends must have seen the same
// records. What was encoded but not written (it threw, was too long, the ring was full) breaks
// that. So an encoder whose last record was not written forgets all shapes, and its next record
// makes the decoder forget them too: a record that used a lost shape would fail loudly. The number
// of shapes remembered is bounded: past 64 their numbers are used again.

import { invariant } from '../base/errors.ts'
import { type Packr, privateMsgpackr, type Unpackr } from './private-msgpackr.ts'
import { copyRecord, type RecordBytes } from './record-bytes.ts'

// Of msgpackr's pack(): return the arena itself, and start again at the same place next time.
const REUSE_BUFFER = 512
const RESET_BUFFER = 1024
const ARENA_MODE = REUSE_BUFFER | RESET_BUFFER

const SHAPES_MAX = 64
const ARENA_BYTES = 8_192
// An arena that grew past this is given back after use.
const ARENA_KEPT_BYTES = 1_048_576

interface Arena extends Buffer {
  start?: number
  end?: number
}

interface StreamPackr extends Packr {
  structuredClone: boolean
}

interface StreamUnpackr extends Unpackr {
  structures: unknown[]
}

// The arena is common to the encoders of a thread: it holds the record of one of them at a time.
let arenaOwner: ObjectEncoder | undefined
let isEncoding = false

function makePackr(): StreamPackr {
  const { Packr: PackrClass } = privateMsgpackr()
  return new PackrClass({
    sequential: true,
    structuredClone: true,
    moreTypes: true,
    useToJSON: false,
    maxOwnStructures: SHAPES_MAX,
    writeFunction: refuseFunction,
  } as ConstructorParameters<typeof PackrClass>[0]) as StreamPackr
}

function makeUnpackr(): StreamUnpackr {
  const { Unpackr: UnpackrClass } = privateMsgpackr()
  return new UnpackrClass({
    sequential: true,
    structuredClone: true,
    moreTypes: true,
    mapsAsObjects: false,
    copyBuffers: true,
  }) as StreamUnpackr
}

function refuseFunction(): never {
  throw new TypeError('a getter returned a function')
}

let wordsOf: Arena | undefined
let arenaWords: Int32Array = new Int32Array(0)

/** The writing end of a stream. */
export class ObjectEncoder {
  /** Whether the encoded record makes the decoder forget its shapes. */
  resets = false
  readonly #packr = makePackr()
  #inStep = true
  #arena: Arena | undefined
  #start = 0
  #end = 0

  /**
   * Encodes into the arena, where the record stays until the next one is encoded on this thread.
   *
   * @param value - A value that msgpackr carries.
   * @param isShared - Whether some object may be met twice.
   * @returns Length in bytes; -1 if another encoding is under way on this thread.
   */
  encode(value: unknown, isShared: boolean): number {
    // A getter of the value under way may submit another command: that one takes the side road.
    if (isEncoding) return -1
    this.resets = !this.#inStep
    if (this.resets) this.#packr.clearSharedData()
    this.#inStep = false
    this.#packr.structuredClone = isShared
    isEncoding = true
    arenaOwner = undefined
    let arena: Arena
    try {
      arena = this.#packr.pack(value, ARENA_MODE) as Arena
    } finally {
      isEncoding = false
    }
    // Where references had to be patched in, msgpackr returns a view of the record instead.
    this.#start = arena.start ?? 0
    this.#end = arena.end ?? arena.length
    this.#arena = arena
    arenaOwner = this
    return this.#end - this.#start
  }

  /**
   * Copies the encoded record into the ring.
   *
   * @param target - Memory of the ring.
   * @param offset - Where the record starts, in bytes; a multiple of 8.
   */
  write(target: RecordBytes, offset: number): void {
    invariant(arenaOwner === this, 'a record is written before another is encoded on the thread')
    const arena = this.#arena!
    const length = this.#end - this.#start
    if (wordsOf !== arena) {
      wordsOf = arena
      arenaWords = new Int32Array(arena.buffer, arena.byteOffset, arena.length >> 2)
    }
    copyRecord(arena, arenaWords, this.#start, target, offset, length)
    this.#inStep = true
    this.#release()
  }

  /** The encoded record will not be written. */
  discard(): void {
    if (arenaOwner === this) this.#release()
  }

  #release(): void {
    arenaOwner = undefined
    if (this.#arena!.length > ARENA_KEPT_BYTES) {
      this.#packr.useBuffer(Buffer.allocUnsafeSlow(ARENA_BYTES))
      wordsOf = undefined
      arenaWords = new Int32Array(0)
    }
    this.#arena = undefined
  }
}

/** The reading end of a stream. */
export class ObjectDecoder {
  readonly #unpackr = makeUnpackr()
  readonly #range = { start: 0, end: 0 }

  /**
   * Decodes one record.
   *
   * @param source - Bytes of the ring.
   * @param offset - Where the record starts in them.
   * @param length - Of the record, in bytes.
   * @param resets - Whether to forget the shapes learnt so far.
   */
  decode(source: Buffer, offset: number, length: number, resets: boolean): unknown {
    if (resets) this.#unpackr.structures = []
    this.#range.start = offset
    this.#range.end = offset + length
    return this.#unpackr.unpack(source, this.#range)
  }
}
