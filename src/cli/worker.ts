// Worker: the command that runs handlers for a queue until a signal stops it.
// Owns: what its flags mean.

import { TIMER_MS_MAX } from '../base/bounds.ts'
import { boolean, integer, milliseconds, oneOf, text } from '../base/options.ts'
import { DEFAULT_LANES, type PartitionStrategy, QueueMetrics } from '../index.ts'
import { type CliCommand, UsageError } from './command-line.ts'
import {
  type HandlerFlags,
  makeManager,
  PARTITIONS_FLAG,
  RECOVERY_FLAGS,
  recoveringLanes,
} from './handler-flags.ts'
import { nameList, neededUrl, QUEUE_FLAGS, type QueueFlags } from './queue-flags.ts'
import { WorkerSession } from './worker-session.ts'

interface WorkerFlags extends HandlerFlags, QueueFlags {
  readonly strategy: PartitionStrategy
  readonly concurrency: number
  readonly lanes: string | undefined
  readonly lease: number | undefined
  readonly drain: number
  readonly dashboard: number | undefined
  readonly stack: boolean
}

export const workerCommand: CliCommand = {
  usage: 'worker <handlers>',
  summary: 'Run commands of a queue until a signal comes; any number of workers share it',
  examples: [
    'corelane worker ./handlers.mjs --queue redis://localhost --name images',
    'CORELANE_QUEUE_URL=rediss://user:secret@host corelane worker ./handlers.mjs --lanes skill,prompt',
  ],
  options: {
    ...QUEUE_FLAGS,
    partitions: PARTITIONS_FLAG,
    strategy: {
      flag: '--strategy <name>',
      summary: 'How a command finds its thread: balanced, roundRobin, hash',
      rule: oneOf('balanced', ['balanced', 'roundRobin', 'hash']),
    },
    concurrency: {
      flag: '--concurrency <n>',
      summary: 'Asynchronous handlers at once in each thread',
      rule: integer(1, 1, 1024),
    },
    lanes: {
      flag: '--lanes <names>',
      summary: 'Lanes to take commands of: skill,prompt (default: all six)',
      rule: text(undefined),
    },
    ...RECOVERY_FLAGS,
    lease: {
      flag: '--lease <ms>',
      summary: 'After so long without a sign of life others run its commands (default: 30000)',
      rule: milliseconds(undefined, 100, TIMER_MS_MAX),
    },
    drain: {
      flag: '--drain <ms>',
      summary: 'How long commands that run may go on after the first signal',
      // 0 gives everything up at once.
      rule: milliseconds(30_000, 0, TIMER_MS_MAX),
    },
    dashboard: {
      flag: '--dashboard <port>',
      summary: 'Serve a dashboard on this machine and print its address; 0 takes a free port',
      rule: integer(undefined, 0, 65_535),
    },
    stack: { flag: '--stack', summary: 'Print the stacks of errors too', rule: boolean(false) },
  },
  action: ([handlers], options) => work(handlers!, options as unknown as WorkerFlags),
}

function work(handlers: string, flags: WorkerFlags): Promise<number> {
  const url = neededUrl(flags.queue, 'worker')
  const { strategy, partitions: count, concurrency } = flags
  const manager = makeManager({
    handlers,
    partitions: { strategy, count },
    concurrencyPerPartition: concurrency,
    lanes: recoveringLanes(flags),
    metrics: flags.dashboard === undefined ? undefined : QueueMetrics.local(),
  })
  return new WorkerSession(manager, {
    url,
    queue: flags,
    lanes: chooseLanes(flags.lanes),
    leaseMs: flags.lease,
    drainMs: flags.drain,
    dashboardPort: flags.dashboard,
    withStack: flags.stack,
  }).run()
}

function chooseLanes(flag: string | undefined): string[] | undefined {
  const names = nameList('--lanes', flag)
  const unknown = names?.find((name) => !Object.hasOwn(DEFAULT_LANES, name))
  if (unknown === undefined) return names
  const lanes = Object.keys(DEFAULT_LANES).join(', ')
  throw new UsageError(`--lanes has "${unknown}"; lanes: ${lanes}`)
}
