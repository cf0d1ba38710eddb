import { expect, test } from 'vitest'
import { checkOptions } from '../../../src/base/options.ts'
import {
  COMMAND_RULES,
  commandInfo,
  isOrdinary,
  KEY_LENGTH_MAX,
} from '../../../src/model/command.ts'

test('a command has priority 128, no delay, and nothing else unless it is told', () => {
  expect(checkOptions('command', {}, COMMAND_RULES)).toEqual({
    id: undefined,
    attempt: 1,
    key: undefined,
    priority: 128,
    deadlineMs: undefined,
    onDeadline: undefined,
    delayMs: 0,
    timeoutMs: undefined,
    retry: undefined,
    signal: undefined,
    kill: false,
    onProgress: undefined,
    transferList: undefined,
  })
})

const MS_MAX = 2 ** 31 - 1
const NO_MS = [-1, MS_MAX + 1, Number.NaN, Number.POSITIVE_INFINITY, '5', null]
const LONGEST = 'k'.repeat(KEY_LENGTH_MAX)

test.each([
  ['deadlineMs', [1, 1.5, MS_MAX], [0, ...NO_MS]],
  ['delayMs', [0, 0.5, MS_MAX], NO_MS],
  ['id', ['i', '~'.repeat(128)], ['', 'i'.repeat(129), 'ü', 7, null]],
  ['group', ['g', ' ', LONGEST], ['', `${LONGEST}g`, 7, null]],
  ['key', ['k', ' ', '😀', '\ud800', LONGEST], ['', `${LONGEST}k`, 7, null, Symbol('k'), ['k']]],
  ['priority', [0, 255], [-1, 256, 0.5, Number.NaN, '0', null]],
  ['transferList', [[]], [new Set(), {}, new ArrayBuffer(1), null]],
])('%s takes what it allows and refuses the rest', (option, allowed, refused) => {
  const check = (value: unknown) => checkOptions('command', { [option]: value }, COMMAND_RULES)
  for (const value of allowed) expect(check(value)).toHaveProperty(option, value)
  for (const value of refused) expect(() => check(value)).toThrow(`command.${option} is `)
})

test('only options that are allowed, own and looked for at each submit make a command ordinary', () => {
  const all = { id: 'i', key: 'k', group: 'g', priority: 0, deadlineMs: 1 }
  for (const [option, value] of Object.entries(all)) {
    expect(isOrdinary({ [option]: value })).toBe(true)
    for (const wrong of ['', null, {}]) expect(isOrdinary({ ...all, [option]: wrong })).toBe(false)
  }
  expect([isOrdinary({}), isOrdinary(all)]).toEqual([true, true])
  for (const option of Object.keys(COMMAND_RULES).filter((name) => !Object.hasOwn(all, name))) {
    expect(isOrdinary({ ...all, [option]: undefined }), option).toBe(false)
  }
  const odd = [null, 'text', [], new Map(), { prioritty: 1 }]
  expect(odd.map((one) => isOrdinary(one as never))).toEqual(odd.map(() => false))
})

test('the symbol of the details of a failure is the same in every copy of the package', () => {
  expect(commandInfo).toBe(Symbol.for('corelane.command'))
})
