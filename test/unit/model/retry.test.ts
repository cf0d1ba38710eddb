// Retry: what a policy may say, and how long it waits.

import { expect, test } from 'vitest'
import { checkOptions } from '../../../src/base/options.ts'
import {
  mayRetry,
  RETRIES_MAX,
  RETRY_RULES,
  type RetryOptions,
  type RetryPlan,
  RetryPolicy,
  retryDelayMs,
} from '../../../src/model/retry.ts'
import { range } from '../../support/range.ts'

const plan = (options: RetryOptions) => checkOptions<RetryPlan>('retry', options, RETRY_RULES)

function delays(options: RetryOptions, count: number, chance = 0): number[] {
  return range(count).map((i) => retryDelayMs(plan(options), i + 1, chance))
}

test('by default nothing is retried, and a policy says the same in full', () => {
  const defaults = {
    retries: 0,
    backoff: 'exponential',
    delayMs: 100,
    maxDelayMs: 30_000,
    jitter: 0,
    retryable: undefined,
    retryTimeouts: false,
    retryLost: false,
  }
  expect(plan({})).toEqual(defaults)
  expect(plan(RetryPolicy.none())).toEqual(defaults)
  expect(mayRetry(plan({}))).toBe(false)
})

test('exponential delays double from the first, up to the cap', () => {
  expect(delays(RetryPolicy.exponential(10), 10)).toEqual([
    100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000,
  ])
  expect(delays({ delayMs: 30, maxDelayMs: 100 }, 4)).toEqual([30, 60, 100, 100])
})

test('the delay of the last retry that may be wished for is the cap, and a number', () => {
  expect(retryDelayMs(plan({ delayMs: 2 ** 31 - 1 }), RETRIES_MAX, 0)).toBe(30_000)
  expect(retryDelayMs(plan({ delayMs: 0 }), RETRIES_MAX, 0)).toBe(0)
})

test('fixed delays stay as they are, and the cap holds for them too', () => {
  expect(delays(RetryPolicy.fixed(3, 70), 4)).toEqual([70, 70, 70, 70])
  expect(delays({ backoff: 'fixed', delayMs: 500, maxDelayMs: 80 }, 2)).toEqual([80, 80])
  // More than the default cap is meant as it is said.
  expect(delays(RetryPolicy.fixed(1, 60_000), 1)).toEqual([60_000])
})

test('chance takes away at most the part that the jitter allows, after the cap', () => {
  const options = { delayMs: 100, maxDelayMs: 300, jitter: 0.25 }
  expect(delays(options, 3, 0)).toEqual([100, 200, 300])
  expect(delays(options, 3, 1)).toEqual([75, 150, 225])
  expect(delays(options, 3, 0.5)).toEqual([87.5, 175, 262.5])
  expect(delays({ delayMs: 100, jitter: 1 }, 1, 1)).toEqual([0])
})

test.each([
  ['retries', [0, RETRIES_MAX], [-1, RETRIES_MAX + 1, 1.5, Number.NaN, '1', null]],
  ['backoff', ['exponential', 'fixed'], ['linear', 0]],
  ['delayMs', [0, 0.5, 2 ** 31 - 1], [-1, 2 ** 31, Number.POSITIVE_INFINITY, Number.NaN, '5']],
  ['maxDelayMs', [0, 2 ** 31 - 1], [-1, 2 ** 31, Number.NaN]],
  ['jitter', [0, 0.5, 1], [-0.1, 1.1, Number.NaN, '0', null]],
  ['retryable', [() => true], [true, 'x', null]],
  ['retryTimeouts', [true, false], [1, 'yes', null]],
  ['retryLost', [true, false], [0, null]],
])('%s takes what it allows and refuses the rest', (option, allowed, refused) => {
  for (const value of allowed) expect(plan({ [option]: value })).toHaveProperty(option, value)
  for (const value of refused) {
    expect(() => plan({ [option]: value as never })).toThrow(`retry.${option} is `)
  }
  expect(() => plan({ retires: 1 } as never)).toThrow('retry.retires is not an option')
})

test('a policy that only runs lost commands again may retry', () => {
  expect(mayRetry(plan(RetryPolicy.none().withLost()))).toBe(true)
  expect(mayRetry(plan(RetryPolicy.fixed(1, 0)))).toBe(true)
  expect(mayRetry(plan(RetryPolicy.none().withTimeouts()))).toBe(false)
})

test('each step makes a new policy and keeps what was said before', () => {
  const first = RetryPolicy.exponential(3)
  const retryable = () => false
  const last = first.withJitter(0.5).withRetryable(retryable).withTimeouts().withLost()
  expect({ ...first }).toEqual({ retries: 3, backoff: 'exponential' })
  expect(plan(last)).toEqual({
    ...plan(first),
    jitter: 0.5,
    retryable,
    retryTimeouts: true,
    retryLost: true,
  })
  for (const policy of [first, last]) expect(Object.isFrozen(policy)).toBe(true)
})
