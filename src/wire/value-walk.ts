// Value walk: any value as a record, for both roads, checked and encoded in one walk.
// Owns: the thread's arena, with one record at a time.
// Must not: say why a value is refused. The walk keeps no path: survey does.

import { Buffer } from 'node:buffer'
import { types } from 'node:util'
import {
  byteLengthOf,
  classOf,
  extentOf,
  isDetached,
  maxByteLengthOf,
  patternOf,
  primitiveOf,
} from './brands.ts'
import { describeMember, ERROR_DEPTH_MAX, headOf, MEMBER_DEPTH_MAX, restOf } from './error-codec.ts'
import { Family, familyOf } from './families.ts'
import { countMet, forgetMet, forgetMetAfter, indexOf, suspendMet } from './met-objects.ts'
import { copyRecord, type RecordBytes, TWO_BYTE, writeText } from './record-bytes.ts'
import { keysOf, type ShapeTree, UNKNOWN } from './shape-tree.ts'
import { DEPTH_MAX, HOLES_MAX, indicesOf } from './survey.ts'
import {
  type Beside,
  BINARY_CLASSES,
  HAS_REFERENCES,
  HEAD_BYTES,
  KEYS_MAX,
  MOVED_BYTES_MIN,
  ONLY_BESIDE,
  REFUSED,
  SHORT_ARRAY_MAX,
  SHORT_TEXT_MAX,
  SMALL_INTEGERS,
  TEXT_BYTES_MAX,
  TOO_LONG,
  USED_ONCE,
  ValueTag,
} from './value-tags.ts'

const ARENA_BYTES = 16_384
// An arena that grew past this is given back after use.
const ARENA_KEPT_BYTES = 1_048_576
// The most that one value takes besides long text, numbers and bytes, which make room themselves.
const MARGIN_BYTES = 64
// Longer arrays are checked before they get room: a sparse one may hold few numbers.
const NUMBERS_AT_ONCE = 4_096
// Longer bytes lie beside a record that goes through a port, which copies them natively.
const BESIDE_BYTES_MIN = 4_096

let arena: Buffer = Buffer.allocUnsafeSlow(ARENA_BYTES)
let words = new Int32Array(arena.buffer)
let floats = new Float64Array(arena.buffer)
const text: Buffer = Buffer.allocUnsafeSlow(TEXT_BYTES_MAX)
/** Whether an encoding is under way: a getter of its value may lead to another. */
export let isEncoding = false

// What is being encoded.
let shapes: ShapeTree
let bytesMax = 0
let beside: Beside | undefined
/** Whether some object is to be transferred. */
let transfers = false
let at = 0
let textAt = 0
let hasReferences = false
/** Whether for…in lists more than own members. */
let isPolluted = false
let depthMax = DEPTH_MAX
let errorDepth = 0
/** Objects whose shapes get no number: the places where their numbers would be, and their keys. */
let once: { readonly place: number; readonly keys: readonly string[] }[] = []

function resize(bytes: number): void {
  const old = arena
  arena = Buffer.allocUnsafeSlow(bytes)
  words = new Int32Array(arena.buffer, 0, bytes >> 2)
  floats = new Float64Array(arena.buffer, 0, bytes >> 3)
  old.copy(arena, 0, 0, Math.min(at, bytes))
}

/** Makes room for so many bytes and a margin. */
function makeRoom(bytes: number): void {
  if (at + bytes > bytesMax) throw TOO_LONG
  const needed = at + bytes + MARGIN_BYTES
  if (needed > arena.length) resize(Math.max(arena.length * 2, (needed + 7) & ~7))
}

/** Forgets what was written since a moment. */
function takeBack(start: number, textStart: number, metStart: number, onceStart: number): void {
  at = start
  textAt = textStart
  once.length = onceStart
  forgetMetAfter(metStart)
}

function putLength(tag: number, length: number): void {
  arena[at] = tag
  arena.writeUInt32LE(length, at + 1)
  at += 5
}

