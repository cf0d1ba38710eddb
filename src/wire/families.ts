// Families: which kind of object a value really is, by its brand rather than by its prototype.
// Thread: any.   Owns: a cache of what was learnt about prototypes.
// Must not: run code of the user's, except the traps of a proxy.

import { types } from 'node:util'

/** The kinds of objects that matter to the codec. */
export const Family = Object.freeze({
  /** Plain object or class instance: its own enumerable members are its data. */
  RECORD: 0,
  MAP: 1,
  SET: 2,
  ERROR: 3,
  DATE: 4,
  REGEXP: 5,
  /** Typed array, Buffer or DataView. */
  VIEW: 6,
  /** ArrayBuffer, shared or not. */
  BUFFER: 7,
  /** Boxed primitive: structured clone keeps it. */
  CLONED: 8,
  /** Backed by native code; perhaps a MessagePort carries it. */
  HOST: 9,
  /** Nothing carries it. */
  BANNED: 10,
})

const NATIVE_SOURCE = /\{\s*\[native code\]\s*\}$/
const BANNED_TAGS =
  /^(WeakRef|FinalizationRegistry|Generator|AsyncGenerator|.* Iterator|Iterator Helper)$/

const familyByPrototype = new WeakMap<object, number>()

/**
 * Whether a value is an error, in whichever realm it was made.
 *
 * @param value - Anything.
 */
export function isErrorValue(value: unknown): value is Error {
  return types.isNativeError(value) || value instanceof Error
}

/**
 * Finds the family of an object that is no array.
 *
 * @param value - The object.
 * @param proto - Its prototype, which the caller has at hand.
 * @returns A member of {@link Family}.
 */
export function familyOf(value: object, proto: object | null): number {
  if (proto === Object.prototype) return Family.RECORD
  if (types.isMap(value)) return Family.MAP
  if (types.isSet(value)) return Family.SET
  if (types.isDate(value)) return Family.DATE
  if (ArrayBuffer.isView(value)) return Family.VIEW
  if (types.isRegExp(value)) return Family.REGEXP
  if (types.isAnyArrayBuffer(value)) return Family.BUFFER
  if (isErrorValue(value)) return Family.ERROR
  if (types.isBoxedPrimitive(value)) {
    return types.isSymbolObject(value) ? Family.BANNED : Family.CLONED
  }
  if (
    types.isPromise(value) ||
    types.isWeakMap(value) ||
    types.isWeakSet(value) ||
    types.isGeneratorObject(value) ||
    types.isMapIterator(value) ||
    types.isSetIterator(value) ||
    types.isExternal(value)
  ) {
    return Family.BANNED
  }
  if (proto === null) return Family.RECORD
  if (types.isKeyObject(value) || types.isCryptoKey(value)) return Family.HOST
  let family = familyByPrototype.get(proto)
  if (family === undefined) {
    family = familyOfPrototype(proto)
    familyByPrototype.set(proto, family)
  }
  return family === Family.HOST && types.isProxy(value) ? Family.BANNED : family
}

function familyOfPrototype(start: object): number {
  for (
    let proto: object | null = start;
    proto !== null && proto !== Object.prototype;
    proto = Object.getPrototypeOf(proto) as object | null
  ) {
    const tag = Object.getOwnPropertyDescriptor(proto, Symbol.toStringTag)?.value
    if (typeof tag === 'string' && BANNED_TAGS.test(tag)) return Family.BANNED
    const maker = Object.getOwnPropertyDescriptor(proto, 'constructor')?.value
    if (typeof maker === 'function') {
      // An Object of another realm is as plain as ours.
      if (maker.name === 'Object' && Object.getPrototypeOf(proto) === null) break
      if (NATIVE_SOURCE.test(Function.prototype.toString.call(maker))) return Family.HOST
    }
    // Node marks the classes whose instances its ports carry by symbols of these names.
    for (const symbol of Object.getOwnPropertySymbols(proto)) {
      if (symbol.description?.startsWith('messaging_')) return Family.HOST
    }
  }
  return Family.RECORD
}

const PLAIN_MEMORY = new Set<object | null>(
  [
    ArrayBuffer,
    DataView,
    Buffer,
    Int8Array,
    Uint8Array,
    Uint8ClampedArray,
    Int16Array,
    Uint16Array,
    Int32Array,
    Uint32Array,
    Float32Array,
    Float64Array,
    BigInt64Array,
    BigUint64Array,
  ].map((memory) => memory.prototype as object),
)

/**
 * Whether msgpackr rebuilds this memory as what it is.
 *
 * @param value - A view or a buffer.
 */
export function isPlainView(value: ArrayBufferView | ArrayBuffer): boolean {
  return (
    PLAIN_MEMORY.has(Object.getPrototypeOf(value)) &&
    !(value instanceof ArrayBuffer && value.resizable)
  )
}

/**
 * Whether the memory was transferred away.
 *
 * @param memory - The buffer.
 */
export function isDetached(memory: ArrayBuffer): boolean {
  if (memory.byteLength > 0) return false
  try {
    // `detached` needs Node 22; looking at a detached buffer throws everywhere.
    new Uint8Array(memory)
    return false
  } catch {
    return true
  }
}
