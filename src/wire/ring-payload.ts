// Ring payload: the road through a ring, one value as the body of a record, and back.
// An encoder and its decoder serve one ring of one incarnation.
// Owns: what both ends have learnt about the shapes of objects.
// Must not: hand out anything that aliases ring memory, or keep a value after it was written.

import { Buffer } from 'node:buffer'
import { types } from 'node:util'
import { extentOf } from './brands.ts'
import { copyIn, copyOut, type RecordBytes, readText, TWO_BYTE, writeText } from './record-bytes.ts'
import { ValueDecoder } from './value-decoder.ts'
import { refusal, ValueEncoder } from './value-encoder.ts'

/** What the body of a record holds. Fits in 6 bits. */
export const PayloadKind = Object.freeze({
  UNDEFINED: 0,
  NULL: 1,
  TRUE: 2,
  FALSE: 3,
  /** A double, so NaN and -0 too. */
  NUMBER: 4,
  /** 64 bits, signed. Larger ones travel as VALUE. */
  BIGINT: 5,
  /** One byte for each code unit. */
  STRING_ONE_BYTE: 6,
  /** Two bytes for each code unit, so a lone surrogate too. */
  STRING_TWO_BYTE: 7,
  /** A Uint8Array. */
  BYTES: 8,
  BUFFER: 9,
  /** Anything else, with the shapes learnt so far. */
  VALUE: 10,
  /** No body: the value goes by the side port. */
  SIDE: 11,
})

/** Returned by `prepare` for a value that goes by the side port. */
export const SPILL = -1

// Past this length one copy that a port moves costs less than one into the ring and one out of it.
const BYTES_MAX = 131_072
// Below these lengths a loop beats the call into the engine's native code.
const WRITE_LOOP_MAX = 12
const READ_LOOP_MAX = 5

/** Encodes values for one ring: `prepare`, then either `write` or `discard`, before the next. */
export class PayloadEncoder {
  /** The kind of the prepared value. */
  kind: number = PayloadKind.UNDEFINED
  /** Length of a value that goes by the side port, in bytes; Infinity if that is not known. */
  spilledBytes: number = Number.POSITIVE_INFINITY
  /** Whether the record written next must tell the decoder to forget the shapes it has learnt. */
  resets = false
  readonly #role: string
  readonly #inlineMax: number
  readonly #bytesMax: number
  readonly #values: ValueEncoder
  #length = 0
  #number = 0
  #bigint = 0n
  #text = ''
  #memory: Uint8Array | undefined

  /**
   * @param role - What the values are, for the path in an error: `payload`, `result`.
   * @param maxInlineBytes - Longest body that goes into the ring, in bytes.
   */
  constructor(role: string, maxInlineBytes: number) {
    this.#role = role
    this.#inlineMax = maxInlineBytes
    this.#bytesMax = Math.min(maxInlineBytes, BYTES_MAX)
    this.#values = new ValueEncoder(maxInlineBytes)
  }

  /**
   * Chooses the kind of a value and encodes it, or finds that it goes by the side port.
   *
   * @returns Length of the body in bytes, or {@link SPILL}.
   * @throws SerializationError `CORELANE_UNSERIALIZABLE` if it can cross by no road.
   */
  prepare(value: unknown): number {
    this.resets = false
    switch (typeof value) {
      case 'number':
        this.kind = PayloadKind.NUMBER
        this.#number = value
        return 8
      case 'undefined':
        this.kind = PayloadKind.UNDEFINED
        return 0
      case 'boolean':
        this.kind = value ? PayloadKind.TRUE : PayloadKind.FALSE
        return 0
      case 'string':
        return this.#prepareText(value)
      case 'bigint':
        if (BigInt.asIntN(64, value) !== value) return this.#prepareValue(value)
        this.kind = PayloadKind.BIGINT
        this.#bigint = value
        return 8
      case 'object':
        if (value !== null) return this.#prepareObject(value)
        this.kind = PayloadKind.NULL
        return 0
      default:
        return this.#prepareValue(value)
    }
  }

