// Value decoder: what the value encoder wrote, as values again.
// Owns: the shapes that one stream has learnt.
// Must not: be used for a ring whose records are skipped or decoded out of order; trust a length:
// records also come from brokers.

import { Buffer } from 'node:buffer'
import { types } from 'node:util'
import { type ErrorHead, type ErrorRest, finishError, startError } from './error-codec.ts'
import { copyOut, type RecordBytes, readText } from './record-bytes.ts'
import {
  BINARY_CLASSES,
  HAS_REFERENCES,
  HEAD_BYTES,
  SHORT_TEXT_MAX,
  SMALL_INTEGERS,
  USED_ONCE,
  ValueTag,
} from './value-tags.ts'

// An object literal made for a shape is several times faster than one key after the other, and
// takes about as long to make as so many objects.
const COMPILED_AFTER = 16

// A call of a slice of memory costs as much as making so many characters one by one.
const FEW_CODES = 24
const CODES_AT_ONCE = 12

type Read = () => unknown

/** The keys of objects, and how they are read. */
class Shape {
  readonly keys: readonly string[]
  readonly #isPlain: boolean
  #uses = 0
  /** Set once it is worth it, and where code may be made from strings. */
  make: ((read: Read) => object) | undefined

  constructor(keys: readonly string[]) {
    this.keys = keys
    this.#isPlain = keys.every((key) => !(key in Object.prototype))
  }

