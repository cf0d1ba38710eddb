// Portable error: errors as plain data between machines, and back.
// Must not: throw, whatever was thrown or came from a broker; rebuild anything but errors and data.

import { ERRORS } from '../../base/errors.ts'
import { describe } from '../../wire/describe.ts'
import {
  ERROR_DEPTH_MAX,
  type ErrorHead,
  type ErrorRest,
  finishError,
  headOf,
  restOf,
  startError,
} from '../../wire/error-codec.ts'
import { isErrorValue } from '../../wire/families.ts'
import type { PortableError } from './envelope.ts'

/** Longest text of an error that travels, in UTF-16 units; what is longer is cut. */
const TEXT_MAX = 16_384

/** Values within the members of an error that travel; what is more is left out. */
const MEMBERS_MAX = 500

const MEMBER_DEPTH_MAX = 8

/** Errors that travel within others, besides causes; what is more is left out. */
const ERRORS_MAX = 32

/** Members with a field of their own. */
const FIELDS = new Set(['name', 'message', 'stack', 'cause', 'code', 'class'])

/** Members that would change how an error behaves if a broker could set them. */
function isReserved(key: string): boolean {
  return FIELDS.has(key) || key in Error.prototype || key === 'then' || key === 'toJSON'
}

function cut(text: string): string {
  return text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text
}

/** Counts down what may still be copied. */
interface Budget {
  left: number
  errors: number
}

function fullBudget(): Budget {
  return { left: MEMBERS_MAX, errors: ERRORS_MAX }
}

/** A copy of plain data; anything else is described. */
function plain(value: unknown, depth: number, budget: Budget): unknown {
  if (typeof value === 'string') return cut(value)
  if (value === null || typeof value === 'boolean') return value
  // JSON has no other numbers, and but one zero.
  if (typeof value === 'number') return Number.isFinite(value) ? value + 0 : `[${value}]`
  if (typeof value !== 'object') return value === undefined ? undefined : `[${describe(value)}]`
  try {
    if (Array.isArray(value)) {
      if (depth >= MEMBER_DEPTH_MAX) return `[${describe(value)}]`
      const items: unknown[] = []
      for (const item of value) {
        if (--budget.left < 0) break
        items.push(plain(item, depth + 1, budget) ?? null)
      }
      return items
    }
    const proto: unknown = Object.getPrototypeOf(value)
    const isPlain = proto === Object.prototype || proto === null
    if (isPlain && depth < MEMBER_DEPTH_MAX) return plainRecord(value, depth, budget)
  } catch {
    // A trap of a proxy.
  }
  return `[${describe(value)}]`
}

function plainRecord(value: object, depth: number, budget: Budget): Record<string, unknown> {
  // Entries: where Object.prototype is frozen, a member such as `constructor` cannot be assigned.
  const copy: [string, unknown][] = []
  for (const key of Object.keys(value)) {
    if (--budget.left < 0) break
    let member: unknown
    try {
      member = plain((value as Record<string, unknown>)[key], depth + 1, budget)
    } catch {
      member = '[a getter that throws]'
    }
    if (member === undefined || key === '__proto__') continue
    copy.push([key, member])
  }
  return Object.fromEntries(copy)
}

function ownOf(rest: ErrorRest, budget: Budget): Record<string, unknown> | undefined {
  const own: Record<string, unknown> = {}
  for (const [key, member] of Object.entries(rest.own ?? {})) {
    if (isReserved(key) && key !== 'code') continue
    if (key === 'code' && typeof member === 'string') continue
    if (--budget.left < 0) break
    const copy = plain(member, 0, budget)
    if (copy !== undefined) own[key] = copy
  }
  // Other classes than AggregateError have texts and objects there.
  if (Object.hasOwn(rest, 'errors') && !holdsErrors(rest.errors)) {
    const copy = plain(rest.errors, 0, budget)
    if (copy !== undefined) own.errors = copy
  }
  return Object.keys(own).length > 0 ? own : undefined
}

function holdsErrors(errors: unknown): errors is unknown[] {
  return Array.isArray(errors) && errors.some(isError)
}

/** Makes something of each error in a list, as far as they travel. */
function each<T>(errors: readonly unknown[], budget: Budget, make: (error: unknown) => T): T[] {
  const made: T[] = []
  for (const error of errors) {
    if (--budget.errors < 0) break
    made.push(make(error))
  }
  return made
}

/**
 * Makes plain data of a thrown value. Never throws.
 *
 * @param thrown - Anything; what is no error arrives as one that describes it, and as its own
 * member `thrown` where it is plain data.
 * @returns Data that JSON can carry.
 */
export function toPortableError(thrown: unknown): PortableError {
  return portable(thrown, 0, fullBudget())
}

