// Survey: a walk over a value before it is encoded: which road it takes, and whether it can cross.
// Thread: any.   Owns: a reusable walk, emptied after each use.
// Must not: change what it walks, or keep a reference to it.

import { types } from 'node:util'
import { laneError, type SerializationError } from '../base/errors.ts'
import { describe, stepTo } from './describe.ts'
import { Family, familyOf, isDetached, isPlainView } from './families.ts'

/** What a survey found; a sum of bits, and 0 is a tree that msgpackr carries as it is. */
export const Finding = Object.freeze({
  /** Some object may be met twice: msgpackr must track references. */
  SHARED: 1,
  /** Some object must be copied into its plain form first. */
  COPY: 2,
  /** There are errors, which travel in corelane's own form. */
  ERRORS: 4,
  /** msgpackr would change something that structured clone keeps. */
  SIDE: 8,
  /** Some object is more than data; only a MessagePort may be able to carry it. */
  HOST: 16,
})

/** Deepest nesting that crosses; both ends recurse, and the reader's stack is not known here. */
export const DEPTH_MAX = 1_000

// Up to here shared references are found exactly, by comparing with each object already met.
const LISTED_MAX = 16
// Past the list, objects this deep are remembered in a set, which is what ends a cycle.
const UNTRACKED_DEPTH = 8
const HOLES_MAX = 1_000
// A lattice can hold exponentially many paths above that depth: past this count remember all.
const UNTRACKED_MAX = 4_096

/** A value that was looked at. */
export interface SurveyResult {
  /** Sum of {@link Finding} bits. */
  findings: number
  /** A lower bound of the encoded length, in bytes. */
  bytes: number
}

class Walk implements SurveyResult {
  findings = 0
  bytes = 0
  busy = false
  #role = ''
  #depthMax = 0
  #count = 0
  #depth = 0
  #deepest = 0
  #rejection: SerializationError | undefined
  #remembered: Set<object> | undefined
  readonly #listed: (object | undefined)[] = new Array(LISTED_MAX).fill(undefined)
  // The way to where the walk stands: the containers, and in each the member being looked at.
  readonly #holders: (object | undefined)[] = []
  readonly #members: (string | number | undefined)[] = []

