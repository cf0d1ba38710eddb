// Tree encoder: trees of plain objects and arrays as records, checked and encoded in one walk.
// Thread: any.   Owns: the thread's arena, and the shapes that one stream has learnt.
// Must not: guess. What it does not know (another class, a hole, an object met twice) it leaves to
// the codec that does, with nothing changed.

import { invariant } from '../base/errors.ts'
import { copyRecord, type RecordBytes, type TextMemory, TWO_BYTE } from './record-bytes.ts'
import { ShapeTree, UNKNOWN } from './shape-tree.ts'
import {
  KEYS_MAX,
  SHORT_ARRAY_MAX,
  SHORT_TEXT_MAX,
  SMALL_INTEGERS,
  TEXT_BYTES_MAX,
  TREE_HEAD_BYTES,
  TreeTag,
} from './tree-tags.ts'

const ARENA_BYTES = 16_384
// An arena that grew past this is given back after use.
const ARENA_KEPT_BYTES = 1_048_576
// The most that one value takes besides long text and numbers, which see to their own room.
const MARGIN_BYTES = 32
// As deep as both ends may recurse without a thought about the stack; deeper trees are rare.
const DEPTH_MAX = 64
// Up to here objects met before are found by comparing with each.
const LISTED_MAX = 32

let arena: Buffer = Buffer.allocUnsafeSlow(ARENA_BYTES)
let words = new Int32Array(arena.buffer)
let floats = new Float64Array(arena.buffer)
const text: Buffer = Buffer.allocUnsafeSlow(TEXT_BYTES_MAX)
let owner: TreeEncoder | undefined
let isEncoding = false

// What is being encoded.
let at = 0
let textAt = 0
let encoder: TreeEncoder
let met = 0
const listed: (object | undefined)[] = new Array(LISTED_MAX).fill(undefined)
let remembered: Set<object> | undefined

function resize(bytes: number): void {
  const old = arena
  arena = Buffer.allocUnsafeSlow(bytes)
  words = new Int32Array(arena.buffer)
  floats = new Float64Array(arena.buffer)
  old.copy(arena, 0, 0, Math.min(at, bytes))
}

/** Makes room; false if the record would be longer than the ring takes. */
function hasRoom(bytes: number): boolean {
  if (at + bytes > encoder.maxBytes) return false
  const needed = at + bytes + MARGIN_BYTES
  if (needed <= arena.length) return true
  resize(Math.max(arena.length * 2, (needed + 7) & ~7))
  return true
}

function putLength(tag: number, length: number): void {
  arena[at] = tag
  arena.writeUInt32LE(length, at + 1)
  at += 5
}

function putValue(value: unknown, depth: number): boolean {
  if (at + MARGIN_BYTES > arena.length && !hasRoom(0)) return false
  switch (typeof value) {
    case 'number':
      putNumber(value)
      return true
    case 'string':
      return putText(value)
    case 'object':
      if (value !== null) return putObject(value, depth)
      arena[at++] = TreeTag.NULL
      return true
    case 'boolean':
      arena[at++] = value ? TreeTag.TRUE : TreeTag.FALSE
      return true
    case 'undefined':
      arena[at++] = TreeTag.UNDEFINED
      return true
    default:
      return false
  }
}

function putNumber(value: number): void {
  const whole = value | 0
  if (whole === value && (whole !== 0 || 1 / value > 0)) {
    if (whole >= 0 && whole < SMALL_INTEGERS) {
      arena[at++] = whole
      return
    }
    arena[at] = TreeTag.INTEGER
    arena[at + 1] = whole
    arena[at + 2] = whole >> 8
    arena[at + 3] = whole >> 16
    arena[at + 4] = whole >> 24
    at += 5
    return
  }
  arena[at] = TreeTag.FLOAT
  at = (at + 8) & ~7
  floats[at >> 3] = value
  at += 8
}

function putText(value: string): boolean {
  const { length } = value
  if (length < SHORT_TEXT_MAX && textAt + length <= TEXT_BYTES_MAX) {
    let codes = 0
    for (let i = 0; i < length; i++) {
      const code = value.charCodeAt(i)
      codes |= code
      text[textAt + i] = code
    }
    if (codes < 256) {
      arena[at++] = TreeTag.SHORT_TEXT | length
      textAt += length
      return true
    }
  }
  return putLongText(value)
}

function putLongText(value: string): boolean {
  const { length } = value
  const isTwoByte = TWO_BYTE.test(value)
  if (!hasRoom(isTwoByte ? 2 * length : length)) return false
  putLength(isTwoByte ? TreeTag.TWO_BYTE_TEXT : TreeTag.ONE_BYTE_TEXT, length)
  const memory = arena as unknown as TextMemory
  if (isTwoByte) at += memory.ucs2Write(value, at, 2 * length)
  else at += memory.latin1Write(value, at, length)
  return true
}

function putObject(value: object, depth: number): boolean {
  if (depth > DEPTH_MAX || isMet(value)) return false
  // Both throw for a revoked proxy.
  const isArray = Array.isArray(value)
  const proto: unknown = Object.getPrototypeOf(value)
  if (isArray) return proto === Array.prototype && putArray(value, depth)
  return proto === Object.prototype && putMembers(value, depth)
}