  /**
   * Writes the prepared value.
   *
   * @param target - Memory of the ring.
   * @param offset - Where the body starts, in bytes; a multiple of 8.
   */
  write(target: RecordBytes, offset: number): void {
    switch (this.kind) {
      case PayloadKind.NUMBER:
        target.floats[offset >> 3] = this.#number
        return
      case PayloadKind.VALUE:
        this.#values.write(target, offset)
        return
      case PayloadKind.STRING_ONE_BYTE:
        this.#writeOneByte(target.bytes, offset)
        return
      case PayloadKind.STRING_TWO_BYTE:
        writeText(target.bytes, offset, this.#text, true)
        this.#text = ''
        return
      case PayloadKind.BIGINT:
        target.bytes.writeBigInt64LE(this.#bigint, offset)
        return
      case PayloadKind.BYTES:
      case PayloadKind.BUFFER:
        copyIn(target.bytes, offset, this.#memory!, this.#length)
        this.#memory = undefined
    }
  }

  /** Forgets the prepared value, which will not be written. */
  discard(): void {
    this.#text = ''
    this.#memory = undefined
    this.#values.discard()
  }

  #spill(bytes: number): number {
    this.kind = PayloadKind.SIDE
    this.spilledBytes = bytes
    return SPILL
  }

  #prepareText(text: string): number {
    const { length } = text
    const isTwoByte = TWO_BYTE.test(text)
    const bytes = isTwoByte ? length * 2 : length
    if (bytes > this.#inlineMax) return this.#spill(bytes)
    this.kind = isTwoByte ? PayloadKind.STRING_TWO_BYTE : PayloadKind.STRING_ONE_BYTE
    this.#text = text
    this.#length = bytes
    return bytes
  }

  #writeOneByte(bytes: Buffer, offset: number): void {
    const text = this.#text
    const { length } = text
    if (length <= WRITE_LOOP_MAX) {
      for (let i = 0; i < length; i++) bytes[offset + i] = text.charCodeAt(i)
    } else writeText(bytes, offset, text, false)
    this.#text = ''
  }

  #prepareObject(value: object): number {
    // Not instanceof: a proxy could throw.
    if (!types.isTypedArray(value)) return this.#prepareValue(value)
    const { buffer, byteLength } = extentOf(value)
    // An empty view may be a detached one, and a view of shared memory stays shared.
    if (byteLength === 0 || types.isSharedArrayBuffer(buffer)) return this.#prepareValue(value)
    if (byteLength > this.#bytesMax) return this.#spill(byteLength)
    const proto: unknown = Object.getPrototypeOf(value)
    if (proto !== Uint8Array.prototype && proto !== Buffer.prototype) {
      return this.#prepareValue(value)
    }
    this.kind = proto === Buffer.prototype ? PayloadKind.BUFFER : PayloadKind.BYTES
    this.#memory = value as Uint8Array
    this.#length = byteLength
    return byteLength
  }

  #prepareValue(value: unknown): number {
    let length: number
    try {
      length = this.#values.encode(value)
    } catch (reason) {
      throw refusal(value, this.#role, reason)
    }
    if (length < 0) return this.#spill(Number.POSITIVE_INFINITY)
    this.kind = PayloadKind.VALUE
    this.resets = this.#values.resets
    return length
  }
}

/** Decodes the records of one ring, in the order in which they were written. */
export class PayloadDecoder {
  readonly #values = new ValueDecoder()

  /**
   * Reads the body of a record. One of kind VALUE must be decoded even if its value is not wanted.
   *
   * @param kind - A member of {@link PayloadKind}.
   * @param resets - Whether the record says to forget the shapes learnt so far.
   * @param source - Memory of the ring.
   * @param offset - Where the body starts, in bytes; a multiple of 8.
   * @param length - Of the body, in bytes.
   * @returns The value, sharing no memory with the ring.
   */
  decode(
    kind: number,
    resets: boolean,
    source: RecordBytes,
    offset: number,
    length: number,
  ): unknown {
    switch (kind) {
      case PayloadKind.NUMBER:
        return source.floats[offset >> 3]
      case PayloadKind.VALUE:
        return this.#values.decode(source, offset, length, resets)
      case PayloadKind.NULL:
        return null
      case PayloadKind.TRUE:
        return true
      case PayloadKind.FALSE:
        return false
      case PayloadKind.BIGINT:
        return source.bytes.readBigInt64LE(offset)
      case PayloadKind.STRING_ONE_BYTE:
        return readOneByte(source.bytes, offset, length)
      case PayloadKind.STRING_TWO_BYTE:
        return readText(source.bytes, offset, offset + length, true)
      case PayloadKind.BYTES:
        return copyOut(source.bytes, offset, length)
      case PayloadKind.BUFFER:
        return Buffer.from(copyOut(source.bytes, offset, length).buffer)
      default:
        return undefined
    }
  }
}

function readOneByte(bytes: Buffer, offset: number, length: number): string {
  if (length > READ_LOOP_MAX) {
    return readText(bytes, offset, offset + length, false)
  }
  let text = ''
  for (let i = 0; i < length; i++) text += String.fromCharCode(bytes[offset + i]!)
  return text
}
