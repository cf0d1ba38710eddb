// Rate limit: how many commands of a lane may start in a window of time.
// Owns: nothing; data only.

import { integer, milliseconds, type OptionRules, oneOf } from '../base/options.ts'

/** Most starts that a sliding window can count. */
export const SLIDING_LIMIT_MAX = 1_000_000

const WINDOW_MS_MAX = 7 * 24 * 60 * 60 * 1000

/** The algorithms. */
export const RATE_ALGORITHMS = Object.freeze(['token-bucket', 'sliding-window'] as const)

/** How starts are counted. */
export type RateAlgorithm = (typeof RATE_ALGORITHMS)[number]

/** What a limit holds for: all partitions together, or each by itself. */
export type RateScope = 'global' | 'partition'

/** The plain form of {@link RateLimitConfig}. */
export interface RateLimitOptions {
  /** Starts in a window, 1 to 10^9 (10^6 with a sliding window). Default: unlimited. */
  readonly limit?: number | undefined
  /** Length of the window, 1 ms to 7 days. Default 1,000 ms. */
  readonly windowMs?: number | undefined
  /**
   * `token-bucket` (default): holds `limit` tokens, starts full, refills at a constant rate: in any
   * interval d at most limit + limit * d / window starts. `sliding-window`: never more than `limit`
   * starts in any window, whatever its start.
   */
  readonly algorithm?: RateAlgorithm | undefined
  /** Default `global`: exact over all partitions together. */
  readonly scope?: RateScope | undefined
}

/** The rules of {@link RateLimitOptions}. */
export const RATE_RULES = Object.freeze({
  limit: integer(undefined, 1, 1_000_000_000),
  windowMs: milliseconds(1000, 1, WINDOW_MS_MAX),
  algorithm: oneOf('token-bucket', RATE_ALGORITHMS),
  scope: oneOf('global', ['global', 'partition']),
}) satisfies OptionRules

/**
 * How many commands of a lane may start in a window of time. Immutable; every place that takes one
 * takes its plain form {@link RateLimitOptions} too.
 */
export class RateLimitConfig implements RateLimitOptions {
  readonly limit: number | undefined
  readonly windowMs: number
  readonly algorithm: RateAlgorithm
  readonly scope: RateScope

  private constructor(
    limit: number | undefined,
    windowMs: number,
    algorithm: RateAlgorithm,
    scope: RateScope,
  ) {
    this.limit = limit
    this.windowMs = windowMs
    this.algorithm = algorithm
    this.scope = scope
    Object.freeze(this)
  }

  /**
   * So many starts in any window.
   *
   * @param limit - Starts.
   * @param windowMs - Length of the window, 1 ms to 7 days.
   * @param options - `algorithm` and `scope`. Default: a global token bucket.
   */
  static per(
    limit: number,
    windowMs: number,
    options: Pick<RateLimitOptions, 'algorithm' | 'scope'> = {},
  ): RateLimitConfig {
    return new RateLimitConfig(
      limit,
      windowMs,
      options.algorithm ?? 'token-bucket',
      options.scope ?? 'global',
    )
  }

  /**
   * So many starts per second.
   *
   * @param limit - Starts.
   * @param options - As for {@link RateLimitConfig.per}.
   */
  static perSecond(
    limit: number,
    options?: Pick<RateLimitOptions, 'algorithm' | 'scope'>,
  ): RateLimitConfig {
    return RateLimitConfig.per(limit, 1000, options)
  }

  /**
   * So many starts per minute.
   *
   * @param limit - Starts.
   * @param options - As for {@link RateLimitConfig.per}.
   */
  static perMinute(
    limit: number,
    options?: Pick<RateLimitOptions, 'algorithm' | 'scope'>,
  ): RateLimitConfig {
    return RateLimitConfig.per(limit, 60_000, options)
  }

  /**
   * So many starts per hour.
   *
   * @param limit - Starts.
   * @param options - As for {@link RateLimitConfig.per}.
   */
  static perHour(
    limit: number,
    options?: Pick<RateLimitOptions, 'algorithm' | 'scope'>,
  ): RateLimitConfig {
    return RateLimitConfig.per(limit, 3_600_000, options)
  }

  /** No limit. */
  static unlimited(): RateLimitConfig {
    return new RateLimitConfig(undefined, 1000, 'token-bucket', 'global')
  }
}
