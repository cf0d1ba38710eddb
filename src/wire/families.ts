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
  /** Of a class: a record, unless it has members and all of them are hidden. */
  CLASS: 11,
  /** Of a class whose content is elsewhere: a record if it has members of its own, else banned. */
  BARE: 12,
})

const CHAIN_MAX = 100
const NATIVE_SOURCE = /\{\s*\[native code\]\s*\}$/
const PRIVATE_SOURCE = /\bthis\.#/

/** Classes whose instances are refused even with members of their own. */
const CLOSED_NAMES =
  /^(?:Abort\w+|CallSite|FinalizationRegistry|FormData|Headers|Promise|Re(?:quest|sponse)|URL\w*|Weak\w+|WebSocket)$/

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
  if (family === Family.HOST && types.isProxy(value)) return Family.BANNED
  if (family < Family.CLASS) return family
  if (Object.keys(value).length > 0) return Family.RECORD
  const isEmpty = family === Family.CLASS && Reflect.ownKeys(value).length === 0
  return isEmpty ? Family.RECORD : Family.BANNED
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

function hasSource(maker: unknown, source: RegExp): maker is { readonly name: string } {
  return typeof maker === 'function' && source.test(Function.prototype.toString.call(maker))
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
    if (hasSource(maker, NATIVE_SOURCE) && maker.name === 'Error') return true
  }
  return false
}

function judge(start: object): number {
  // An iterable without members holds what it gives in a private place.
  let isBare = Symbol.iterator in start || Symbol.asyncIterator in start
  for (const proto of chainOf(start)) {
    const maker = ownValue(proto, 'constructor')
    const isNative = hasSource(maker, NATIVE_SOURCE)
    const name = isNative ? maker.name : globalName(maker)
    if (name !== undefined && CLOSED_NAMES.test(name)) return Family.BANNED
    if (isNative) {
      if (name !== 'Object' || Object.getPrototypeOf(proto) !== null) return Family.HOST
      // An Object of another realm is as plain as ours.
      if (proto === start) return Family.RECORD
      break
    }
    // Node marks the classes whose instances its ports carry by symbols of these names.
    for (const symbol of Object.getOwnPropertySymbols(proto)) {
      if (symbol.description?.startsWith('messaging_')) return Family.HOST
    }
    isBare ||= name !== undefined || hasSource(maker, PRIVATE_SOURCE)
  }
  return isBare ? Family.BARE : Family.CLASS
}
