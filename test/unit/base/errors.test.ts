import { expect, test } from 'vitest'
import {
  AbortError,
  ClosedError,
  ConfigError,
  DeadlineExceededError,
  ERRORS,
  type ErrorCode,
  InvariantError,
  invariant,
  LaneError,
  laneError,
  PartitionLostError,
  QueueFullError,
  SerializationError,
  show,
  TimeoutError,
} from '../../../src/base/errors.ts'

const CODES = Object.keys(ERRORS) as ErrorCode[]
const CLASSES = {
  LaneError,
  ConfigError,
  PartitionLostError,
  ClosedError,
  SerializationError,
  DeadlineExceededError,
  QueueFullError,
  TimeoutError,
  AbortError,
}

test('every code makes an error of the class and name that its row names', () => {
  for (const code of CODES) {
    const error = laneError(code, {})
    const { name, retryable } = ERRORS[code]
    expect(error).toBeInstanceOf(CLASSES[name])
    expect(error).toBeInstanceOf(LaneError)
    expect(error).toBeInstanceOf(Error)
    expect(error.name).toBe(name)
    expect(error.code).toBe(code)
    expect(error.retryable).toBe(retryable)
  }
})

test('every code starts with the prefix of the package', () => {
  for (const code of CODES) expect(code).toMatch(/^CORELANE_[A-Z_]+$/)
})

test('each word of a template is replaced by the detail of that name, and no word is left', () => {
  for (const code of CODES) {
    const words = [...ERRORS[code].template.matchAll(/\{(\w+)\}/g)].map((match) => match[1]!)
    const details = Object.fromEntries(words.map((word) => [word, `<${word}>`]))
    const { message } = laneError(code, details)
    for (const word of words) expect(message).toContain(`<${word}>`)
    expect(message).not.toMatch(/[{}]/)
  }
})

test('details that look like replacement patterns or words are put in as they are', () => {
  const { message } = laneError('CORELANE_UNKNOWN_LANE', {
    received: '$& $1 {allowed}',
    allowed: 'a',
  })
  expect(message).toBe('There is no lane $& $1 {allowed}; lanes: a')
})

test('an error has a cause only if there was one', () => {
  const cause = new Error('why')
  expect(laneError('CORELANE_CLOSED', {}, cause).cause).toBe(cause)
  expect('cause' in laneError('CORELANE_CLOSED')).toBe(false)
})

test('a lost partition tells whether the handler had been entered', () => {
  const lost = (details: Record<string, unknown>) =>
    laneError('CORELANE_PARTITION_LOST', details) as PartitionLostError
  expect(lost({ started: true }).started).toBe(true)
  expect(lost({ started: false }).started).toBe(false)
  expect(lost({}).started).toBe(false)
})

test('the table of errors cannot be changed', () => {
  expect(Object.isFrozen(ERRORS)).toBe(true)
  for (const code of CODES) expect(Object.isFrozen(ERRORS[code])).toBe(true)
})

test('an invariant that holds passes, one that does not throws what must hold', () => {
  invariant(true, 'fine')
  const broken = () => invariant(false, '1 is 2')
  expect(broken).toThrow(InvariantError)
  expect(broken).toThrow('1 is 2')
  // It is a bug, not something to match on.
  expect(new InvariantError('x')).not.toBeInstanceOf(LaneError)
})

test.each([
  ['text', '"text"'],
  ['', '""'],
  ['line\nbreak', '"line\\nbreak"'],
  ['x'.repeat(61), `"${'x'.repeat(60)}…"`],
  [7, '7'],
  [-0, '-0'],
  [Number.NaN, 'NaN'],
  [Number.POSITIVE_INFINITY, 'Infinity'],
  [12n, '12n'],
  [true, 'true'],
  [null, 'null'],
  [undefined, 'undefined'],
  [Symbol('mark'), 'Symbol(mark)'],
  [[1, 2, 3], 'an array of 3'],
  [{ a: 1, b: { c: 2 } }, 'an object { a, b }'],
  [{}, 'an object'],
  [Object.create(null), 'an object'],
  [new Date(0), 'a Date'],
  [new Map(), 'a Map'],
  [function named() {}, 'a function (named)'],
  [(() => () => {})(), 'a function'],
])('%o is shown as %s', (value, shown) => {
  expect(show(value)).toBe(shown)
})

test('showing is safe for any value, and short and on one line', () => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  const tagged = {
    get [Symbol.toStringTag]() {
      throw new Error('no')
    },
  }
  const named = (name: unknown) => Object.defineProperty(() => {}, 'name', { value: name })
  for (const value of [proxy, tagged, named(Symbol('s')), named('x'.repeat(500)), 10n ** 500n]) {
    expect(show(value).length).toBeLessThanOrEqual(80)
  }
  expect(show(Symbol('a\n'.repeat(500)))).toMatch(/^Symbol.{73}…$/)
})
