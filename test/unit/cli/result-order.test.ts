// Result order: in the order of places, or at once.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ResultOrder } from '../../../src/cli/result-order.ts'

test('in order, any order of results comes out in the order of places', () => {
  const permutation = fc
    .nat({ max: 30 })
    .chain((count) => fc.shuffledSubarray([...Array(count).keys()], { minLength: count }))
  fc.assert(
    fc.property(permutation, (places) => {
      const printed: string[] = []
      const order = new ResultOrder(true, (text) => printed.push(text))
      for (const _ of places) order.take()
      for (const place of places) {
        order.fill(place, String(place))
        expect(printed.length + order.early).toBeLessThanOrEqual(places.length)
      }
      expect(printed).toEqual(places.map((_, place) => String(place)))
      expect([order.early, order.earlyLength]).toEqual([0, 0])
    }),
  )
})

test('what waits for an earlier result is counted', () => {
  const order = new ResultOrder(true, () => {})
  const [first, second, third] = [order.take(), order.take(), order.take()]
  order.fill(second, 'ab')
  order.fill(third, 'c')
  expect([order.early, order.earlyLength]).toEqual([2, 3])
  order.fill(first, 'd')
  expect([order.early, order.earlyLength]).toEqual([0, 0])
})

test('out of order, results come out at once', () => {
  const printed: string[] = []
  const order = new ResultOrder(false, (text) => printed.push(text))
  order.take()
  order.fill(order.take(), 'second')
  expect(printed).toEqual(['second'])
  expect(order.early).toBe(0)
})
