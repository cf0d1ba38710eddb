import * as module from 'node:path'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { LaneError } from '../../../src/base/errors.ts'
import {
  alias,
  anything,
  boolean,
  checkGiven,
  checkOptions,
  integer,
  isObject,
  isRecord,
  isTexts,
  milliseconds,
  nearest,
  oneOf,
  text,
} from '../../../src/base/options.ts'

const RULES = {
  count: integer(3, 1, 10),
  waitMs: milliseconds(undefined, 0, Number.POSITIVE_INFINITY),
  isOn: boolean(false),
  mode: oneOf('fast', ['fast', 'slow']),
  name: text(undefined),
  extra: anything('none', 'an array', Array.isArray),
}

interface Checked {
  count: number
  waitMs: number | undefined
  isOn: boolean
  mode: string
  name: string | undefined
  extra: unknown
}

function check(options: unknown): Readonly<Checked> {
  return checkOptions<Checked>('Thing', options, RULES)
}

function refusal(options: unknown): LaneError {
  try {
    check(options)
  } catch (error) {
    expect(error).toBeInstanceOf(LaneError)
    return error as LaneError
  }
  throw new Error('it was accepted')
}

const DEFAULTS = {
  count: 3,
  waitMs: undefined,
  isOn: false,
  mode: 'fast',
  name: undefined,
  extra: 'none',
}

test('absent options are filled with their defaults', () => {
  for (const nothing of [undefined, {}, Object.create(null), { count: undefined }]) {
    expect({ ...check(nothing) }).toEqual(DEFAULTS)
  }
})

test('given options are kept and the rest is filled in', () => {
  const given = { count: 10, waitMs: 0.5, isOn: true, mode: 'slow', name: 'n', extra: [1] }
  expect({ ...check(given) }).toEqual(given)
  expect({ ...check({ count: 1 }) }).toEqual({ ...DEFAULTS, count: 1 })
})

test('checked options are frozen and inherit nothing', () => {
  const checked = check({})
  expect(Object.isFrozen(checked)).toBe(true)
  expect(Object.getPrototypeOf(checked)).toBeNull()
})

test('the object that was given is not changed', () => {
  const given = Object.freeze({ count: 2 })
  check(given)
  expect(given).toEqual({ count: 2 })
})

test('an unknown option is refused by its name, with the names that are allowed', () => {
  const error = refusal({ cuont: 2 })
  expect(error.code).toBe('CORELANE_INVALID_OPTION')
  expect(error.message).toBe(
    'Thing.cuont is not an option (did you mean "count"?); allowed: count, waitMs, isOn, mode, name, extra',
  )
})

test('an unknown option is refused even if its value is undefined', () => {
  expect(refusal({ cuont: undefined }).message).toContain('Thing.cuont')
})

test('names that every object inherits are no options', () => {
  for (const key of ['constructor', 'toString', 'hasOwnProperty']) {
    expect(refusal({ [key]: 1 }).message).toContain(`Thing.${key} is not an option`)
  }
  expect(refusal(JSON.parse('{"__proto__": 1}')).message).toContain('Thing.__proto__')
})

test('a refusal names the option, the value and what is allowed', () => {
  const error = refusal({ count: 11 })
  expect(error.message).toBe('Thing.count is 11; allowed: an integer from 1 to 10')
  expect(error.details).toEqual({
    option: 'Thing.count',
    received: '11',
    allowed: 'an integer from 1 to 10',
  })
})

test('options that are no object are refused', () => {
  const url = new URL('file:///x')
  const things = [[], new Map(), new Set(), url, new Date(0), Promise.resolve(), Symbol('x'), 5n]
  for (const wrong of [null, 5, 'text', true, () => {}, class {}, ...things]) {
    expect(refusal(wrong).message).toMatch(/^Thing options is .*; allowed: an object$/)
  }
})

