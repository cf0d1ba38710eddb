#!/usr/bin/env node
// Main: the bin. Finds the command that is asked for, runs it, and turns what comes of it into an
// exit code.
// Owns: the exit code.

import { VERSION } from '../base/version.ts'
import { benchCommand } from './bench.ts'
import {
  type CliCommand,
  EXIT_FAILED,
  EXIT_OK,
  EXIT_USAGE,
  HELP_FLAGS,
  helpOf,
  helpOfCommand,
  namesOf,
  readCommandLine,
  StartError,
  UsageError,
} from './command-line.ts'
import { dashboardCommand } from './dashboard.ts'
import { failureText } from './json-value.ts'
import { queueCommand } from './queue.ts'
import { runCommand } from './run.ts'
import { topCommand } from './top.ts'
import { workerCommand } from './worker.ts'

const COMMANDS: readonly CliCommand[] = [
  runCommand,
  workerCommand,
  queueCommand,
  topCommand,
  dashboardCommand,
  benchCommand,
]

async function dispatch([first, ...rest]: readonly string[]): Promise<number> {
  if (first === '--version' || first === '-v' || first === 'version') {
    console.log(`corelane/${VERSION} ${process.platform}-${process.arch} node-${process.version}`)
    return EXIT_OK
  }
  if (first === 'help' && rest.length > 0) return dispatch([rest[0]!, '--help'])
  if (first === undefined || first === 'help' || HELP_FLAGS.includes(first)) {
    console.log(`corelane/${VERSION}\n\n${helpOf(COMMANDS)}`)
    return first === undefined ? EXIT_USAGE : EXIT_OK
  }
  if (first.startsWith('-')) throw new UsageError(`there is no option ${first} without a command`)
  const command = COMMANDS.find((one) => namesOf(one).name === first)
  if (command === undefined) {
    const names = COMMANDS.map((one) => namesOf(one).name).join(', ')
    throw new UsageError(`there is no command "${first}"; commands: ${names}`)
  }
  const line = readCommandLine(command, rest)
  if (line !== undefined) return command.action(line.args, line.options)
  console.log(`corelane/${VERSION}\n\n${helpOfCommand(command)}`)
  return EXIT_OK
}

try {
  process.exitCode = await dispatch(process.argv.slice(2))
} catch (error) {
  if (error instanceof UsageError) {
    const known = COMMANDS.map((one) => namesOf(one).name).find((name) => name === process.argv[2])
    const help = ['corelane', known, '--help'].filter(Boolean).join(' ')
    console.error(`corelane: ${error.message}\nTry: ${help}`)
    process.exitCode = EXIT_USAGE
  } else {
    const hasStarted = !(error instanceof StartError)
    const cause = hasStarted ? error : error.cause
    const { code, name } = (cause ?? {}) as { code?: unknown; name?: unknown }
    // Errors of corelane and of the system have a code; others are faults of this program.
    console.error('corelane:', typeof code === 'string' ? failureText(cause, false) : cause)
    process.exitCode = hasStarted && name !== 'ConfigError' ? EXIT_FAILED : EXIT_USAGE
  }
}
