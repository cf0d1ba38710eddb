import { expect, test } from 'vitest'
import { checkOptions } from '../../../src/base/options.ts'
import { PriorityBoostConfig } from '../../../src/model/boost.ts'
import {
  DEFAULT_LANES,
  isGated,
  isLimited,
  LANE_COUNT_MAX,
  LaneConfig,
  type LaneOptions,
  laneNeeds,
  planLane,
  priorityOf,
  rankOf,
} from '../../../src/model/lane.ts'
import { RateLimitConfig } from '../../../src/model/rate-limit.ts'
import { RETRY_RULES, RetryPolicy } from '../../../src/model/retry.ts'

test('the lane decides before the command does, and 0 is the most urgent of both', () => {
  expect(rankOf(0, 0)).toBe(0)
  expect(rankOf(0, 255)).toBeLessThan(rankOf(1, 0))
  expect(rankOf(3, 10)).toBeLessThan(rankOf(3, 11))
  expect(rankOf(255, 255)).toBe(65_535)
})

test('ranks order exactly as the pair of priorities does', () => {
  const ranks: number[] = []
  for (let lane = 0; lane < 256; lane++) {
    for (let command = 0; command < 256; command++) ranks.push(rankOf(lane, command))
  }
  expect(ranks.every((rank, i) => i === 0 || rank > ranks[i - 1]!)).toBe(true)
  expect(ranks.every((rank, i) => priorityOf(rank) === i % 256)).toBe(true)
})

test('the default lanes are six, most urgent first, and cannot be changed', () => {
  expect(Object.entries(DEFAULT_LANES)).toEqual([
    ['system', { priority: 0 }],
    ['control', { priority: 1 }],
    ['query', { priority: 2 }],
    ['session', { priority: 3 }],
    ['skill', { priority: 4 }],
    ['prompt', { priority: 5 }],
  ])
  expect(Object.isFrozen(DEFAULT_LANES)).toBe(true)
  expect(Object.values(DEFAULT_LANES).every(Object.isFrozen)).toBe(true)
})

test('a lane index fits the byte that a record has for it', () => {
  expect(LANE_COUNT_MAX).toBeLessThanOrEqual(256)
})

function plan(options: Record<string, unknown>) {
  return planLane('x', options as LaneOptions)
}

test('a lane has a name', () => {
  expect(() => planLane('', {})).toThrow('names that are not empty')
})

test('a lane that is told nothing has priority 5 and no limits', () => {
  expect(plan({})).toEqual({
    name: 'x',
    priority: 5,
    minConcurrency: 0,
    maxConcurrency: undefined,
    rate: undefined,
    boostSteps: [],
    deadlineMs: undefined,
    rejectsLate: false,
    timeoutMs: undefined,
    retry: checkOptions('retry', {}, RETRY_RULES),
    maxPending: Number.POSITIVE_INFINITY,
    maxPendingBytes: Number.POSITIVE_INFINITY,
    waitsWhenFull: true,
    pressureThreshold: Number.POSITIVE_INFINITY,
    groups: { concurrency: Number.POSITIVE_INFINITY, rate: undefined, weights: new Map() },
  })
  expect(Object.isFrozen(plan({}))).toBe(true)
})

test.each([
  ['priority', [0, 255], [-1, 256, 1.5, Number.NaN, '1', null]],
  ['minConcurrency', [0, 65_536], [-1, 65_537, 0.5, Number.NaN]],
  ['maxConcurrency', [1, 65_536], [0, -1, 65_537, 1.5]],
  ['onDeadline', ['boost', 'reject'], ['ignore', true]],
  ['timeoutMs', [1, 1.5, 2 ** 31 - 1], [0, -1, 2 ** 31, Number.NaN, '5']],
  ['retry', [{}, { retries: 1 }], [5, null, []]],
  ['maxPending', [1, 2 ** 31 - 1], [0, 1.5, 2 ** 31]],
  ['maxPendingBytes', [1, Number.MAX_SAFE_INTEGER], [0, -1]],
  ['overflow', ['wait'], ['drop', 0, 'reject']],
  ['pressureThreshold', [1], [0, Number.POSITIVE_INFINITY]],
  ['rateLimit', [{}, { limit: 1 }], [5, null, []]],
  ['priorityBoost', [{}, { deadlineMs: 5 }], [5, null, []]],
])('%s takes what it allows and refuses the rest', (option, allowed, refused) => {
  for (const value of allowed) plan({ [option]: value })
  for (const value of refused) {
    expect(() => plan({ [option]: value })).toThrow(`lanes.x.${option} is `)
  }
})

test('a minimum above the maximum is refused', () => {
  expect(() => plan({ minConcurrency: 3, maxConcurrency: 2 })).toThrow(
    'lanes.x.minConcurrency is 3; allowed: at most maxConcurrency, 2',
  )
  expect(plan({ minConcurrency: 2, maxConcurrency: 2 }).minConcurrency).toBe(2)
})

