// Queue: the command that looks at a queue, and at the commands in it that failed for good.
// Owns: what its flags mean.

import { inspect } from 'node:util'
import { boolean, integer, milliseconds, text } from '../base/options.ts'
import { portableName } from '../base/portable-name.ts'
import type { FoundCommand, LeasedQueue } from '../index.ts'
import {
  type CliCommand,
  EXIT_FAILED,
  EXIT_OK,
  needed,
  printed,
  UsageError,
} from './command-line.ts'
import { toJson } from './json-value.ts'
import {
  connectionNews,
  nameList,
  neededUrl,
  openQueue,
  QUEUE_FLAGS,
  type QueueFlags,
} from './queue-flags.ts'

interface Flags extends QueueFlags {
  readonly ids: readonly string[] | undefined
  readonly all: boolean
  readonly yes: boolean
  readonly max: number | undefined
  readonly lane: string | undefined
  readonly redact: boolean
  readonly concurrency: number | undefined
  readonly rate: number | undefined
  readonly window: number | undefined
  readonly reset: boolean
}

const { queue, name } = QUEUE_FLAGS

/** Most dead commands that one call looks at. */
const DEAD_MAX = 10_000

export const queueCommand: CliCommand = {
  usage: 'queue <action>',
  summary:
    'Look at a queue: stats, workers, peek, show, dead; pause, resume or limit a lane; cancel commands; redrive or purge dead ones',
  examples: [
    'corelane queue stats --queue redis://localhost --name images',
    'corelane queue redrive --ids 7,9 --queue redis://localhost --name images',
  ],
  options: {
    queue,
    name,
    ids: {
      flag: '--ids <ids>',
      summary: 'Commands to show, cancel, redrive or purge, with commas between them',
      rule: text(undefined),
    },
    all: { flag: '--all', summary: 'All dead commands', rule: boolean(false) },
    yes: { flag: '--yes', summary: 'Confirms purge --all', rule: boolean(false) },
    max: {
      flag: '--max <n>',
      summary: 'Most commands to list: dead ones (default: 100), or of each lane (10)',
      rule: integer(undefined, 1, DEAD_MAX),
    },
    lane: {
      flag: '--lane <name>',
      summary: 'The lane to peek into, pause, resume or limit',
      rule: portableName(undefined),
    },
    concurrency: {
      flag: '--concurrency <n>',
      summary: 'For limit: commands of the lane that may run at once over all workers',
      rule: integer(undefined, 1, 65_536),
    },
    rate: {
      flag: '--rate <n>',
      summary:
        'For limit: commands of the lane that may start in a window of time over all workers',
      rule: integer(undefined, 1, 1_000_000_000),
    },
    window: {
      flag: '--window <ms>',
      summary: 'Length of the window of --rate (default: 1000)',
      rule: milliseconds(undefined, 1, 604_800_000),
    },
    reset: {
      flag: '--reset',
      summary: 'For limit: forgets the limits of the lane that are not given',
      rule: boolean(false),
    },
    redact: { flag: '--redact', summary: 'Leaves payloads and results out', rule: boolean(false) },
  },
  action: async ([action], options) => {
    // All are checked before the first is acted on.
    const ids = nameList('--ids', options.ids as string | undefined)
    return printed(look(action!, { ...(options as unknown as Flags), ids }))
  },
}

interface Action {
  readonly needs?: readonly (keyof Flags)[]
  readonly takes?: readonly (keyof Flags)[]
  /** Why these flags will not do. */
  readonly complaint?: (flags: Flags) => string | false
  /** False: it was not done for every command that was named. */
  readonly act: (queue: LeasedQueue, flags: Flags) => Promise<boolean> | Promise<void>
}

const ACTIONS: Readonly<Record<string, Action>> = {
  stats: {
    act: async (opened) => {
      const lanes = opened.lanes!
      const all = [opened.counts(), lanes.paused(), lanes.limits()] as const
      const [counts, paused, limits] = await Promise.all(all)
      console.log(JSON.stringify({ ...counts, paused, limits }, undefined, 2))
    },
  },
  workers: {
    act: async ({ workers }) => {
      for (const { workerId: id, startedAt, ...worker } of await workers!.list()) {
        console.log(JSON.stringify({ id, startedAt: dateOf(startedAt), ...worker }))
      }
    },
  },
  pause: { needs: ['lane'], act: ({ lanes }, { lane }) => lanes!.pause(lane!) },
  resume: { needs: ['lane'], act: ({ lanes }, { lane }) => lanes!.resume(lane!) },
  limit: {
    needs: ['lane'],
    takes: ['concurrency', 'rate', 'window', 'reset'],
    complaint: ({ concurrency, rate, window, reset }) => {
      const isEmpty = concurrency === undefined && rate === undefined && !reset
      if (isEmpty) return 'limit needs --concurrency, --rate or --reset'
      return window !== undefined && rate === undefined && '--window needs --rate'
    },
    act: async ({ lanes }, { lane, concurrency, rate, window: windowMs, reset }) => {
      if (concurrency !== undefined || reset) await lanes!.setConcurrency(lane!, concurrency)
      const limit = rate === undefined ? undefined : { limit: rate, windowMs }
      if (rate !== undefined || reset) await lanes!.setRateLimit(lane!, limit)
    },
  },
  peek: {
    takes: ['lane', 'max', 'redact'],
    act: async ({ commands }, { lane, max, redact }) => {
      for (const one of await commands!.peek(lane, max)) print(one, redact)
    },
  },
  show: {
    needs: ['ids'],
    takes: ['redact'],
    act: async ({ commands }, { ids, redact }) => {
      for (const id of ids!) {
        const found = await commands!.find(id)
        if (found === undefined) console.log(JSON.stringify({ id, state: 'unknown' }))
        else print(found, redact)
      }
    },
  },
  cancel: {
    needs: ['ids'],
    act: async ({ commands }, { ids }) => {
      for (const id of ids!) {
        const [status] = await commands!.cancel([id])
        console.log(JSON.stringify({ id, status }))
      }
    },
  },
  dead: {
    takes: ['max', 'redact'],
    act: async ({ dead }, { max, redact }) => {
      for (const one of await dead.list(max)) {
        const { id: commandId, partitionId } = one.envelope
        print({ state: 'dead', commandId, partitionId, ...one }, redact)
      }
    },
  },
  redrive: {
    takes: ['ids', 'all'],
    complaint: (flags) => isNeither(flags) && 'redrive needs either --ids or --all',
    act: ({ dead }, flags) => actOnDead(dead, flags, 'redrive', 'redriven'),
  },
  purge: {
    takes: ['ids', 'all', 'yes'],
    complaint: (flags) => {
      if (isNeither(flags)) return 'purge needs either --ids or --all'
      return flags.all && !flags.yes && 'purge --all drops them for good: add --yes'
    },
    act: ({ dead }, flags) => actOnDead(dead, flags, 'drop', 'purged'),
  },
}

