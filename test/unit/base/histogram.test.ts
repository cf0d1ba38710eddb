// Histogram: its ends, its bounds and what it says when it is empty.

import { expect, test } from 'vitest'
import { Histogram } from '../../../src/base/histogram.ts'

test('an empty histogram is 0 throughout', () => {
  const { count, sum, min, max, mean, p50, p999 } = new Histogram()
  expect([count, sum, min, max, mean, p50, p999]).toEqual([0, 0, 0, 0, 0, 0, 0])
})

test('what is too short or too long for a bucket of its own is counted in the outermost ones', () => {
  const histogram = new Histogram()
  for (const ms of [-1, 0, 1e-9, 2 ** 40]) histogram.record(ms)
  expect(histogram.count).toBe(4)
  expect([histogram.min, histogram.max]).toEqual([0, 2 ** 40])
  expect(histogram.quantile(1)).toBe(2 ** 40)
})

test('what is no duration leaves sums, bounds and JSON finite', () => {
  const histogram = new Histogram()
  for (const ms of [Number.NaN, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY, 1]) {
    histogram.record(ms)
  }
  const { count, sum, min, max } = histogram
  expect([count, sum, min, max]).toEqual([4, 2 ** 27 + 1, 0, 2 ** 27])
  const again = Histogram.from(JSON.parse(JSON.stringify(histogram)))
  expect([again.count, again.sum, again.max]).toEqual([4, 2 ** 27 + 1, 2 ** 27])
})

test('a duration of 0 is the least, whatever follows', () => {
  const histogram = new Histogram()
  histogram.record(0)
  histogram.record(5)
  expect(histogram.min).toBe(0)
})

test('it counts up to a bound', () => {
  const histogram = new Histogram()
  for (const ms of [1, 2, 3, 10, 100]) histogram.record(ms)
  expect([0, 1, 4, 16, 1000].map((ms) => histogram.countUpTo(ms))).toEqual([0, 0, 3, 4, 5])
})

test('as a histogram of Node it has the same counts, and percentiles within its bound', () => {
  const histogram = new Histogram()
  for (let n = 1; n <= 10_000; n++) histogram.record(n / 7)
  const native = histogram.toNative()
  expect(native.count).toBe(10_000)
  for (const [percentile, ms] of [
    [50, histogram.p50],
    [99, histogram.p99],
  ] as const) {
    const ratio = native.percentile(percentile) / 1e6 / ms
    expect(Math.abs(ratio - 1)).toBeLessThan(1 / 32)
  }
  expect(new Histogram().toNative().count).toBe(0)
})

test('as a histogram of Node it takes no longer for a billion of durations', () => {
  const buckets = [
    [100, 1_000_000_007],
    [300, 1],
  ] as const
  const histogram = Histogram.from({ ...new Histogram().toJSON(), count: 1, buckets })
  expect(histogram.toNative().count).toBe(1_000_000_008)
})
