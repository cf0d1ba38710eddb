// Command parser: a line of input to a command, or to the reason why it is none.

import { type LaneError, laneError, show } from '../base/errors.ts'
import type { Line } from './line-splitter.ts'

/** What a line may leave out. */
export interface CommandDefaults {
  readonly type: string | undefined
  readonly lane: string
  /** Where the key of a line without one is found: names, outermost first. */
  readonly keyPath: readonly string[] | undefined
  /** The same for its group. */
  readonly groupPath: readonly string[] | undefined
  /** Bytes a line may have; only for the message about one that has more. */
  readonly lineBytesMax: number
}

/** A command as it stood on a line. */
export interface ParsedCommand {
  readonly id: string | number
  readonly type: string
  readonly payload: unknown
  readonly lane: string
  readonly key: string | undefined
  readonly group: string | undefined
  readonly priority: number | undefined
}

/** A line that is no command. */
export interface RefusedLine {
  /** The id that it gives, if that much could be read. */
  readonly id: string | number | null
  readonly refusal: LaneError
}

type Members = Readonly<Record<string, unknown>>

const MEMBERS = ['id', 'type', 'payload', 'lane', 'key', 'group', 'priority']

/**
 * Reads a command. Its priority, and that its lane and type exist, is left to the queue manager.
 *
 * @param line - A line that is not blank.
 * @param defaults - For what it leaves out.
 */
export function parseCommand(line: Line, defaults: CommandDefaults): ParsedCommand | RefusedLine {
  let id: string | number | null = null
  try {
    const members = readObject(line, defaults)
    id = readId(members, line)
    for (const name of Object.keys(members)) {
      if (!MEMBERS.includes(name))
        throw refuse(name, 'not a member of a command', MEMBERS.join(', '))
    }
    return {
      id,
      type: readText(members, 'type', defaults.type),
      payload: members.payload,
      lane: readText(members, 'lane', defaults.lane),
      key: readName(members, 'key', defaults.keyPath),
      group: readName(members, 'group', defaults.groupPath),
      priority: readPriority(members),
    }
  } catch (refusal) {
    return { id, refusal: refusal as LaneError }
  }
}

function refuse(field: string, received: string, allowed: string, cause?: unknown): LaneError {
  return laneError('CORELANE_INVALID_COMMAND', { field, received, allowed }, cause)
}

function readObject(line: Line, defaults: CommandDefaults): Members {
  const place = `line ${line.number}`
  if (line.fault === 'too long') {
    throw refuse(place, `${line.bytes} bytes long`, `up to ${defaults.lineBytesMax} bytes`)
  }
  if (line.fault !== undefined) throw refuse(place, line.fault, 'a JSON object in UTF-8')
  let value: unknown
  try {
    value = JSON.parse(line.text)
  } catch (cause) {
    throw refuse(place, show(line.text), 'a JSON object', cause)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw refuse(place, show(value), 'a JSON object')
  }
  return value as Members
}

function readId({ id }: Members, line: Line): string | number {
  if (id === undefined || id === null) return line.number
  if (typeof id === 'string') return id
  // A larger integer was rounded by JSON.parse: printing it would name another command.
  if (typeof id === 'number' && (!Number.isInteger(id) || Number.isSafeInteger(id))) return id
  throw refuse('id', show(id), 'a string, or a number of up to 15 digits')
}

function readText(members: Members, name: string, fallback: string | undefined): string {
  const value = members[name] ?? fallback
  if (typeof value === 'string' && value !== '') return value
  const received = value === undefined ? 'missing' : show(value)
  throw refuse(name, received, 'a non-empty string')
}

function readPriority({ priority }: Members): number | undefined {
  // Out of range is refused by the queue manager, which knows the range.
  return (priority ?? undefined) as number | undefined
}

function readName(
  members: Members,
  member: 'key' | 'group',
  path: readonly string[] | undefined,
): string | undefined {
  const own = members[member] ?? undefined
  if (own !== undefined || path === undefined) {
    if (own === undefined || typeof own === 'string') return own
    throw refuse(member, show(own), 'a string')
  }
  const found = follow(members.payload, path) ?? follow(members, path)
  if (typeof found === 'string' && found !== '') return found
  if (typeof found === 'number' || typeof found === 'boolean') return String(found)
  const received = found === undefined ? 'missing' : show(found)
  const allowed = `a non-empty string, a number or a boolean, for --${member}`
  throw refuse(path.join('.'), received, allowed)
}

function follow(value: unknown, path: readonly string[]): unknown {
  for (const name of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
    value = (value as Members)[name]
  }
  return value ?? undefined
}
