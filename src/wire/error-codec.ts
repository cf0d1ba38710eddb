// Error codec: errors as plain data and back, with class, stack, cause and own members.
// Must not: throw while encoding. A thrown error must arrive, whatever is wrong with its members.

import { atob } from 'node:buffer'
import { inspect, types } from 'node:util'
import { ERRORS, type ErrorCode, LaneError, laneError, limitStacks } from '../base/errors.ts'
import { describe } from './describe.ts'
import { chainOf, isErrorValue } from './families.ts'
import { survey } from './survey.ts'

/** What is needed to make an error, as plain data; what the error does not have is absent. */
export interface ErrorHead {
  /** The class to rebuild: a global one, or `LaneError` for corelane's own. */
  class: string
  name: string
  message: string
  stack?: string
  /** For corelane's own. */
  code?: string
  /** Members with a field here or in {@link ErrorRest} that are enumerable; by default none is. */
  shown?: string[]
}

/** What may lead back to the error, as it was found. */
export interface ErrorRest {
  cause?: unknown
  /** The members of an AggregateError. */
  errors?: unknown
  /** Own enumerable members, and `code` even where it is not enumerable. */
  own?: Record<string, unknown>
}

/** Errors within errors are followed this far; those deeper arrive without causes and members. */
export const ERROR_DEPTH_MAX = 8

/**
 * Members of an error deeper than this are described instead: often they lead to half the program.
 */
export const MEMBER_DEPTH_MAX = 32

// So much of a thrown object is shown.
const OUTLINE_MAX = 200

const GLOBAL_CLASSES = {
  Error,
  TypeError,
  RangeError,
  SyntaxError,
  ReferenceError,
  EvalError,
  URIError,
}

/** Node's own class, where a test environment has put another in its global place. */
const NodeDOMException = domExceptionOf(() => atob('%'))

function domExceptionOf(fails: () => unknown): typeof DOMException {
  try {
    fails()
  } catch (error) {
    return (error as DOMException).constructor as typeof DOMException
  }
  return DOMException
}

// These have a field of their own.
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

/** What was thrown, in a few words. Never throws. */
export function wordsOf(thrown: unknown): string {
  if (isErrorValue(thrown))
    return `${textOf(thrown, 'name', 'Error')}: ${textOf(thrown, 'message', '')}`
  return typeof thrown === 'string' ? thrown : describe(thrown)
}

/** Fills in the class to rebuild, and the name. */
function encodeClass(error: object, head: ErrorHead): void {
  head.name = textOf(error, 'name', 'Error')
  if (error instanceof LaneError && Object.hasOwn(ERRORS, error.code)) {
    head.class = 'LaneError'
    head.code = error.code
    return
  }
  // A class of the user's arrives as the nearest class that exists everywhere, under its own name.
  let ownClass = ''
  let hasName = Object.hasOwn(error, 'name')
  for (const proto of chainOf(Object.getPrototypeOf(error))) {
    const maker = read(proto, 'constructor')
    const name = typeof maker === 'function' ? maker.name : ''
    // By name, since an error of another realm has other classes of the same names.
    if (name === 'DOMException') {
      head.class = name
      return
    }
    if (name === 'AggregateError' || Object.hasOwn(GLOBAL_CLASSES, name)) {
      head.class = name
      // Otherwise the name that it inherits would be that of the language's class.
      if (!hasName && ownClass !== '') head.name = ownClass
      return
    }
    ownClass ||= name
    hasName ||= Object.hasOwn(proto, 'name')
  }
}

/** Takes an error apart. Never throws; what a trap of a proxy keeps it from reading is left out. */
export function headOf(error: object): ErrorHead {
  const head: ErrorHead = { class: 'Error', name: 'Error', message: '' }
  try {
    encodeClass(error, head)
    head.message = textOf(error, 'message', '')
    const stack = read(error, 'stack')
    if (typeof stack === 'string') head.stack = stack
    const shown = Object.keys(error).filter((key) => FIELDS.has(key))
    if (shown.length > 0) head.shown = shown
  } catch (thrown) {
    head.message ||= `[an error that cannot be read: ${describe(thrown)}]`
  }
  return head
}

/**
 * Reads what an error has besides. Never throws.
 *
 * @returns Undefined if there is nothing.
 */
