// Command line: what a command of the bin declares, how its words are read, and what help prints.

import { parseArgs } from 'node:util'
import { timers } from '../base/clock.ts'
import { show } from '../base/errors.ts'
import { nearest, type OptionRule } from '../base/options.ts'

/** All went well. */
export const EXIT_OK = 0
/** A command failed, or input or output broke off. */
export const EXIT_FAILED = 1
/** Nothing was run: the command line or a file that it names is wrong, or a queue is away. */
export const EXIT_USAGE = 2

/** An option of a command. */
export interface CliOption {
  /** `--ordered`, or `--lane <name>` where it takes a value. */
  readonly flag: string
  /** A short phrase for `--help`. */
  readonly summary: string
  readonly rule: OptionRule
}

/** A command of the bin. Each lies in a file of its own. */
export interface CliCommand {
  /** Its name and what it takes: `run <handlers>`; `[handlers]` may be left out. */
  readonly usage: string
  /** A short phrase for `--help`. */
  readonly summary: string
  /** Lines for `--help` that can be pasted. */
  readonly examples: readonly string[]
  /** By the name that the action finds them under: the flag's in camel case. */
  readonly options: Readonly<Record<string, CliOption>>
  /**
   * Does it.
   *
   * @param args - What stood on the command line besides options, as many as `usage` names.
   * @param options - Every option, checked, with its default.
   * @returns The exit code.
   * @throws UsageError, StartError; anything else is a failure of the command.
   */
  action(args: readonly string[], options: Readonly<Record<string, unknown>>): Promise<number>
}

/** The command line asks for something that does not exist or is not allowed. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** The command needs something that cannot be had, such as a queue or a port: nothing was done. */
export class StartError extends Error {
  override readonly name = 'StartError'
}

/**
 * Waits for something that a command needs before it does anything.
 *
 * @throws StartError whose cause says why it cannot be had; a UsageError as it is.
 */
export async function needed<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise
  } catch (cause) {
    throw cause instanceof UsageError ? cause : new StartError('nothing was done', { cause })
  }
}

/**
 * Waits for what prints. A reader that leaves, as `head` does, has what it wanted.
 *
 * @throws What else kept stdout from being written, such as a full disk.
 */
export async function printed(code: Promise<number>): Promise<number> {
  let broken: NodeJS.ErrnoException | undefined
  process.stdout.on('error', (error) => {
    broken = error
  })
  const result = await code
  // A stream emits its error after the turn of the write.
  await new Promise((resolve) => timers.setImmediate(resolve))
  if (broken !== undefined && broken.code !== 'EPIPE') throw broken
  return result
}

/** A command line of one command, taken apart. */
export interface CommandLine {
  /** What stood there besides options, as many as the command's usage names. */
  readonly args: readonly string[]
  /** Every option, checked, with its default. */
  readonly options: Readonly<Record<string, unknown>>
}

/** Option of every command and of the bin. */
export const HELP_FLAGS: readonly string[] = ['-h', '--help']

const takesValue = ({ flag }: CliOption): boolean => flag.includes(' ')
const wordOf = ({ flag }: CliOption): string => flag.split(' ', 1)[0]!

/** The name of a command, and what it takes besides options. */
export function namesOf({ usage }: CliCommand): { name: string; args: readonly string[] } {
  const [name, ...args] = usage.split(' ')
  return { name: name!, args }
}

/**
 * Takes the words that follow a command's name apart, checks options and fills in defaults.
 *
 * @returns Undefined if they ask for help.
 * @throws UsageError naming the flag, the value and what is allowed.
 */
