// Marked graph: copies a graph into plain data, with marks where errors and Buffers were, and back.
// Thread: any.   Owns: the form of a mark.
// Must not: change the graph that it is given to flatten.

import { types } from 'node:util'
import {
  type ErrorRecord,
  emptyRecord,
  encodeError,
  finishError,
  startError,
} from './error-codec.ts'
import { Family, familyOf } from './families.ts'

// A mark is an object with this one member, whose value is [kind, content].
const MARK = '\u0000corelane'

const Mark = Object.freeze({
  ERROR: 0,
  /** A user's object that has a member named like ours. */
  ESCAPED: 1,
  /** Structured clone would make a Buffer a Uint8Array. */
  BUFFER: 2,
})

/** A graph without errors, and whether {@link revive} must see it. */
export interface FlatGraph {
  readonly value: unknown
  readonly marked: boolean
}

/** A road the flat graph takes. */
export interface FlattenOptions {
  /** Whether it goes through structured clone, which needs Buffers marked and views cut to size. */
  readonly forPort: boolean
  /** Objects that are to be transferred, so not copied. */
  readonly transferred?: ReadonlySet<unknown>
}

class Flattening {
  marked = false
  readonly #copies = new Map<object, unknown>()
  readonly #forPort: boolean
  readonly #transferred: ReadonlySet<unknown>

  constructor(options: FlattenOptions) {
    this.#forPort = options.forPort
    this.#transferred = options.transferred ?? new Set()
  }

  copy(value: unknown, errorDepth: number): unknown {
    if (typeof value !== 'object' || value === null) return value
    if (this.#transferred.has(value)) return value
    const known = this.#copies.get(value)
    if (known !== undefined) return known
    if (Array.isArray(value)) return this.#copyArray(value, errorDepth)
    return this.#copyObject(value, errorDepth)
  }

  #copyArray(value: readonly unknown[], errorDepth: number): unknown[] {
    const copy: unknown[] = []
    copy.length = value.length
    this.#copies.set(value, copy)
    // forEach passes over holes, and over members named otherwise than by an index.
    value.forEach((member, i) => {
      copy[i] = this.copy(member, errorDepth)
    })
    return copy
  }

  #copyObject(value: object, errorDepth: number): unknown {
    switch (familyOf(value, Object.getPrototypeOf(value) as object | null)) {
      case Family.RECORD:
        return this.#copyRecord(value, errorDepth)
      case Family.MAP: {
        const copy = new Map<unknown, unknown>()
        this.#copies.set(value, copy)
        for (const [key, member] of Map.prototype.entries.call(value)) {
          copy.set(this.copy(key, errorDepth), this.copy(member, errorDepth))
        }
        return copy
      }
      case Family.SET: {
        const copy = new Set<unknown>()
        this.#copies.set(value, copy)
        for (const member of Set.prototype.values.call(value)) {
          copy.add(this.copy(member, errorDepth))
        }
        return copy
      }
      case Family.ERROR:
        return this.#copyError(value, errorDepth)
      case Family.DATE:
        return this.#keep(value, new Date(Date.prototype.getTime.call(value)))
      case Family.REGEXP:
        return this.#keep(value, new RegExp((value as RegExp).source, (value as RegExp).flags))
      case Family.VIEW:
        return this.#copyView(value as ArrayBufferView)
      default:
        return value
    }
  }

  #keep<T>(value: object, copy: T): T {
    this.#copies.set(value, copy)
    return copy
  }

  #copyRecord(value: object, errorDepth: number): unknown {
    const copy: Record<string, unknown> = {}
    // An object that looks like a mark is wrapped in one, so that it comes out as it went in.
    const escaped = Object.hasOwn(value, MARK)
    this.#keep(value, escaped ? this.#mark(Mark.ESCAPED, copy) : copy)
    for (const key of Object.keys(value)) {
      assign(copy, key, this.copy((value as Record<string, unknown>)[key], errorDepth))
    }
    return this.#copies.get(value)
  }

  #copyError(error: object, depth: number): unknown {
    const record = emptyRecord()
    this.#keep(error, this.#mark(Mark.ERROR, record))
    encodeError(error, record, depth)
    if ('cause' in record) record.cause = this.#copyMember(record.cause, depth)
    if ('errors' in record) record.errors = this.#copyMember(record.errors, depth)
    if (record.own !== undefined) {
      record.own = record.own.map(([key, member]) => [key, this.#copyMember(member, depth)])
    }
    return this.#copies.get(error)
  }

  #copyMember(member: unknown, depth: number): unknown {
    try {
      return this.copy(member, depth + 1)
    } catch {
      // A getter that answered when it was looked at and throws now.
      return '[a member that throws when read]'
    }
  }

  #copyView(view: ArrayBufferView): unknown {
    if (!this.#forPort) return view
    const isBuffer = Buffer.isBuffer(view)
    const { buffer, byteOffset, byteLength } = view
    // The memory itself goes to the other side, so it is not to be copied here.
    const moves = this.#transferred.has(buffer) || types.isSharedArrayBuffer(buffer)
    if (!isBuffer && (moves || byteLength === buffer.byteLength)) return view
    if (isBuffer) {
      const bytes = new Uint8Array(buffer, byteOffset, byteLength)
      return this.#keep(view, this.#mark(Mark.BUFFER, moves ? bytes : bytes.slice()))
    }
    // Structured clone would carry all the memory under a view, for a pooled one that of strangers.
    const memory = (buffer as ArrayBuffer).slice(byteOffset, byteOffset + byteLength)
    return this.#keep(view, viewOver(view, memory))
  }

  #mark(kind: number, content: unknown): object {
    this.marked = true
    return { [MARK]: [kind, content] }
  }
}

