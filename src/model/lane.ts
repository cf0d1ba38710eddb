// Lane: a named class of commands, and what it promises about urgency, rate and concurrency.
// Owns: nothing; data only.

import { COUNT_MAX, TIMER_MS_MAX } from '../base/bounds.ts'
import { type LaneError, laneError, show } from '../base/errors.ts'
import {
  anything,
  checkObject,
  checkOptions,
  integer,
  invalidOption,
  isObject,
  isRecord,
  milliseconds,
  type OptionRules,
  oneOf,
} from '../base/options.ts'
import { BOOST_RULES, type BoostStep, type PriorityBoostOptions } from './boost.ts'
import { PRIORITY_MAX } from './command.ts'
import { RATE_RULES, type RateLimitOptions, SLIDING_LIMIT_MAX } from './rate-limit.ts'
import { checkRetry, RETRY_RULES, type RetryOptions, type RetryPlan } from './retry.ts'

/**
 * Most commands of a lane that may be allowed to run at once; without a maximum there is no bound.
 */
export const CONCURRENCY_MAX = 65_536

/** Options of a lane. */
export interface LaneOptions {
  /** Urgency among lanes: 0 (the most urgent) to 255. Default 5. */
  readonly priority?: number | undefined
  /**
   * While fewer of its commands run, the lane goes before lanes that have their minimum. 0 to
   * 65,536. Default 0.
   */
  readonly minConcurrency?: number | undefined
  /** Its commands that may run at once over all partitions, 1 to 65,536. Default: no bound. */
  readonly maxConcurrency?: number | undefined
  /** How many of its commands may start in a window of time. Default: unlimited. */
  readonly rateLimit?: RateLimitOptions | undefined
  /** How its commands become more urgent while they wait. Default: they do not. */
  readonly priorityBoost?: PriorityBoostOptions | undefined
  /**
   * Past its deadline a waiting command becomes most urgent, or rejects unstarted. Default `boost`.
   */
  readonly onDeadline?: 'boost' | 'reject' | undefined
  /** How long a run of a command may take, 1 to 2^31 - 1 ms. Default: as long as it likes. */
  readonly timeoutMs?: number | undefined
  /** When its commands run again after a failure. Default: never. */
  readonly retry?: RetryOptions | undefined
  /** Its commands that may be unsettled at once. 1 to 2^31 - 1. Default: no bound. */
  readonly maxPending?: number | undefined
  /** Estimated bytes of their payloads. 1 to 2^53 - 1. Default: no bound. */
  readonly maxPendingBytes?: number | undefined
  /**
   * At these bounds `submit` waits until there is room, or rejects with QueueFullError; `reject`
   * needs one of them. Default `wait`.
   */
  readonly overflow?: 'wait' | 'reject' | undefined
  /**
   * Unsettled commands at which `queue.lane.pressure` is emitted, 1 to 2^31 - 1. Default: never.
   */
  readonly pressureThreshold?: number | undefined
  /**
   * Its commands of one group that may run at once over all partitions, 1 to 65,536. Default: no
   * bound.
   */
  readonly groupConcurrency?: number | undefined
  /** How many of its commands of one group may start in a window of time. Default: unlimited. */
  readonly groupRateLimit?: RateLimitOptions | undefined
  /** Shares of groups in the turns, by group: 1 to 1,000. Default of a group: 1. */
  readonly groupWeights?: Readonly<Record<string, number>> | undefined
}

/** Greatest share of a group. */
const GROUP_WEIGHT_MAX = 1000

function isWeight(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= GROUP_WEIGHT_MAX
}

/** The rules of {@link LaneOptions}. */
export const LANE_RULES = Object.freeze({
  priority: integer(5, 0, PRIORITY_MAX),
  minConcurrency: integer(0, 0, CONCURRENCY_MAX),
  maxConcurrency: integer(undefined, 1, CONCURRENCY_MAX),
  rateLimit: anything(undefined, 'a RateLimitConfig or its plain form', isObject),
  priorityBoost: anything(undefined, 'a PriorityBoostConfig or its plain form', isObject),
  onDeadline: oneOf('boost', ['boost', 'reject']),
  timeoutMs: milliseconds(undefined, 1, TIMER_MS_MAX),
  retry: anything(undefined, 'a RetryPolicy or its plain form', isObject),
  maxPending: integer(undefined, 1, COUNT_MAX),
  maxPendingBytes: integer(undefined, 1, Number.MAX_SAFE_INTEGER),
  overflow: oneOf('wait', ['wait', 'reject']),
  pressureThreshold: integer(undefined, 1, COUNT_MAX),
  groupConcurrency: integer(undefined, 1, CONCURRENCY_MAX),
  groupRateLimit: anything(undefined, 'a RateLimitConfig or its plain form', isObject),
  groupWeights: anything(
    undefined,
    `an object with integers from 1 to ${GROUP_WEIGHT_MAX} by group`,
    (value) => isRecord(value, isWeight),
  ),
}) satisfies OptionRules

