// Deque: what it costs. The rest is in test/property/deque.property.test.ts.

import { expect, test } from 'vitest'
import { Deque } from '../../../src/base/deque.ts'
import { range } from '../../support/range.ts'

test('taking the first of 400,000 items costs no more than twenty times that of 4,000', () => {
  const timeOf = (count: number) => {
    const deque = new Deque<number>()
    for (let i = 0; i < count; i++) deque.push(i)
    const began = performance.now()
    for (let i = 0; i < 4_000; i++) deque.push(deque.shift()!)
    return performance.now() - began
  }
  const best = (count: number) => Math.min(...range(5).map(() => timeOf(count)))
  // Of an array, 4,000 such steps take 3,000 times as long.
  expect(best(400_000)).toBeLessThan(20 * best(4_000) + 5)
})