const typedArrayName = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
)!.get!

function viewOver(like: ArrayBufferView, memory: ArrayBuffer): ArrayBufferView {
  if (types.isDataView(like)) return new DataView(memory)
  const name = typedArrayName.call(like) as 'Uint8Array'
  return new globalThis[name](memory)
}

function assign(target: object, key: string, value: unknown): void {
  if (key !== '__proto__') (target as Record<string, unknown>)[key] = value
  else {
    const own = { value, enumerable: true, writable: true, configurable: true }
    Object.defineProperty(target, key, own)
  }
}

/**
 * Copies a graph into plain data. Shared references and cycles stay what they were.
 *
 * @param value - A value that was surveyed.
 * @param options - The road it takes.
 */
export function flatten(value: unknown, options: FlattenOptions): FlatGraph {
  const flattening = new Flattening(options)
  const copy = flattening.copy(value, 0)
  return { value: copy, marked: flattening.marked }
}

class Revival {
  readonly #done = new Map<object, unknown>()

  revive(value: unknown): unknown {
    if (typeof value !== 'object' || value === null) return value
    const known = this.#done.get(value)
    if (known !== undefined) return known
    if (Array.isArray(value)) {
      this.#done.set(value, value)
      value.forEach((member, i) => {
        value[i] = this.revive(member)
      })
      return value
    }
    if (types.isMap(value)) return this.#reviveMap(value)
    if (types.isSet(value)) return this.#reviveSet(value)
    if (Object.getPrototypeOf(value) !== Object.prototype) return value
    if (Object.hasOwn(value, MARK)) return this.#reviveMark(value)
    return this.#reviveMembers(value)
  }

  #reviveMembers<T extends object>(value: T): T {
    this.#done.set(value, value)
    for (const key of Object.keys(value)) {
      const member = (value as Record<string, unknown>)[key]
      const revived = this.revive(member)
      if (revived !== member) assign(value, key, revived)
    }
    return value
  }

  #reviveMark(mark: object): unknown {
    const [kind, content] = (mark as Record<string, [number, object]>)[MARK]!
    if (kind === Mark.ESCAPED) {
      this.#done.set(mark, content)
      return this.#reviveMembers(content)
    }
    if (kind === Mark.BUFFER) {
      const { buffer, byteOffset, byteLength } = content as Uint8Array<ArrayBuffer>
      const revived = Buffer.from(buffer, byteOffset, byteLength)
      this.#done.set(mark, revived)
      return revived
    }
    const record = content as ErrorRecord
    const error = startError(record)
    this.#done.set(mark, error)
    this.#reviveMembers(record)
    finishError(error, record)
    return error
  }

  #reviveMap(map: Map<unknown, unknown>): Map<unknown, unknown> {
    this.#done.set(map, map)
    const entries = [...map]
    // Emptied first, so that a revived key keeps its place.
    map.clear()
    for (const [key, member] of entries) map.set(this.revive(key), this.revive(member))
    return map
  }

  #reviveSet(set: Set<unknown>): Set<unknown> {
    this.#done.set(set, set)
    const members = [...set]
    set.clear()
    for (const member of members) set.add(this.revive(member))
    return set
  }
}

/**
 * Puts errors and Buffers back where their marks are. Changes the graph in place.
 *
 * @param value - A marked graph that arrived.
 * @returns The graph, or what stands for it if the whole was a mark.
 */
export function revive(value: unknown): unknown {
  return new Revival().revive(value)
}
