// Tree decoder: what the tree encoder wrote, as objects and arrays again.
// Thread: any.   Owns: the shapes that one stream has learnt.
// Must not: be used for a ring whose records are skipped or decoded out of order.

import type { RecordBytes, TextMemory } from './record-bytes.ts'
import { SHORT_TEXT_MAX, SMALL_INTEGERS, TREE_HEAD_BYTES, TreeTag } from './tree-tags.ts'

// An object literal made for a shape is several times faster than one key after the other, and
// takes about as long to make as so many objects.
const COMPILED_AFTER = 16

type Read = () => unknown

/** The keys of objects, and how they are read. */
class Shape {
  readonly keys: readonly string[]
  #uses = 0
  /** Set once it is worth it, and where code may be made from strings. */
  make: ((read: Read) => object) | undefined

  constructor(keys: readonly string[]) {
    this.keys = keys
  }

  /** Reads an object the slow way, and sees to it that later ones are not. */
  read(): object {
    if (++this.#uses === COMPILED_AFTER) this.make = compile(this.keys)
    const object: Record<string, unknown> = {}
    for (const key of this.keys) object[key] = read()
    return object
  }
}

/** A function with the object literal of these keys; undefined where that is forbidden. */
function compile(keys: readonly string[]): ((read: Read) => object) | undefined {
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
let at = 0
let text = ''
let textAt = 0

function read(): unknown {
  const tag = bytes[at++]!
  if (tag < SMALL_INTEGERS) return tag
  if (tag < TreeTag.NULL) return readShortText(tag & (SHORT_TEXT_MAX - 1))
  if (tag >= TreeTag.SHORT_ARRAY) return readArray(tag & 15)
  switch (tag) {
    case TreeTag.OBJECT: {
      const shape = shapes[bytes[at++]!]!
      return shape.make === undefined ? shape.read() : shape.make(read)
    }
    case TreeTag.INTEGER:
      at += 4
      return (
        bytes[at - 4]! | (bytes[at - 3]! << 8) | (bytes[at - 2]! << 16) | (bytes[at - 1]! << 24)
      )
    case TreeTag.FLOAT:
      at = (at + 15) & ~7
      return floats[(at >> 3) - 1]
    case TreeTag.NULL:
      return null
    case TreeTag.TRUE:
      return true
    case TreeTag.FALSE:
      return false
    case TreeTag.ARRAY:
      return readArray(readLength())
    case TreeTag.NUMBERS:
      return readNumbers(readLength())
    case TreeTag.ONE_BYTE_TEXT:
    case TreeTag.TWO_BYTE_TEXT:
      return readLongText(tag, readLength())
    default:
      return undefined
  }
}

function readShortText(length: number): string {
  textAt += length
  return text.slice(textAt - length, textAt)
}

function readLength(): number {
  at += 4
  return bytes.readUInt32LE(at - 4)
}

function readArray(length: number): unknown[] {
  const array: unknown[] = []
  for (let i = 0; i < length; i++) array.push(read())
  return array
}

function readNumbers(length: number): number[] {
  const array: number[] = []
  const from = (at + 7) >> 3
  for (let i = 0; i < length; i++) array.push(floats[from + i]!)
  at = (from + length) << 3
  return array
}

function readLongText(tag: number, length: number): string {
  const isTwoByte = tag === TreeTag.TWO_BYTE_TEXT
  const start = at
  at += isTwoByte ? 2 * length : length
  return readText(start, at, isTwoByte)
}

function readText(start: number, end: number, isTwoByte: boolean): string {
  const memory = bytes as unknown as TextMemory
  return isTwoByte ? memory.ucs2Slice(start, end) : memory.latin1Slice(start, end)
}

/** The reading end of a stream of trees. */
export class TreeDecoder {
  #shapes: Shape[] = []

  /**
   * Decodes one record.
   *
   * @param source - Memory of the ring.
   * @param offset - Where the record starts in it, in bytes; a multiple of 8.
   * @param length - Of the record, in bytes.
   * @param resets - Whether to forget the shapes learnt so far.
   */
  decode(source: RecordBytes, offset: number, length: number, resets: boolean): unknown {
    if (resets) this.#shapes = []
    bytes = source.bytes
    floats = source.floats
    const textStart = offset + source.words[offset >> 2]!
    const textEnd = textStart + source.words[(offset >> 2) + 1]!
    const end = offset + length
    if (textEnd < end) {
      const fresh = JSON.parse(bytes.toString('utf8', textEnd, end)) as string[][]
      for (const keys of fresh) this.#shapes.push(new Shape(keys))
    }
    shapes = this.#shapes
    text = textStart === textEnd ? '' : readText(textStart, textEnd, false)
    textAt = 0
    at = offset + TREE_HEAD_BYTES
    return read()
  }
}
