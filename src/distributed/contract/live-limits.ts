// Live limits: limits of lanes that are set on a queue while workers run, and hold for all of them.
// Owns: nothing; data and its checks.

import { show } from '../../base/errors.ts'
import { checkOptions, integer, invalidOption } from '../../base/options.ts'
import { CONCURRENCY_MAX } from '../../model/lane.ts'
import { RATE_RULES, type RateLimitOptions } from '../../model/rate-limit.ts'
import { checkName } from './envelope.ts'

/** A rate that workers share: at most `limit` starts in any `windowMs`. */
export interface SharedRate {
  /** Starts in a window, 1 to 10^9. */
  readonly limit: number
  /** Length of the window, 1 ms to 7 days. */
  readonly windowMs: number
}

/**
 * How long a token of a rate may be valid, in milliseconds. Where starts are seldom, a worker that
 * was held up would wait long for another.
 */
export function tokenMsMax({ limit, windowMs }: SharedRate): number {
  return Math.min(Math.max(250, windowMs / limit / 40), 2000)
}

/** Limits of one lane that are set on a queue; they take the place of the options of workers. */
export interface LaneLimits {
  readonly laneId: string
  /** How many of its commands may run at once over all workers. Absent: as configured. */
  readonly concurrency?: number | undefined
  /** How many may start, by a token bucket. Absent: as configured. */
  readonly rate?: SharedRate | undefined
}

const CONCURRENCY_RULES = { concurrency: integer(undefined, 1, CONCURRENCY_MAX) }

/**
 * Checks a concurrency of a lane.
 *
 * @throws ConfigError `CORELANE_INVALID_OPTION`, `CORELANE_INVALID_ENVELOPE` for a bad name.
 */
export function checkConcurrency(laneId: string, concurrency: number | undefined): void {
  checkName('laneId', laneId)
  checkOptions('setConcurrency', { concurrency }, CONCURRENCY_RULES)
}

/**
 * Checks a rate of a lane.
 *
 * @returns Its limit and its window; undefined if it is to be reset.
 * @throws ConfigError `CORELANE_INVALID_OPTION`, `CORELANE_INVALID_ENVELOPE` for a bad name.
 */
export function checkLiveRate(
  laneId: string,
  rate: RateLimitOptions | undefined,
): SharedRate | undefined {
  checkName('laneId', laneId)
  if (rate === undefined) return undefined
  const checked = checkOptions<RateLimitOptions>('setRateLimit', rate, RATE_RULES)
  const { limit, windowMs, algorithm, scope } = checked
  if (limit !== undefined && algorithm === 'token-bucket' && scope === 'global') {
    return { limit, windowMs: windowMs! }
  }
  const allowed = 'a limit of a token bucket over all workers'
  throw invalidOption('setRateLimit', show(rate), allowed)
}
