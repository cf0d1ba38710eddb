// Run: the command that pipes commands from stdin through lanes and results to stdout.
// Thread: main.   Owns: what its flags mean.

import { LaneError } from '../base/errors.ts'
import { anything, boolean, integer, milliseconds, oneOf, text } from '../base/options.ts'
import {
  DEFAULT_LANES,
  type LaneOptions,
  type PartitionStrategy,
  QueueManager,
  RetryPolicy,
} from '../index.ts'
import { type CliCommand, UsageError } from './command-line.ts'
import { RunSession } from './run-session.ts'

/** Commands in flight for each partition where `--in-flight` does not say otherwise. */
const IN_FLIGHT_PER_PARTITION = 64

const STRATEGIES = ['auto', 'balanced', 'roundRobin', 'hash', 'none']

/** What `--key` makes sense with: the strategies that keep the commands of a key in order. */
const KEY_STRATEGIES = ['hash', 'none']

/** Which flag to name when the queue manager refuses an option. */
const FLAGS: Readonly<Record<string, string>> = {
  'QueueManager.handlers': '<handlers>',
  'QueueManager.defaultLane': '--lane',
  'PartitionConfig.count': '--partitions',
}

const MEBIBYTE = 2 ** 20

/** As the queue manager has it; here it is part of a flag's message. */
const RETRIES_MAX = 100

interface RunFlags {
  readonly type: string | undefined
  readonly lane: string
  readonly partitions: number | undefined
  readonly strategy: string
  readonly key: string | undefined
  readonly ordered: boolean
  readonly progress: boolean
  readonly stack: boolean
  readonly timeout: number | undefined
  readonly retries: number
  readonly inFlight: number | undefined
  readonly lineBytes: number
}

/** `corelane run`. */
export const runCommand: CliCommand = {
  usage: 'run <handlers>',
  summary: 'Run commands from stdin, one JSON object a line; results go to stdout',
  examples: [
    'seq 100 | sed \'s/.*/{"payload":&}/\' | corelane run ./handlers.js --type burn --progress',
    'corelane run ./handlers.js --key user.id --ordered < commands.ndjson > results.ndjson',
  ],
  options: {
    type: {
      flag: '--type <name>',
      summary: 'Handler of lines without a "type"',
      rule: text(undefined),
    },
    lane: {
      flag: '--lane <name>',
      summary: 'Lane of lines without a "lane"',
      rule: text('query'),
    },
    partitions: {
      flag: '--partitions <n>',
      summary: 'Threads (default: one per core)',
      // The queue manager knows the range.
      rule: anything(undefined, 'a number', (value) => typeof value === 'number'),
    },
    strategy: {
      flag: '--strategy <name>',
      summary: `How a command finds its partition: ${STRATEGIES.join(', ')}`,
      rule: oneOf('auto', STRATEGIES),
    },
    key: {
      flag: '--key <path>',
      summary: 'Member of the payload, or of the line, that is the key: user.id',
      rule: text(undefined),
    },
    ordered: {
      flag: '--ordered',
      summary: 'Print results in the order of the input',
      rule: boolean(false),
    },
    progress: {
      flag: '--progress',
      summary: 'Show on stderr how far it is',
      rule: boolean(false),
    },
    stack: {
      flag: '--stack',
      summary: 'Print the stacks of errors too',
      rule: boolean(false),
    },
    timeout: {
      flag: '--timeout <ms>',
      summary: 'How long a run of a command may take',
      rule: milliseconds(undefined, 1, 2 ** 31 - 1),
    },
    retries: {
      flag: '--retries <n>',
      summary: 'Times a command that failed, timed out or lost its thread runs again',
      rule: integer(0, 0, RETRIES_MAX),
    },
    inFlight: {
      flag: '--in-flight <n>',
      summary: `Commands in flight at a time (default: ${IN_FLIGHT_PER_PARTITION} per partition)`,
      rule: integer(undefined, 1, 65_536),
    },
    lineBytes: {
      flag: '--line-bytes <n>',
      summary: 'Longest line, in bytes',
      rule: integer(16 * MEBIBYTE, 1, 256 * MEBIBYTE),
    },
  },
  action: ([handlers], options) => run(handlers!, options as unknown as RunFlags),
}

async function run(handlers: string, flags: RunFlags): Promise<number> {
  const manager = createManager(handlers, flags)
  const partitions = manager.stats().partitions.length
  const session = new RunSession(manager, {
    type: flags.type,
    lane: flags.lane,
    keyPath: flags.key?.split('.'),
    lineBytesMax: flags.lineBytes,
    inFlightMax: flags.inFlight ?? IN_FLIGHT_PER_PARTITION * partitions,
    isOrdered: flags.ordered,
    withStack: flags.stack,
    showsProgress: flags.progress,
  })
  return session.run()
}

function createManager(handlers: string, flags: RunFlags): QueueManager {
  try {
    return QueueManager.create({
      handlers,
      partitions: { strategy: chooseStrategy(flags), count: flags.partitions },
      lanes: chooseLanes(flags),
      defaultLane: flags.lane,
    })
  } catch (error) {
    if (!(error instanceof LaneError)) throw error
    const { option, received, allowed } = error.details
    const flag = FLAGS[String(option)] ?? option
    throw new UsageError(`${flag} is ${received}; allowed: ${allowed}`, { cause: error })
  }
}

/** The lanes there are by default, with what the flags say of a run. */
function chooseLanes({ timeout, retries }: RunFlags): Record<string, LaneOptions> {
  const policy = RetryPolicy.exponential(retries).withTimeouts()
  const recovery = { timeoutMs: timeout, retry: retries > 0 ? policy.withLost() : policy }
  const lanes = Object.entries(DEFAULT_LANES)
  return Object.fromEntries(lanes.map(([name, lane]) => [name, { ...lane, ...recovery }]))
}

function chooseStrategy({ strategy, key }: RunFlags): PartitionStrategy {
  if (strategy === 'auto') return key === undefined ? 'balanced' : 'hash'
  if (key !== undefined && !KEY_STRATEGIES.includes(strategy)) {
    throw new UsageError(
      `--key is given with --strategy ${strategy}; allowed: auto, ${KEY_STRATEGIES.join(', ')}`,
    )
  }
  return strategy as PartitionStrategy
}
