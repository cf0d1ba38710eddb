// Goal: nothing that comes from a broker or a user means anything before it was checked. Method:
// each member in turn is what it may not be; what is left over, inherited or polluted does not
// come through.

import { expect, test } from 'vitest'
import {
  type CommandEnvelope,
  checkEnvelope,
  checkName,
  ENVELOPE_VERSION,
} from '../../../src/distributed/contract/envelope.ts'

const FULL: CommandEnvelope = {
  id: 'order-17',
  commandType: 'total',
  laneId: 'orders',
  partitionId: 3,
  payload: { items: [1, 2] },
  retryCount: 2,
  createdAt: 1_700_000_000_000.5,
  key: 'customer 5 / ä',
  group: 'tenant "7" / ü',
  priority: 0,
  deadline: 1_700_000_060_000,
  submitter: 'web_1',
  options: {
    timeoutMs: 100,
    retry: { retries: 2 },
    trace: { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`, tracestate: 'k=v' },
  },
  version: ENVELOPE_VERSION,
}

const INVALID = expect.objectContaining({ code: 'CORELANE_INVALID_ENVELOPE' })
const LEAST = { id: 'a', commandType: 't', laneId: 'l', partitionId: 0, createdAt: 0 }

test('a full envelope comes through as it is, frozen, with the payload untouched', () => {
  const checked = checkEnvelope(FULL, 4)
  expect(checked).toEqual(FULL)
  expect(Object.isFrozen(checked)).toBe(true)
  expect(checked.payload).toBe(FULL.payload)
})

test('the least envelope has defaults', () => {
  expect(checkEnvelope(LEAST, 1)).toEqual({ ...LEAST, retryCount: 0, version: ENVELOPE_VERSION })
})

const NO_NAMES = [undefined, '', 'x'.repeat(129), 'a:b', '{a}', 'a\n', '\0', 'é', 5, ['a']]
const NO_TIMES = [Number.NaN, Number.POSITIVE_INFINITY, -1, '2026-01-01', 5n]

test.each<[string, string, unknown[]]>([
  ['id', '1 to 128', [...NO_NAMES, { toString: () => 'a' }]],
  ['commandType', '1 to 128', ['file:///etc/passwd', null]],
  ['laneId', '1 to 128', ['../a', Symbol('lane')]],
  ['submitter', '1 to 128', ['*', null]],
  ['partitionId', '0 to 3', [-1, 4, 1.5, '1', Number.NaN, undefined]],
  ['retryCount', 'an integer from 0', [-1, 0.5, 2 ** 31]],
  ['createdAt', 'a number from 0', [undefined, ...NO_TIMES]],
  ['key', '1 to 1024', ['', 'k'.repeat(1025), 7, null]],
  ['priority', '0 to 255', [256, -1, 1.5, '5']],
  ['deadline', 'a number from 0', NO_TIMES],
  ['version', '1 to 1', [0, '1', 1.5]],
  ['version', 'a newer corelane wrote it', [2]],
])('%s may be nothing but %s', (member, allowed, refused) => {
  for (const value of refused) {
    const check = () => checkEnvelope({ ...FULL, [member]: value }, 4)
    expect(check).toThrow(`In an envelope ${member} is`)
    expect(check).toThrow(allowed)
    expect(check).toThrow(INVALID)
  }
})

test.each([[null], [undefined], ['text'], [7], [[]], [() => {}]])('%o is no envelope', (value) => {
  expect(() => checkEnvelope(value, 4)).toThrow(INVALID)
})

test.each([
  ['id', 'x'.repeat(128)],
  ['id', 'A-Z.a_z-0'],
  ['key', 'k'.repeat(1024)],
  ['priority', 255],
  ['retryCount', 2 ** 31 - 1],
  ['payload', undefined],
  ['payload', null],
])('%s may be %o', (member, value) => {
  expect(checkEnvelope({ ...FULL, [member]: value }, 4)).toMatchObject({ [member]: value })
})

test('members that no envelope has are dropped', () => {
  const symbol = Symbol('own')
  const checked = checkEnvelope({ ...FULL, module: './evil.js', [symbol]: 1, toJSON: () => 1 }, 4)
  expect(Reflect.ownKeys(checked).toSorted()).toEqual(Object.keys(FULL).toSorted())
})

test('inherited members do not count, and a polluted prototype adds nothing', () => {
  expect(() => checkEnvelope(Object.create(FULL), 4)).toThrow('id is undefined')
  const polluted: Record<string, unknown> = Object.prototype as never
  polluted.submitter = 'thief'
  polluted.key = 'stolen'
  try {
    const checked = checkEnvelope({ ...LEAST }, 4)
    expect(Object.hasOwn(checked, 'submitter') && checked.submitter).toBe(undefined)
    expect(Object.hasOwn(checked, 'key') && checked.key).toBe(undefined)
  } finally {
    delete polluted.submitter
    delete polluted.key
  }
})

test('a __proto__ member changes no prototype', () => {
  const hostile = JSON.parse(
    '{"__proto__":{"priority":0},"id":"a","commandType":"t","laneId":"l","partitionId":0,"createdAt":1}',
  )
  const checked = checkEnvelope(hostile, 4)
  expect(Object.getPrototypeOf(checked)).toBe(Object.prototype)
  expect(checked.priority).toBe(undefined)
  expect(({} as CommandEnvelope).priority).toBe(undefined)
})

test('a getter cannot answer otherwise the second time', () => {
  let asked = 0
  const sly = { ...LEAST }
  Object.defineProperty(sly, 'id', {
    enumerable: true,
    get: () => (asked++ === 0 ? 'good' : '../evil'),
  })
  const checked = checkEnvelope(sly, 4)
  expect(checked.id).toBe('good')
})

const NO_TRACES = ['text', null, 7, { a: 1 }, { a: 'ä' }, { 'a\n': 'b' }, { a: 'x'.repeat(2048) }]

test.each(NO_TRACES)('%o is no trace', (trace: unknown) => {
  const check = () => checkEnvelope({ ...LEAST, options: { trace } }, 4)
  expect(check).toThrow('In an envelope options.trace is')
  expect(check).toThrow(INVALID)
})

test('a trace is copied, and one that is inherited is none', () => {
  const trace = { traceparent: 'a' }
  const { options } = checkEnvelope({ ...LEAST, options: { trace } }, 4)
  trace.traceparent = 'b'
  expect(options?.trace).toEqual({ traceparent: 'a' })
  expect(checkEnvelope({ ...LEAST, options: Object.create({ trace }) }, 4).options).toEqual({})
})

test('options that this version does not know are dropped, as older ones drop a trace', () => {
  const options = { timeoutMs: 5, later: { a: 'b' } }
  expect(checkEnvelope({ ...LEAST, options }, 4).options).toEqual({ timeoutMs: 5 })
})

test('keys are refused where the strategy takes none', () => {
  expect(() => checkEnvelope(FULL, 4, false)).toThrow('"hash" or "single"')
  expect(checkEnvelope(LEAST, 4, false).key).toBe(undefined)
})

test('more partitions than there can be are not believed', () => {
  expect(() => checkEnvelope({ ...FULL, partitionId: 256 }, 1000)).toThrow('0 to 255')
})

test('a name is checked with the word that it is for', () => {
  expect(() => checkName('workerId', 'a b')).toThrow('workerId')
  expect(checkName('workerId', 'a.b_c-1')).toBe(undefined)
})