/**
 * Options of a lane, one call each. Immutable; every place that takes one takes its plain form
 * {@link LaneOptions} too.
 */
export class LaneConfig implements LaneOptions {
  declare readonly priority: number | undefined
  declare readonly minConcurrency: number | undefined
  declare readonly maxConcurrency: number | undefined
  declare readonly rateLimit: RateLimitOptions | undefined
  declare readonly priorityBoost: PriorityBoostOptions | undefined
  declare readonly onDeadline: 'boost' | 'reject' | undefined
  declare readonly timeoutMs: number | undefined
  declare readonly retry: RetryOptions | undefined
  declare readonly maxPending: number | undefined
  declare readonly maxPendingBytes: number | undefined
  declare readonly overflow: 'wait' | 'reject' | undefined
  declare readonly pressureThreshold: number | undefined
  declare readonly groupConcurrency: number | undefined
  declare readonly groupRateLimit: RateLimitOptions | undefined
  declare readonly groupWeights: Readonly<Record<string, number>> | undefined

  /**
   * @param minConcurrency - While fewer of its commands run, the lane goes before lanes that have
   * their minimum. Default 0.
   * @param maxConcurrency - Its commands that may run at once over all partitions. Default: no
   * bound.
   * @param others - Its other options.
   * @throws ConfigError `CORELANE_INVALID_OPTION` if these are no object.
   */
  constructor(minConcurrency?: number, maxConcurrency?: number, others: LaneOptions = {}) {
    checkObject('LaneConfig', others)
    Object.assign(this, others)
    if (minConcurrency !== undefined) this.minConcurrency = minConcurrency
    if (maxConcurrency !== undefined) this.maxConcurrency = maxConcurrency
    Object.freeze(this)
  }

  /** A copy with this {@link LaneOptions.priority}. */
  withPriority(priority: number): LaneConfig {
    return this.#with({ priority })
  }

  /** A copy with this {@link LaneOptions.rateLimit}. */
  withRateLimit(rateLimit: RateLimitOptions): LaneConfig {
    return this.#with({ rateLimit })
  }

  /** A copy with this {@link LaneOptions.priorityBoost}. */
  withPriorityBoost(priorityBoost: PriorityBoostOptions): LaneConfig {
    return this.#with({ priorityBoost })
  }

  /** A copy with this {@link LaneOptions.onDeadline}. */
  withOnDeadline(onDeadline: 'boost' | 'reject'): LaneConfig {
    return this.#with({ onDeadline })
  }

  /** A copy with this {@link LaneOptions.timeoutMs}. */
  withTimeout(timeoutMs: number): LaneConfig {
    return this.#with({ timeoutMs })
  }

  /** A copy with this {@link LaneOptions.retry}. */
  withRetryPolicy(retry: RetryOptions): LaneConfig {
    return this.#with({ retry })
  }

  /** A copy with this {@link LaneOptions.maxPending} and {@link LaneOptions.overflow}. */
  withMaxPending(maxPending: number, overflow?: 'wait' | 'reject'): LaneConfig {
    return this.#with(overflow === undefined ? { maxPending } : { maxPending, overflow })
  }

  /** A copy with this {@link LaneOptions.maxPendingBytes} and {@link LaneOptions.overflow}. */
  withMaxPendingBytes(maxPendingBytes: number, overflow?: 'wait' | 'reject'): LaneConfig {
    return this.#with(overflow === undefined ? { maxPendingBytes } : { maxPendingBytes, overflow })
  }

  /** A copy with this {@link LaneOptions.pressureThreshold}. */
  withPressureThreshold(pressureThreshold: number): LaneConfig {
    return this.#with({ pressureThreshold })
  }

  /** A copy with this {@link LaneOptions.groupConcurrency}. */
  withGroupConcurrency(groupConcurrency: number): LaneConfig {
    return this.#with({ groupConcurrency })
  }

  /** A copy with this {@link LaneOptions.groupRateLimit}. */
  withGroupRateLimit(groupRateLimit: RateLimitOptions): LaneConfig {
    return this.#with({ groupRateLimit })
  }

  /** A copy with this {@link LaneOptions.groupWeights}. */
  withGroupWeights(groupWeights: Readonly<Record<string, number>>): LaneConfig {
    return this.#with({ groupWeights })
  }

