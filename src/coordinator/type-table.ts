// Type table: the handlers of the module, by name and by index, and how long each tends to run.
// Owns: the types and their estimates.

import { type LaneError, laneError, show } from '../base/errors.ts'
import type { FileHandler } from '../model/handler-module.ts'
import { stableHash } from '../schedule/hash.ts'

/** Assumed run time of a type of which nothing is known yet. */
const FIRST_ESTIMATE_US = 1000

/** No command counts as less: the runtime's own work is of this order. */
const ESTIMATE_MIN_US = 0.2

/** Weight of the newest run in the moving average. */
const NEWEST_WEIGHT = 1 / 8

/** One type of command. */
export interface CommandType {
  readonly name: string
  /** Its place among the handlers, the same in every partition. */
  readonly index: number
  /** Stable hash of the name: places commands without a key under `hash`. */
  readonly hash: number
  /** Moving average of run times, in microseconds. */
  estimateUs: number
}

/** The type of commands that name their module. */
interface FileType extends CommandType {
  /** What threads know it by. */
  readonly file: FileHandler
}

/** The module that a command names. */
export function fileOf(type: CommandType): FileHandler | undefined {
  return (type as Partial<FileType>).file
}

/**
 * Learns from one run.
 *
 * @param durationMs - How long it ran.
 */
export function learnDuration(type: CommandType, durationMs: number): void {
  const estimate = type.estimateUs + (durationMs * 1000 - type.estimateUs) * NEWEST_WEIGHT
  type.estimateUs = Math.max(estimate, ESTIMATE_MIN_US)
}

/** Numbers the handlers that commands name; the manager. */
export interface FileHandlers {
  /** Makes a handler that commands name known to all threads. */
  define(file: string, name: string): FileHandler
}

/** Finds types. */
export class TypeTable {
  #byName = new Map<string, CommandType>()
  /** By name of a module as it was given, and name of an export. */
  readonly #files = new Map<string, Map<string, FileType>>()
  /** What was asked for last: most commands name the same. */
  #last: { readonly file: URL | string; readonly type: FileType } | undefined
  readonly #events: FileHandlers
  /** Every type there ever was. */
  readonly #all = new Map<string, CommandType>()

  constructor(events: FileHandlers) {
    this.#events = events
  }

  /**
   * The type of commands that name their module.
   *
   * @param file - The module.
   * @param name - The export.
   */
  ofFile(file: URL | string, name: string): FileType {
    const last = this.#last
    if (last?.file === file && last.type.name === name && typeof file === 'string') return last.type
    const url = String(file)
    // A function cannot go to threads.
    if (typeof name !== 'string') throw unknownType(name, [`an export of ${url}`])
    let types = this.#files.get(url)
    if (types === undefined) {
      types = new Map()
      this.#files.set(url, types)
    }
    let type = types.get(name)
    if (type === undefined) {
      const hash = stableHash(name)
      const defined = this.#events.define(url, name)
      type = { name, index: defined.id, hash, estimateUs: FIRST_ESTIMATE_US, file: defined }
      types.set(name, type)
    }
    this.#last = { file, type }
    return type
  }

  /**
   * Takes the handlers of a module.
   *
   * @param order - Names in the order of their indices, which never changes for those before.
   * @param own - Those that the module has: others are types no more.
   */
  update(order: readonly string[], own: readonly string[]): void {
    for (const [index, name] of order.entries()) {
      if (this.#all.has(name)) continue
      const hash = stableHash(name)
      this.#all.set(name, { name, index, hash, estimateUs: FIRST_ESTIMATE_US })
    }
    this.#byName = new Map(own.map((name) => [name, this.#all.get(name)!]))
  }

  /** The types by name; another map after each update, and empty before the first. */
  get byName(): ReadonlyMap<string, CommandType> {
    return this.#byName
  }

  /** Sorted names of all types. */
  get names(): string[] {
    return [...this.#byName.keys()]
  }

  /**
   * The type of a name.
   *
   * @param name - What the caller gave.
   * @throws ConfigError `CORELANE_UNKNOWN_TYPE`.
   */
  get(name: string): CommandType {
    const type = this.#byName.get(name)
    if (type !== undefined) return type
    throw unknownType(name, this.names)
  }
}

/** The error of a handler that does not exist, and the names of those that do. */
export function unknownType(name: unknown, names: readonly string[]): LaneError {
  const received = typeof name === 'string' ? show(name) : `named by ${show(name)}`
  return laneError('CORELANE_UNKNOWN_TYPE', { received, allowed: names.join(', ') })
}
