// Value codec: payloads and results as bytes that another machine can read.
// Must not: trust bytes: they may come from anybody who can write to the broker. Whatever they are,
// decoding ends soon, in a value or an error.

import { endianness } from 'node:os'
import { types } from 'node:util'
import { decodeCopied } from '../../wire/value-decoder.ts'
import { encodeBriefly, refusal } from '../../wire/value-encoder.ts'

/** First byte of a value. */
const Tag = Object.freeze({
  UNDEFINED: 0,
  /** A Uint8Array, as it is. */
  BYTES: 1,
  BUFFER: 2,
  /** A record that stands for itself; its numbers have the byte order of the machine. */
  LITTLE_ENDIAN: 5,
  BIG_ENDIAN: 6,
})

/** The tag of the records that this machine writes, the only ones that it reads. */
const RECORD: number = endianness() === 'LE' ? Tag.LITTLE_ENDIAN : Tag.BIG_ENDIAN

/** Bytes of one value, in two parts so that large ones are copied once. */
export interface EncodedValue {
  readonly tag: number
  readonly body: Uint8Array
}

const EMPTY = new Uint8Array(0)

function bytesTag(value: object): number | undefined {
  if (!ArrayBuffer.isView(value)) return undefined
  const proto: unknown = Object.getPrototypeOf(value)
  if (proto === Uint8Array.prototype) return Tag.BYTES
  return proto === Buffer.prototype ? Tag.BUFFER : undefined
}

/**
 * Encodes a value as `docs/payloads.md` says, but for values that are bound to this process: shared
 * memory, and those that only a MessagePort carries.
 *
 * @param role - What it is, for the error: `payload`, `result`.
 * @returns Bytes to copy at once: a view of the value's own where it is bytes, else of memory that
 * the next call uses again.
 * @throws SerializationError `CORELANE_UNSERIALIZABLE` if it cannot leave the process.
 */
export function encodeValue(value: unknown, role: string): EncodedValue {
  if (value === undefined) return { tag: Tag.UNDEFINED, body: EMPTY }
  if (typeof value === 'object' && value !== null && !types.isProxy(value)) {
    const tag = bytesTag(value)
    if (tag !== undefined) return { tag, body: value as Uint8Array }
  }
  try {
    return { tag: RECORD, body: encodeBriefly(value) }
  } catch (reason) {
    throw refusal(value, role, reason)
  }
}

/**
 * Decodes a value.
 *
 * @param bytes - They end with tag and body. Not kept: what is returned shares no memory with them.
 * @param at - Where the tag is.
 * @throws Error if they are no value.
 */
export function decodeValue(bytes: Buffer, at: number): unknown {
  switch (bytes[at]) {
    case Tag.UNDEFINED:
      return undefined
    case Tag.BYTES:
      return new Uint8Array(bytes.subarray(at + 1))
    case Tag.BUFFER:
      return Buffer.from(bytes.subarray(at + 1))
    case RECORD:
      return decodeCopied(bytes, at + 1)
    default:
      throw new RangeError(`a value of kind ${bytes[at]}`)
  }
}