/** Not one of the two, or both. */
const isNeither = ({ ids, all }: Flags): boolean => (ids === undefined) !== all

/** Acts on dead commands, and prints how many there were and which of those named are unknown. */
async function actOnDead(
  dead: LeasedQueue['dead'],
  { ids }: Flags,
  act: 'redrive' | 'drop',
  word: string,
): Promise<boolean> {
  if (ids === undefined) {
    const listed = (await dead.list(DEAD_MAX)).map(({ envelope }) => envelope.id)
    console.log(JSON.stringify({ [word]: await dead[act](listed) }))
    return true
  }
  let count = 0
  const missing: string[] = []
  for (const id of ids) {
    const found = await dead[act]([id])
    count += found
    if (found === 0) missing.push(id)
  }
  const unknown = missing.length > 0 ? missing : undefined
  console.log(JSON.stringify({ [word]: count, unknown }))
  return unknown === undefined
}

/** Prints a command on a line. Absent members are left out. */
function print(command: FoundCommand, isRedacted: boolean): void {
  const { state, commandId: id, partitionId: partition, envelope, result, reason } = command
  const { deliveries, acceptedAt, dueAt, diedAt, workerId: worker } = command
  const line = {
    id,
    type: envelope?.commandType,
    lane: envelope?.laneId,
    key: envelope?.key,
    group: envelope?.group,
    partition,
    state,
    reason,
    retries: envelope?.retryCount ?? result?.retryCount,
    deliveries,
    worker: worker ?? result?.workerId,
    acceptedAt: dateOf(acceptedAt),
    dueAt: dateOf(dueAt),
    diedAt: dateOf(diedAt),
    endedAt: state === 'ended' ? dateOf(result?.completedAt) : undefined,
    error: result?.error,
    value: isRedacted ? undefined : result?.value,
    payload: isRedacted ? undefined : envelope?.payload,
  }
  console.log(lineOf(line))
}

/** One that JSON cannot hold leaves the other commands their lines. */
function lineOf(line: { readonly value: unknown; readonly payload: unknown }): string {
  try {
    return toJson(line)
  } catch {
    const [value, payload] = [line.value, line.payload].map((each) => each && inspect(each))
    return toJson({ ...line, value, payload })
  }
}

function dateOf(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : new Date(ms).toISOString()
}

/** Flags of another action are refused: `purge --all --lane mail` would purge all lanes. */
function check(name: string, { needs = [], takes = [], complaint }: Action, flags: Flags): void {
  for (const flag of needs) {
    if (flags[flag] === undefined) throw new UsageError(`${name} needs --${flag}`)
  }
  const known: readonly string[] = ['queue', 'name', ...needs, ...takes]
  for (const [flag, value] of Object.entries(flags)) {
    if (value === undefined || value === false || known.includes(flag)) continue
    const allowed = known.map((one) => `--${one}`).join(', ')
    throw new UsageError(`${name} takes no --${flag}; allowed: ${allowed}`)
  }
  const why = complaint?.(flags)
  if (why) throw new UsageError(why)
}

async function look(name: string, flags: Flags): Promise<number> {
  const action = Object.hasOwn(ACTIONS, name) ? ACTIONS[name] : undefined
  const names = Object.keys(ACTIONS).join(', ')
  if (action === undefined) throw new UsageError(`there is no action "${name}"; actions: ${names}`)
  check(name, action, flags)
  const url = neededUrl(flags.queue, 'queue')
  const onIncident = connectionNews((text) => console.error(`corelane: ${text}`))
  const opened = await needed(openQueue(url, flags, { onIncident }))
  try {
    return (await action.act(opened, flags)) === false ? EXIT_FAILED : EXIT_OK
  } finally {
    await opened.close()
  }
}
