// Survey: a walk over a value that finds the member which cannot cross, and its rough length.
// Must not: change what it walks. It refuses what the encoder refuses, and knows the place.

import { types } from 'node:util'
import { laneError, type SerializationError } from '../base/errors.ts'
import { byteLengthOf, extentOf, isDetached } from './brands.ts'
import { describe, stepTo } from './describe.ts'
import { Family, familyOf } from './families.ts'

/** Deepest nesting that crosses; both ends recurse, and the reader's stack is not known here. */
export const DEPTH_MAX = 1_000

/** An array with more holes is taken for one of few members. */
export const HOLES_MAX = 32
// So much of a path is shown.
const PATH_STEPS_MAX = 40

/** A value that was looked at. */
export interface SurveyResult {
  /** Whether something in it is more than data: only a MessagePort may be able to carry it. */
  readonly hasHost: boolean
  /** A lower bound of the encoded length, in bytes. */
  readonly bytes: number
}

/**
 * The indices of the members that an array has, in order. Takes as long as it has members.
 *
 * @param array - Perhaps a sparse one.
 */
export function indicesOf(array: readonly unknown[]): number[] {
  const indices: number[] = []
  // Keys that are indices come first.
  for (const key of Object.keys(array)) {
    const index = Number(key)
    if (!(index < array.length) || String(index >>> 0) !== key) break
    indices.push(index)
  }
  return indices
}

class Walk implements SurveyResult {
  hasHost = false
  bytes = 0
  readonly #role: string
  #depth = -1
  #rejection: SerializationError | undefined
  readonly #seen = new Set<object>()
  // The way to where the walk stands: the containers, and in each the member being looked at.
  readonly #holders: object[] = []
  readonly #members: (string | number | undefined)[] = []

  constructor(role: string) {
    this.#role = role
  }

  run(value: unknown): void {
    try {
      this.#visit(value, 0)
    } catch (thrown) {
      if (thrown === this.#rejection) throw thrown
      // Only a getter or a proxy trap of the user's, or the end of the stack, can throw here.
      const overflow = types.isNativeError(thrown) && /call stack/.test(thrown.message)
      throw this.#reject(overflow ? 'nested too deeply' : 'a member that throws when read', thrown)
    }
  }

  #visit(value: unknown, depth: number): void {
    switch (typeof value) {
      case 'string':
        this.bytes += value.length
        return
      case 'object':
        if (value !== null) this.#visitObject(value, depth)
        return
      case 'function':
      case 'symbol':
        throw this.#reject(describe(value))
    }
  }

  #visitObject(value: object, depth: number): void {
    if (this.#seen.has(value)) return
    this.#seen.add(value)
    if (depth >= DEPTH_MAX) throw this.#reject('nested too deeply')
    const outer = this.#depth
    // Both throw for a revoked proxy, which is then the place itself.
    const isArray = Array.isArray(value)
    const proto = Object.getPrototypeOf(value) as object | null
    const family = isArray || proto === Object.prototype ? Family.RECORD : familyOf(value, proto)
    this.#depth = depth
    this.#holders[depth] = value
    this.#members[depth] = undefined
    if (isArray) this.#visitArray(value, depth)
    else if (family === Family.RECORD) this.#visitMembers(value, depth)
    else this.#visitOther(value, family, depth)
    this.#depth = outer
  }

