// Queue flags: the flags shared by the bin's commands that use a queue, and the way to open it.
// Must not: print a URL with its password.

import { LaneError, show } from '../base/errors.ts'
import { integer, oneOf, text } from '../base/options.ts'
import { isPortableName, PORTABLE_NAME_ALLOWED, portableName } from '../base/portable-name.ts'
import type { LeasedQueue, PartitionStrategy } from '../index.ts'
import type { RedisQueueOptions } from '../redis.ts'
import { type CliOption, UsageError } from './command-line.ts'
import { naming, STRATEGY_SYNONYMS } from './handler-flags.ts'

/** Kinds of incidents to print; workers print the others. */
const PRINTED = ['unreachable', 'not-ready', 'connection-lost', 'connection-back', 'data-lost']

/** Where the URL is looked for as well: there, a password does not show in a list of processes. */
const URL_VARIABLE = 'CORELANE_QUEUE_URL'

/** Which flag to name when the queue refuses an option. */
const FLAGS: Readonly<Record<string, string>> = {
  'RedisDistributedQueue.leaseMs': '--lease',
  'PartitionConfig.count': '--queue-partitions',
}

/** The flags of {@link QUEUE_FLAGS}. */
export interface QueueFlags {
  readonly queue: string | undefined
  readonly name: string
  readonly queuePartitions: number | undefined
  readonly queueStrategy: PartitionStrategy | undefined
}

/** Which queue, and what it is if it is not there yet. */
export const QUEUE_FLAGS: Readonly<Record<keyof QueueFlags, CliOption>> = {
  queue: {
    flag: '--queue <url>',
    summary: `A queue on Redis: redis://host:6379, or in ${URL_VARIABLE}`,
    rule: text(undefined),
  },
  name: {
    flag: '--name <queue>',
    summary: 'Name of the queue',
    rule: portableName('default'),
  },
  queuePartitions: {
    flag: '--queue-partitions <n>',
    summary: 'Its partitions (default: as it has; 8 if it is new)',
    rule: integer(undefined, 1, 256),
  },
  queueStrategy: {
    flag: '--queue-strategy <name>',
    summary: 'Its strategy (default: as it has; if it is new balanced, or hash for run --key)',
    rule: oneOf(undefined, ['balanced', 'roundRobin', 'hash', 'single'], STRATEGY_SYNONYMS),
  },
}

/**
 * Finds and checks the URL of the queue.
 *
 * @param flag - The value of `--queue`, if it was given.
 * @param isInEnvironment - Whether it may come from the environment.
 * @returns Undefined if there is none.
 * @throws UsageError
 */
export function queueUrl(flag: string | undefined, isInEnvironment: boolean): string | undefined {
  const url = flag ?? (isInEnvironment ? process.env[URL_VARIABLE] || undefined : undefined)
  if (url === undefined) return undefined
  if (!/^rediss?:\/\/./.test(url) || !URL.canParse(url)) {
    const place = flag === undefined ? URL_VARIABLE : '--queue'
    throw new UsageError(
      `${place} is ${show(redacted(url))}; allowed: redis://host:6379, rediss://user:password@host`,
    )
  }
  return url
}

/** As {@link queueUrl}, for a command that needs one. */
export function neededUrl(flag: string | undefined, command: string): string {
  const url = queueUrl(flag, true)
  if (url !== undefined) return url
  throw new UsageError(`${command} needs --queue, or a URL in ${URL_VARIABLE}`)
}

/**
 * Splits a list of names and checks it.
 *
 * @param flag - Its flag, as `--lanes`.
 * @param value - Its value, if it was given.
 * @returns Undefined if it was not.
 * @throws UsageError
 */
export function nameList(flag: string, value: string | undefined): string[] | undefined {
  const names = value?.split(',')
  for (const name of names ?? []) {
    if (!isPortableName(name))
      throw new UsageError(`${flag} has ${show(name)}; allowed: ${PORTABLE_NAME_ALLOWED}`)
  }
  return names
}

/**
 * Opens the queue, as it was made where the flags do not say.
 *
 * @param url - From {@link queueUrl}.
 * @param flags - Which queue it is.
 * @param more - Other options of the queue, and the strategy of a new one where no flag says so.
 * @throws UsageError if the package that it needs is missing, or a flag's value is refused;
 * LaneError `CORELANE_QUEUE_UNAVAILABLE`, `CORELANE_QUEUE_MISMATCH`.
 */
export async function openQueue(
  url: string,
  flags: QueueFlags,
  more: Pick<RedisQueueOptions, 'leaseMs' | 'onIncident'> & {
    strategy?: PartitionStrategy | undefined
  },
): Promise<LeasedQueue> {
  const { RedisDistributedQueue } = await loadRedis()
  const { name: queue, queueStrategy, queuePartitions: count } = flags
  const { strategy: preferred, ...options } = more
  const open = (strategy: PartitionStrategy | undefined): Promise<LeasedQueue> =>
    RedisDistributedQueue.open({ url, queue, partitions: { strategy, count }, ...options })
  try {
    return await open(queueStrategy ?? preferred).catch((error: unknown) => {
      if (queueStrategy === undefined && isOtherStrategy(error)) return open(undefined)
      throw error
    })
  } catch (error) {
    throw naming(FLAGS, error)
  }
}

/**
 * Prints what happens to the connection to a queue.
 *
 * @param log - Prints a notice.
 */
export function connectionNews(
  log: (text: string) => void,
): NonNullable<RedisQueueOptions['onIncident']> {
  return ({ kind, detail }) => {
    if (PRINTED.includes(kind)) log(`${kind}: ${detail}`)
  }
}

function isOtherStrategy(error: unknown): boolean {
  return (
    error instanceof LaneError &&
    error.code === 'CORELANE_QUEUE_MISMATCH' &&
    error.details.option === 'strategy'
  )
}

/** A URL without what is secret in it. */
export function placeOf(url: string): string {
  const { protocol, host, pathname } = new URL(url)
  return `${protocol}//${host}${pathname === '/' ? '' : pathname}`
}

/** Only who uses a queue needs the client's package. */
async function loadRedis(): Promise<typeof import('../redis.ts')> {
  try {
    return await import('../redis.ts')
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code !== 'ERR_MODULE_NOT_FOUND' || !message.includes('redis')) throw error
    throw new UsageError('--queue needs the package redis: npm install redis', { cause: error })
  }
}

/** Up to the last @ there may be a password, also where it is no URL. */
function redacted(text: string): string {
  return text.replace(/^(\w+:\/\/)?.*@/s, '$1***@')
}
