// Start check: whether this Redis is suitable, which data it may lose, and whether the queue has
// the partitions and strategy that were asked for.

import { laneError, show } from '../../base/errors.ts'
import { PARTITION_COUNT_MAX, STRATEGIES, STRATEGY_SYNONYMS } from '../../model/partition-config.ts'
import type { QueuePartitions } from '../contract/queue-partitions.ts'
import { FORMAT_VERSION, metaKey, queueKeys } from './keys.ts'
import { LinkLost } from './link.ts'
import type { RedisIncident, RedisQueuePlan } from './options.ts'
import { META } from './scripts/meta.ts'

const OLDEST_MAJOR = 7

type Send = (args: readonly string[]) => Promise<unknown>

/** What is known of a server; `undefined` where it does not tell. */
export interface ServerFacts {
  readonly version: string | undefined
  readonly evictionPolicy: string | undefined
  readonly hasMemoryBound: boolean | undefined
  readonly appendOnly: boolean | undefined
  readonly appendSync: string | undefined
  readonly isCluster: boolean
}

function infoOf(text: unknown): Map<string, string> {
  const lines = String(text).matchAll(/^([^#:\r\n]+):([^\r\n]*)/gm)
  return new Map(Array.from(lines, ([, name, value]) => [name!, value!]))
}

/** A reply of pairs: a map, or a flat list. */
export function pairsOf(reply: unknown): Map<string, string> {
  const flat = Array.isArray(reply) ? reply : Object.entries(reply as object).flat()
  const pairs = new Map<string, string>()
  for (let i = 0; i + 1 < flat.length; i += 2) pairs.set(String(flat[i]), String(flat[i + 1]))
  return pairs
}

async function attempt<T>(ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask()
  } catch (error) {
    if (error instanceof LinkLost) throw error
    // Denied or unknown: managed servers often hide CONFIG, and a rule may forbid INFO.
    return undefined
  }
}

export async function factsOf(send: Send): Promise<ServerFacts> {
  const info = await attempt(async () => infoOf(await send(['INFO'])))
  const config = await attempt(async () => {
    const found = new Map<string, string>()
    // One by one: servers before 7 know no lists of names, and must be refused as too old.
    for (const name of ['maxmemory', 'maxmemory-policy', 'appendonly', 'appendfsync']) {
      for (const [key, value] of pairsOf(await send(['CONFIG', 'GET', name]))) found.set(key, value)
    }
    return found
  })
  const bound = config?.get('maxmemory') ?? info?.get('maxmemory')
  const append = config?.get('appendonly') ?? info?.get('aof_enabled')
  return {
    version: info?.get('redis_version'),
    evictionPolicy: config?.get('maxmemory-policy') ?? info?.get('maxmemory_policy'),
    hasMemoryBound: bound === undefined ? undefined : bound !== '0',
    appendOnly: append === undefined ? undefined : append === 'yes' || append === '1',
    appendSync: config?.get('appendfsync'),
    isCluster: info?.get('cluster_enabled') === '1',
  }
}

/** What is wrong with a server that is to keep a queue. */
export function findingsOf(facts: ServerFacts): RedisIncident[] {
  const findings: RedisIncident[] = []
  const { evictionPolicy, hasMemoryBound, appendOnly, appendSync } = facts
  if (evictionPolicy !== undefined && evictionPolicy !== 'noeviction' && hasMemoryBound !== false) {
    findings.push({
      kind: 'evicts',
      detail: `maxmemory-policy is ${evictionPolicy}: a full Redis throws commands away (noeviction)`,
    })
  }
  let detail: string | undefined
  if (appendOnly === undefined) {
    detail = 'whether appendonly is on is unknown: INFO and CONFIG GET are denied'
  } else if (!appendOnly) {
    detail = 'appendonly is off: what came since the last snapshot is lost when Redis restarts'
  } else if (appendSync === 'no') {
    detail = 'appendfsync is no: a power cut loses as much as the operating system has not written'
  }
  if (detail !== undefined) findings.push({ kind: 'not-durable', detail })
  return findings
}

/**
 * Checks a server.
 *
 * @throws ConfigError `CORELANE_QUEUE_REFUSED`.
 */
export function checkServer(
  facts: ServerFacts,
  queue: string,
  durability: 'warn' | 'require' | 'ignore',
  report: (kind: RedisIncident['kind'], detail: string) => void,
): void {
  const { version } = facts
  if (version !== undefined && Number.parseInt(version, 10) < OLDEST_MAJOR) {
    throw laneError('CORELANE_QUEUE_REFUSED', {
      queue,
      reason: `Redis ${version} is older than 7.0`,
    })
  }
  if (durability === 'ignore') return
  const findings = findingsOf(facts)
  if (durability === 'require' && findings.length > 0) {
    const reason = findings.map(({ detail }) => detail).join('; ')
    throw laneError('CORELANE_QUEUE_REFUSED', { queue, reason })
  }
  for (const { kind, detail } of findings) report(kind, detail)
}

/** Asks for every partition: it fails with MOVED where another server of a Cluster has one. */
export async function checkSlots(send: Send, { queue, numPartitions }: RedisQueuePlan) {
  const { partitions } = queueKeys(queue, numPartitions)
  await Promise.all(partitions.map(({ own }) => send(['HGET', own, 'owner'])))
}

/**
 * Makes a queue if it is new, and compares it with what it must be.
 *
 * @param plan - How it is opened: its partitions are those of a new queue.
 * @param report - Where the queue was open before: called if Redis has forgotten it.
 * @returns The partitions that the queue has.
 * @throws ConfigError `CORELANE_QUEUE_MISMATCH`; `CORELANE_QUEUE_REFUSED` if its record is damaged.
 */
export async function fixMeta(
  send: Send,
  plan: Pick<RedisQueuePlan, 'queue' | 'required' | keyof QueuePartitions>,
  report?: (kind: RedisIncident['kind'], detail: string) => void,
): Promise<QueuePartitions> {
  const { queue, required } = plan
  const given = [String(FORMAT_VERSION), String(plan.numPartitions), plan.strategy]
  const reply = await send(['EVAL', META.source, '1', metaKey(queue), ...given])
  const [isNew, ...found] = reply as [number, ...(Buffer | null)[]]
  if (found.some((value) => typeof value === 'string')) {
    const reason = 'its client is of node-redis before 6.2'
    throw laneError('CORELANE_QUEUE_REFUSED', { queue, reason })
  }
  const [format, partitions, recorded] = found.map(String)
  const strategy = STRATEGY_SYNONYMS[recorded!] ?? recorded
  compare('format', format, String(FORMAT_VERSION))
  compare('partitions', partitions, required.numPartitions?.toString())
  compare('strategy', strategy, required.strategy)
  const numPartitions = Number(partitions)
  const known = STRATEGIES.find((name) => name === strategy)
  const isWhole = Number.isInteger(numPartitions)
  if (known === undefined || !isWhole || numPartitions < 1 || numPartitions > PARTITION_COUNT_MAX) {
    const reason = `its record has ${show(partitions)} partitions, strategy ${show(strategy)}`
    throw laneError('CORELANE_QUEUE_REFUSED', { queue, reason })
  }
  if (isNew === 1) report?.('data-lost', `queue ${queue}: Redis knew nothing of it any more`)
  return { numPartitions, strategy: known }

  function compare(option: string, expected: string | undefined, received: string | undefined) {
    if (received === undefined || expected === received) return
    throw laneError('CORELANE_QUEUE_MISMATCH', {
      queue,
      option,
      expected: String(expected),
      received,
    })
  }
}
