// Options: the options of a queue on Redis, checked and completed once.
// Owns: the one table of its options.

import { hostname } from 'node:os'
import type { RedisClientOptions } from 'redis'
import { TIMER_MS_MAX } from '../../base/bounds.ts'
import {
  anything,
  type Complete,
  checkOptions,
  integer,
  invalidOption,
  isObject,
  milliseconds,
  type OptionRules,
  oneOf,
} from '../../base/options.ts'
import { portableName } from '../../base/portable-name.ts'
import { uniqueName } from '../../base/random.ts'
import type { PartitionOptions } from '../../model/partition-config.ts'
import { planPartitions, type QueuePartitions } from '../contract/queue-partitions.ts'

/** The cores of one machine are no measure for a queue that many share. */
const PARTITION_COUNT = 8

/** Something that is not as it should be. `detail` is for people and holds no secrets. */
export interface RedisIncident {
  readonly kind: /** `open` could not connect. It tries again until `openTimeoutMs` is up. */
    | 'unreachable'
    | 'connection-lost'
    | 'connection-back'
    /** No answer came: whether it was done is unknown, and it is done again. */
    | 'answer-lost'
    /** Redis refused a call for now (LOADING, BUSY, OOM, READONLY …). The call is repeated. */
    | 'not-ready'
    /** An entry could not be decoded. It is among the dead. */
    | 'undecodable'
    /** A command was given out as often as it may be. It is among the dead. */
    | 'poisoned'
    /** Redis may lose what it has when it restarts. */
    | 'not-durable'
    /** Redis may throw keys away when its memory is full. */
    | 'evicts'
    /** Redis has forgotten the queue: it was flushed, or restarted without its data. */
    | 'data-lost'
  readonly detail: string
}

/** As much of a client of node-redis as is used: it is copied, never used itself nor closed. */
export interface RedisClientLike {
  /** As `createClient` took them. Absent: its defaults. */
  readonly options?: object | undefined
  /** A client with the same options, for a connection of its own. */
  duplicate(overrides?: object): unknown
}

/** Options of `RedisDistributedQueue.open`. All have defaults. */
export interface RedisQueueOptions {
  /**
   * Where Redis is: `redis[s]://[user:password@]host[:port][/database]` or `unix:///path`. Default:
   * localhost, port 6379. One of `url`, `connection` and `client` at most.
   */
  readonly url?: string | undefined
  /** Options of node-redis's `createClient`, for TLS files, credentials providers and the like. */
  readonly connection?: RedisClientOptions | undefined
  /** A client of yours: two connections are made as it makes them. It is not used nor closed. */
  readonly client?: RedisClientLike | undefined
  /** Name of the queue. Default `default`. */
  readonly queue?: string | undefined
  /**
   * Partitions and strategy, fixed when a queue is first opened. Members left out are taken as the
   * queue has it; a new queue is `balanced(8)`.
   */
  readonly partitions?: PartitionOptions | undefined
  /**
   * Who works through the object; unique for every start of a process. Default: host, pid, chance.
   */
  readonly workerId?: string | undefined
  /** How long a delivery is its worker's unless extended, 100 to 2^31 - 1 ms. Default 30,000. */
  readonly leaseMs?: number | undefined
  /** How often a command is started before it is dead, if workers die, 1 to 1,000. Default 3. */
  readonly maxDeliveries?: number | undefined
  /**
   * How long results are kept and ids known after a command ended, 1 ms to 30 days. Default
   * 3,600,000: 1 h.
   */
  readonly resultTtlMs?: number | undefined
  /**
   * How long an empty lane keeps its keys after its last command, 100 ms to 30 days. Workers remove
   * them. Default 3,600,000: 1 h.
   */
  readonly laneTtlMs?: number | undefined
  /**
   * Most dead commands that a partition keeps, 1 to 1,000,000; past it the oldest go. Default
   * 10,000.
   */
  readonly maxDead?: number | undefined
  /** Most bytes of a payload or a result, encoded: 1 KiB to 256 MiB. Default 1 MiB. */
  readonly maxBytes?: number | undefined
  /**
   * How long Redis may take to answer before the connection is made anew, 50 to 2^31 - 1 ms.
   * Default 5,000.
   */
  readonly commandTimeoutMs?: number | undefined
  /**
   * How long a call is repeated before it fails with `CORELANE_QUEUE_UNAVAILABLE`, 50 to 2^31 - 1
   * ms. Default 15,000.
   */
  readonly callTimeoutMs?: number | undefined
  /**
   * How long `open` tries to reach Redis before it fails with `CORELANE_QUEUE_UNAVAILABLE`, 50 to
   * 2^31 - 1 ms. Default 15,000. The first failure is an incident.
   */
  readonly openTimeoutMs?: number | undefined
  /**
   * How often a worker looks at one partition after another though nothing was announced, 10 to
   * 60,000 ms; and at all of them while it hears no announcements. Default 2,000.
   */
  readonly pollMaxMs?: number | undefined
  /** What is done about a Redis that may lose what it has. Default `warn`: an incident. */
  readonly durability?: 'warn' | 'require' | 'ignore' | undefined
  /** Called with each fault that the engine got over by itself. Default: none. */
  readonly onIncident?: ((incident: RedisIncident) => void) | undefined
}