function portable(thrown: unknown, depth: number, budget: Budget): PortableError {
  if (!isError(thrown)) {
    const own = { thrown: plain(thrown, 0, budget) ?? null }
    return { name: 'Error', message: `The handler threw ${describe(thrown)}`, own }
  }
  const head = headOf(thrown)
  const rest: ErrorRest = depth < ERROR_DEPTH_MAX ? (restOf(thrown) ?? {}) : {}
  const code = rest.own?.code
  const own = ownOf(rest, budget)
  return {
    name: cut(head.name),
    message: cut(head.message),
    ...(head.class === head.name ? {} : { class: head.class }),
    ...(head.stack === undefined ? {} : { stack: cut(head.stack) }),
    ...(typeof code === 'string' ? { code: cut(code) } : {}),
    ...(own === undefined ? {} : { own }),
    ...(Object.hasOwn(rest, 'cause') ? { cause: portable(rest.cause, depth + 1, budget) } : {}),
    ...(holdsErrors(rest.errors)
      ? { errors: each(rest.errors, budget, (one) => portable(one, depth + 1, budget)) }
      : {}),
  }
}

function isError(value: unknown): value is Error {
  try {
    return isErrorValue(value)
  } catch {
    return false
  }
}

/**
 * Checks and copies a failure in portable form. Never throws.
 *
 * @param record - From {@link toPortableError} of some machine, or from a broker that lies.
 * @returns Members of the right types alone, as many and as long as may travel.
 */
export function checkPortableError(record: unknown): PortableError {
  return checked(record, 0, fullBudget())
}

function checked(given: unknown, depth: number, budget: Budget): PortableError {
  if (typeof given !== 'object' || given === null) {
    return { name: 'Error', message: `A failure arrived that cannot be read: ${describe(given)}` }
  }
  const error: { -readonly [K in keyof PortableError]: PortableError[K] } = {
    name: textIn(given, 'name') ?? 'Error',
    message: textIn(given, 'message') ?? '',
  }
  for (const member of ['class', 'stack', 'code'] as const) {
    const text = textIn(given, member)
    if (text !== undefined) error[member] = text
  }
  const own = plain(memberIn(given, 'own'), 0, budget)
  if (typeof own === 'object' && own !== null && !Array.isArray(own)) {
    // A member that must be text may be a number by now, as Node makes some.
    const fits = (key: string): boolean =>
      !isReserved(key) || (key === 'code' && error.code === undefined)
    error.own = Object.fromEntries(Object.entries(own).filter(([key]) => fits(key)))
  }
  if (depth === ERROR_DEPTH_MAX) return error
  const cause = memberIn(given, 'cause')
  if (cause !== undefined) error.cause = checked(cause, depth + 1, budget)
  const errors = listIn(given, 'errors')
  if (errors !== undefined) {
    error.errors = each(errors, budget, (one) => checked(one, depth + 1, budget))
  }
  return error
}

/**
 * Rebuilds an error. Never throws, and nothing in the record can do more than fill members.
 *
 * @param record - As for {@link checkPortableError}.
 * @returns An error of the same class where that exists everywhere, with name, message, stack,
 * code, cause, errors and own members.
 */
export function fromPortableError(record: unknown): Error {
  return rebuild(checkPortableError(record))
}

function rebuild(failure: PortableError): Error {
  const { name, message, stack, code, cause, errors } = failure
  const isOurs = code !== undefined && Object.hasOwn(ERRORS, code)
  const head: ErrorHead = {
    class: isOurs ? 'LaneError' : (failure.class ?? name),
    name,
    message,
    ...(stack === undefined ? {} : { stack }),
    ...(code === undefined ? {} : { code }),
  }
  const rest: ErrorRest = { own: { ...(code === undefined ? {} : { code }), ...failure.own } }
  if (cause !== undefined) rest.cause = rebuild(cause)
  if (errors !== undefined) rest.errors = errors.map(rebuild)
  try {
    const error = startError(head)
    finishError(error, head, rest)
    return error
  } catch (unreadable) {
    return new Error(message, { cause: unreadable })
  }
}

function memberIn(given: object, key: string): unknown {
  try {
    return Object.hasOwn(given, key) ? (given as Record<string, unknown>)[key] : undefined
  } catch {
    return undefined
  }
}

function listIn(given: object, key: string): unknown[] | undefined {
  try {
    const value = memberIn(given, key)
    return Array.isArray(value) ? [...value] : undefined
  } catch {
    return undefined
  }
}

function textIn(given: object, key: string): string | undefined {
  const value = memberIn(given, key)
  return typeof value === 'string' ? cut(value) : undefined
}
