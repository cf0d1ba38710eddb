// Families: which kind of object a value really is, by its brand rather than by its prototype.
// Owns: a cache of facts about prototypes.
// Must not: run code of the user's, except the traps of a proxy; believe that the classes of this
// realm are those of the value.

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
  /** Boxed primitive. */
  BOXED: 8,
  /** Backed by native code; perhaps a MessagePort carries it. */
  HOST: 9,
  /** Nothing carries it. */
  BANNED: 10,
  /** Of a class of the environment's: a record if it has members of its own, else banned. */
  BARE: 11,
})

const CHAIN_MAX = 100
const NATIVE_SOURCE = /\{\s*\[native code\]\s*\}$/
const BANNED_TAGS =
  /^(WeakRef|FinalizationRegistry|Generator|AsyncGenerator|.* Iterator|Iterator Helper)$/

/** Classes of the environment whose instances are refused even with members of their own. */
const CLOSED_NAMES = /^(?:Abort\w+|FormData|Headers|Re(?:quest|sponse)|URL\w*|WebSocket)$/

const BRANDS: readonly (readonly [isOf: (value: unknown) => boolean, family: number])[] = [
  [types.isDate, Family.DATE],
  [types.isMap, Family.MAP],
  [types.isSet, Family.SET],
  [ArrayBuffer.isView, Family.VIEW],
  [types.isRegExp, Family.REGEXP],
  [types.isAnyArrayBuffer, Family.BUFFER],
  [types.isNativeError, Family.ERROR],
  [types.isSymbolObject, Family.BANNED],
  [types.isBoxedPrimitive, Family.BOXED],
  [types.isPromise, Family.BANNED],
  [types.isWeakMap, Family.BANNED],
  [types.isWeakSet, Family.BANNED],
  [types.isGeneratorObject, Family.BANNED],
  [types.isMapIterator, Family.BANNED],
  [types.isSetIterator, Family.BANNED],
  [types.isExternal, Family.BANNED],
]

/** The brand that a prototype of this realm suggests, which is asked first. */
const SUGGESTED = new Map<object | null, (typeof BRANDS)[number]>(
  [Date, Map, Set].map((Class, i) => [Class.prototype as object, BRANDS[i]!]),
)

const familyByPrototype = new WeakMap<object, number>()

/** Whether a value is an error, in whichever realm it was made. */
export function isErrorValue(value: unknown): value is Error {
  if (types.isNativeError(value)) return true
  if (typeof value !== 'object' || value === null) return false
  const proto = Object.getPrototypeOf(value) as object | null
  return proto !== null && familyOfPrototype(proto) === Family.ERROR
}

/**
 * Finds the family of an object that is no array.
 *
 * @param value - The object.
 * @param proto - Its prototype, which the caller has at hand.
 * @returns A member of {@link Family}.
 */
export function familyOf(value: object, proto: object | null): number {
  const suggested = SUGGESTED.get(proto)
  if (suggested?.[0](value)) return suggested[1]
  for (const [isOf, family] of BRANDS) if (isOf(value)) return family
  if (proto === null) return Family.RECORD
  if (types.isKeyObject(value) || types.isCryptoKey(value)) return Family.HOST
  const family = familyOfPrototype(proto)
  if (family === Family.BARE) return Object.keys(value).length ? Family.RECORD : Family.BANNED
  return family === Family.HOST && types.isProxy(value) ? Family.BANNED : family
}

function familyOfPrototype(proto: object): number {
  let family = familyByPrototype.get(proto)
  if (family === undefined) {
    family = isOfError(proto) ? Family.ERROR : judge(proto)
    familyByPrototype.set(proto, family)
  }
  return family
}

/**
 * A prototype and those behind it; behind a proxy there may be any number.
 *
 * @param start - The first.
 */
export function chainOf(start: object | null): object[] {
  const chain: object[] = []
  for (let proto = start; proto !== null && chain.length < CHAIN_MAX; ) {
    chain.push(proto)
    proto = Object.getPrototypeOf(proto) as object | null
  }
  return chain
}

function ownValue(object: object, key: PropertyKey): unknown {
  return Object.getOwnPropertyDescriptor(object, key)?.value
}

function isNative(maker: unknown): maker is { readonly name: string } {
  return typeof maker === 'function' && NATIVE_SOURCE.test(Function.prototype.toString.call(maker))
}

/** The name of a class of the environment's; globals that a program adds are enumerable. */
function globalName(maker: unknown): string | undefined {
  const name = typeof maker === 'function' ? ownValue(maker, 'name') : undefined
  if (typeof name !== 'string' || Object.keys(globalThis).includes(name)) return undefined
  return (globalThis as Record<string, unknown>)[name] === maker ? name : undefined
}

/** Whether instances are errors, perhaps ones that were not made by a constructor. */
function isOfError(start: object): boolean {
  for (const proto of chainOf(start)) {
    const maker = ownValue(proto, 'constructor')
    if (isNative(maker) && maker.name === 'Error') return true
  }
  return false
}

function judge(start: object): number {
  let family: number = Family.RECORD
  for (const proto of chainOf(start)) {
    if (proto === Object.prototype) break
    const tag = ownValue(proto, Symbol.toStringTag)
    if (typeof tag === 'string' && BANNED_TAGS.test(tag)) return Family.BANNED
    const maker = ownValue(proto, 'constructor')
    if (isNative(maker)) {
      // An Object of another realm is as plain as ours.
      if (maker.name === 'Object' && Object.getPrototypeOf(proto) === null) break
      return Family.HOST
    }
    const name = globalName(maker)
    if (name !== undefined && CLOSED_NAMES.test(name)) return Family.BANNED
    // Node marks the classes whose instances its ports carry by symbols of these names.
    for (const symbol of Object.getOwnPropertySymbols(proto)) {
      if (symbol.description?.startsWith('messaging_')) return Family.HOST
    }
    if (name !== undefined) family = Family.BARE
  }
  return family
}