function putValue(value: unknown, depth: number): void {
  if (at + MARGIN_BYTES > arena.length) makeRoom(0)
  switch (typeof value) {
    case 'number':
      putNumber(value)
      return
    case 'string':
      putText(value)
      return
    case 'object':
      if (value !== null) putObject(value, depth)
      else arena[at++] = ValueTag.NULL
      return
    case 'boolean':
      arena[at++] = value ? ValueTag.TRUE : ValueTag.FALSE
      return
    case 'undefined':
      arena[at++] = ValueTag.UNDEFINED
      return
    case 'bigint':
      putBigint(value)
      return
    default:
      throw REFUSED
  }
}

function putNumber(value: number): void {
  const whole = value | 0
  if (whole === value && (whole !== 0 || 1 / value > 0)) {
    if (whole >= 0 && whole < SMALL_INTEGERS) {
      arena[at++] = whole
      return
    }
    arena[at] = ValueTag.INTEGER
    arena[at + 1] = whole
    arena[at + 2] = whole >> 8
    arena[at + 3] = whole >> 16
    arena[at + 4] = whole >> 24
    at += 5
    return
  }
  arena[at] = ValueTag.FLOAT
  at = (at + 8) & ~7
  floats[at >> 3] = value
  at += 8
}

function putBigint(value: bigint): void {
  if (BigInt.asIntN(64, value) === value) {
    arena[at] = ValueTag.BIGINT
    arena.writeBigInt64LE(value, at + 1)
    at += 9
    return
  }
  arena[at++] = ValueTag.LONG_BIGINT
  putText(value.toString(16))
}

function putText(value: string): void {
  const { length } = value
  if (length < SHORT_TEXT_MAX && textAt + length <= TEXT_BYTES_MAX) {
    let codes = 0
    for (let i = 0; i < length; i++) {
      const code = value.charCodeAt(i)
      codes |= code
      text[textAt + i] = code
    }
    if (codes < 256) {
      arena[at++] = ValueTag.SHORT_TEXT | length
      textAt += length
      return
    }
  }
  if (beside !== undefined && length > BESIDE_BYTES_MIN) putBeside(value)
  else putLongText(value)
}

function putLongText(value: string): void {
  const { length } = value
  const isTwoByte = TWO_BYTE.test(value)
  makeRoom(isTwoByte ? 2 * length : length)
  putLength(isTwoByte ? ValueTag.TWO_BYTE_TEXT : ValueTag.ONE_BYTE_TEXT, length)
  at += writeText(arena, at, value, isTwoByte)
}

function putBeside(value: unknown): void {
  if (beside === undefined) throw ONLY_BESIDE
  if (types.isArrayBuffer(value) && isDetached(value)) throw REFUSED
  putLength(ValueTag.BESIDE, beside.values.push(value) - 1)
}

function putObject(value: object, depth: number): void {
  if (depth >= depthMax) throw REFUSED
  const before = indexOf(value)
  if (before >= 0) {
    hasReferences = true
    putLength(ValueTag.REFERENCE, before)
    return
  }
  if (transfers && beside!.transferred.has(value)) putBeside(value)
  // Both throw for a revoked proxy.
  else if (Array.isArray(value)) putArray(value, depth)
  else {
    const proto = Object.getPrototypeOf(value) as object | null
    if (proto === Object.prototype && !isPolluted) putMembers(value, depth)
    else putOther(value, proto, depth)
  }
}

function putArray(value: readonly unknown[], depth: number): void {
  const { length } = value
  if (length < SHORT_ARRAY_MAX) arena[at++] = ValueTag.SHORT_ARRAY | length
  else {
    if (typeof value[0] === 'number' && putNumbers(value)) return
    putLength(ValueTag.ARRAY, length)
  }
  let holes = 0
  for (let i = 0; i < length; i++) {
    const member = value[i]
    if (member === undefined && !Object.hasOwn(value, i)) {
      if (++holes <= HOLES_MAX) continue
      putSparse(value, i + 1 - holes, depth)
      return
    }
    if (holes > 0) putHoles(holes)
    holes = 0
    putValue(member, depth + 1)
  }
  if (holes > 0) putHoles(holes)
}

