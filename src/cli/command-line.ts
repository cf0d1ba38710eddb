// Command line: what a command of the bin declares, and how its options are read from the parser.
// Thread: main.   Owns: nothing.

import type { CAC } from 'cac'
import { show } from '../base/errors.ts'
import type { OptionRule } from '../base/options.ts'

/** All went well. */
export const EXIT_OK = 0
/** A command failed, or input or output broke off. */
export const EXIT_FAILED = 1
/** Nothing was run, because of the command line or of what it names. */
export const EXIT_USAGE = 2

/** An option of a command. */
export interface CliOption {
  /** As for cac: `--ordered`, or `--lane <name>` where it takes a value. */
  readonly flag: string
  /** A short phrase for `--help`. */
  readonly summary: string
  readonly rule: OptionRule
}

/** A command of the bin. Each lies in a file of its own. */
export interface CliCommand {
  /** As for cac: `run <handlers>`. */
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
   * @throws UsageError; anything else is a failure of the command.
   */
  action(args: readonly string[], options: Readonly<Record<string, unknown>>): Promise<number>
}

/** The command line asks for something that does not exist or is not allowed. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/**
 * Makes a command known to the parser.
 *
 * @param cli - The parser.
 * @param command - The command.
 */
export function declare(cli: CAC, command: CliCommand): void {
  const declared = cli.command(command.usage, command.summary)
  for (const { flag, summary, rule } of Object.values(command.options)) {
    const fallback = rule.default
    const isShown = fallback !== undefined && fallback !== false
    declared.option(flag, isShown ? `${summary} (default: ${fallback})` : summary)
  }
  for (const example of command.examples) declared.example(`  $ ${example}`)
}

/**
 * Checks the options that were parsed for a command and fills in defaults.
 *
 * @param command - The command.
 * @param parsed - What the parser found.
 * @param rawArgs - What it found it in.
 * @throws UsageError naming the flag, the value and what is allowed.
 */
export function readOptions(
  command: CliCommand,
  parsed: Readonly<Record<string, unknown>>,
  rawArgs: readonly string[],
): Record<string, unknown> {
  const options: Record<string, unknown> = {}
  for (const [name, { flag, rule }] of Object.entries(command.options)) {
    const [word] = flag.split(' ') as [string]
    let value = parsed[name]
    if (value === undefined) {
      options[name] = rule.default
      continue
    }
    if (Array.isArray(value)) throw new UsageError(`${word} is given more than once`)
    // The parser makes a number of whatever looks like one: 1.10 would become 1.1.
    if (typeof value === 'number' && !rule.accepts(value)) {
      const typed = asTyped(word, rawArgs)
      if (rule.accepts(typed)) value = typed
    }
    if (!rule.accepts(value)) {
      throw new UsageError(`${word} is ${show(value)}; allowed: ${rule.allowed}`)
    }
    options[name] = value
  }
  return options
}

function asTyped(word: string, rawArgs: readonly string[]): string | undefined {
  const at = rawArgs.findIndex((arg) => arg === word || arg.startsWith(`${word}=`))
  return rawArgs[at] === word ? rawArgs[at + 1] : rawArgs[at]?.slice(word.length + 1)
}