export function readCommandLine(
  command: CliCommand,
  words: readonly string[],
): CommandLine | undefined {
  const options = Object.values(command.options)
  const known = new Map(options.map((option) => [wordOf(option), option]))
  const { tokens } = parseArgs({
    args: joinDashedValues(words, known),
    options: Object.fromEntries(
      options.map((option) => [
        wordOf(option).slice(2),
        { type: takesValue(option) ? 'string' : 'boolean' } as const,
      ]),
    ),
    strict: false,
    tokens: true,
  })
  const args: string[] = []
  const given = new Map<CliOption, unknown>()
  for (const token of tokens) {
    if (token.kind === 'positional') {
      args.push(token.value)
    } else if (token.kind === 'option-terminator') {
      // The words that follow are arguments.
    } else if (HELP_FLAGS.includes(token.rawName)) {
      return undefined
    } else {
      const option = known.get(token.rawName)
      if (option === undefined) {
        const meant = nearest(token.rawName, [...known.keys()])
        const hint = meant === undefined ? '' : ` (did you mean ${meant}?)`
        throw new UsageError(`there is no option ${token.rawName}${hint}`)
      }
      if (given.has(option)) throw new UsageError(`${token.rawName} is given more than once`)
      // The word after an option is its value, unless it is an option itself.
      const isOption = !token.inlineValue && /^-./.test(token.value ?? '')
      given.set(option, readValue(option, isOption ? undefined : token.value))
    }
  }
  refuseWrongCount(command, args)
  const named = Object.entries(command.options).map(([name, option]) => [
    name,
    given.has(option) ? given.get(option) : option.rule.default,
  ])
  return { args, options: Object.fromEntries(named) }
}

/** No option has one dash: `--timeout -5` and `--token -a` are values. */
function joinDashedValues(
  words: readonly string[],
  known: ReadonlyMap<string, CliOption>,
): string[] {
  const joined: string[] = []
  for (const word of words) {
    const before = known.get(joined.at(-1) ?? '')
    const isValue = /^-(?!-)/.test(word) && !HELP_FLAGS.includes(word)
    if (before !== undefined && takesValue(before) && isValue) {
      joined.push(`${joined.pop()}=${word}`)
    } else joined.push(word)
  }
  return joined
}

function readValue(option: CliOption, typed: string | undefined): unknown {
  const word = wordOf(option)
  if (!takesValue(option)) {
    if (typed !== undefined) throw new UsageError(`${word} takes no value`)
    return true
  }
  if (typed === undefined) throw new UsageError(`${word} needs a value: ${option.flag}`)
  const { rule } = option
  // A text that looks like a number stays as typed where texts are allowed.
  if (rule.accepts(typed)) return rule.meaning?.(typed) ?? typed
  const value = typed.trim() === '' || Number.isNaN(Number(typed)) ? typed : Number(typed)
  if (rule.accepts(value)) return value
  throw new UsageError(`${word} is ${show(value)}; allowed: ${rule.allowed}`)
}

function refuseWrongCount(command: CliCommand, args: readonly string[]): void {
  const { name, args: named } = namesOf(command)
  const missing = named.slice(args.length).find((arg) => arg.startsWith('<'))
  if (missing !== undefined) throw new UsageError(`${name} needs ${missing}`)
  const surplus = args.slice(named.length).map((arg) => show(arg))
  if (surplus.length > 0) throw new UsageError(`${name} takes no argument ${surplus.join(', ')}`)
}

const HELP_ROW = ['-h, --help', 'Display this message'] as const

function columns(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([left]) => left.length))
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`)
}

/** What `--help` prints for the bin. */
export function helpOf(commands: readonly CliCommand[]): string {
  return [
    'Usage:',
    '  $ corelane <command> [options]',
    '',
    'Commands:',
    ...columns(commands.map(({ usage, summary }) => [usage, summary])),
    '',
    'For more info, run any command with the `--help` flag:',
    ...commands.map((command) => `  $ corelane ${namesOf(command).name} --help`),
    '',
    'Options:',
    ...columns([HELP_ROW, ['-v, --version', 'Display version number']]),
    '',
  ].join('\n')
}

/** What `--help` prints for a command. */
export function helpOfCommand({ usage, summary, options, examples }: CliCommand): string {
  const rows = Object.values(options).map(({ flag, summary, rule }) => {
    const { default: fallback } = rule
    const isShown = fallback !== undefined && fallback !== false
    return [flag, isShown ? `${summary} (default: ${fallback})` : summary] as const
  })
  return [
    'Usage:',
    `  $ corelane ${usage}`,
    '',
    summary,
    '',
    'Options:',
    ...columns([...rows, HELP_ROW]),
    '',
    'Examples:',
    ...examples.map((example) => `  $ ${example}`),
    '',
  ].join('\n')
}