  /** Reads an object the slow way, and sees to it that later ones are not. */
  read(): object {
    if (++this.#uses === COMPILED_AFTER) this.make = compile(this.keys)
    return readMembers(this.keys, this.#isPlain)
  }
}

/** A function with the object literal of these keys; undefined where that is forbidden. */
function compile(keys: readonly string[]): ((read: Read) => object) | undefined {
  // In a literal it would be the prototype.
  if (keys.includes('__proto__')) return undefined
  try {
    const members = keys.map((key) => `${JSON.stringify(key)}:read()`).join(',')
    return new Function('read', `return{${members}}`) as (read: Read) => object
  } catch {
    return undefined
  }
}

// What is being decoded. No code of a user's runs meanwhile.
let bytes: Buffer
let floats: Float64Array
let shapes: Shape[]
let once: readonly (readonly string[])[] = []
let onceAt = 0
let beside: readonly unknown[] = []
/** The objects by their numbers, where some are met twice. */
let numbered: unknown[] | undefined
/** How many those are. */
let holes = 0
let at = 0
let end = 0
/** The short texts of the record, one after another; empty where they are few: see FEW_CODES. */
let text = ''
let textFrom = 0
let textAt = 0

const NOTHING: readonly never[] = []
/** Read instead of members that an array does not have. */
const HOLES = Symbol('holes')

function read(): unknown {
  const tag = bytes[at++]!
  if (tag < SMALL_INTEGERS) return tag
  if (tag < ValueTag.NULL) return readShortText(tag & (SHORT_TEXT_MAX - 1))
  if (tag >= ValueTag.SHORT_ARRAY) {
    return tag < ValueTag.DATE ? readArray(tag & 15) : readOther(tag)
  }
  switch (tag) {
    case ValueTag.OBJECT: {
      const number = bytes[at++]!
      if (number === USED_ONCE) return readMembers(once[onceAt++]!, false)
      const { make } = shapes[number]!
      return make === undefined || numbered !== undefined ? shapes[number]!.read() : make(read)
    }
    case ValueTag.INTEGER:
      at += 4
      return (
        bytes[at - 4]! | (bytes[at - 3]! << 8) | (bytes[at - 2]! << 16) | (bytes[at - 1]! << 24)
      )
    case ValueTag.FLOAT:
      at = (at + 15) & ~7
      return floats[(at >> 3) - 1]
    case ValueTag.NULL:
      return null
    case ValueTag.TRUE:
      return true
    case ValueTag.FALSE:
      return false
    case ValueTag.UNDEFINED:
      return undefined
    case ValueTag.ARRAY:
      return readArray(readLength())
    case ValueTag.NUMBERS:
      return readNumbers(readCount(8))
    case ValueTag.ONE_BYTE_TEXT:
      return readLongText(readCount(1), false)
    case ValueTag.TWO_BYTE_TEXT:
      return readLongText(readCount(2), true)
    default:
      return readOther(tag)
  }
}

function readOther(tag: number): unknown {
  switch (tag) {
    case ValueTag.DATE:
      return numberIt(new Date(read() as number))
    case ValueTag.MAP:
      return readMap()
    case ValueTag.SET:
      return readSet()
    case ValueTag.ERROR:
      return readError()
    case ValueTag.HOLES:
      holes = readLength()
      return HOLES
    case ValueTag.REFERENCE:
      return numbered![readLength()]
    case ValueTag.BINARY:
      return numberIt(readBinary())
    case ValueTag.VIEW: {
      const memory = ownMemory(beside[readLength()]) as ArrayBuffer
      const name = BINARY_CLASSES[bytes[at++]!]!
      return numberIt(viewOver(name, memory, read() as number, read() as number))
    }
    case ValueTag.BESIDE: {
      const value = ownMemory(beside[readLength()])
      return typeof value === 'string' ? value : numberIt(value)
    }
    case ValueTag.REGEXP:
      return numberIt(new RegExp(read() as string, read() as string))
    case ValueTag.BIGINT:
      at += 8
      return bytes.readBigInt64LE(at - 8)
    case ValueTag.LONG_BIGINT: {
      const digits = read() as string
      return digits.startsWith('-') ? -BigInt(`0x${digits.slice(1)}`) : BigInt(`0x${digits}`)
    }
    case ValueTag.BOXED:
      return numberIt(Object(read()))
    case ValueTag.RESIZABLE_BUFFER: {
      const maxByteLength = read() as number
      at++
      const content = new Uint8Array(readBinary() as ArrayBuffer)
      const memory = new ArrayBuffer(content.length, { maxByteLength })
      new Uint8Array(memory).set(content)
      return numberIt(memory)
    }
    default:
      throw new RangeError(`a record has tag ${tag} at ${at - 1}`)
  }
}

function numberIt<T>(object: T): T {
  numbered?.push(object)
  return object
}

function readShortText(length: number): string {
  const start = textAt
  textAt += length
  return text === '' ? fewCodes(textFrom + start, length) : text.slice(start, textAt)
}

function fewCodes(from: number, length: number): string {
  if (length > CODES_AT_ONCE || from + CODES_AT_ONCE > bytes.length) {
    return readText(bytes, from, from + length, false)
  }
  const b = bytes as unknown as number[]
  const head = String.fromCharCode(b[from]!, b[from + 1]!, b[from + 2]!, b[from + 3]!)
  if (length <= 4) return length === 4 ? head : head.slice(0, length)
  // biome-ignore format: one code after another
  const codes = String.fromCharCode(
    b[from]!, b[from + 1]!, b[from + 2]!, b[from + 3]!, b[from + 4]!, b[from + 5]!,
    b[from + 6]!, b[from + 7]!, b[from + 8]!, b[from + 9]!, b[from + 10]!, b[from + 11]!,
  )
  return length === CODES_AT_ONCE ? codes : codes.slice(0, length)
}

function readLength(): number {
  at += 4
  return bytes.readUInt32LE(at - 4)
}

/** How many values follow, each of which has so many bytes at least. */
function readCount(size: number): number {
  const count = readLength()
  if (count * size > end - at) throw new RangeError(`a record has ${count} values at ${at}`)
  return count
}

/** @param isPlain - Whether it is known that no object inherits a member of such a name. */
function readMembers(keys: readonly string[], isPlain: boolean): object {
  const object: Record<string, unknown> = numberIt({})
  for (const key of keys) {
    const value = read()
    // Where Object.prototype is frozen, `constructor` and such can be defined, not assigned.
    if (isPlain || !(key in object)) object[key] = value
    else {
      const own = { value, enumerable: true, writable: true, configurable: true }
      Object.defineProperty(object, key, own)
    }
  }
  return object
}

function readArray(length: number): unknown[] {
  const array: unknown[] = []
  if (numbered !== undefined) numbered.push(array)
  for (let i = 0; i < length; i++) {
    const member = read()
    if (member !== HOLES) array.push(member)
    else {
      i += holes - 1
      skip(array, holes)
    }
  }
  return array
}

function skip(array: unknown[], count: number): void {
  // A member so far ahead makes it a sparse one; a mere length would give it room for all.
  const last = array.length + count - 1
  array[last] = undefined
  delete array[last]
}

function readNumbers(length: number): number[] {
  const array: number[] = numberIt([])
  const from = (at + 7) >> 3
  for (let i = 0; i < length; i++) array.push(floats[from + i]!)
  at = (from + length) << 3
  return array
}

function readLongText(length: number, isTwoByte: boolean): string {
  const start = at
  at += isTwoByte ? 2 * length : length
  return readText(bytes, start, at, isTwoByte)
}

function readMap(): Map<unknown, unknown> {
  const map = numberIt(new Map<unknown, unknown>())
  for (let left = readCount(2); left > 0; left--) {
    const key = read()
    map.set(key, read())
  }
  return map
}

function readSet(): Set<unknown> {
  const set = numberIt(new Set<unknown>())
  for (let left = readCount(1); left > 0; left--) set.add(read())
  return set
}

function readError(): Error {
  const number = numbered?.push(undefined)
  const head = read() as ErrorHead
  const error = startError(head)
  if (numbered !== undefined) numbered[number! - 1] = error
  const rest = read() as ErrorRest | undefined
  if (rest !== undefined) finishError(error, head, rest)
  return error
}

function readBinary(): ArrayBufferLike | ArrayBufferView {
  const name = BINARY_CLASSES[bytes[at++]!]!
  const length = readCount(1)
  at = (at + 7) & ~7
  const copy = copyOut(bytes, at, length)
  at += length
  return name === 'ArrayBuffer' ? copy.buffer : viewOver(name, copy.buffer, 0, undefined)
}

function viewOver(
  name: (typeof BINARY_CLASSES)[number],
  memory: ArrayBuffer,
  offset: number,
  length: number | undefined,
): ArrayBufferView {
  if (name === 'Buffer') return Buffer.from(memory, offset, length)
  const Class = globalThis[name as 'Uint8Array']
  return length === undefined ? new Class(memory, offset) : new Class(memory, offset, length)
}

/**
 * Binary data that came without a record.
 *
 * @param known - Its class, by its place among {@link BINARY_CLASSES}.
 * @param memory - All of it.
 */
export function viewAlone(known: number, memory: unknown): ArrayBufferLike | ArrayBufferView {
  return viewOver(BINARY_CLASSES[known]!, ownMemory(memory) as ArrayBuffer, 0, undefined)
}

/** Ports make buffers of Node's own realm, which in a `node:vm` context is another one. */
function ownMemory(value: unknown): unknown {
  if (!types.isArrayBuffer(value)) return value
  if (Object.getPrototypeOf(value) === ArrayBuffer.prototype) return value
  return new Uint8Array(new Uint8Array(value)).buffer
}

/** The reading end of a stream of records. */
export class ValueDecoder {
  #shapes: Shape[] = []

  /**
   * Decodes one record.
   *
   * @param source - Memory where it lies.
   * @param offset - Where it starts there, in bytes; a multiple of 8.
   * @param length - Of the record, in bytes.
   * @param resets - Whether to forget the shapes learnt so far.
   * @param list - What lies beside it.
   * @throws Error if it is no record.
   */
  decode(
    source: RecordBytes,
    offset: number,
    length: number,
    resets: boolean,
    list: readonly unknown[] = NOTHING,
  ): unknown {
    if (resets) this.#shapes = []
    bytes = source.bytes
    floats = source.floats
    const bodyEnd = offset + source.words[offset >> 2]!
    const textWord = source.words[(offset >> 2) + 1]!
    const textEnd = bodyEnd + (textWord & ~HAS_REFERENCES)
    once = NOTHING
    onceAt = 0
    // First of all: whatever becomes of the values, both ends know the same shapes.
    if (textEnd < offset + length) {
      const [fresh, usedOnce] = JSON.parse(
        bytes.toString('utf8', textEnd, offset + length),
      ) as string[][][]
      for (const keys of fresh!) this.#shapes.push(new Shape(keys))
      once = usedOnce!
    }
    shapes = this.#shapes
    beside = list
    numbered = textWord < 0 ? [] : undefined
    text = textEnd - bodyEnd <= FEW_CODES ? '' : readText(bytes, bodyEnd, textEnd, false)
    textFrom = bodyEnd
    textAt = 0
    at = offset + HEAD_BYTES
    end = bodyEnd
    const value = read()
    if (at !== bodyEnd) throw new RangeError(`a record of ${length} bytes ends elsewhere`)
    // They would be kept alive until the next record.
    beside = NOTHING
    numbered = undefined
    return value
  }
}

/**
 * Decodes a record that stands for itself.
 *
 * @param record - In memory of its own: it starts at a multiple of 8.
 * @param list - What lies beside it.
 * @throws Error if it is no record.
 */
export function decodeAlone(record: Uint8Array<ArrayBuffer>, list?: readonly unknown[]): unknown {
  const { buffer, byteOffset, length } = record
  return new ValueDecoder().decode(bytesOf(buffer), byteOffset, length, false, list)
}

/** Room for a short record that stands for itself. */
const SCRATCH_BYTES = 16_384
let scratch: RecordBytes | undefined
/** Records without shapes of their own must find none: they may be anybody's. */
const bareDecoder = new ValueDecoder()
const shapedDecoder = new ValueDecoder()
/** The keys of the shapes that the latter knows, as its last record brought them. */
let shapedKeys = ''

/**
 * Decodes a record that stands for itself, wherever it lies.
 *
 * @param source - Memory that holds it; it is copied.
 * @param start - Of its first byte. Default: that of the memory.
 * @param recordEnd - After its last byte. Default: that of the memory.
 * @throws Error if it is no record.
 */
export function decodeCopied(source: Buffer, start = 0, recordEnd = source.length): unknown {
  const length = recordEnd - start
  if (length > SCRATCH_BYTES) return decodeAlone(new Uint8Array(source.subarray(start, recordEnd)))
  scratch ??= bytesOf(new ArrayBuffer(SCRATCH_BYTES))
  source.copy(scratch.bytes, 0, start, recordEnd)
  // Bytes behind it are of other records.
  const [bodyBytes, textWord] = scratch.words as unknown as [number, number]
  const textEnd = bodyBytes + (textWord & ~HAS_REFERENCES)
  if (length < HEAD_BYTES || bodyBytes < HEAD_BYTES || textEnd < bodyBytes || textEnd > length) {
    throw new RangeError(`a record of ${length} bytes ends elsewhere`)
  }
  if (textEnd === length) return bareDecoder.decode(scratch, 0, length, true)
  // Many records in a row bring the same shapes, which are known then.
  const keys = readText(scratch.bytes, textEnd, length, false)
  const isKnown = keys === shapedKeys
  shapedKeys = ''
  const value = shapedDecoder.decode(scratch, 0, isKnown ? textEnd : length, !isKnown)
  // Shapes that are used once are not remembered.
  if (keys.endsWith(',[]]')) shapedKeys = keys
  return value
}

function bytesOf(buffer: ArrayBuffer): RecordBytes {
  return {
    words: new Int32Array(buffer, 0, buffer.byteLength >> 2),
    bytes: Buffer.from(buffer),
    floats: new Float64Array(buffer, 0, buffer.byteLength >> 3),
  }
}
