// Portable errors: what the property cannot make: cycles, getters, proxies, depth and length.

import { expect, test } from 'vitest'
import { laneError, TimeoutError } from '../../../src/base/errors.ts'
import {
  fromPortableError,
  toPortableError,
} from '../../../src/distributed/contract/portable-error.ts'
import { range } from '../../support/range.ts'

function travelled(thrown: unknown): Error & Record<string, unknown> {
  return fromPortableError(JSON.parse(JSON.stringify(toPortableError(thrown)))) as never
}

test('errors of corelane keep their class, code and details', () => {
  const details = { type: 't', lane: 'l', timeoutMs: 5 }
  const error = travelled(laneError('CORELANE_TIMEOUT', details))
  expect(error).toBeInstanceOf(TimeoutError)
  expect(error).toMatchObject({ code: 'CORELANE_TIMEOUT', retryable: true, details })
})

test('classes of users arrive as the nearest that exists everywhere', () => {
  class PaymentError extends TypeError {
    override name = 'PaymentError'
    readonly amount = 5
  }
  const error = travelled(new PaymentError('declined'))
  expect(error).toBeInstanceOf(TypeError)
  expect(error).toMatchObject({ name: 'PaymentError', message: 'declined', amount: 5 })
})

test('a code that is a number stays one', () => {
  expect(travelled(Object.assign(new Error('x'), { code: 11000 })).code).toBe(11000)
})

test('errors within an error arrive, 32 of them, and lists that are none of errors as they are', () => {
  const inner = new RangeError('inner', { cause: new TypeError('below') })
  const error = travelled(
    new AggregateError([inner, 'text'], 'all failed'),
  ) as unknown as AggregateError
  expect(error).toBeInstanceOf(AggregateError)
  expect(Object.keys(error)).not.toContain('errors')
  const [first, second] = error.errors
  expect(first).toBeInstanceOf(RangeError)
  expect(first).toMatchObject({ message: 'inner', cause: new TypeError('below') })
  expect(second).toMatchObject({ thrown: 'text' })
  const many = range(20).map(() => new AggregateError([new Error('x'), new Error('y')]))
  const { errors } = travelled(new AggregateError(many)) as unknown as AggregateError
  expect(errors.length + errors.flatMap((one) => one.errors).length).toBe(32)
  const invalid = Object.assign(new Error('invalid'), { errors: ['name is missing', { at: 5 }] })
  expect(travelled(invalid).errors).toEqual(['name is missing', { at: 5 }])
})

test('errors that lead back to themselves end', () => {
  const error = new AggregateError([])
  error.errors.push(error, error, Object.assign(new Error('other'), { cause: error }))
  expect(JSON.stringify(toPortableError(error)).length).toBeLessThan(1_000_000)
})

test('what is no error is described, and kept where it is plain', () => {
  expect(travelled('text')).toMatchObject({ message: 'The handler threw "text"', thrown: 'text' })
  expect(travelled(undefined)).toMatchObject({ thrown: null })
  expect(travelled({ status: 404 })).toMatchObject({ thrown: { status: 404 } })
})

test('cycles, getters and proxies end', () => {
  const cyclic: Error & { self?: unknown } = new Error('cyclic')
  cyclic.cause = cyclic
  cyclic.self = cyclic
  let depth = 0
  for (let error: unknown = travelled(cyclic); error instanceof Error; error = error.cause) depth++
  expect(depth).toBeLessThanOrEqual(10)
  const nasty = new Error('nasty')
  Object.defineProperty(nasty, 'trap', {
    enumerable: true,
    get() {
      throw new Error('a getter')
    },
  })
  const list: unknown[] = []
  list.push(list)
  Object.assign(nasty, { list, proxy: new Proxy({}, { ownKeys: () => [1 as never] }) })
  expect(travelled(nasty).message).toBe('nasty')
})

test('what is long is cut, and what is much is left out', () => {
  const many = Object.fromEntries(range(10_000).map((i) => [`member ${i}`, i]))
  const error = Object.assign(new Error('x'.repeat(1_000_000)), many)
  const record = toPortableError(error)
  expect(JSON.stringify(record).length).toBeLessThan(100_000)
  expect(travelled(error).message.startsWith('xxx')).toBe(true)
})

test('a record with getters and traps is read as far as it can be', () => {
  const trap = new Proxy(
    { name: 'Error' },
    {
      getOwnPropertyDescriptor() {
        throw new Error('trapped')
      },
    },
  )
  expect(fromPortableError(trap)).toBeInstanceOf(Error)
  const getter = {
    get message(): string {
      throw new Error('a getter')
    },
  }
  expect(fromPortableError(getter).message).toBe('')
})
