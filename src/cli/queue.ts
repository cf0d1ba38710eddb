// Queue: the command that looks at a queue, and at the commands in it that failed for good.
// Thread: main.   Owns: what its flags mean.

import { boolean, integer, text } from '../base/options.ts'
import type { DeadCommand, LeasedQueue } from '../index.ts'
import { type CliCommand, EXIT_OK, UsageError } from './command-line.ts'
import { openQueue, QUEUE_FLAGS, type QueueFlags, queueUrl } from './queue-flags.ts'

interface Flags extends QueueFlags {
  readonly ids: string | undefined
  readonly all: boolean
  readonly yes: boolean
  readonly max: number
}

const { queue, name } = QUEUE_FLAGS

/** Most dead commands that one call looks at. */
const DEAD_MAX = 10_000

/** `corelane queue`. */
export const queueCommand: CliCommand = {
  usage: 'queue <action>',
  summary: 'Look at a queue: stats, dead; run dead commands again or drop them: redrive, purge',
  examples: [
    'corelane queue stats --queue redis://localhost --name images',
    'corelane queue redrive --ids 7,9 --queue redis://localhost --name images',
  ],
  options: {
    queue,
    name,
    ids: {
      flag: '--ids <ids>',
      summary: 'Dead commands to redrive or purge, with commas between them',
      rule: text(undefined),
    },
    all: { flag: '--all', summary: 'All dead commands', rule: boolean(false) },
    yes: { flag: '--yes', summary: 'Confirms purge --all', rule: boolean(false) },
    max: {
      flag: '--max <n>',
      summary: 'Most dead commands to list (default: 100)',
      rule: integer(100, 1, DEAD_MAX),
    },
  },
  action: ([action], options) => look(action!, options as unknown as Flags),
}

const ACTIONS: Readonly<Record<string, (queue: LeasedQueue, flags: Flags) => Promise<void>>> = {
  stats: async (opened) => console.log(JSON.stringify(await opened.counts(), undefined, 2)),
  dead: async ({ dead }, { max }) => {
    for (const one of await dead.list(max)) console.log(JSON.stringify(lineOf(one)))
  },
  redrive: async ({ dead }, flags) => {
    const redriven = await dead.redrive(await chosen(dead, flags, 'redrive'))
    console.log(JSON.stringify({ redriven }))
  },
  purge: async ({ dead }, flags) => {
    if (flags.all && !flags.yes) throw new UsageError('purge --all drops them for good: add --yes')
    console.log(JSON.stringify({ purged: await dead.drop(await chosen(dead, flags, 'purge')) }))
  },
}

function lineOf({ envelope, reason, diedAt, result }: DeadCommand): object {
  const { id, commandType: type, laneId: lane, partitionId: partition, payload } = envelope
  const at = new Date(diedAt).toISOString()
  return { id, type, lane, partition, reason, diedAt: at, error: result?.error, payload }
}

async function chosen(
  dead: LeasedQueue['dead'],
  { ids, all }: Flags,
  action: string,
): Promise<string[]> {
  if ((ids === undefined) !== all) throw new UsageError(`${action} needs either --ids or --all`)
  if (ids !== undefined) return ids.split(',')
  return (await dead.list(DEAD_MAX)).map(({ envelope }) => envelope.id)
}

async function look(action: string, flags: Flags): Promise<number> {
  const act = Object.hasOwn(ACTIONS, action) ? ACTIONS[action] : undefined
  if (act === undefined) {
    throw new UsageError(
      `there is no action "${action}"; actions: ${Object.keys(ACTIONS).join(', ')}`,
    )
  }
  const url = queueUrl(flags.queue, true)
  if (url === undefined) {
    throw new UsageError('queue needs --queue, or a URL in CORELANE_QUEUE_URL')
  }
  const opened = await openQueue(url, flags, {})
  try {
    await act(opened, flags)
  } finally {
    await opened.close()
  }
  return EXIT_OK
}