  #visitMembers(value: object, depth: number): void {
    for (const key of Object.keys(value)) {
      this.#members[depth] = key
      this.#visit((value as Record<string, unknown>)[key], depth + 1)
      this.bytes++
    }
  }

  #visitArray(value: readonly unknown[], depth: number): void {
    const { length } = value
    let holes = 0
    for (let i = 0; i < length; i++) {
      this.#members[depth] = i
      const member = value[i]
      // A sparse array may claim billions of members and hold few: look at those it has.
      if (member === undefined && !Object.hasOwn(value, i) && ++holes > HOLES_MAX) {
        for (const index of indicesOf(value)) {
          this.#members[depth] = index
          this.#visit(value[index], depth + 1)
          this.bytes++
        }
        return
      }
      this.#visit(member, depth + 1)
      this.bytes++
    }
  }

  #visitOther(value: object, family: number, depth: number): void {
    switch (family) {
      case Family.MAP:
      case Family.SET: {
        const isMap = family === Family.MAP
        const { prototype } = isMap ? Map : Set
        let i = 0
        for (const [key, member] of prototype.entries.call(value as never)) {
          // Of a set both are the same.
          for (const one of isMap ? [key, member] : [key]) {
            this.#members[depth] = i++
            this.#visit(one, depth + 1)
          }
        }
        this.bytes += i
        return
      }
      case Family.VIEW:
      case Family.BUFFER:
        this.#visitBytes(value as ArrayBufferView | ArrayBuffer)
        return
      case Family.HOST:
        this.hasHost = true
        return
      case Family.BANNED: {
        const isStream = depth === 0 && this.#role === 'result' && 'next' in value
        throw this.#reject(describe(value) + (isStream ? ' (take its values by stream())' : ''))
      }
    }
  }

  #visitBytes(value: ArrayBufferView | ArrayBuffer): void {
    const extent = ArrayBuffer.isView(value) ? extentOf(value) : undefined
    const memory = extent?.buffer ?? (value as ArrayBuffer)
    // Shared memory stays shared, which only a port can arrange.
    if (types.isSharedArrayBuffer(memory)) this.hasHost = true
    else if (isDetached(memory)) throw this.#reject('a detached ArrayBuffer')
    else this.bytes += extent?.byteLength ?? byteLengthOf(memory)
  }

  #reject(received: string, cause?: unknown): SerializationError {
    this.#rejection = laneError(
      'CORELANE_UNSERIALIZABLE',
      { role: this.#role, path: this.#path(), received },
      cause,
    )
    return this.#rejection
  }

  #path(): string {
    let path = this.#role
    for (let depth = 0; depth <= Math.min(this.#depth, PATH_STEPS_MAX); depth++) {
      const member = this.#members[depth]
      // It could not be looked into: the place is the container itself.
      if (member === undefined) break
      path += stepTo(this.#holders[depth]!, member)
    }
    return this.#depth > PATH_STEPS_MAX ? `${path}…` : path
  }
}

/**
 * Looks at a value that is to cross threads.
 *
 * @param role - What the value is, for the path in an error: `payload`, `result`.
 * @throws SerializationError `CORELANE_UNSERIALIZABLE` if something in it can cross by no road.
 */
export function survey(value: unknown, role: string): SurveyResult {
  const walk = new Walk(role)
  walk.run(value)
  return walk
}

const isLost = (member: unknown) => typeof member === 'function' || typeof member === 'symbol'

/**
 * Copies a value for a receiver that does without members which cannot cross: functions and symbols
 * are left out, or are null in an array, and closed objects are empty.
 *
 * @param copies - Those made so far, by their originals.
 */
export function withoutFunctions(value: unknown, copies = new Map<unknown, unknown>()): unknown {
  if (typeof value !== 'object' || value === null) return isLost(value) ? null : value
  if (copies.has(value)) return copies.get(value)
  const isList = Array.isArray(value)
  const family = isList ? Family.RECORD : familyOf(value, Object.getPrototypeOf(value))
  if (family >= Family.HOST) return {}
  // An error describes its members that cannot cross.
  if (family >= Family.ERROR) return value
  const isRecord = family === Family.RECORD
  const copy = isList ? [] : isRecord ? {} : family === Family.MAP ? new Map() : new Set()
  copies.set(value, copy)
  const entries: Iterable<[unknown, unknown]> = isRecord
    ? Object.entries(value)
    : (value as typeof copies).entries()
  for (const [key, member] of entries) {
    if (isLost(key) || (isLost(member) && !isList)) continue
    const inner = withoutFunctions(member, copies)
    if (types.isMap(copy)) copy.set(withoutFunctions(key, copies), inner)
    else if (types.isSet(copy)) copy.add(inner)
    else Object.defineProperty(copy, key as string, { value: inner, enumerable: true })
  }
  return copy
}
