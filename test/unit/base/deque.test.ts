import { expect, test } from 'vitest'
import { Deque } from '../../../src/base/deque.ts'

test('items come out in the order in which they went in', () => {
  const deque = new Deque<number>()
  expect([deque.length, deque.first, deque.last, deque.shift()]).toEqual([0, ...Array(3)])
  for (let i = 0; i < 100; i++) deque.push(i)
  expect([deque.length, deque.first, deque.last]).toEqual([100, 0, 99])
  expect([...deque]).toEqual([...Array(100).keys()])
  for (let i = 0; i < 100; i++) expect(deque.shift()).toBe(i)
  expect([deque.length, deque.first, deque.last, deque.shift()]).toEqual([0, ...Array(3)])
})

test('it behaves as an array does, whatever goes in and out at either end in turn', () => {
  const deque = new Deque<number>()
  const array: number[] = []
  let seed = 1
  for (let step = 0; step < 20_000; step++) {
    seed = (seed * 48_271) % 2_147_483_647
    // Long phases of growth and of decline, so that the buffer wraps, grows and shrinks.
    const isPush = seed % 10 < (step % 8_000 < 4_000 ? 7 : 3)
    if (seed % 89 === 0) {
      deque.unshift(step)
      array.unshift(step)
    } else if (seed % 97 === 0) expect(deque.pop()).toBe(array.pop())
    else if (isPush) {
      deque.push(step)
      array.push(step)
    } else expect(deque.shift()).toBe(array.shift())
    expect([deque.length, deque.first, deque.last]).toEqual([array.length, array[0], array.at(-1)])
  }
  expect([...deque]).toEqual(array)
  deque.clear()
  expect([deque.length, deque.first, [...deque]]).toEqual([0, undefined, []])
})

test('taking the first of 400,000 items costs no more than twenty times that of 4,000', () => {
  const timeOf = (count: number) => {
    const deque = new Deque<number>()
    for (let i = 0; i < count; i++) deque.push(i)
    const began = performance.now()
    for (let i = 0; i < 4_000; i++) deque.push(deque.shift()!)
    return performance.now() - began
  }
  const best = (count: number) => Math.min(...Array.from({ length: 5 }, () => timeOf(count)))
  // Of an array, 4,000 such steps take 3,000 times as long.
  expect(best(400_000)).toBeLessThan(20 * best(4_000) + 5)
})
