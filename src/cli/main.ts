#!/usr/bin/env node
// Main: the bin. Finds the command that is asked for, runs it, and turns what comes of it into an
// exit code.
// Thread: main.   Owns: the exit code.

import { readFileSync } from 'node:fs'
import { type CAC, cac } from 'cac'
import { benchCommand } from './bench.ts'
import {
  type CliCommand,
  declare,
  EXIT_FAILED,
  EXIT_OK,
  EXIT_USAGE,
  readOptions,
  UsageError,
} from './command-line.ts'
import { runCommand } from './run.ts'
import { workerCommand } from './worker.ts'

const COMMANDS: readonly CliCommand[] = [runCommand, workerCommand, benchCommand]

function version(): string {
  const manifest = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return JSON.parse(manifest).version
}

async function dispatch(argv: readonly string[]): Promise<number> {
  const cli: CAC = cac('corelane')
  for (const command of COMMANDS) declare(cli, command)
  cli.help()
  cli.version(version(), '--version')
  const { args, options } = cli.parse([...argv], { run: false })
  if (options.help || options.version) return EXIT_OK
  const matched = cli.matchedCommand
  if (matched === undefined) {
    if (args[0] !== undefined) {
      const names = cli.commands.map(({ name }) => name).join(', ')
      throw new UsageError(`there is no command "${args[0]}"; commands: ${names}`)
    }
    matchNothing(cli, options)
    cli.outputHelp()
    return EXIT_USAGE
  }
  if (options['--'].length > 0) throw new UsageError('arguments after -- mean nothing here')
  const command = COMMANDS.find(({ usage }) => usage === matched.rawName)!
  let exitCode: Promise<number> | undefined
  matched.action(() => {
    const checked = readOptions(command, options, argv)
    exitCode = command.action(args.map(String), checked)
  })
  // Refuses unknown options, missing and surplus arguments, then calls the action.
  cli.runMatchedCommand()
  return exitCode!
}

/** Without a command the parser itself has nothing to compare options with. */
function matchNothing(cli: CAC, options: Readonly<Record<string, unknown>>): void {
  for (const name of Object.keys(options)) {
    if (name !== '--' && !cli.globalCommand.hasOption(name)) {
      throw new UsageError(`there is no option --${name} without a command`)
    }
  }
}

function isUsage(error: unknown): error is Error {
  return error instanceof UsageError || (error instanceof Error && error.name === 'CACError')
}

try {
  process.exitCode = await dispatch(process.argv)
} catch (error) {
  if (isUsage(error)) {
    console.error(`corelane: ${error.message}\nTry: corelane --help`)
    process.exitCode = EXIT_USAGE
  } else {
    console.error('corelane:', error)
    process.exitCode = EXIT_FAILED
  }
}
