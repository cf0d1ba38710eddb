// Value codec: payloads and results as bytes that another machine can read.
// Thread: main.   Owns: one encoder and one decoder of the private msgpackr.
// Must not: trust bytes: they may come from anybody who can write to the broker. Whatever they are,
// decoding ends soon, in a value or an error.

import { types } from 'node:util'
import { laneError } from '../../base/errors.ts'
import { MARKED_DEPTH_MAX } from '../../wire/error-codec.ts'
import { flattenAs, refusedWhileRead } from '../../wire/flatten-as.ts'
import { revive } from '../../wire/marked-graph.ts'
import { Packr, Unpackr } from '../../wire/private-msgpackr.ts'
import { Finding, survey } from '../../wire/survey.ts'

/** First byte of a value. */
const Tag = Object.freeze({
  UNDEFINED: 0,
  /** A Uint8Array, as it is. */
  BYTES: 1,
  BUFFER: 2,
  /** One message of msgpackr that stands for itself. */
  OBJECT: 3,
  /** The same, and marks in it must be turned into errors. */
  OBJECT_MARKED: 4,
})

/** Bytes of one value, in two parts so that large ones are copied once. */
export interface EncodedValue {
  readonly tag: number
  readonly body: Uint8Array
}

function refuseFunction(): never {
  throw new TypeError('a getter returned a function')
}

// Shapes of objects are written into each message: there is no stream in which they could be
// learnt.
const packr = new Packr({
  structuredClone: true,
  moreTypes: true,
  useToJSON: false,
  writeFunction: refuseFunction,
} as ConstructorParameters<typeof Packr>[0])

const unpackr = new Unpackr({
  structuredClone: true,
  moreTypes: true,
  mapsAsObjects: false,
  copyBuffers: true,
} as ConstructorParameters<typeof Unpackr>[0])

const EMPTY = new Uint8Array(0)

function bytesTag(value: object): number | undefined {
  if (!ArrayBuffer.isView(value)) return undefined
  const proto: unknown = Object.getPrototypeOf(value)
  if (proto === Uint8Array.prototype) return Tag.BYTES
  return proto === Buffer.prototype ? Tag.BUFFER : undefined
}

/**
 * Encodes a value. What structured clone carries arrives as it was, but for -0 and lone surrogates,
 * which arrive as 0 and U+FFFD.
 *
 * @param value - Anything.
 * @param role - What it is, for the error: `payload`, `result`.
 * @returns Bytes; a view of the value's own where it is bytes.
 * @throws SerializationError `CORELANE_UNSERIALIZABLE` if it cannot leave the process.
 */
export function encodeValue(value: unknown, role: string): EncodedValue {
  if (value === undefined) return { tag: Tag.UNDEFINED, body: EMPTY }
  if (typeof value === 'object' && value !== null && !types.isProxy(value)) {
    const tag = bytesTag(value)
    if (tag !== undefined) return { tag, body: value as Uint8Array }
  }
  const { findings } = survey(value, role)
  if (findings & Finding.HOST) {
    const received = 'bound to this process'
    throw laneError('CORELANE_UNSERIALIZABLE', { role, path: role, received })
  }
  if ((findings & (Finding.ERRORS | Finding.COPY)) === 0) {
    return { tag: Tag.OBJECT, body: pack(value, role) }
  }
  const { value: plain, marked } = flattenAs(value, role, { forPort: false })
  survey(plain, role, MARKED_DEPTH_MAX)
  return { tag: marked ? Tag.OBJECT_MARKED : Tag.OBJECT, body: pack(plain, role) }
}

function pack(value: unknown, role: string): Uint8Array {
  try {
    return packr.pack(value)
  } catch (thrown) {
    throw refusedWhileRead(role, thrown)
  }
}

/**
 * Decodes a value.
 *
 * @param bytes - Tag and body. Not kept: what is returned shares no memory with it.
 * @throws Error if they are no value.
 */
export function decodeValue(bytes: Buffer): unknown {
  const body = bytes.subarray(1)
  switch (bytes[0]) {
    case Tag.UNDEFINED:
      return undefined
    case Tag.BYTES:
      return new Uint8Array(body)
    case Tag.BUFFER:
      return Buffer.from(body)
    case Tag.OBJECT:
      return unpackr.unpack(body)
    case Tag.OBJECT_MARKED:
      return revive(unpackr.unpack(body))
    default:
      throw new RangeError(`a value of kind ${bytes[0]}`)
  }
}
