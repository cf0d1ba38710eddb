// Goal: tokens keep a limit's bound whenever they are used, and waste little of it; slots are
// never more than there may be. Method: limits under a clock that the test turns; for tokens, both
// ends of the span in which each may be used are tried.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { LocalLimits } from '../../../src/distributed/local/local-limits.ts'

const RUNS = Number(process.env.CORELANE_PROPERTY_RUNS ?? 200)

interface Grant {
  readonly fromMs: number
  readonly untilMs: number
  readonly count: number
}

/** The most starts over what the bound allows, over all intervals and all moments of use. */
function excess(grants: readonly Grant[], limit: number, windowMs: number): number {
  let most = Number.NEGATIVE_INFINITY
  for (const from of grants) {
    for (const until of grants) {
      const startMs = from.untilMs
      const endMs = Math.max(startMs, until.fromMs)
      const used = grants
        .filter((grant) => grant.untilMs >= startMs && grant.fromMs <= endMs)
        .reduce((sum, { count }) => sum + count, 0)
      most = Math.max(most, used - limit - (limit * (endMs - startMs)) / windowMs)
    }
  }
  return most
}

test('whatever is asked for when, the bound holds for every moment of use', () => {
  const property = fc.property(
    fc.integer({ min: 1, max: 50 }),
    fc.constantFrom(1, 10, 100, 1000, 60_000),
    fc.array(
      fc.record({
        waitMs: fc.constantFrom(0, 0, 1, 3.7, 20, 150, 2000, 70_000),
        count: fc.integer({ min: 1, max: 60 }),
      }),
      { minLength: 1, maxLength: 40, size: 'max' },
    ),
    (limit, windowMs, asks) => {
      const limits = new LocalLimits()
      const grants: Grant[] = []
      let now = 12_345.678
      for (const { waitMs, count } of asks) {
        now += waitMs
        const tokens = limits.takeTokens('l', { limit, windowMs }, count, now)
        expect(tokens.granted).toBeGreaterThanOrEqual(0)
        expect(tokens.granted).toBeLessThanOrEqual(Math.min(count, limit))
        expect(tokens.expiresAtMs).toBeGreaterThan(now)
        if (tokens.granted > 0) {
          grants.push({ fromMs: now, untilMs: tokens.expiresAtMs, count: tokens.granted })
        }
        if (tokens.granted < count) {
          // Not a moment before is one granted, and at that moment one is.
          const { retryAfterMs } = tokens
          expect(retryAfterMs).toBeGreaterThan(0)
          now += retryAfterMs + 1e-3
          const again = limits.takeTokens('l', { limit, windowMs }, 1, now)
          expect(again.granted).toBe(1)
          grants.push({ fromMs: now, untilMs: again.expiresAtMs, count: 1 })
        }
      }
      if (grants.length > 0) expect(excess(grants, limit, windowMs)).toBeLessThan(1e-3)
    },
  )
  fc.assert(property, { numRuns: RUNS })
})

test.each([
  [100, 1000, 10],
  [100, 1000, 1],
  [1000, 1000, 60],
  [5, 1000, 5],
  [3, 60_000, 3],
])('of %i in %i ms, taken %i at a time, almost all are granted', (limit, windowMs, batch) => {
  const limits = new LocalLimits()
  const startMs = 1000
  const endMs = startMs + 20 * windowMs
  let granted = 0
  for (let now = startMs; now < endMs; ) {
    const tokens = limits.takeTokens('l', { limit, windowMs }, batch, now)
    granted += tokens.granted
    now += Math.max(0.1, tokens.retryAfterMs)
  }
  const offered = limit * 20
  expect(granted / offered).toBeGreaterThan(0.97)
  expect(granted).toBeLessThanOrEqual(offered + limit)
})

test.each([
  [1, 10, 25],
  [1, 1000, 250],
  [1000, 1000, 250],
  [6, 60_000, 250],
  [2, 60_000, 750],
  [2, 3_600_000, 2000],
])('of %i in %i ms a token lasts %i ms', (limit, windowMs, validMs) => {
  const tokens = new LocalLimits().takeTokens('l', { limit, windowMs }, 1, 7)
  expect(tokens.expiresAtMs).toBe(7 + validMs)
})

test('an idle limit grants all of it at once, whatever the rounding', () => {
  for (const limit of [1, 3, 7, 9, 49, 1000, 999_999]) {
    for (const now of [0, 0.1, 98_765.432_1, 2 ** 40 + 0.3]) {
      const limits = new LocalLimits()
      expect(limits.takeTokens('l', { limit, windowMs: 1000 }, limit, now).granted).toBe(limit)
      expect(limits.takeTokens('l', { limit, windowMs: 1000 }, 1, now).granted).toBe(0)
    }
  }
})

test('slots: as many as there are, kept by who has one, free again when dropped or expired', () => {
  const limits = new LocalLimits()
  expect(limits.takeSlots('l', 2, ['a', 'b', 'c'], 0, 100)).toEqual(['a', 'b'])
  expect(limits.takeSlots('l', 2, ['c', 'b'], 50, 150)).toEqual(['b'])
  expect(limits.takeSlots('l', 2, ['c'], 99, 199)).toEqual([])
  // The slot of a has expired, that of b was kept.
  expect(limits.takeSlots('l', 2, ['c', 'd'], 100, 200)).toEqual(['c'])
  limits.releaseSlots('l', ['b', 'nobody'])
  expect(limits.takeSlots('l', 2, ['d'], 101, 201)).toEqual(['d'])
  expect(limits.takeSlots('other', 1, ['d'], 101, 201)).toEqual(['d'])
  limits.releaseSlots('unknown', ['d'])
})

test('a maximum that has shrunk takes no slot away and gives none', () => {
  const limits = new LocalLimits()
  limits.takeSlots('l', 3, ['a', 'b', 'c'], 0, 100)
  expect(limits.takeSlots('l', 1, ['a', 'b', 'd'], 1, 101)).toEqual(['a', 'b'])
})