function putHoles(count: number): void {
  if (at + MARGIN_BYTES > arena.length) makeRoom(0)
  putLength(ValueTag.HOLES, count)
}

/** Writes the rest of an array of few members; costs as much as it has, however long it is. */
function putSparse(value: readonly unknown[], from: number, depth: number): void {
  let next = from
  for (const index of indicesOf(value)) {
    if (index < next) continue
    if (index > next) putHoles(index - next)
    putValue(value[index], depth + 1)
    next = index + 1
  }
  if (next < value.length) putHoles(value.length - next)
}

/** Writes an array of nothing but numbers as they are; false, and nothing, if it is another. */
function putNumbers(value: readonly unknown[]): boolean {
  const { length } = value
  if (length > NUMBERS_AT_ONCE) {
    for (let i = 0; i < length; i++) if (typeof value[i] !== 'number') return false
  }
  makeRoom(8 * length)
  let to = (at + 12) >> 3
  for (let i = 0; i < length; i++) {
    const member = value[i]
    if (typeof member !== 'number') return false
    floats[to++] = member
  }
  putLength(ValueTag.NUMBERS, length)
  at = to << 3
  return true
}

function putMembers(value: object, depth: number): void {
  const place = at + 1
  arena[at] = ValueTag.OBJECT
  at += 2
  let node = shapes.root
  let count = 0
  // for…in is twice as fast as Object.keys here, and lists only own members: see isPolluted.
  for (const key in value) {
    if (++count > KEYS_MAX) {
      putMoreMembers(value, place, keysOf(node), depth)
      return
    }
    node = node.lastKey === key ? node.lastNode! : shapes.step(node, key)
    putValue((value as Record<string, unknown>)[key], depth + 1)
  }
  const isKnown = node.shape !== UNKNOWN || shapes.define(node)
  arena[place] = isKnown ? node.shape : useOnce(place, keysOf(node))
}

/** Writes the members of an object that has many; the first of them are written. */
function putMoreMembers(value: object, place: number, keys: string[], depth: number): void {
  const written = new Set(keys)
  for (const key of Object.keys(value)) {
    if (written.has(key)) continue
    keys.push(key)
    putValue((value as Record<string, unknown>)[key], depth + 1)
  }
  arena[place] = useOnce(place, keys)
}

/** Writes an object of which only these keys are meant. */
function putEntries(keys: readonly string[], putMember: (key: string) => void): void {
  const place = at + 1
  arena[at] = ValueTag.OBJECT
  at += 2
  for (const key of keys) putMember(key)
  arena[place] = numberOf(keys) ?? useOnce(place, keys)
}

/** The number of a shape; undefined if it gets none. */
function numberOf(keys: readonly string[]): number | undefined {
  if (keys.length > KEYS_MAX) return undefined
  const node = keys.reduce((last, key) => shapes.step(last, key), shapes.root)
  return node.shape !== UNKNOWN || shapes.define(node) ? node.shape : undefined
}

/** Notes the keys of an object whose shape gets no number. */
function useOnce(place: number, keys: readonly string[]): number {
  once.push({ place, keys })
  return USED_ONCE
}

function putOther(value: object, proto: object | null, depth: number): void {
  switch (familyOf(value, proto)) {
    case Family.RECORD:
      putEntries(Object.keys(value), (key) =>
        putValue((value as Record<string, unknown>)[key], depth + 1),
      )
      return
    case Family.DATE:
      arena[at++] = ValueTag.DATE
      putNumber(Date.prototype.getTime.call(value))
      return
    case Family.MAP:
      putCounted(ValueTag.MAP, Map.prototype.entries.call(value), (entry) => {
        const [key, member] = entry as [unknown, unknown]
        putValue(key, depth + 1)
        putValue(member, depth + 1)
      })
      return
    case Family.SET:
      putCounted(ValueTag.SET, Set.prototype.values.call(value), (member) =>
        putValue(member, depth + 1),
      )
      return
    case Family.ERROR:
      putError(value, depth)
      return
    case Family.REGEXP:
      arena[at++] = ValueTag.REGEXP
      for (const part of Object.values(patternOf(value))) putText(part)
      return
    case Family.VIEW:
      putView(value as ArrayBufferView)
      return
    case Family.BUFFER:
      if (types.isSharedArrayBuffer(value)) putBeside(value)
      else putBuffer(value as ArrayBuffer)
      return
    case Family.BOXED:
      arena[at++] = ValueTag.BOXED
      putValue(primitiveOf(value), depth)
      return
    case Family.HOST:
      putBeside(value)
      return
    default:
      throw REFUSED
  }
}

