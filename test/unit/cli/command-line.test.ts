// Command line: how the words after a command's name are read.

import { expect, test } from 'vitest'
import { boolean, integer, text } from '../../../src/base/options.ts'
import { type CliCommand, helpOfCommand, readCommandLine } from '../../../src/cli/command-line.ts'

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

function read(...words: string[]): Readonly<Record<string, unknown>> {
  return readCommandLine(command, ['there', ...words])!.options
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

test('a value may begin with a dash, as random ids and tokens may', () => {
  expect(read('--key', '-McTXZDW7')).toMatchObject({ key: '-McTXZDW7' })
  expect(read('--ordered', '--key', '-', '--in-flight', '7')).toMatchObject({ key: '-' })
  expect(read('--key=--x')).toMatchObject({ key: '--x' })
  expect(() => read('--key', '-h')).toThrow('--key needs a value: --key <path>')
})

test.each([
  ['out of range', ['--in-flight', '11'], '--in-flight is 11; allowed: an integer from 1 to 10'],
  ['of another kind', ['--in-flight', 'x'], '--in-flight is "x"; allowed: an integer'],
  ['given twice', ['--key', 'a', '--key', 'b'], '--key is given more than once'],
  ['with a negative value', ['--in-flight', '-5'], '--in-flight is -5; allowed: an integer'],
  ['without its value', ['--key'], '--key needs a value: --key <path>'],
  ['whose value is an option', ['--key', '--ordered'], '--key needs a value: --key <path>'],
  ['with a value it does not take', ['--ordered=yes'], '--ordered takes no value'],
  ['with a dot', ['--key.a', 'b'], 'there is no option --key.a'],
  ['of one letter', ['-k'], 'there is no option -k'],
  [
    'in camel case',
    ['--inFlight', '5'],
    'there is no option --inFlight (did you mean --in-flight?)',
  ],
  ['misspelt', ['--orderd'], 'there is no option --orderd (did you mean --ordered?)'],
])('an option %s is refused', (_what, words, message) => {
  expect(() => read(...words)).toThrow(message)
})

test('arguments are counted', () => {
  expect(readCommandLine(command, ['there'])?.args).toEqual(['there'])
  expect(() => readCommandLine(command, [])).toThrow('go needs <where>')
  expect(() => read('too', 'far')).toThrow('go takes no argument "too", "far"')
  expect(readCommandLine(command, ['there', '--'])?.args).toEqual(['there'])
  expect(readCommandLine(command, ['--', '--there'])?.args).toEqual(['--there'])
  expect(() => read('--', 'far')).toThrow('go takes no argument "far"')
})

test('help is given wherever it is asked for, and lists options with their defaults', () => {
  expect(readCommandLine(command, ['--help'])).toBeUndefined()
  expect(readCommandLine(command, ['there', '-h'])).toBeUndefined()
  expect(helpOfCommand(command)).toContain(`go <where>\n\n${command.summary}\n`)
  expect(helpOfCommand(command)).toContain('  --in-flight <n>  Bound (default: 5)\n')
})
