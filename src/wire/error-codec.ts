// Error codec: errors as plain records and back, with class, stack, cause and own members.
// Thread: any.   Owns: nothing.
// Must not: throw while encoding. A thrown error must arrive, whatever is wrong with its members.

import { inspect, types } from 'node:util'
import { ERRORS, type ErrorCode, LaneError, laneError } from '../base/errors.ts'
import { describe } from './describe.ts'
import { isErrorValue } from './families.ts'
import { DEPTH_MAX, Finding, survey } from './survey.ts'

/** An error as plain data. Members that the error does not have are absent. */
export interface ErrorRecord {
  /** The class to rebuild: a global one, or `LaneError` for corelane's own. */
  class: string
  name: string
  message: string
  stack?: string
  cause?: unknown
  /** The members of an AggregateError. */
  errors?: unknown
  /** Own enumerable members, and `code` even where it is not enumerable. */
  own?: [key: string, member: unknown][]
  /** Which of the members above are enumerable; by default none is. */
  shown?: string[]
}

/** Errors within errors are followed this far; those deeper arrive without causes and members. */
export const ERROR_DEPTH_MAX = 8
// Members of an error deeper than this are described instead: often they lead to half the program.
const MEMBER_DEPTH_MAX = 32
// So much of a thrown object is shown.
const OUTLINE_MAX = 200
// Levels that the record of an error and its mark add.
const RECORD_DEPTH = 6

/** Deepest nesting of a graph in which errors became records. */
export const MARKED_DEPTH_MAX: number =
  DEPTH_MAX + (ERROR_DEPTH_MAX + 1) * (MEMBER_DEPTH_MAX + RECORD_DEPTH)

const GLOBAL_CLASSES = {
  Error,
  TypeError,
  RangeError,
  SyntaxError,
  ReferenceError,
  EvalError,
  URIError,
}

// These have a field of their own in the record.
const FIELDS = new Set(['name', 'message', 'stack', 'cause', 'errors'])

function read(error: object, key: string): unknown {
  try {
    return (error as Record<string, unknown>)[key]
  } catch (thrown) {
    return `[the getter of ${key} threw ${describe(thrown)}]`
  }
}

function textOf(error: object, key: string, fallback: string): string {
  const value = read(error, key)
  if (typeof value === 'string') return value
  if (value === undefined || value === null) return fallback
  return describe(value)
}

/** Fills in the class to rebuild, and the name. */
function encodeClass(error: object, record: ErrorRecord): void {
  record.name = textOf(error, 'name', 'Error')
  if (error instanceof LaneError && Object.hasOwn(ERRORS, error.code)) {
    record.class = 'LaneError'
    return
  }
  if (error instanceof DOMException) {
    record.class = 'DOMException'
    return
  }
  // A class of the user's arrives as the nearest class that exists everywhere, under its own name.
  let ownClass = ''
  let hasName = Object.hasOwn(error, 'name')
  for (
    let proto: object | null = Object.getPrototypeOf(error);
    proto !== null;
    proto = Object.getPrototypeOf(proto) as object | null
  ) {
    const maker = read(proto, 'constructor')
    const name = typeof maker === 'function' ? maker.name : ''
    // By name, since an error of another realm has other classes of the same names.
    if (name === 'AggregateError' || Object.hasOwn(GLOBAL_CLASSES, name)) {
      record.class = name
      // Otherwise the name that it inherits would be that of the language's class.
      if (!hasName && ownClass !== '') record.name = ownClass
      return
    }
    ownClass ||= name
    hasName ||= Object.hasOwn(proto, 'name')
  }
}

/**
 * Prepares a member of an error: as it is if it can cross, otherwise a short description of it.
 *
 * @param member - Anything.
 */
function crossable(member: unknown): unknown {
  if (typeof member !== 'object' && typeof member !== 'function' && typeof member !== 'symbol') {
    return member
  }
  try {
    if (isErrorValue(member)) return member
    const { findings } = survey(member, 'member', MEMBER_DEPTH_MAX)
    if (!(findings & Finding.HOST)) return member
  } catch {
    // Described below.
  }
  return `[${describe(member)} that cannot cross threads]`
}

function ownMembers(error: object): [string, unknown][] {
  const keys = Object.keys(error).filter((key) => !FIELDS.has(key))
  if (Object.hasOwn(error, 'code') && !keys.includes('code')) keys.push('code')
  return keys.map((key) => [key, crossable(read(error, key))])
}

/**
 * Takes an error apart. Its `cause`, `errors` and `own` are as found, or descriptions where they
 * cannot cross; the caller takes apart the errors among them.
 *
 * @param error - The error.
 * @param record - Filled in; made by the caller so that a cycle can lead to it.
 * @param depth - How many errors this one is within.
 */