function isMet(value: object): boolean {
  const count = met++
  if (count < LISTED_MAX) {
    for (let i = 0; i < count; i++) if (listed[i] === value) return true
    listed[count] = value
    return false
  }
  remembered ??= new Set(listed as object[])
  const { size } = remembered
  return remembered.add(value).size === size
}

function putArray(value: readonly unknown[], depth: number): boolean {
  const { length } = value
  if (length < SHORT_ARRAY_MAX) arena[at++] = TreeTag.SHORT_ARRAY | length
  else {
    if (typeof value[0] === 'number' && putNumbers(value)) return true
    putLength(TreeTag.ARRAY, length)
  }
  for (let i = 0; i < length; i++) {
    const member = value[i]
    if (member === undefined && !Object.hasOwn(value, i)) return false
    if (!putValue(member, depth + 1)) return false
  }
  return true
}

/**
 * Writes an array of nothing but numbers as they are; false, with nothing written, if it is not.
 */
function putNumbers(value: readonly unknown[]): boolean {
  const { length } = value
  if (!hasRoom(8 * length)) return false
  let to = (at + 12) >> 3
  for (let i = 0; i < length; i++) {
    const member = value[i]
    if (typeof member !== 'number') return false
    floats[to++] = member
  }
  putLength(TreeTag.NUMBERS, length)
  at = to << 3
  return true
}

function putMembers(value: object, depth: number): boolean {
  const place = at + 1
  arena[at] = TreeTag.OBJECT
  at += 2
  const { shapes } = encoder
  let node = shapes.root
  let count = 0
  // for…in is twice as fast as Object.keys here, and lists only own members: see isPolluted.
  for (const key in value) {
    node = node.lastKey === key ? node.lastNode! : shapes.step(node, key)
    if (++count > KEYS_MAX || !putValue((value as Record<string, unknown>)[key], depth + 1)) {
      return false
    }
  }
  if (node.shape === UNKNOWN && !shapes.define(node)) return false
  arena[place] = node.shape
  return true
}

function isPolluted(): boolean {
  for (const _key in Object.prototype) return true
  return false
}

/** The writing end of a stream of trees. */
export class TreeEncoder {
  /** Longest record, in bytes. */
  readonly maxBytes: number
  /** Whether the encoded record makes the decoder forget its shapes. */
  resets = false
  /** @internal */
  readonly shapes: ShapeTree = new ShapeTree()
  #length = 0

  /**
   * @param maxBytes - Longest record.
   */
  constructor(maxBytes: number) {
    this.maxBytes = maxBytes
  }

  /**
   * Encodes into the arena, where the record stays until the next one is encoded on this thread.
   *
   * @param value - Anything.
   * @returns Length in bytes; -1 if it is more than a tree of plain data, is too long, throws when
   * it is read, or another encoding is under way on this thread. Nothing has changed then.
   */
  encode(value: object): number {
    // A getter of the value under way may submit another command: that one takes another road.
    if (isEncoding || isPolluted()) return -1
    this.resets = this.shapes.begin()
    isEncoding = true
    encoder = this
    at = TREE_HEAD_BYTES
    textAt = 0
    met = 0
    let isTree = false
    try {
      isTree = putObject(value, 0) && this.#finish()
    } catch {
      // A getter or a trap of the user's threw, or the stack ended: another codec says how.
    } finally {
      isEncoding = false
      remembered = undefined
      // Whatever stays in this list would be kept alive until the next record.
      for (let i = Math.min(met, LISTED_MAX) - 1; i >= 0; i--) listed[i] = undefined
    }
    owner = isTree ? this : undefined
    return isTree ? this.#length : -1
  }

  /**
   * Copies the encoded record into the ring.
   *
   * @param target - Memory of the ring.
   * @param offset - Where the record starts, in bytes; a multiple of 8.
   */
  write(target: RecordBytes, offset: number): void {
    invariant(owner === this, 'a record is written before another is encoded on the thread')
    copyRecord(arena, words, 0, target, offset, this.#length)
    this.shapes.written()
    this.#release()
  }

  /** The encoded record will not be written. */
  discard(): void {
    if (owner === this) this.#release()
  }

  #finish(): boolean {
    const bodyEnd = at
    const shapes = this.shapes.freshKeys()
    if (!hasRoom(textAt + 3 * shapes.length)) return false
    words[0] = bodyEnd
    words[1] = textAt
    if (textAt < MARGIN_BYTES) for (let i = 0; i < textAt; i++) arena[at + i] = text[i]!
    else text.copy(arena, at, 0, textAt)
    at += textAt
    if (shapes !== '') at += arena.write(shapes, at)
    this.#length = at
    return at <= this.maxBytes
  }

  #release(): void {
    owner = undefined
    if (arena.length > ARENA_KEPT_BYTES) {
      at = 0
      resize(ARENA_BYTES)
    }
  }
}