  #with(changes: LaneOptions): LaneConfig {
    return new LaneConfig(this.minConcurrency, this.maxConcurrency, { ...this, ...changes })
  }
}

/** The rate limit of a lane, checked. Crosses threads. */
export interface RatePlan {
  /** Starts within the window, at least 1. */
  readonly limit: number
  /** Length of the window, in milliseconds. */
  readonly windowMs: number
  readonly isSliding: boolean
  readonly isPerPartition: boolean
}

/** What a lane promises each of its groups, checked. */
export interface GroupPlan {
  /** Infinity: without bound. */
  readonly concurrency: number
  /** Undefined: no limit. */
  readonly rate: RatePlan | undefined
  /** Shares of groups by name; a group that is not named has 1. */
  readonly weights: ReadonlyMap<string, number>
}

/** What partitions know of a lane: data only, so that it crosses threads. */
export type SharedLanePlan = Omit<LanePlan, 'retry' | 'groups'>

/** A lane, checked. */
export interface LanePlan {
  readonly name: string
  /** Urgency, 0 (the most urgent) to 255. */
  readonly priority: number
  /** While fewer of its commands run, it goes before lanes that have their minimum. */
  readonly minConcurrency: number
  /** Commands of it that run at once over all partitions; undefined: no bound. */
  readonly maxConcurrency: number | undefined
  /** Undefined: no limit. */
  readonly rate: RatePlan | undefined
  readonly boostSteps: readonly BoostStep[]
  /** Deadline of a command that has none of its own. */
  readonly deadlineMs: number | undefined
  readonly rejectsLate: boolean
  /** Time limit of a run, in milliseconds; undefined: none. */
  readonly timeoutMs: number | undefined
  readonly retry: RetryPlan
  /** Commands that may be submitted and not settled; Infinity: no bound. */
  readonly maxPending: number
  /** The same for the bytes of their payloads. */
  readonly maxPendingBytes: number
  readonly waitsWhenFull: boolean
  /** Unsettled commands at which `queue.lane.pressure` is emitted; Infinity: never. */
  readonly pressureThreshold: number
  readonly groups: GroupPlan
}

/**
 * Checks a lane's options.
 *
 * @param name - Its name.
 * @param options - What the caller gave.
 * @throws ConfigError `CORELANE_INVALID_OPTION`.
 */
export function planLane(name: string, options: LaneOptions): LanePlan {
  const owner = `lanes.${name}`
  if (name === '') {
    throw invalidOption('lanes', 'an object with a lane named ""', 'names that are not empty')
  }
  const checked = checkOptions<LaneOptions>(owner, options, LANE_RULES)
  const boost = checkOptions<PriorityBoostOptions>(
    `${owner}.priorityBoost`,
    checked.priorityBoost,
    BOOST_RULES,
  )
  const { minConcurrency, maxConcurrency } = checked
  if (maxConcurrency !== undefined && minConcurrency! > maxConcurrency) {
    const allowed = `at most maxConcurrency, ${maxConcurrency}`
    throw invalidOption(`${owner}.minConcurrency`, show(minConcurrency), allowed)
  }
  refuseUnbounded(owner, checked)
  return Object.freeze({
    name,
    priority: checked.priority!,
    minConcurrency: minConcurrency!,
    maxConcurrency,
    rate: planRate(`${owner}.rateLimit`, checked.rateLimit),
    boostSteps: boost.steps!,
    deadlineMs: boost.deadlineMs,
    rejectsLate: checked.onDeadline === 'reject',
    timeoutMs: checked.timeoutMs,
    retry: checkRetry(`${owner}.retry`, checked.retry, RETRY_RULES) as RetryPlan,
    maxPending: checked.maxPending ?? Number.POSITIVE_INFINITY,
    maxPendingBytes: checked.maxPendingBytes ?? Number.POSITIVE_INFINITY,
    waitsWhenFull: checked.overflow === 'wait',
    pressureThreshold: checked.pressureThreshold ?? Number.POSITIVE_INFINITY,
    groups: {
      concurrency: checked.groupConcurrency ?? Number.POSITIVE_INFINITY,
      rate: planGroupRate(`${owner}.groupRateLimit`, checked.groupRateLimit),
      weights: new Map(Object.entries(checked.groupWeights ?? {})),
    },
  })
}

/**
 * Refuses `overflow: 'reject'` where no bound could be reached.
 *
 * @throws ConfigError `CORELANE_INVALID_OPTION`.
 */
export function refuseUnbounded(
  owner: string,
  { overflow, maxPending, maxPendingBytes }: LaneOptions,
): void {
  if (overflow === 'reject' && maxPending === undefined && maxPendingBytes === undefined) {
    throw invalidOption(`${owner}.overflow`, '"reject" without maxPending', 'given with a bound')
  }
}

