// Brands: the contents of the language's objects, even if own members hide them, in any realm.

import { Buffer } from 'node:buffer'
import { types } from 'node:util'

/** A getter of the language's, for objects that may have a member of their own of that name. */
function getterOf<T>(proto: object, key: PropertyKey): (this: unknown) => T {
  return Object.getOwnPropertyDescriptor(proto, key)!.get!
}

const typedArray = Object.getPrototypeOf(Uint8Array.prototype) as object
const [ofTypedArray, ofDataView] = [typedArray, DataView.prototype].map((proto) => ({
  buffer: getterOf<ArrayBuffer>(proto, 'buffer'),
  byteOffset: getterOf<number>(proto, 'byteOffset'),
  byteLength: getterOf<number>(proto, 'byteLength'),
}))
const lengthOf = getterOf<number>(typedArray, 'length')
const classNameOf = getterOf<string>(typedArray, Symbol.toStringTag)

const bufferLength = getterOf<number>(ArrayBuffer.prototype, 'byteLength')
const isResizable = getterOf<boolean>(ArrayBuffer.prototype, 'resizable')
const maxLengthOf = getterOf<number>(ArrayBuffer.prototype, 'maxByteLength')

/** The memory that a view shows. */
export interface Extent {
  readonly buffer: ArrayBuffer
  readonly byteOffset: number
  readonly byteLength: number
}

/** The memory that a typed array, a Buffer or a DataView shows. */
export function extentOf(view: ArrayBufferView): Extent {
  const { buffer, byteOffset, byteLength } = types.isDataView(view) ? ofDataView! : ofTypedArray!
  return {
    buffer: buffer.call(view),
    byteOffset: byteOffset.call(view),
    byteLength: byteLength.call(view),
  }
}

/** The class of a view, and its length in the units of that class. */
export function classOf(view: ArrayBufferView): { name: string; length: number } {
  if (types.isDataView(view)) return { name: 'DataView', length: extentOf(view).byteLength }
  const name = Buffer.isBuffer(view) ? 'Buffer' : classNameOf.call(view)
  return { name, length: lengthOf.call(view) }
}

/** The length in bytes of a buffer that is not shared. */
export function byteLengthOf(buffer: ArrayBuffer): number {
  return bufferLength.call(buffer)
}

/** The most bytes that one that is not shared may have; undefined if its length is fixed. */
export function maxByteLengthOf(buffer: ArrayBuffer): number | undefined {
  return isResizable.call(buffer) ? maxLengthOf.call(buffer) : undefined
}

/** Whether the memory of one that is not shared was transferred away. */
export function isDetached(buffer: ArrayBuffer): boolean {
  if (byteLengthOf(buffer) > 0) return false
  try {
    // `detached` needs Node 22; looking at a detached buffer throws everywhere.
    new Uint8Array(buffer)
    return false
  } catch {
    return true
  }
}

const sourceOf = getterOf<string>(RegExp.prototype, 'source')
const FLAGS = Object.entries({
  d: 'hasIndices',
  g: 'global',
  i: 'ignoreCase',
  m: 'multiline',
  s: 'dotAll',
  u: 'unicode',
  v: 'unicodeSets',
  y: 'sticky',
}).map(([flag, name]) => ({ flag, isSet: getterOf<boolean>(RegExp.prototype, name) }))

/** The source and the flags of a regular expression. */
export function patternOf(pattern: object): { source: string; flags: string } {
  const flags = FLAGS.map(({ flag, isSet }) => (isSet.call(pattern) ? flag : '')).join('')
  return { source: sourceOf.call(pattern), flags }
}

const BOXES = [
  [types.isNumberObject, Number],
  [types.isStringObject, String],
  [types.isBooleanObject, Boolean],
  [types.isBigIntObject, BigInt],
] as const

/** What is in a boxed primitive, but for a symbol. */
export function primitiveOf(box: object): unknown {
  const [, Class] = BOXES.find(([isOf]) => isOf(box))!
  return (Class.prototype.valueOf as (this: unknown) => unknown).call(box)
}
