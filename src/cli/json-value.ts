// JSON value: how results and errors read in a line of output.
// docs/cli.md has the same table of conversions; keep the two alike.

import { types } from 'node:util'
import { show } from '../base/errors.ts'

/** Causes within causes, and errors within errors, are shown this far. */
const ERROR_DEPTH_MAX = 8

/** So many errors within errors are shown, besides causes: they may lead back to themselves. */
const ERRORS_MAX = 1000

/** An error as it is printed. */
export interface PrintedError {
  name: string
  message: string
  code?: string | number
  stack?: string
  cause?: PrintedError
  errors?: PrintedError[]
  /** What was thrown, where it was no error. */
  value?: unknown
}

/**
 * Writes a value as JSON on one line. A value that JSON has no word for becomes the nearest that it
 * has: see the table in docs/cli.md.
 *
 * @param value - Anything that a handler can return.
 * @throws TypeError if the value holds itself, RangeError if the text would be too long.
 */
export function toJson(value: unknown): string {
  if (typeof value === 'string' || typeof value === 'number') return JSON.stringify(value)
  return JSON.stringify(value, replace) ?? 'null'
}

/** A replacer is called with the holder as `this`; the value has been through `toJSON` already. */
function replace(this: unknown, key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return String(value)
  if (typeof value !== 'object' || value === null) return value
  const raw = (this as Record<string, unknown>)[key]
  // Buffer has a toJSON that spells out every byte.
  if (types.isAnyArrayBuffer(raw)) return Buffer.from(raw).toString('base64')
  if (ArrayBuffer.isView(raw)) return viewValue(raw)
  if (value instanceof Map) return [...value]
  if (value instanceof Set) return [...value]
  if (types.isNativeError(value)) return printError(value, false)
  if (types.isRegExp(value)) return String(value)
  if (types.isBigIntObject(value)) return String(value)
  return value
}

function viewValue(view: ArrayBufferView): unknown {
  if (view instanceof Uint8Array || view instanceof DataView) {
    return Buffer.from(view.buffer, view.byteOffset, view.byteLength).toString('base64')
  }
  return Array.from(view as unknown as ArrayLike<number | bigint>)
}

/** Prepares something thrown for printing. */
export function printError(thrown: unknown, withStack: boolean): PrintedError {
  return printAt(thrown, withStack, 0, { left: ERRORS_MAX })
}

function printAt(
  thrown: unknown,
  withStack: boolean,
  depth: number,
  budget: { left: number },
): PrintedError {
  if (!types.isNativeError(thrown) && !(thrown instanceof Error)) {
    const message = `${show(thrown)} was thrown, which is no error`
    return { name: 'Error', message, value: thrown ?? null }
  }
  const { name, message, stack, cause } = thrown
  const { code, errors } = thrown as { code?: unknown; errors?: unknown }
  const printed: PrintedError = { name: String(name), message: String(message) }
  if (typeof code === 'string' || typeof code === 'number') printed.code = code
  if (withStack && typeof stack === 'string') printed.stack = stack
  if (depth >= ERROR_DEPTH_MAX) return printed
  if (cause !== undefined) printed.cause = printAt(cause, withStack, depth + 1, budget)
  if (Array.isArray(errors)) {
    const some = errors.slice(0, budget.left)
    budget.left -= some.length
    printed.errors = some.map((error) => printAt(error, withStack, depth + 1, budget))
  }
  return printed
}

/**
 * Tells a person of a failure: its message and those of its causes, each on a line.
 *
 * @param withStack - Whether to tell where each was thrown instead.
 */
export function failureText(thrown: unknown, withStack: boolean): string {
  const lines: string[] = []
  const tell = (error: PrintedError, word: string) => {
    const text = error.stack ?? error.message
    // The message of an effect often quotes that of its cause.
    if (!lines.some((line) => line.includes(text))) lines.push(`${word}${text}`)
    if (error.cause !== undefined) tell(error.cause, '  cause: ')
    for (const member of error.errors ?? []) tell(member, '  error: ')
  }
  tell(printError(thrown, withStack), '')
  return lines.join('\n')
}
