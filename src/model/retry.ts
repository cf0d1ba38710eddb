// Retry: when a command that failed runs again: data, and the arithmetic of the delays.

import { TIMER_MS_MAX } from '../base/bounds.ts'
import { codeOf, ERRORS } from '../base/errors.ts'
import {
  anything,
  boolean,
  checkObject,
  checkOptions,
  integer,
  invalidOption,
  milliseconds,
  type OptionRules,
  oneOf,
} from '../base/options.ts'

/** Most retries of a command. */
export const RETRIES_MAX = 100

/** How the delays before retries grow. */
export type Backoff = 'exponential' | 'fixed'

/** When a command that failed runs again. */
export interface RetryOptions {
  /**
   * Times a command whose handler failed runs again, 0 to 100. Default 0; must be given beside
   * other options than `retryLost`.
   */
  readonly retries?: number | undefined
  /** Whether each delay doubles the last or is like it. Default `exponential`. */
  readonly backoff?: Backoff | undefined
  /** Delay before the first retry, 0 to 2^31 - 1 ms. Default 100. */
  readonly delayMs?: number | undefined
  /** No delay is longer, 0 to 2^31 - 1 ms. Default 30,000. */
  readonly maxDelayMs?: number | undefined
  /** Part of each delay that chance may take away, 0 to 1. Default 0. */
  readonly jitter?: number | undefined
  /**
   * Whether an error is worth another try. Default: all are but those that corelane calls final.
   */
  readonly retryable?: ((error: unknown) => boolean) | undefined
  /** Whether a time-out counts as such a failure. Default false: it is final. */
  readonly retryTimeouts?: boolean | undefined
  /**
   * Whether a command whose thread died runs again, until it has killed `maxCrashes` threads.
   * Default false: it rejects with PartitionLostError. Takes none of the `retries`.
   */
  readonly retryLost?: boolean | undefined
}

function isFraction(value: unknown): boolean {
  return typeof value === 'number' && value >= 0 && value <= 1
}

/** The rules of {@link RetryOptions}. */
export const RETRY_RULES = Object.freeze({
  retries: integer(0, 0, RETRIES_MAX),
  backoff: oneOf('exponential', ['exponential', 'fixed']),
  delayMs: milliseconds(100, 0, TIMER_MS_MAX),
  maxDelayMs: milliseconds(30_000, 0, TIMER_MS_MAX),
  jitter: anything(0, 'a number from 0 to 1', isFraction),
  retryable: anything(undefined, 'a function', (value) => typeof value === 'function'),
  retryTimeouts: boolean(false),
  retryLost: boolean(false),
}) satisfies OptionRules

/** Options of {@link RetryOptions} for one command of a distributed queue: plain data. */
export type QueuedRetry = Omit<RetryOptions, 'retryable' | 'retryLost'>

/** The rules of {@link QueuedRetry}. */
export const QUEUED_RETRY_RULES = Object.freeze({
  ...RETRY_RULES,
  retryable: anything(
    undefined,
    'none: a function cannot travel, and that of the lane judges',
    isAbsent,
  ),
  retryLost: anything(undefined, 'none: maxDeliveries of the queue bounds lost runs', isAbsent),
}) satisfies OptionRules

function isAbsent(value: unknown): boolean {
  return value === undefined
}

/**
 * Checks a policy and fills in the defaults.
 *
 * @param owner - What it belongs to, for messages.
 * @throws ConfigError `CORELANE_INVALID_OPTION`, also for delays of retries that are never made.
 */
export function checkRetry<T extends RetryOptions>(
  owner: string,
  options: T | undefined,
  rules: OptionRules,
): T {
  const plan = checkOptions<T>(owner, options, rules)
  const { retries, retryLost, ...others } = options ?? {}
  const [setting] = Object.entries(others).find(([, value]) => value || value === 0) ?? []
  if (retries === undefined && !retryLost && setting !== undefined) {
    throw invalidOption(`${owner}.retries`, `missing beside ${setting}`, rules.retries!.allowed)
  }
  return plan
}

/**
 * When a command that failed runs again. Immutable; every place that takes one takes its plain form
 * {@link RetryOptions} too.
 */