/** Writes things whose number is known in the end: a getter may add to them. */
function putCounted(tag: number, things: Iterable<unknown>, put: (thing: unknown) => void): void {
  putLength(tag, 0)
  const place = at - 4
  let count = 0
  for (const thing of things) {
    put(thing)
    count++
  }
  arena.writeUInt32LE(count, place)
}

function putView(view: ArrayBufferView): void {
  const { name, length } = classOf(view)
  const known = BINARY_CLASSES.indexOf(name as (typeof BINARY_CLASSES)[number])
  const { buffer, byteOffset, byteLength } = extentOf(view)
  // The memory itself goes to the other side, so it is not copied here.
  const goes = types.isSharedArrayBuffer(buffer) || beside?.transferred.has(buffer) === true
  if (known < 0) putBeside(view)
  else if (goes || (beside !== undefined && byteLength >= BESIDE_BYTES_MIN)) {
    putLength(ValueTag.VIEW, putMemory(buffer, goes, byteOffset, byteLength))
    arena[at++] = known
    putNumber(goes ? byteOffset : 0)
    putNumber(length)
  } else {
    if (byteLength === 0 && isDetached(buffer)) throw REFUSED
    putBinary(known, new Uint8Array(buffer, byteOffset, byteLength))
  }
}

/** Puts the memory under a view beside the record; gives its number there. */
function putMemory(buffer: ArrayBuffer, goes: boolean, offset: number, length: number): number {
  if (beside === undefined) throw ONLY_BESIDE
  const isShort = !goes && length === byteLengthOf(buffer) && length < MOVED_BYTES_MIN
  const isCloned = goes || (isShort && maxByteLengthOf(buffer) === undefined)
  if (isCloned) return beside.values.push(buffer) - 1
  // A port would carry all the memory under a view, for a pooled one that of strangers.
  beside.copies.push(new Uint8Array(new Uint8Array(buffer, offset, length)).buffer)
  return beside.values.push(beside.copies.at(-1)) - 1
}

function putBuffer(buffer: ArrayBuffer): void {
  if (isDetached(buffer)) throw REFUSED
  const maxByteLength = maxByteLengthOf(buffer)
  if (maxByteLength !== undefined) {
    arena[at++] = ValueTag.RESIZABLE_BUFFER
    putNumber(maxByteLength)
  } else if (beside !== undefined && byteLengthOf(buffer) >= BESIDE_BYTES_MIN) {
    putLength(ValueTag.BESIDE, putMemory(buffer, false, 0, byteLengthOf(buffer)))
    return
  }
  putBinary(0, new Uint8Array(buffer))
}

function putBinary(known: number, bytes: Uint8Array): void {
  makeRoom(bytes.length)
  arena[at] = ValueTag.BINARY
  arena[at + 1] = known
  arena.writeUInt32LE(bytes.length, at + 2)
  at = (at + 13) & ~7
  arena.set(bytes, at)
  at += bytes.length
}

function putError(error: object, depth: number): void {
  arena[at++] = ValueTag.ERROR
  putObject(headOf(error), 0)
  const rest = errorDepth < ERROR_DEPTH_MAX ? restOf(error) : undefined
  if (rest === undefined) {
    putValue(undefined, 0)
    return
  }
  // A member that can only lie beside the record is described, and so is one that lies too deep.
  const outer = { beside, transfers, depthMax }
  beside = undefined
  transfers = false
  depthMax = depth + 1 + MEMBER_DEPTH_MAX
  errorDepth++
  try {
    indexOf(rest)
    putEntries(Object.keys(rest), (key) => {
      const own = rest.own ?? {}
      if (at + MARGIN_BYTES > arena.length) makeRoom(0)
      if (key !== 'own') putMember(rest[key as 'cause' | 'errors'], depth + 1)
      else {
        indexOf(own)
        putEntries(Object.keys(own), (name) => putMember(own[name], depth + 1))
      }
    })
  } finally {
    ;({ beside, transfers, depthMax } = outer)
    errorDepth--
  }
}

