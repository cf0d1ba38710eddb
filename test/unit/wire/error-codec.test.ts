// Goal: whatever a handler throws arrives as something, and as near to what it was as can be.

import { expect, test } from 'vitest'
import { thrownValue } from '../../../src/wire/error-codec.ts'
import { PayloadEncoder } from '../../../src/wire/ring-payload.ts'
import { findDifference } from '../../support/difference.ts'
import { travel, travelAside } from './support/travel.ts'

function arrives(thrown: unknown): unknown {
  travelAside(thrownValue(thrown))
  return travel(thrownValue(thrown))
}

test('values of any kind can be thrown', () => {
  for (const thrown of ['text', 7, undefined, null, { status: 400 }, [1], -0, 5n]) {
    expect(findDifference(thrown, arrives(thrown))).toBeUndefined()
  }
})

test('a thrown value that cannot cross arrives as an error that describes it', () => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  const poisoned = new Proxy(new Error('x'), {
    get() {
      throw new Error('no')
    },
    getPrototypeOf() {
      throw new Error('no')
    },
  })
  for (const thrown of [() => 1, Symbol('s'), { f: () => 1 }, Promise.resolve(), proxy, poisoned]) {
    const error = arrives(thrown) as Error
    expect(error).toBeInstanceOf(Error)
    expect(error.message).toMatch(/^The handler threw /)
  }
})

test('what describes a thrown object shows it and has its members', () => {
  const response = { status: 503, json: async () => ({}), headers: { retry: 'after' } }
  expect(arrives(response)).toMatchObject({
    message: expect.stringMatching(/^The handler threw \{ status: 503, json: \[AsyncFunction/),
    status: 503,
    json: '[a function (json) that cannot cross threads]',
    headers: { retry: 'after' },
  })
  const error = arrives({ message: 'own', code: 'E_OWN', f() {} }) as Error & { code: string }
  expect(error.message).toMatch(/message: 'own'.*error\.f is a function/)
  expect(error.code).toBe('E_OWN')
  const long = arrives({ text: 'x'.repeat(1000), f() {} }) as Error
  expect(long.message.length).toBeLessThan(400)
})

test('an error of a class that sets no name arrives under the name of its class', () => {
  class Plain extends RangeError {}
  class Further extends Plain {}
  class Named extends Error {
    override name = 'Chosen'
  }
  class FromNamed extends Named {}
  class Shared extends Error {}
  Shared.prototype.name = 'FromPrototype'
  class FromShared extends Shared {}
  const names = [Plain, Further, class extends Plain {}, Named, FromNamed, Shared, FromShared]
  expect(names.map((Class) => (arrives(new Class('x')) as Error).name)).toEqual([
    'Plain',
    'Further',
    'Plain',
    'Chosen',
    'Chosen',
    'FromPrototype',
    'FromPrototype',
  ])
  expect(arrives(new Further('x'))).toBeInstanceOf(RangeError)
  expect(arrives(new Further('x'))).toMatchObject({
    stack: expect.stringMatching(/^RangeError: x/),
  })
})

test('an error whose members throw when read still arrives', () => {
  const error = new TypeError('seen')
  // The stack first: V8 reads the name and the message when it is redefined.
  for (const key of ['stack', 'message', 'name', 'cause', 'code', 'extra']) {
    Object.defineProperty(error, key, {
      enumerable: true,
      get() {
        throw new Error('no')
      },
    })
  }
  const arrived = arrives(error) as TypeError & { extra: string }
  expect(arrived).toBeInstanceOf(TypeError)
  expect(arrived.message).toMatch(/the getter of message threw/)
  expect(arrived.extra).toMatch(/the getter of extra threw/)
})

test('an error with members of odd types still arrives', () => {
  const error = Object.assign(new Error('x'), {
    message: { not: 'text' },
    name: Symbol('n'),
    stack: 7,
    errors: [1, () => 2, new Error('inner')],
  })
  const arrived = arrives(error) as unknown as { errors: unknown[]; message: string }
  expect(arrived).toBeInstanceOf(Error)
  expect(arrived.message).toBe('an object { not }')
  expect(arrived.errors[0]).toBe(1)
  expect(arrived.errors[1]).toMatch(/cannot cross threads/)
  expect(arrived.errors[2]).toBeInstanceOf(Error)
})

test('an error made without new Error is an error all the same', () => {
  function OldStyle(this: { message: string }): void {
    this.message = 'old'
  }
  OldStyle.prototype = Object.create(Error.prototype, { name: { value: 'OldStyle' } })
  const arrived = arrives(Reflect.construct(OldStyle, [])) as Error
  expect(arrived).toBeInstanceOf(Error)
  expect(arrived).toMatchObject({ name: 'OldStyle', message: 'old' })
})

test('errors share causes and form cycles as they did', () => {
  const root = new Error('root')
  const first = new Error('first', { cause: root })
  const second = Object.assign(new Error('second', { cause: root }), { first })
  root.cause = { back: second }
  const sent = new AggregateError([first, second, first], 'all')
  expect(findDifference(sent, arrives(sent))).toBeUndefined()
  expect(findDifference({ sent, first }, arrives({ sent, first }))).toBeUndefined()
})

test('a user value that looks like the mark of an error is left as it is', () => {
  const mark = '\u0000corelane'
  for (const fake of [
    { [mark]: [0, { class: 'Error', name: 'x', message: 'y' }] },
    { [mark]: null },
    { [mark]: [1, { [mark]: [2, 5] }] },
  ]) {
    for (const sent of [
      fake,
      { fake, error: new Error('real') },
      [new Error('real'), fake, fake],
    ]) {
      expect(findDifference(sent, arrives(sent))).toBeUndefined()
      expect(findDifference(sent, travelAside(sent))).toBeUndefined()
    }
  }
})

test('an error at the deepest place allowed, with causes, is decoded without a stack overflow', () => {
  let value: unknown = new Error('8')
  for (let i = 0; i < 8; i++) {
    let member: unknown = value
    for (let level = 0; level < 30; level++) member = { member }
    value = Object.assign(new Error(String(i)), { member })
  }
  for (let level = 0; level < 999; level++) value = [value]
  expect(findDifference(value, arrives(value))).toBeUndefined()
})

test('a member whose every trap throws costs neither the error nor its other members', () => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  const arrived = arrives(Object.assign(new Error('x', { cause: proxy }), { a: proxy, b: 2 }))
  expect(arrived).toMatchObject({
    message: 'x',
    cause: '[a Proxy that cannot cross threads]',
    a: '[a Proxy that cannot cross threads]',
    b: 2,
  })
})

test('an error that refers to half the program arrives without that half', () => {
  const request = { socket: { write: () => 1 }, self: {} }
  request.self = request
  const arrived = arrives(Object.assign(new Error('http'), { request, status: 500 }))
  expect(arrived).toMatchObject({
    message: 'http',
    status: 500,
    request: '[an object { socket, self } that cannot cross threads]',
  })
})

test('rebuilding an error leaves the stack trace limit as it was', () => {
  const before = Error.stackTraceLimit
  arrives(new Error('x'))
  expect(Error.stackTraceLimit).toBe(before)
})

test('errors inside of a payload are encoded within the ring', () => {
  const encoder = new PayloadEncoder('payload', 60_000)
  expect(encoder.prepare([new Error('x')])).toBeGreaterThan(0)
})