export class RetryPolicy implements RetryOptions {
  declare readonly retries: number | undefined
  declare readonly backoff: Backoff | undefined
  declare readonly delayMs: number | undefined
  declare readonly maxDelayMs: number | undefined
  declare readonly jitter: number | undefined
  declare readonly retryable: ((error: unknown) => boolean) | undefined
  declare readonly retryTimeouts: boolean | undefined
  declare readonly retryLost: boolean | undefined

  /**
   * @param options - Its options. Default: all defaults.
   * @throws ConfigError `CORELANE_INVALID_OPTION` if these are no object.
   */
  constructor(options: RetryOptions = {}) {
    checkObject('RetryPolicy', options)
    Object.assign(this, options)
    Object.freeze(this)
  }

  /**
   * Retries after 100 ms, 200 ms, 400 ms and so on, at most 30 s.
   *
   * @param retries - How often, 0 to 100.
   */
  static exponential(retries: number): RetryPolicy {
    return new RetryPolicy({ retries, backoff: 'exponential' })
  }

  /**
   * Retries after the same delay each time.
   *
   * @param retries - How often, 0 to 100.
   * @param delayMs - The delay, 0 to 2^31 - 1 ms.
   */
  static fixed(retries: number, delayMs: number): RetryPolicy {
    return new RetryPolicy({ retries, backoff: 'fixed', delayMs, maxDelayMs: delayMs })
  }

  /** Retries nothing. */
  static none(): RetryPolicy {
    return new RetryPolicy()
  }

  /** A copy with this {@link RetryOptions.jitter}. */
  withJitter(jitter: number): RetryPolicy {
    return new RetryPolicy({ ...this, jitter })
  }

  /** A copy with this {@link RetryOptions.retryable}. */
  withRetryable(retryable: (error: unknown) => boolean): RetryPolicy {
    return new RetryPolicy({ ...this, retryable })
  }

  /** Counts time-outs as failures that are worth another try. */
  withTimeouts(): RetryPolicy {
    return new RetryPolicy({ ...this, retryTimeouts: true })
  }

  /** Runs commands again whose thread died. */
  withLost(): RetryPolicy {
    return new RetryPolicy({ ...this, retryLost: true })
  }
}

/** A retry policy, checked and complete. */
export interface RetryPlan {
  /** Runs after the first, 0 or more. */
  readonly retries: number
  readonly backoff: Backoff
  /** The first delay, in milliseconds. */
  readonly delayMs: number
  /** The longest delay, in milliseconds. */
  readonly maxDelayMs: number
  /** Share of a delay that is random, 0 to 1. */
  readonly jitter: number
  /** Whether an error is worth another try. */
  readonly retryable: ((error: unknown) => boolean) | undefined
  readonly retryTimeouts: boolean
  readonly retryLost: boolean
}

/**
 * Whether a policy ever runs a command again.
 *
 * @param plan - The policy.
 */
export function mayRetry({ retries, retryLost }: RetryPlan): boolean {
  return retries > 0 || retryLost
}

/**
 * The delay before a retry: exponential backoff with a cap.
 *
 * @param plan - The policy.
 * @param failures - How often the command has failed, 1 or more.
 * @param chance - From 0 to 1, what the jitter takes its part of.
 * @returns Milliseconds.
 */
export function retryDelayMs(plan: RetryPlan, failures: number, chance: number): number {
  const { backoff, delayMs, maxDelayMs, jitter } = plan
  const grown = backoff === 'fixed' ? delayMs : delayMs * 2 ** (failures - 1)
  return Math.min(grown, maxDelayMs) * (1 - jitter * chance)
}

/**
 * Whether an error may be gone the next time.
 *
 * @param error - What a run ended with.
 * @param retryable - The caller's word on it.
 */
export function isWorthRetrying(
  error: unknown,
  retryable: ((error: unknown) => boolean) | undefined,
): boolean {
  const code = codeOf(error)
  if (code !== undefined && !ERRORS[code].retryable) return false
  if (retryable === undefined) return true
  try {
    return retryable(error)
  } catch {
    // A predicate that throws says nothing about the error; the command's own failure is reported.
    return false
  }
}
