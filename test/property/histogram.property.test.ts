// Goal: quantiles are within 1/32 of the durations recorded, and histograms of parts add up to that
// of the whole. Method: random durations over the whole range against the sorted list of them.

import fc from 'fast-check'
import { expect } from 'vitest'
import { Histogram } from '../../src/base/histogram.ts'
import { lawOf } from '../support/law.ts'

const law = lawOf(300)
const SHARES = [0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1]

const duration = fc
  .tuple(fc.integer({ min: -12, max: 26 }), fc.double({ min: 1, max: 1.999, noNaN: true }))
  .map(([exponent, mantissa]) => mantissa * 2 ** exponent)
const durations = fc.array(duration, { minLength: 1, maxLength: 200 })

function of(values: readonly number[]): Histogram {
  const histogram = new Histogram()
  for (const value of values) histogram.record(value)
  return histogram
}

law('a quantile is within one part in 32 of the duration at its rank', [durations], (values) => {
  const histogram = of(values)
  const sorted = [...values].sort((a, b) => a - b)
  for (const share of SHARES) {
    const exact = sorted[Math.max(1, Math.ceil(share * sorted.length)) - 1]!
    expect(Math.abs(histogram.quantile(share) - exact) / exact).toBeLessThanOrEqual(1 / 32)
  }
  expect(histogram.count).toBe(values.length)
  expect(histogram.max).toBe(sorted.at(-1))
  expect(histogram.min).toBeCloseTo(sorted[0]!, 6)
})

law('the deviation is within one part in 32, and clear forgets', [durations], (values) => {
  const histogram = of(values)
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const deviation = Math.sqrt(
    values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length,
  )
  // Moving each value by at most d moves the deviation by at most d.
  const most = Math.max(...values) / 32
  expect(Math.abs(histogram.stddev - deviation)).toBeLessThanOrEqual(most * 1.001)
  histogram.clear()
  expect(histogram.toJSON()).toEqual(new Histogram().toJSON())
  expect(histogram.stddev).toBe(0)
})

law('histograms of parts add up to the whole', [durations, durations], (first, second) => {
  const whole = of([...first, ...second])
  const sum = of(first).add(of(second))
  expect([...sum.buckets()]).toEqual([...whole.buckets()])
  expect([sum.min, sum.max]).toEqual([whole.min, whole.max])
  const rest = whole.since(of(first))
  expect([...rest.buckets()]).toEqual([...of(second).buckets()])
  expect([...Histogram.from(whole.toJSON()).buckets()]).toEqual([...whole.buckets()])
})