/** The rules of {@link RedisQueueOptions}. */
export const REDIS_QUEUE_RULES = Object.freeze({
  url: anything(
    undefined,
    'a URL with redis:, rediss: or unix:',
    (value) => typeof value === 'string' && /^(?:rediss?|unix):\/\//.test(value),
  ),
  connection: anything(undefined, "options of node-redis's createClient", isObject),
  client: anything(
    undefined,
    'a client of node-redis for one server',
    (value) =>
      typeof (value as RedisClientLike | null)?.duplicate === 'function' &&
      // Those for Sentinel and Cluster take other arguments.
      !('getMasterNode' in (value as object) || 'masters' in (value as object)),
  ),
  queue: portableName('default'),
  partitions: anything(undefined, 'a PartitionConfig or its plain form', isObject),
  workerId: portableName(undefined),
  leaseMs: integer(30_000, 100, TIMER_MS_MAX),
  maxDeliveries: integer(3, 1, 1000),
  resultTtlMs: integer(3_600_000, 1, 30 * 24 * 60 * 60 * 1000),
  laneTtlMs: integer(3_600_000, 100, 30 * 24 * 60 * 60 * 1000),
  maxDead: integer(10_000, 1, 1_000_000),
  maxBytes: integer(2 ** 20, 1024, 2 ** 28),
  commandTimeoutMs: milliseconds(5_000, 50, TIMER_MS_MAX),
  callTimeoutMs: milliseconds(15_000, 50, TIMER_MS_MAX),
  openTimeoutMs: milliseconds(15_000, 50, TIMER_MS_MAX),
  pollMaxMs: milliseconds(2_000, 10, 60_000),
  durability: oneOf('warn', ['warn', 'require', 'ignore']),
  onIncident: anything(undefined, 'a function', (value) => typeof value === 'function'),
}) satisfies OptionRules

/** Options that may be left out, with a meaning of its own. */
type Open = 'url' | 'connection' | 'client' | 'partitions' | 'onIncident'

/** How a queue is opened: the options, complete. */
export interface RedisQueuePlan extends QueuePartitions, Complete<RedisQueueOptions, Open> {
  /** What the queue must be; members left out are taken as the queue has them. */
  readonly required: Partial<QueuePartitions>
  /** Whether each partition is a slot of its own: Redis is in Cluster mode. */
  readonly isCluster: boolean
}

/**
 * Checks options and completes them. The partitions are those of a new queue.
 *
 * @param options - What the user gave.
 * @throws ConfigError `CORELANE_INVALID_OPTION`. The URL is never part of it.
 */
export function planRedisQueue(options: RedisQueueOptions | undefined): RedisQueuePlan {
  if (typeof options?.url === 'string' && !REDIS_QUEUE_RULES.url.accepts(options.url)) {
    // It may hold a password, so it is not shown.
    throw invalidOption(
      'RedisDistributedQueue.url',
      'not such a URL',
      REDIS_QUEUE_RULES.url.allowed,
    )
  }
  const checked = checkOptions<Complete<RedisQueueOptions, Open | 'workerId'>>(
    'RedisDistributedQueue',
    options,
    REDIS_QUEUE_RULES,
  )
  const ways = [checked.url, checked.connection, checked.client]
  if (ways.filter((way) => way !== undefined).length > 1) {
    throw invalidOption(
      'RedisDistributedQueue.url',
      'more than one',
      'one of url, connection and client',
    )
  }
  const asked = checked.partitions ?? {}
  const partitions = planPartitions(asked, () => PARTITION_COUNT)
  const { strategy, numPartitions } = partitions
  const hasCount = asked.count !== undefined || strategy === 'single'
  const required = {
    ...(asked.strategy === undefined ? {} : { strategy }),
    ...(hasCount ? { numPartitions } : {}),
  }
  return Object.freeze({
    ...checked,
    workerId: checked.workerId ?? newWorkerId(),
    ...partitions,
    required,
    isCluster: false,
  })
}

/** A name that no other start of a process has. */
function newWorkerId(): string {
  const host = hostname()
    .replace(/[^A-Za-z0-9.-]/g, '-')
    .slice(0, 64)
  return `${host || 'host'}-${process.pid}-${uniqueName()}`
}
