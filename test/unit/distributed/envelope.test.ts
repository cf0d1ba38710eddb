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

test.each<[string, unknown, string]>([
  ['id', undefined, '1 to 128'],
  ['id', '', '1 to 128'],
  ['id', 'x'.repeat(129), '1 to 128'],
  ['id', 'a:b', '1 to 128'],
  ['id', '{a}', '1 to 128'],
  ['id', 'a\n', '1 to 128'],
  ['id', '\0', '1 to 128'],
  ['id', 'é', '1 to 128'],
  ['id', 5, '1 to 128'],
  ['id', ['a'], '1 to 128'],
  ['id', { toString: () => 'a' }, '1 to 128'],
  ['commandType', 'file:///etc/passwd', '1 to 128'],
  ['commandType', null, '1 to 128'],
  ['laneId', '../a', '1 to 128'],
  ['laneId', Symbol('lane'), '1 to 128'],
  ['submitter', '*', '1 to 128'],
  ['submitter', null, '1 to 128'],
  ['partitionId', -1, '0 to 3'],
  ['partitionId', 4, '0 to 3'],
  ['partitionId', 1.5, '0 to 3'],
  ['partitionId', '1', '0 to 3'],
  ['partitionId', Number.NaN, '0 to 3'],
  ['partitionId', undefined, '0 to 3'],
  ['retryCount', -1, 'an integer from 0'],
  ['retryCount', 0.5, 'an integer from 0'],
  ['retryCount', 2 ** 53, 'an integer from 0'],
  ['createdAt', undefined, 'a number from 0'],
  ['createdAt', Number.POSITIVE_INFINITY, 'a number from 0'],
  ['createdAt', -1, 'a number from 0'],
  ['createdAt', '2026-01-01', 'a number from 0'],
  ['key', '', '1 to 1024'],
  ['key', 'k'.repeat(1025), '1 to 1024'],
  ['key', 7, '1 to 1024'],
  ['key', null, '1 to 1024'],
  ['priority', 256, '0 to 255'],
  ['priority', -1, '0 to 255'],
  ['priority', 1.5, '0 to 255'],
  ['priority', '5', '0 to 255'],
  ['deadline', Number.NaN, 'a number from 0'],
  ['deadline', -5, 'a number from 0'],
  ['deadline', 5n, 'a number from 0'],
  ['version', 0, '1 to 1'],
  ['version', '1', '1 to 1'],
  ['version', 1.5, '1 to 1'],
  ['version', 2, 'a newer corelane wrote it'],
])('%s may not be %o', (member, value, allowed) => {
  const check = () => checkEnvelope({ ...FULL, [member]: value }, 4)
  expect(check).toThrow(`In an envelope ${member} is`)
  expect(check).toThrow(allowed)
  expect(check).toThrow(expect.objectContaining({ code: 'CORELANE_INVALID_ENVELOPE' }))
})

test.each([[null], [undefined], ['text'], [7], [[]], [() => {}]])(
  '%o is no envelope',
  (value: unknown) => {
    expect(() => checkEnvelope(value, 4)).toThrow(
      expect.objectContaining({ code: 'CORELANE_INVALID_ENVELOPE' }),
    )
  },
)

test.each([
  ['id', 'x'.repeat(128)],
  ['id', 'A-Z.a_z-0'],
  ['key', 'k'.repeat(1024)],
  ['priority', 255],
  ['retryCount', Number.MAX_SAFE_INTEGER],
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

test.each([
  ['text'],
  [null],
  [7],
  [{ a: 1 }],
  [{ a: 'ä' }],
  [{ 'a\n': 'b' }],
  [{ a: 'x'.repeat(2048) }],
])('%o is no trace', (trace: unknown) => {
  const check = () => checkEnvelope({ ...LEAST, options: { trace } }, 4)
  expect(check).toThrow('In an envelope options.trace is')
  expect(check).toThrow(expect.objectContaining({ code: 'CORELANE_INVALID_ENVELOPE' }))
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
