// Portable errors. Goal: whatever is thrown becomes data that JSON carries, and comes back as an
// error that says the same; whatever a broker gives becomes an error and nothing more.

import fc from 'fast-check'
import { expect } from 'vitest'
import {
  fromPortableError,
  toPortableError,
} from '../../src/distributed/contract/portable-error.ts'
import { lawOf } from '../support/law.ts'

const law = lawOf(100)

const CLASSES = [Error, TypeError, RangeError, SyntaxError, EvalError, URIError, ReferenceError]

const plain = fc.jsonValue({ depthSize: 'small' }).filter((value) => !holdsReserved(value))

/** JSON's own parser makes such members; none of ours arrives. */
function holdsReserved(value: unknown): boolean {
  return JSON.stringify(value).includes('__proto__')
}

const errors: fc.Arbitrary<Error> = fc.letrec<{ error: Error }>((tie) => ({
  error: fc
    .record({
      maker: fc.constantFrom(...CLASSES),
      message: fc.string({ unit: 'binary' }),
      name: fc.option(fc.string({ minLength: 1 }), { nil: undefined }),
      code: fc.option(fc.string(), { nil: undefined }),
      detail: fc.option(plain, { nil: undefined }),
      cause: fc.option(tie('error'), { nil: undefined, maxDepth: 4 }),
    })
    .map(({ maker, message, name, code, detail, cause }) => {
      const error = new maker(message, cause === undefined ? undefined : { cause })
      if (name !== undefined) error.name = name
      return Object.assign(error, code === undefined ? {} : { code }, detail && { detail })
    }),
})).error

function throughJson(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value))
}

law('errors come back with class, message, stack, code, cause and members', [errors], (error) => {
  let [sent, arrived]: [unknown, unknown] = [
    error,
    fromPortableError(throughJson(toPortableError(error))),
  ]
  while (sent instanceof Error) {
    const got = arrived as Error & { code?: unknown; detail?: unknown }
    expect(got).toBeInstanceOf(sent.constructor as typeof Error)
    expect([got.name, got.message, got.stack]).toEqual([sent.name, sent.message, sent.stack])
    expect(got.code).toEqual((sent as { code?: unknown }).code)
    expect(got.detail).toEqual(throughJson({ it: (sent as typeof got).detail })!['it' as never])
    expect(Object.hasOwn(got, 'cause')).toBe(Object.hasOwn(sent, 'cause'))
    ;[sent, arrived] = [sent.cause, got.cause]
  }
})

const anything = fc.anything({ withBigInt: true, withMap: true, withTypedArray: true })
const thrown = fc.oneof(anything, errors)

law('whatever is thrown becomes data that JSON carries', [thrown, anything], (thrown, member) => {
  for (const value of [thrown, Object.assign(new Error('with'), { member })]) {
    const record = toPortableError(value)
    expect(throughJson(record)).toEqual(record)
    expect(fromPortableError(record)).toBeInstanceOf(Error)
  }
})

const MEMBERS = ['name', 'message', 'stack', 'code', 'class', 'own', 'cause', 'errors']
const hostile = fc.dictionary(
  fc.constantFrom(...MEMBERS, '__proto__'),
  fc.oneof(
    fc.anything(),
    fc.constantFrom('LaneError', 'DOMException', 'AggregateError', 'constructor', 'toString'),
    fc.constantFrom('CORELANE_TIMEOUT', 'CORELANE_NONE'),
    fc.dictionary(
      fc.constantFrom('__proto__', 'constructor', 'toString', 'then', 'toJSON', 'details'),
      fc.anything(),
    ),
  ),
)
const records = fc.oneof(hostile, fc.anything())
const before = Object.getOwnPropertyNames(Object.prototype)

law('whatever a broker gives becomes an error and changes nothing else', [records], (record) => {
  const error = fromPortableError(record)
  expect(error).toBeInstanceOf(Error)
  expect(Object.getPrototypeOf(error).constructor.prototype).toBe(Object.getPrototypeOf(error))
  for (const key of ['__proto__', 'constructor', 'toString', 'then', 'toJSON']) {
    expect(Object.hasOwn(error, key)).toBe(false)
  }
  expect(typeof String(error)).toBe('string')
  expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(before)
})