  run(value: unknown, role: string, depthMax: number): void {
    this.findings = 0
    this.bytes = 0
    this.#count = 0
    this.#depth = -1
    this.#deepest = -1
    this.#role = role
    this.#depthMax = depthMax
    this.busy = true
    try {
      this.#visit(value, 0)
    } catch (thrown) {
      if (thrown === this.#rejection) throw thrown
      // Nothing but a getter or a proxy trap of the user's can throw in here, or the stack end.
      const overflow = thrown instanceof RangeError && /call stack/.test(thrown.message)
      throw this.#reject(overflow ? 'nested too deeply' : 'a member that throws when read', thrown)
    } finally {
      this.busy = false
      this.#rejection = undefined
      this.#remembered = undefined
      // Whatever stays in these lists would be kept alive until the next survey.
      const listed = Math.min(this.#count, LISTED_MAX)
      for (let i = 0; i < listed; i++) this.#listed[i] = undefined
      for (let i = 0; i <= this.#deepest; i++) this.#holders[i] = undefined
    }
  }

  #visit(value: unknown, depth: number): void {
    switch (typeof value) {
      case 'string':
        this.bytes += value.length
        if (!value.isWellFormed()) this.findings |= Finding.SIDE
        return
      case 'number':
        if (value === 0 && 1 / value < 0) this.findings |= Finding.SIDE
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
    if (this.#isKnown(value, depth)) return
    if (depth >= this.#depthMax) throw this.#reject('nested too deeply')
    const outer = this.#depth
    // Both throw for a revoked proxy, which is then the place itself.
    const isArray = Array.isArray(value)
    const isPlain = !isArray && Object.getPrototypeOf(value) === Object.prototype
    this.#depth = depth
    if (depth > this.#deepest) this.#deepest = depth
    this.#holders[depth] = value
    this.#members[depth] = undefined
    if (isArray) this.#visitArray(value, depth)
    else if (isPlain) this.#visitPlain(value, depth)
    else {
      this.#depth = outer
      this.#visitOther(value, depth)
    }
    this.#depth = outer
  }

  #isKnown(value: object, depth: number): boolean {
    const count = this.#count++
    const listed = this.#listed
    if (count < LISTED_MAX) {
      for (let i = 0; i < count; i++) {
        if (listed[i] === value) {
          this.findings |= Finding.SHARED
          this.#count--
          return true
        }
      }
      listed[count] = value
      return false
    }
    this.findings |= Finding.SHARED
    if (depth <= UNTRACKED_DEPTH && count <= UNTRACKED_MAX) return false
    this.#remembered ??= new Set()
    if (this.#remembered.has(value)) return true
    this.#remembered.add(value)
    return false
  }

  #visitPlain(value: object, depth: number): void {
    const members = this.#members
    // for…in is twice as fast as Object.keys here. It also lists what a polluted Object.prototype
    // adds, so what looks unfit is checked to be an own member before it is refused.
    for (const key in value) {
      members[depth] = key
      const member = (value as Record<string, unknown>)[key]
      if (typeof member === 'number') {
        if (member === 0 && 1 / member < 0) this.findings |= Finding.SIDE
      } else if (typeof member === 'string') {
        this.bytes += member.length
        if (!member.isWellFormed()) this.findings |= Finding.SIDE
      } else if (typeof member === 'object') {
        if (member !== null) this.#visitObject(member, depth + 1)
      } else if (typeof member === 'function' || typeof member === 'symbol') {
        if (!Object.hasOwn(value, key)) continue
        throw this.#reject(describe(member))
      }
      this.#checkKey(key)
      this.bytes++
    }
  }

  #visitMembers(value: object, depth: number): void {
    for (const key of Object.keys(value)) {
      this.#members[depth] = key
      this.#visit((value as Record<string, unknown>)[key], depth + 1)
      this.#checkKey(key)
      this.bytes++
    }
  }

  #checkKey(key: string): void {
    // msgpackr renames the first, and keeps its own notes under the second.
    if (key === '__proto__' || key === '__keys__' || !key.isWellFormed()) {
      this.findings |= Finding.SIDE
    }
  }

  #visitArray(value: readonly unknown[], depth: number): void {
    const members = this.#members
    const length = value.length
    this.bytes += length
    if (Object.getPrototypeOf(value) !== Array.prototype) this.findings |= Finding.COPY
    let holes = 0
    for (let i = 0; i < length; i++) {
      members[depth] = i
      const member = value[i]
      if (typeof member === 'number') {
        if (member === 0 && 1 / member < 0) this.findings |= Finding.SIDE
      } else if (member === undefined) {
        if (i in value) continue
        this.findings |= Finding.SIDE
        // A sparse array may claim billions of members and hold few: look at those it has.
        if (++holes > HOLES_MAX) {
          this.bytes -= length
          this.#visitMembers(value, depth)
          return
        }
      } else this.#visit(member, depth + 1)
    }
  }

  #visitOther(value: object, depth: number): void {
    const proto: object | null = Object.getPrototypeOf(value)
    const family = familyOf(value, proto)
    switch (family) {
      case Family.RECORD:
        if (proto !== null) this.findings |= Finding.COPY
        this.#enter(depth)
        this.#visitMembers(value, depth)
        return
      case Family.MAP: {
        if (proto !== Map.prototype) this.findings |= Finding.COPY
        this.#enter(depth)
        let i = 0
        for (const [key, member] of Map.prototype.entries.call(value)) {
          this.#members[depth] = i++
          this.#visit(key, depth + 1)
          this.#members[depth] = i++
          this.#visit(member, depth + 1)
        }
        this.bytes += i
        return
      }
      case Family.SET: {
        if (proto !== Set.prototype) this.findings |= Finding.COPY
        this.#enter(depth)
        let i = 0
        for (const member of Set.prototype.values.call(value)) {
          this.#members[depth] = i++
          this.#visit(member, depth + 1)
        }
        this.bytes += i
        return
      }
      case Family.ERROR:
        this.findings |= Finding.ERRORS
        return
      case Family.DATE:
        if (proto !== Date.prototype) this.findings |= Finding.COPY
        return
      case Family.REGEXP:
        if (proto !== RegExp.prototype) this.findings |= Finding.COPY
        if (!(value as RegExp).source.isWellFormed()) this.findings |= Finding.SIDE
        return
      case Family.VIEW:
      case Family.BUFFER:
        this.#visitBytes(value as ArrayBufferView | ArrayBuffer)
        return
      case Family.CLONED:
        this.findings |= Finding.SIDE
        return
      case Family.HOST:
        this.findings |= Finding.SIDE | Finding.HOST
        return
      default:
        throw this.#reject(describe(value))
    }
  }

  #enter(depth: number): void {
    this.#depth = depth
  }

  #visitBytes(value: ArrayBufferView | ArrayBuffer): void {
    const memory = ArrayBuffer.isView(value) ? value.buffer : value
    if (types.isSharedArrayBuffer(memory)) {
      // Shared memory stays shared, which only the port can arrange.
      this.findings |= Finding.SIDE | Finding.HOST
      return
    }
    if (isDetached(memory as ArrayBuffer)) throw this.#reject('a detached ArrayBuffer')
    this.bytes += value.byteLength
    if (!isPlainView(value)) this.findings |= Finding.SIDE
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
    for (let depth = 0; depth <= Math.min(this.#depth, 40); depth++) {
      const member = this.#members[depth]
      // It could not be looked into: the place is the container itself.
      if (member === undefined) break
      path += stepTo(this.#holders[depth]!, member)
    }
    return this.#depth > 40 ? `${path}…` : path
  }
}

const shared = new Walk()

/**
 * Looks at a value that is to cross threads.
 *
 * @param value - Anything.
 * @param role - What the value is, for the path in an error: `payload`, `result`.
 * @param depthMax - Deepest nesting allowed.
 * @returns What was found. It is valid until the next survey on this thread.
 * @throws SerializationError `CORELANE_UNSERIALIZABLE` if something in it can cross by no road.
 */
export function survey(value: unknown, role: string, depthMax: number = DEPTH_MAX): SurveyResult {
  // A getter of the walked value may submit another command, whose payload is surveyed in between.
  const walk = shared.busy ? new Walk() : shared
  walk.run(value, role, depthMax)
  return walk
}
