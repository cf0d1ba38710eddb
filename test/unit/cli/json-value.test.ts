// JSON value: each row of the table in docs/cli.md.

import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { failureText, printError, toJson } from '../../../src/cli/json-value.ts'

const view = new Uint8Array([0, 1, 2, 3]).subarray(1, 3)

test.each<[string, unknown, unknown]>([
  ['undefined', undefined, null],
  ['null', null, null],
  ['a boolean', true, true],
  ['a string', '"ü\n', '"ü\n'],
  ['a number', 1.5, 1.5],
  ['NaN', Number.NaN, null],
  ['Infinity', Number.POSITIVE_INFINITY, null],
  ['a bigint', 12345678901234567890n, '12345678901234567890'],
  ['an object with undefined', { a: undefined, b: 1 }, { b: 1 }],
  ['an array with undefined and a hole', Object.assign(Array(3), [undefined]), [null, null, null]],
  ['a Buffer', Buffer.from('abc'), 'YWJj'],
  ['bytes in view', view, 'AQI='],
  ['an ArrayBuffer', new ArrayBuffer(2), 'AAA='],
  ['a DataView', new DataView(view.buffer, 1, 1), 'AQ=='],
  ['numbers', new Float32Array([1.5, Number.NaN]), [1.5, null]],
  ['big numbers', new BigInt64Array([5n]), ['5']],
  [
    'a Map',
    new Map<unknown, unknown>([
      ['a', 1],
      [{ k: 1 }, new Set([2n])],
    ]),
    [
      ['a', 1],
      [{ k: 1 }, ['2']],
    ],
  ],
  ['a Set', new Set(['a', undefined]), ['a', null]],
  ['a Date', new Date(0), '1970-01-01T00:00:00.000Z'],
  ['an invalid Date', new Date(Number.NaN), null],
  ['a RegExp', /a\/b/gi, '/a\\/b/gi'],
  ['an Error', new TypeError('no', { cause: 'x' }), expect.objectContaining({ name: 'TypeError' })],
  ['boxed primitives', [Object(1), Object('a'), Object(2n)], [1, 'a', '2']],
  ['an object without a prototype', Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
])('%s is written as documented', (_what, value, expected) => {
  expect(JSON.parse(toJson(value))).toEqual(expected)
  expect(JSON.parse(toJson({ deep: [value] })).deep[0]).toEqual(expected)
  expect(toJson(value)).not.toContain('\n')
})

test('a value that contains itself throws, also through a Map', () => {
  const circle: unknown[] = []
  circle.push(circle)
  expect(() => toJson(circle)).toThrow(TypeError)
  const map = new Map()
  map.set('self', map)
  expect(() => toJson(map)).toThrow(RangeError)
})

test('an error shows its code, causes and errors, and its stack only where asked', () => {
  const cause = Object.assign(new Error('inner'), { code: 5 })
  const error = Object.assign(new RangeError('outer', { cause }), { code: 'E_X', other: 1 })
  expect(printError(error, false)).toEqual({
    name: 'RangeError',
    message: 'outer',
    code: 'E_X',
    cause: { name: 'Error', message: 'inner', code: 5 },
  })
  expect(printError(error, true).stack).toContain('json-value.test.ts')
  const both = new AggregateError([new Error('a'), 'b'], 'both')
  expect(printError(both, false).errors?.map(({ message }) => message)).toEqual([
    'a',
    '"b" was thrown, which is no error',
  ])
})

test('causes in a circle end', () => {
  const error = new Error('round')
  error.cause = error
  let depth = 0
  for (let at = printError(error, false); at.cause !== undefined; at = at.cause) depth++
  expect(depth).toBe(8)
})

test('errors that lead back to themselves end', () => {
  const all = new AggregateError([], 'all')
  for (let i = 0; i < 50; i++) all.errors.push(new Error(`${i}`, { cause: all }))
  expect(JSON.stringify(printError(all, false)).match(/"message"/g)!.length).toBeLessThan(10_000)
})

test('an error of another realm is an error', () => {
  const error = runInNewContext('new TypeError("elsewhere")')
  expect(printError(error, false)).toEqual({ name: 'TypeError', message: 'elsewhere' })
})

test('what is thrown and no error is shown as a value', () => {
  expect(printError(undefined, false)).toEqual({
    name: 'Error',
    message: 'undefined was thrown, which is no error',
    value: null,
  })
  expect(printError({ a: 1 }, false).value).toEqual({ a: 1 })
})

test('a failure is told in lines without repeating what was quoted', () => {
  const cause = new Error('no such file', { cause: new Error('disk') })
  const error = new Error('cannot load: no such file', { cause })
  expect(failureText(error, false)).toBe('cannot load: no such file\n  cause: disk')
  expect(failureText(new AggregateError([new Error('a')], 'some'), false)).toBe('some\n  error: a')
})