export function restOf(error: object): ErrorRest | undefined {
  const rest: ErrorRest = {}
  try {
    if (Object.hasOwn(error, 'cause')) rest.cause = read(error, 'cause')
    if (Object.hasOwn(error, 'errors')) rest.errors = fitting(read(error, 'errors'))
    const keys = Object.keys(error).filter((key) => !FIELDS.has(key))
    if (Object.hasOwn(error, 'code') && !keys.includes('code')) keys.push('code')
    for (const key of keys) {
      rest.own ??= {}
      define(rest.own, key, read(error, key), true)
    }
  } catch {
    // A trap of a proxy threw; what was read before it still arrives.
  }
  return Object.keys(rest).length > 0 ? rest : undefined
}

/** The errors of an AggregateError: one that does not fit must not cost the others. */
function fitting(errors: unknown): unknown {
  if (!Array.isArray(errors)) return errors
  return Array.from(errors, (member) => {
    try {
      if (isErrorValue(member) || !survey(member, 'member').hasHost) return member
    } catch {
      // Described below.
    }
    return describeMember(member)
  })
}

/** Describes a member of an error that cannot cross. */
export function describeMember(member: unknown): string {
  return `[${describe(member)} that cannot cross threads]`
}

function define(error: object, key: string, value: unknown, enumerable: boolean): void {
  Object.defineProperty(error, key, { value, enumerable, writable: true, configurable: true })
}

function isShown(head: ErrorHead, key: string): boolean {
  return head.shown?.includes(key) === true
}

/**
 * Makes an error, still without what may lead back to it.
 *
 * @param head - As {@link headOf} made it.
 */
export function startError(head: ErrorHead): Error {
  const limit = Error.stackTraceLimit
  // The stack of this call would be thrown away at once.
  limitStacks(0)
  try {
    const error = construct(head)
    const { name, message, stack } = head
    if (error.name !== name || isShown(head, 'name')) {
      define(error, 'name', name, isShown(head, 'name'))
    }
    if (error.message !== message || isShown(head, 'message')) {
      define(error, 'message', message, isShown(head, 'message'))
    }
    define(error, 'stack', stack ?? `${name}: ${message}`, isShown(head, 'stack'))
    return error
  } finally {
    limitStacks(limit)
  }
}

function construct({ class: known, message, name, code }: ErrorHead): Error {
  if (known === 'DOMException') return new NodeDOMException(message, name)
  if (known === 'AggregateError') return new AggregateError([], message)
  // The details are still to be rebuilt, and follow with the other members.
  if (known === 'LaneError' && code !== undefined && Object.hasOwn(ERRORS, code)) {
    return laneError(code as ErrorCode)
  }
  const Class = GLOBAL_CLASSES[known as keyof typeof GLOBAL_CLASSES]
  return new (Object.hasOwn(GLOBAL_CLASSES, known) ? Class : Error)(message)
}

/**
 * Gives an error what may lead back to it.
 *
 * @param error - From {@link startError}.
 * @param head - The same head.
 * @param rest - What {@link restOf} found, rebuilt.
 */
export function finishError(error: Error, head: ErrorHead, rest: ErrorRest): void {
  for (const key of ['cause', 'errors'] as const) {
    if (Object.hasOwn(rest, key)) define(error, key, rest[key], isShown(head, key))
  }
  for (const [key, member] of Object.entries(rest.own ?? {})) define(error, key, member, true)
}

/**
 * Makes sure that something thrown can cross threads: errors always can, and what cannot is
 * replaced by an Error that describes it and has its own members. Never throws.
 *
 * @returns The same value, or the Error.
 */
export function thrownValue(thrown: unknown): unknown {
  let reason = 'it cannot cross threads'
  try {
    if (!survey(thrown, 'error').hasHost) return thrown
  } catch (refusal) {
    if (isErrorValue(refusal)) reason = textOf(refusal, 'message', reason)
  }
  const error = new Error(`The handler threw ${outline(thrown)}: ${reason}`)
  try {
    if (typeof thrown === 'object' && thrown !== null) {
      for (const [key, member] of Object.entries(restOf(thrown)?.own ?? {})) {
        define(error, key, member, true)
      }
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
