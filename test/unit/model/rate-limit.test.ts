// Rate limit: its factories, and the rules of the plain form.

import { expect, test } from 'vitest'
import { planLane } from '../../../src/model/lane.ts'
import {
  RateLimitConfig,
  type RateLimitOptions,
  SLIDING_LIMIT_MAX,
} from '../../../src/model/rate-limit.ts'

const planned = (rateLimit: RateLimitOptions) => planLane('l', { rateLimit }).rate

test('the factories differ in their window only', () => {
  const global = { isSliding: false, isPerPartition: false }
  expect(planned(RateLimitConfig.perSecond(100))).toEqual({ limit: 100, windowMs: 1000, ...global })
  expect(planned(RateLimitConfig.perMinute(7))).toEqual({ limit: 7, windowMs: 60_000, ...global })
  expect(planned(RateLimitConfig.perHour(9))).toEqual({ limit: 9, windowMs: 3_600_000, ...global })
  expect(planned(RateLimitConfig.per(5, 1.5))).toEqual({ limit: 5, windowMs: 1.5, ...global })
})

test('algorithm and scope are taken by every factory', () => {
  const options = { algorithm: 'sliding-window', scope: 'partition' } as const
  for (const limit of [
    RateLimitConfig.perSecond(1, options),
    RateLimitConfig.perMinute(1, options),
    RateLimitConfig.perHour(1, options),
    RateLimitConfig.per(1, 10, options),
  ]) {
    expect(planned(limit)).toMatchObject({ isSliding: true, isPerPartition: true })
    expect(Object.isFrozen(limit)).toBe(true)
  }
})

test('unlimited is no limit, and so is a plain form without one', () => {
  expect(planned(RateLimitConfig.unlimited())).toBeUndefined()
  expect(planned({})).toBeUndefined()
  expect(planned({ windowMs: 50 })).toBeUndefined()
  expect(planLane('l', {}).rate).toBeUndefined()
})

test.each([
  [{ limit: 0 }, 'limit'],
  [{ limit: 1.5 }, 'limit'],
  [{ limit: 1_000_000_001 }, 'limit'],
  [{ limit: '5' }, 'limit'],
  [{ limit: 5, windowMs: 0.5 }, 'windowMs'],
  [{ limit: 5, windowMs: 604_800_001 }, 'windowMs'],
  [{ limit: 5, algorithm: 'leaky' }, 'algorithm'],
  [{ limit: 5, scope: 'machine' }, 'scope'],
  [{ limit: 5, window: 5 }, 'window'],
])('a limit that is not allowed is refused, naming the option: %o', (options, option) => {
  expect(() => planned(options as never)).toThrow(`lanes.l.rateLimit.${option}`)
})

test('a sliding window counts at most a million starts', () => {
  const algorithm = 'sliding-window'
  expect(planned({ limit: SLIDING_LIMIT_MAX, algorithm })).toMatchObject({ limit: 1_000_000 })
  expect(() => planned({ limit: SLIDING_LIMIT_MAX + 1, algorithm })).toThrow(
    /lanes\.l\.rateLimit\.limit is 1000001; allowed: at most 1000000 with a sliding window/,
  )
  expect(planned({ limit: SLIDING_LIMIT_MAX + 1 })).toMatchObject({ limit: 1_000_001 })
})
