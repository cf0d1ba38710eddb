// Command line: how options are read from what the parser found.

import { cac } from 'cac'
import { expect, test } from 'vitest'
import { boolean, integer, text } from '../../../src/base/options.ts'
import { type CliCommand, declare, readOptions } from '../../../src/cli/command-line.ts'

const command: CliCommand = {
  usage: 'go <where>',
  summary: 'Goes',
  examples: [],
  options: {
    key: { flag: '--key <path>', summary: 'Key', rule: text(undefined) },
    inFlight: { flag: '--in-flight <n>', summary: 'Bound', rule: integer(5, 1, 10) },
    ordered: { flag: '--ordered', summary: 'Order', rule: boolean(false) },
  },
  action: async () => 0,
}

function read(...words: string[]): Record<string, unknown> {
  const argv = ['node', 'corelane', 'go', 'there', ...words]
  const cli = cac('corelane')
  declare(cli, command)
  const { options } = cli.parse(argv, { run: false })
  return readOptions(command, options, argv)
}

test('options that are not given have their defaults', () => {
  expect(read()).toEqual({ key: undefined, inFlight: 5, ordered: false })
})

test('options are found under their names in camel case', () => {
  expect(read('--in-flight', '7', '--ordered')).toMatchObject({ inFlight: 7, ordered: true })
})

test.each([
  ['--key 1.10', ['--key', '1.10'], '1.10'],
  ['--key=007', ['--key=007'], '007'],
  ['--key 1e3', ['--ordered', '--key', '1e3'], '1e3'],
  ['--key=a=b', ['--key=a=b'], 'a=b'],
])('a text that looks like a number stays as typed: %s', (_what, words, key) => {
  expect(read(...words)).toMatchObject({ key })
})

test.each([
  ['out of range', ['--in-flight', '11'], '--in-flight is 11; allowed: an integer from 1 to 10'],
  ['of another kind', ['--in-flight', 'x'], '--in-flight is "x"; allowed: an integer'],
  ['given twice', ['--key', 'a', '--key', 'b'], '--key is given more than once'],
  ['with a dot', ['--key.a', 'b'], '--key is an object; allowed: a non-empty string'],
])('an option %s is refused', (_what, words, message) => {
  expect(() => read(...words)).toThrow(message)
})
