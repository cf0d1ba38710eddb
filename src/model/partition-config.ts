// Partition config: how many partitions, and which one a command goes to.
// Owns: nothing; data only.

import { TIMER_MS_MAX } from '../base/bounds.ts'
import { show } from '../base/errors.ts'
import {
  alias,
  anything,
  checkOptions,
  integer,
  invalidOption,
  milliseconds,
  type OptionRules,
  oneOf,
} from '../base/options.ts'

/** Most partitions a manager can have. */
export const PARTITION_COUNT_MAX = 256

/** Names of the strategies. */
export const STRATEGIES = Object.freeze([
  'balanced',
  'roundRobin',
  'hash',
  'single',
  'custom',
] as const)

/** How a command finds its partition. */
export type PartitionStrategy = (typeof STRATEGIES)[number]

/** Those that every submitter of a queue can follow, on whatever machine: all but `custom`. */
export const PORTABLE_STRATEGIES: readonly PartitionStrategy[] = STRATEGIES.filter(
  (name) => name !== 'custom',
)

/** A strategy as callers may name it: `none` is another name of `single`. */
export type PartitionStrategyName = PartitionStrategy | 'none'

/** Other names of strategies. */
export const STRATEGY_SYNONYMS: Readonly<Record<string, PartitionStrategy>> = Object.freeze({
  none: 'single',
})

/**
 * Whether a strategy takes keys: `balanced` and `roundRobin` could not keep them together.
 *
 * @param strategy - The strategy.
 */
export function takesKeys(strategy: PartitionStrategy): boolean {
  return strategy !== 'balanced' && strategy !== 'roundRobin'
}

/** Names of those, for messages. */
export const KEYED_STRATEGIES: string = STRATEGIES.filter(takesKeys)
  .map((name) => JSON.stringify(name))
  .join(', ')

/** The facts about a command that a custom partitioner gets. */
export interface PartitionQuestion {
  readonly lane: string
  readonly type: string
  /** Undefined if the command has none. */
  readonly key: string | undefined
  readonly payload: unknown
  /** How many partitions there are. */
  readonly partitions: number
}

/**
 * Chooses the partition of a command, synchronously.
 *
 * @returns An integer from 0 to `question.partitions - 1`.
 */
export type Partitioner = (question: PartitionQuestion) => number

/** The plain form of {@link PartitionConfig}. */
export interface PartitionOptions {
  /** How a command finds its partition. Default `balanced`. */
  readonly strategy?: PartitionStrategyName | undefined
  /** Number of partitions, 1 to 256. Default: one per core that this process may use. */
  readonly count?: number | undefined
  /**
   * Threads that stay when there is nothing to do, 0 to 256. Given, or `max`, threads come with
   * load and go when they are idle; under `balanced` only. Default: as many as `max`.
   */
  readonly min?: number | undefined
  /** Threads at most, 1 to 256, instead of `count`. Default: one per core. */
  readonly max?: number | undefined
  /** How long a thread above `min` is idle before it ends, 0 to 2^31 - 1 ms. Default 10,000 ms. */
  readonly idleTimeoutMs?: number | undefined
  /** The partitioner of the `custom` strategy. Default: none. */
  readonly choose?: Partitioner | undefined
}

/** Options that were checked, with the name that the strategy has here. */
interface CheckedPartitions extends PartitionOptions {
  readonly strategy: PartitionStrategy
}

/** The rules of {@link PartitionOptions}. */
export const PARTITION_RULES = Object.freeze({
  strategy: oneOf('balanced', STRATEGIES, STRATEGY_SYNONYMS),
  count: alias(
    integer(undefined, 1, PARTITION_COUNT_MAX),
    ...['threads', 'workers', 'partitions', 'size'],
  ),
  min: integer(undefined, 0, PARTITION_COUNT_MAX),
  max: integer(undefined, 1, PARTITION_COUNT_MAX),
  idleTimeoutMs: milliseconds(undefined, 0, TIMER_MS_MAX),
  choose: anything(undefined, 'a function', (value) => typeof value === 'function'),
}) satisfies OptionRules

