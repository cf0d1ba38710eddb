// Run: the command that pipes commands from stdin through lanes and results to stdout.
// Owns: what its flags mean.

import { boolean, integer, oneOf, text } from '../base/options.ts'
import type { PartitionStrategy } from '../index.ts'
import { type CliCommand, UsageError } from './command-line.ts'
import { type CommandRunner, localRunner } from './command-runner.ts'
import {
  type HandlerFlags,
  makeManager,
  PARTITIONS_FLAG,
  RECOVERY_FLAGS,
  recoveringLanes,
  STRATEGY_SYNONYMS,
} from './handler-flags.ts'
import { nameList, QUEUE_FLAGS, type QueueFlags, queueUrl } from './queue-flags.ts'
import { QueueRunner } from './queue-runner.ts'
import { isApart, runApart } from './results-apart.ts'
import { RunSession } from './run-session.ts'

/** Commands in flight for each partition where `--in-flight` does not say otherwise. */
const IN_FLIGHT_PER_PARTITION = 64
/** The same with `--queue`, for all workers: a round trip's worth of commands for a few of them. */
const IN_FLIGHT_QUEUE = 1_000

const STRATEGIES = ['auto', 'balanced', 'roundRobin', 'hash', 'single']

/** What `--key` makes sense with: the strategies that keep the commands of a key in order. */
const KEY_STRATEGIES: readonly PartitionStrategy[] = ['hash', 'single']

const MEBIBYTE = 2 ** 20

interface RunFlags extends HandlerFlags, QueueFlags {
  readonly type: string | undefined
  readonly lane: string
  readonly strategy: PartitionStrategy | 'auto'
  readonly key: string | undefined
  readonly group: string | undefined
  readonly ordered: boolean
  readonly progress: boolean
  readonly stack: boolean
  readonly inFlight: number | undefined
  readonly lineBytes: number
  readonly lanes: string | undefined
  readonly allowDegraded: boolean
}

export const runCommand: CliCommand = {
  usage: 'run [handlers]',
  summary: 'Run commands from stdin, one JSON object a line; results go to stdout',
  examples: [
    'seq 100 | sed \'s/.*/{"payload":&}/\' | corelane run ./handlers.mjs --type burn --progress',
    'corelane run ./handlers.mjs --key user.id --ordered < commands.ndjson > results.ndjson',
    'corelane run --queue redis://localhost --name images < commands.ndjson > results.ndjson',
  ],
  options: {
    type: {
      flag: '--type <name>',
      summary: 'Handler of lines without a "type"',
      rule: text(undefined),
    },
    lane: { flag: '--lane <name>', summary: 'Lane of lines without a "lane"', rule: text('query') },
    partitions: PARTITIONS_FLAG,
    strategy: {
      flag: '--strategy <name>',
      summary: `How a command finds its partition: ${STRATEGIES.join(', ')}`,
      rule: oneOf('auto', STRATEGIES, STRATEGY_SYNONYMS),
    },
    key: {
      flag: '--key <path>',
      summary: 'Member of the payload, or of the line, that is the key: user.id',
      rule: text(undefined),
    },
    group: {
      flag: '--group <path>',
      summary: 'Member of the payload, or of the line, that is the group: groups take turns',
      rule: text(undefined),
    },
    ordered: {
      flag: '--ordered',
      summary: 'Print results in the order of the input',
      rule: boolean(false),
    },
    progress: { flag: '--progress', summary: 'Show on stderr how far it is', rule: boolean(false) },
    stack: { flag: '--stack', summary: 'Print the stacks of errors too', rule: boolean(false) },
    ...RECOVERY_FLAGS,
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
    ...QUEUE_FLAGS,
    lanes: {
      flag: '--lanes <names>',
      summary: 'With --queue: lanes that its workers take (default: all six)',
      rule: text(undefined),
    },
    allowDegraded: {
      flag: '--allow-degraded',
      summary: 'With --queue: do without what it cannot do, such as priorities within a lane',
      rule: boolean(false),
    },
  },
  action: ([handlers], options) => run(handlers, options as unknown as RunFlags),
}

async function run(handlers: string | undefined, flags: RunFlags): Promise<number> {
  const url = queueUrl(flags.queue, handlers === undefined)
  const [runner, inFlightMax] =
    url === undefined ? runHere(handlers, flags) : runAnywhere(url, handlers, flags)
  if (url === undefined && !isApart) return runApart()
  const session = new RunSession(runner, {
    type: flags.type,
    lane: flags.lane,
    keyPath: flags.key?.split('.'),
    groupPath: flags.group?.split('.'),
    lineBytesMax: flags.lineBytes,
    inFlightMax: flags.inFlight ?? inFlightMax,
    isOrdered: flags.ordered,
    withStack: flags.stack,
    showsProgress: flags.progress,
  })
  return session.run()
}

/** @returns Also how many commands are in flight where no flag says so. */
function runHere(handlers: string | undefined, flags: RunFlags): [CommandRunner, number] {
  if (handlers === undefined) {
    throw new UsageError('run needs <handlers>, or --queue where workers have them')
  }
  const manager = makeManager({
    handlers,
    partitions: { strategy: chooseStrategy(flags), count: flags.partitions },
    lanes: recoveringLanes(flags),
    defaultLane: flags.lane,
  })
  return [localRunner(manager), IN_FLIGHT_PER_PARTITION * manager.stats().partitions.length]
}

function runAnywhere(
  url: string,
  handlers: string | undefined,
  flags: RunFlags,
): [CommandRunner, number] {
  if (handlers !== undefined) {
    throw new UsageError(`with --queue the workers have the handlers; leave out ${handlers}`)
  }
  const { partitions, timeout } = flags
  const retries = flags.retries || undefined
  const given = { '--partitions': partitions, '--timeout': timeout, '--retries': retries }
  for (const [flag, value] of Object.entries(given)) {
    if (value === undefined) continue
    throw new UsageError(`with --queue, ${flag} belongs to corelane worker`)
  }
  if (flags.strategy !== 'auto') {
    throw new UsageError('with --queue, --strategy is the queue’s: see --queue-strategy')
  }
  const runner = new QueueRunner({
    url,
    queue: flags,
    lanes: nameList('--lanes', flags.lanes),
    isKeyed: flags.key !== undefined,
    allowDegraded: flags.allowDegraded,
  })
  return [runner, IN_FLIGHT_QUEUE]
}

function chooseStrategy({ strategy, key }: RunFlags): PartitionStrategy {
  if (strategy === 'auto') return key === undefined ? 'balanced' : 'hash'
  if (key !== undefined && !KEY_STRATEGIES.includes(strategy)) {
    const allowed = `auto, ${KEY_STRATEGIES.join(', ')}`
    throw new UsageError(`--key is given with --strategy ${strategy}; allowed: ${allowed}`)
  }
  return strategy
}