function planGroupRate(owner: string, options: RateLimitOptions | undefined): RatePlan | undefined {
  const rate = planRate(owner, options)
  if (!rate?.isPerPartition) return rate
  throw invalidOption(`${owner}.scope`, '"partition"', '"global"')
}

/** Checks a rate limit. */
export function planRate(
  owner: string,
  options: RateLimitOptions | undefined,
): RatePlan | undefined {
  const checked = checkOptions<RateLimitOptions>(owner, options, RATE_RULES)
  if (checked.limit === undefined) return undefined
  const isSliding = checked.algorithm === 'sliding-window'
  if (isSliding && checked.limit > SLIDING_LIMIT_MAX) {
    const allowed = `at most ${SLIDING_LIMIT_MAX} with a sliding window`
    throw invalidOption(`${owner}.limit`, show(checked.limit), allowed)
  }
  return {
    limit: checked.limit,
    windowMs: checked.windowMs!,
    isSliding,
    isPerPartition: checked.scope === 'partition',
  }
}

/** What threads share about a lane. */
export interface LaneNeeds {
  /** Commands that may run at once; 0: without bound. */
  readonly owners: number
  /** The most that may be allowed later: as many as can run, or more if they are now. */
  readonly ownersMax?: number
  /** Whether handlers that run can reach that; streams that rest can always. */
  readonly isBinding: boolean
  readonly minConcurrency: number
  readonly rate: RatePlan | undefined
}

/**
 * What threads must share to keep a lane's promises.
 *
 * @param lane - The lane.
 * @param capacity - Handlers that can run at once in all partitions together.
 */
export function laneNeeds(lane: SharedLanePlan, capacity: number): LaneNeeds {
  const { minConcurrency, maxConcurrency, rate } = lane
  const owners = maxConcurrency ?? 0
  const ownersMax = owners === 0 ? 0 : Math.max(owners, Math.min(capacity, CONCURRENCY_MAX))
  return { owners, ownersMax, isBinding: isBinding(owners, capacity), minConcurrency, rate }
}

/**
 * Whether handlers that run can reach a bound on the concurrency of a lane.
 *
 * @param owners - The bound; 0: there is none.
 * @param capacity - Handlers that can run at once in all partitions together.
 */
export function isBinding(owners: number, capacity: number): boolean {
  return owners > 0 && owners < capacity
}

/**
 * Whether commands of a lane must take something before they start.
 *
 * @param needs - The lane's.
 */
export function isGated({ owners, minConcurrency, rate }: LaneNeeds): boolean {
  return owners > 0 || minConcurrency > 0 || rate !== undefined
}

/**
 * Whether commands of a lane may have to wait though a partition is free.
 *
 * @param needs - The lane's.
 */
export function isLimited({ isBinding, rate }: LaneNeeds): boolean {
  return isBinding || rate !== undefined
}

/** Names of the lanes that a manager has when it is given none. */
export type DefaultLaneName = 'system' | 'control' | 'query' | 'session' | 'skill' | 'prompt'

/** The lanes a manager has when it is given none, by name, with their priorities. */
export const DEFAULT_LANES: Readonly<Record<DefaultLaneName, LaneOptions>> = Object.freeze({
  system: Object.freeze({ priority: 0 }),
  control: Object.freeze({ priority: 1 }),
  query: Object.freeze({ priority: 2 }),
  session: Object.freeze({ priority: 3 }),
  skill: Object.freeze({ priority: 4 }),
  prompt: Object.freeze({ priority: 5 }),
})

/** Most lanes a manager can have. */
export const LANE_COUNT_MAX = 256

/**
 * The error of a lane that does not exist.
 *
 * @param name - What the caller gave.
 * @param lanes - Those that there are.
 */
export function unknownLane(name: unknown, lanes: readonly { readonly name: string }[]): LaneError {
  const received = typeof name === 'string' ? show(name) : `named by ${show(name)}`
  const allowed = lanes.map((lane) => lane.name).join(', ')
  return laneError('CORELANE_UNKNOWN_LANE', { received, allowed })
}

/**
 * Packs lane priority and command priority into the rank that orders commands everywhere.
 *
 * @param lanePriority - 0 to 255.
 * @param commandPriority - 0 to 255.
 * @returns An integer; less is more urgent.
 */
export function rankOf(lanePriority: number, commandPriority: number): number {
  return lanePriority * (PRIORITY_MAX + 1) + commandPriority
}

/**
 * The command priority in a rank.
 *
 * @param rank - Made by {@link rankOf}.
 */
export function priorityOf(rank: number): number {
  return rank % (PRIORITY_MAX + 1)
}