/**
 * Checks partitions, of a manager or of a queue.
 *
 * @throws ConfigError `CORELANE_INVALID_OPTION`, also for members that contradict each other.
 */
export function checkPartitions(partitions: PartitionOptions | undefined): CheckedPartitions {
  const checked = checkOptions<CheckedPartitions>('PartitionConfig', partitions, PARTITION_RULES)
  const { strategy, choose, count = 1 } = checked
  if ((strategy === 'custom') !== (choose !== undefined)) {
    const allowed = strategy === 'custom' ? 'a function' : 'nothing unless the strategy is "custom"'
    throw invalidOption('PartitionConfig.choose', show(choose), allowed)
  }
  if (strategy === 'single' && count !== 1) {
    throw invalidOption('PartitionConfig.count', show(count), '1 where the strategy is "single"')
  }
  return checked
}

/**
 * How many partitions a manager has and how commands find theirs. Immutable; every place that takes
 * one takes its plain form {@link PartitionOptions} too.
 */
export class PartitionConfig implements PartitionOptions {
  readonly strategy: PartitionStrategy
  readonly count: number | undefined
  readonly choose: Partitioner | undefined

  readonly min: number | undefined
  readonly max: number | undefined
  readonly idleTimeoutMs: number | undefined

  private constructor(
    strategy: PartitionStrategy,
    count?: number,
    choose?: Partitioner,
    { min, max, idleTimeoutMs }: PartitionOptions = {},
  ) {
    this.strategy = strategy
    this.count = count
    this.choose = choose
    this.min = min
    this.max = max
    this.idleTimeoutMs = idleTimeoutMs
    Object.freeze(this)
  }

  /** `balanced` on every core that this process may use; container CPU quotas are honoured. */
  static auto(): PartitionConfig {
    return new PartitionConfig('balanced')
  }

  /**
   * Each command goes where it starts soonest. Keys are refused.
   *
   * @param count - Number of partitions. Default: one per core.
   */
  static balanced(count?: number): PartitionConfig {
    return new PartitionConfig('balanced', count)
  }

  /**
   * As `balanced`, with threads that come with load and go when they are idle.
   *
   * @param min - Threads that stay, 0 to 256.
   * @param max - Threads at most. Default: one per core.
   * @param idleTimeoutMs - How long a thread above `min` is idle before it ends. Default 10,000 ms.
   */
  static elastic(min: number, max?: number, idleTimeoutMs?: number): PartitionConfig {
    return new PartitionConfig('balanced', undefined, undefined, { min, max, idleTimeoutMs })
  }

  /**
   * Commands go to the partitions in turn, and start there by urgency. Keys are refused.
   *
   * @param count - Number of partitions. Default: one per core.
   */
  static roundRobin(count?: number): PartitionConfig {
    return new PartitionConfig('roundRobin', count)
  }

  /**
   * Commands with the same key, or without one of the same type, go to the same partition.
   * The partition is `stableHash(key ?? type) % count`.
   *
   * @param count - Number of partitions. Default: one per core.
   */
  static hash(count?: number): PartitionConfig {
    return new PartitionConfig('hash', count)
  }

  /** A single partition: one thread, which takes keys. */
  static single(): PartitionConfig {
    return new PartitionConfig('single', 1)
  }

  /** Another name of {@link PartitionConfig.single}. */
  static none(): PartitionConfig {
    return PartitionConfig.single()
  }

  /**
   * A function chooses.
   *
   * @param count - Number of partitions, 1 to 256.
   * @param choose - Called on submit.
   */
  static custom(count: number, choose: Partitioner): PartitionConfig {
    return new PartitionConfig('custom', count, choose)
  }
}