export function encodeError(error: object, record: ErrorRecord, depth: number): void {
  try {
    encodeClass(error, record)
    record.message = textOf(error, 'message', '')
    const stack = read(error, 'stack')
    if (typeof stack === 'string') record.stack = stack
    if (depth >= ERROR_DEPTH_MAX) return
    if (Object.hasOwn(error, 'cause')) record.cause = crossable(read(error, 'cause'))
    if (Object.hasOwn(error, 'errors')) record.errors = fitErrors(read(error, 'errors'))
    const own = ownMembers(error)
    if (own.length > 0) record.own = own
    const shown = Object.keys(error).filter((key) => FIELDS.has(key))
    if (shown.length > 0) record.shown = shown
  } catch (thrown) {
    // Only a trap of a proxy gets here; what was read before it still arrives.
    record.message ||= `[an error that cannot be read: ${describe(thrown)}]`
  }
}

function fitErrors(errors: unknown): unknown {
  // One unfit member must not cost the others.
  return Array.isArray(errors) ? Array.from(errors, crossable) : crossable(errors)
}

/**
 * Makes the empty record that {@link encodeError} fills.
 */
export function emptyRecord(): ErrorRecord {
  return { class: 'Error', name: 'Error', message: '' }
}

function define(error: object, key: string, value: unknown, enumerable: boolean): void {
  Object.defineProperty(error, key, { value, enumerable, writable: true, configurable: true })
}

function isShown(record: ErrorRecord, key: string): boolean {
  return record.shown?.includes(key) === true
}

/**
 * Makes the error of a record, still without its cause, errors and own members: those may lead
 * back to it.
 *
 * @param record - As {@link encodeError} made it.
 */
export function startError(record: ErrorRecord): Error {
  const limit = Error.stackTraceLimit
  // The stack of this call would be thrown away at once.
  Error.stackTraceLimit = 0
  try {
    const error = construct(record)
    const { name, message, stack } = record
    if (error.name !== name || isShown(record, 'name')) {
      define(error, 'name', name, isShown(record, 'name'))
    }
    if (error.message !== message || isShown(record, 'message')) {
      define(error, 'message', message, isShown(record, 'message'))
    }
    define(error, 'stack', stack ?? `${name}: ${message}`, isShown(record, 'stack'))
    return error
  } finally {
    Error.stackTraceLimit = limit
  }
}

function construct(record: ErrorRecord): Error {
  const { message } = record
  if (record.class === 'DOMException') return new DOMException(message, record.name)
  if (record.class === 'AggregateError') return new AggregateError([], message)
  if (record.class === 'LaneError') {
    const code = record.own?.find(([key]) => key === 'code')?.[1]
    // The details are still to be rebuilt, and follow with the other members.
    if (typeof code === 'string' && Object.hasOwn(ERRORS, code)) return laneError(code as ErrorCode)
  }
  const known = record.class as keyof typeof GLOBAL_CLASSES
  return new (Object.hasOwn(GLOBAL_CLASSES, known) ? GLOBAL_CLASSES[known] : Error)(message)
}

/**
 * Gives an error its cause, errors and own members, once those are rebuilt.
 *
 * @param error - From {@link startError}.
 * @param record - The same record, its members rebuilt.
 */
export function finishError(error: Error, record: ErrorRecord): void {
  for (const key of ['cause', 'errors'] as const) {
    if (Object.hasOwn(record, key)) define(error, key, record[key], isShown(record, key))
  }
  for (const [key, member] of record.own ?? []) define(error, key, member, true)
}

/**
 * Makes sure that something thrown can cross threads: errors always can, and what cannot is
 * replaced by an Error that describes it and has its own members. Never throws.
 *
 * @param thrown - Anything.
 * @returns The same value, or the Error.
 */
export function thrownValue(thrown: unknown): unknown {
  let reason = 'it cannot cross threads'
  try {
    const { findings } = survey(thrown, 'error')
    if (!(findings & Finding.HOST)) return thrown
  } catch (refusal) {
    if (isErrorValue(refusal)) reason = textOf(refusal, 'message', reason)
  }
  const error = new Error(`The handler threw ${outline(thrown)}: ${reason}`)
  try {
    if (typeof thrown === 'object' && thrown !== null) {
      for (const [key, member] of ownMembers(thrown)) define(error, key, member, true)
    }
  } catch {
    // A trap of a proxy threw; the message says what the value is.
  }
  return error
}

/** An object with its members, as `util.inspect` shows it, or a few words. */
function outline(thrown: unknown): string {
  if (typeof thrown !== 'object' || thrown === null || types.isProxy(thrown))
    return describe(thrown)
  try {
    // It passes over getters and inspect methods.
    const text = inspect(thrown, { depth: 1, customInspect: false, breakLength: Infinity })
    return text.length > OUTLINE_MAX ? `${text.slice(0, OUTLINE_MAX - 1)}…` : text
  } catch {
    return describe(thrown)
  }
}