test('an overflow that rejects needs a bound', () => {
  expect(() => plan({ overflow: 'reject' })).toThrow(
    'lanes.x.overflow is "reject" without maxPending; allowed: given with a bound',
  )
  for (const bound of [{ maxPending: 1 }, { maxPendingBytes: 1 }]) {
    expect(plan({ overflow: 'reject', ...bound }).waitsWhenFull).toBe(false)
  }
})

test('delays of retries that are never made are refused', () => {
  for (const setting of [{ delayMs: 0 }, { backoff: 'fixed' }, { retryTimeouts: true }]) {
    const [name] = Object.keys(setting)
    expect(() => plan({ retry: setting })).toThrow(
      `lanes.x.retry.retries is missing beside ${name}; allowed: an integer from 0 to 100`,
    )
    plan({ retry: { ...setting, retries: 0 } })
    plan({ retry: { ...setting, retryLost: true } })
  }
  plan({ retry: { retryTimeouts: false, delayMs: undefined } })
})

test('bounds of a LaneConfig may come among its other options', () => {
  const config = new LaneConfig(undefined, undefined, { minConcurrency: 1, maxConcurrency: 3 })
  expect(planLane('x', config)).toMatchObject({ minConcurrency: 1, maxConcurrency: 3 })
})

test('unknown members of the parts of a lane are refused by their path', () => {
  expect(() => plan({ rateLimit: { limt: 1 } })).toThrow('lanes.x.rateLimit.limt is not an option')
  expect(() => plan({ retry: { retires: 1 } })).toThrow('lanes.x.retry.retires is not an option')
  expect(() => plan({ priorityBoost: { deadline: 1 } })).toThrow(
    'lanes.x.priorityBoost.deadline is not an option',
  )
})

test('a config class plans like its plain form', () => {
  const config = new LaneConfig(1, 4)
    .withPriority(2)
    .withRateLimit(RateLimitConfig.perMinute(60, { algorithm: 'sliding-window' }))
    .withPriorityBoost(PriorityBoostConfig.custom(100, [50]))
    .withOnDeadline('reject')
    .withTimeout(250)
    .withRetryPolicy(RetryPolicy.fixed(2, 10).withLost())
    .withMaxPending(7, 'reject')
    .withMaxPendingBytes(1000)
    .withPressureThreshold(3)
    .withGroupConcurrency(5)
    .withGroupRateLimit(RateLimitConfig.perSecond(9))
    .withGroupWeights({ gold: 4 })
  expect(planLane('x', config)).toEqual(
    plan({
      groupConcurrency: 5,
      groupRateLimit: { limit: 9 },
      groupWeights: { gold: 4 },
      minConcurrency: 1,
      maxConcurrency: 4,
      priority: 2,
      rateLimit: { limit: 60, windowMs: 60_000, algorithm: 'sliding-window' },
      priorityBoost: { deadlineMs: 100, steps: [{ afterMs: 50, by: 1 }] },
      onDeadline: 'reject',
      timeoutMs: 250,
      retry: { retries: 2, backoff: 'fixed', delayMs: 10, maxDelayMs: 10, retryLost: true },
      maxPending: 7,
      overflow: 'reject',
      maxPendingBytes: 1000,
      pressureThreshold: 3,
    }),
  )
})

test('a config is not changed by what is made from it', () => {
  const first = new LaneConfig(1, 4)
  const second = first.withPriority(2)
  expect(first.priority).toBeUndefined()
  expect(second).toMatchObject({ minConcurrency: 1, maxConcurrency: 4, priority: 2 })
  expect(Object.isFrozen(first) && Object.isFrozen(second)).toBe(true)
})

test('a maximum is always accounted, and limits a lane where handlers that run can reach it', () => {
  const needs = (max: number, capacity: number) => {
    const needed = laneNeeds(plan({ maxConcurrency: max }), capacity)
    return [needed.owners, needed.isBinding, isLimited(needed)]
  }
  expect(needs(3, 4)).toEqual([3, true, true])
  expect(needs(4, 4)).toEqual([4, false, false])
  expect(needs(5, 4)).toEqual([5, false, false])
  expect(laneNeeds(plan({}), 4)).toMatchObject({ owners: 0, isBinding: false })
})

test('a lane is gated if it has a maximum, a minimum or a rate', () => {
  const gated = (options: Record<string, unknown>) => isGated(laneNeeds(plan(options), 4))
  expect(gated({})).toBe(false)
  expect(gated({ maxConcurrency: 4 })).toBe(true)
  expect(gated({ maxConcurrency: 3 })).toBe(true)
  expect(gated({ minConcurrency: 1 })).toBe(true)
  expect(gated({ rateLimit: { limit: 5 } })).toBe(true)
  expect(gated({ rateLimit: RateLimitConfig.unlimited() })).toBe(false)
})