test('objects of a class, of another realm, without a prototype and modules are options', () => {
  class Config {
    readonly count = 4
  }
  const bare = Object.assign(Object.create(null), { count: 4 })
  const frozen = Object.freeze({ count: 4 })
  const strange = [runInNewContext('({ count: 4 })'), new Proxy(frozen, {})]
  for (const options of [new Config(), bare, frozen, ...strange]) {
    expect(check(options).count).toBe(4)
  }
  expect(isObject(module)).toBe(true)
})

test('lists of strings and records are what their members are', () => {
  expect([[], ['a'], [1], ['a', null], 'a', { 0: 'a' }].map(isTexts)).toEqual([
    ...[true, true, false, false, false, false],
  ])
  const isSet = (one: unknown) => one !== 0
  expect([{}, { a: 1 }, { a: 1, b: 0 }, [1], null].map((one) => isRecord(one, isSet))).toEqual([
    ...[true, true, false, false, false],
  ])
})

test('a polluted prototype adds no option, not even a wrong one', () => {
  const polluted = Object.prototype as Record<string, unknown>
  polluted.count = 9
  polluted.stray = 1
  try {
    expect(check({}).count).toBe(3)
    expect(check(undefined).count).toBe(3)
    expect(Object.keys(check({}))).toEqual(Object.keys(RULES))
  } finally {
    delete polluted.count
    delete polluted.stray
  }
})

test('members of the prototype of what was given do not count', () => {
  expect(check(Object.create({ count: 9 })).count).toBe(3)
})

test.each([
  ['count', [1, 10], [0, -1, 1.5, 11, '3', Number.NaN, Number.POSITIVE_INFINITY, null, 3n]],
  ['waitMs', [0, 0.25, 1e12, Number.POSITIVE_INFINITY], [-1, Number.NaN, '5', null, 5n]],
  ['isOn', [true, false], [0, 1, 'true', null]],
  ['mode', ['fast', 'slow'], ['', 'Fast', 0, null, ['fast']]],
  ['name', ['n', ' '], ['', 7, null]],
  ['extra', [[], [1]], [{}, 'none', null]],
])('%s takes what it allows and refuses the rest', (option, allowed, refused) => {
  for (const value of allowed) expect(check({ [option]: value })).toHaveProperty(option, value)
  for (const value of refused) {
    expect(refusal({ [option]: value }).message).toContain(`Thing.${option} is `)
  }
})

test('checking without filling in accepts and refuses the same', () => {
  checkGiven('Thing', undefined, RULES)
  checkGiven('Thing', { count: 1 }, RULES)
  expect(() => checkGiven('Thing', { count: 0 }, RULES)).toThrow('Thing.count is 0')
  expect(() => checkGiven('Thing', null, RULES)).toThrow('Thing options is null')
})

test('what is kept is what was checked, hidden members and getters included', () => {
  expect(refusal(Object.defineProperty({}, 'count', { value: -5 })).message).toContain(
    'count is -5',
  )
  let reads = 0
  const changing = {
    get count() {
      return reads++ === 0 ? 1 : -5
    },
  }
  expect(refusal(changing).message).toContain('count is -5')
})

test.each([
  ['cuont', 'count'],
  ['Count', 'count'],
  ['waitMS', 'waitMs'],
  ['threads', 'count'],
  ['names', 'name'],
])('%s is refused with a hint at %s', (given, meant) => {
  const rules = { ...RULES, count: alias(RULES.count, 'threads', 'size') }
  expect(() => checkGiven('Owner', { [given]: 1 }, rules)).toThrow(
    `Owner.${given} is not an option (did you mean "${meant}"?); allowed: count,`,
  )
})

test('a name that is like no other has no hint', () => {
  expect(() => checkGiven('Owner', { zebra: 1 }, RULES)).toThrow('Owner.zebra is not an option;')
  expect(nearest('x'.repeat(10_000), ['x'])).toBeUndefined()
  expect(nearest('retries', ['metrics'])).toBeUndefined()
})