/** Writes a member of an error, or describes it. */
function putMember(member: unknown, depth: number): void {
  const start = at
  const textStart = textAt
  const metStart = countMet()
  const onceStart = once.length
  try {
    putValue(member, depth)
  } catch (reason) {
    if (reason === TOO_LONG) throw reason
    takeBack(start, textStart, metStart, onceStart)
    putText(describeMember(member))
  }
}

/**
 * Encodes into the arena.
 *
 * @param stream - Where shapes are learnt.
 * @param bytes - Longest record.
 * @param list - Takes what only a port can carry; undefined where there is none.
 * @returns Length of the record.
 * @throws {@link TOO_LONG}, {@link ONLY_BESIDE}; anything else means that it cannot cross.
 */
export function encodeWith(
  stream: ShapeTree,
  value: unknown,
  bytes: number,
  list: Beside | undefined,
): number {
  isEncoding = true
  shapes = stream
  bytesMax = bytes
  beside = list
  transfers = list !== undefined && list.transferred.size > 0
  at = HEAD_BYTES
  textAt = 0
  hasReferences = false
  isPolluted = false
  for (const _key in Object.prototype) isPolluted = true
  try {
    putValue(value, 0)
    return finish()
  } finally {
    isEncoding = false
    beside = undefined
    forgetMet()
    if (once.length > 0) once.length = 0
  }
}

function finish(): number {
  const bodyEnd = at
  let keys = ''
  if (shapes.hasFresh || once.length > 0) {
    // The reader comes across objects in the order of their places.
    once.sort((a, b) => a.place - b.place)
    const usedOnce = once.length === 0 ? '[]' : JSON.stringify(once.map((object) => object.keys))
    keys = `[${shapes.freshKeys()},${usedOnce}]`
  }
  makeRoom(textAt + 3 * keys.length)
  words[0] = bodyEnd
  words[1] = hasReferences ? textAt | HAS_REFERENCES : textAt
  // Little is copied faster by a loop.
  if (textAt < MARGIN_BYTES) for (let i = 0; i < textAt; i++) arena[at + i] = text[i]!
  else text.copy(arena, at, 0, textAt)
  at += textAt
  if (keys !== '') at += arena.write(keys, at)
  if (at > bytesMax) throw TOO_LONG
  return at
}

/** Copies what was encoded last to a multiple of 8, and gives a large arena back. */
export function copyEncoded(target: RecordBytes, offset: number, length: number): void {
  copyRecord(arena, words, 0, target, offset, length)
  release()
}

/** Gives a large arena back. */
export function release(): void {
  if (arena.length <= ARENA_KEPT_BYTES) return
  at = 0
  resize(ARENA_BYTES)
}

/** Makes way for another encoding while one is under way; gives what brings that one back. */
export function suspend(): () => void {
  const buffers = { arena, words, floats, once, beside, transfers, shapes, bytesMax }
  const state = { at, textAt, hasReferences, isPolluted, depthMax, errorDepth }
  const ownText = Buffer.from(text)
  const resumeMet = suspendMet()
  arena = Buffer.allocUnsafeSlow(ARENA_BYTES)
  words = new Int32Array(arena.buffer)
  floats = new Float64Array(arena.buffer)
  once = []
  depthMax = DEPTH_MAX
  errorDepth = 0
  return () => {
    isEncoding = true
    ;({ arena, words, floats, once, beside, transfers, shapes, bytesMax } = buffers)
    ;({ at, textAt, hasReferences, isPolluted, depthMax, errorDepth } = state)
    text.set(ownText)
    resumeMet()
  }
}
