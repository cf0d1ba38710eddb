import { expect, test } from 'vitest'
import { checkOptions } from '../../../src/base/options.ts'
import { COMMAND_RULES, commandInfo, KEY_LENGTH_MAX } from '../../../src/model/command.ts'

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

test('a deadline is at least a millisecond, a delay may be none, and both are what a timer can wait', () => {
  const max = 2 ** 31 - 1
  for (const deadlineMs of [1, 1.5, max]) checkOptions('command', { deadlineMs }, COMMAND_RULES)
  for (const delayMs of [0, 0.5, max]) checkOptions('command', { delayMs }, COMMAND_RULES)
  for (const wrong of [-1, max + 1, Number.NaN, Number.POSITIVE_INFINITY, '5', null]) {
    for (const option of ['deadlineMs', 'delayMs']) {
      expect(() => checkOptions('command', { [option]: wrong }, COMMAND_RULES)).toThrow(option)
    }
  }
  expect(() => checkOptions('command', { deadlineMs: 0 }, COMMAND_RULES)).toThrow('deadlineMs is 0')
})

test('a key is a text of 1 to 1024 UTF-16 units', () => {
  for (const key of ['k', ' ', '😀', '\ud800', 'k'.repeat(KEY_LENGTH_MAX)]) {
    expect(checkOptions('command', { key }, COMMAND_RULES)).toMatchObject({ key })
  }
  for (const key of ['', 'k'.repeat(KEY_LENGTH_MAX + 1), 7, null, Symbol('k'), ['k']]) {
    expect(() => checkOptions('command', { key }, COMMAND_RULES)).toThrow('command.key is')
  }
})

test('a priority is an integer from 0 to 255', () => {
  for (const priority of [0, 255]) checkOptions('command', { priority }, COMMAND_RULES)
  for (const priority of [-1, 256, 0.5, Number.NaN, '0', null]) {
    expect(() => checkOptions('command', { priority }, COMMAND_RULES)).toThrow(
      'command.priority is',
    )
  }
})

test('a transfer list is an array', () => {
  for (const transferList of [new Set(), {}, new ArrayBuffer(1), null]) {
    expect(() => checkOptions('command', { transferList }, COMMAND_RULES)).toThrow('transferList')
  }
})

test('the symbol of the details of a failure is the same in every copy of the package', () => {
  expect(commandInfo).toBe(Symbol.for('corelane.command'))
})
