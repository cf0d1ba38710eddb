// Goal: a deque gives what a plain array gives, whatever its buffer does.
// Method: random operations against an array, in stretches that make the buffer grow and shrink.

import fc from 'fast-check'
import { expect } from 'vitest'
import { Deque } from '../../src/base/deque.ts'
import { deed, lawOf } from '../support/law.ts'
import { range } from '../support/range.ts'

const law = lawOf(300)

const count = fc.oneof({ weight: 6, arbitrary: fc.nat(40) }, fc.constantFrom(1500, 3000))

const operation = fc.oneof(
  deed(5, 'push', { count }),
  deed(2, 'shift', { count }),
  deed(2, 'pop', { count }),
  deed(2, 'unshift', { count }),
  deed(2, 'take', { count }),
  deed(2, 'filter', { count: fc.integer({ min: 1, max: 9 }) }),
  deed(1, 'clear', { count: fc.constant(0) }),
)

const lists = fc.array(operation, { maxLength: 40 })

law('a deque holds what an array would, in its order', [lists], (operations) => {
  const deque = new Deque<number>()
  let model: number[] = []
  let next = 1
  for (const { kind, count } of operations) {
    if (kind === 'push') {
      for (let i = 0; i < count; i++) {
        deque.push(next)
        model.push(next++)
      }
    } else if (kind === 'shift') {
      const gone = model.slice(0, count)
      model = model.slice(count)
      for (const item of gone) if (deque.shift() !== item) expect.fail('another item')
      if (model.length === 0) expect(deque.shift()).toBeUndefined()
    } else if (kind === 'unshift') {
      for (let i = 0; i < count; i++) deque.unshift(next + i)
      model.unshift(...range(count).map((i) => next + count - 1 - i))
      next += count
    } else if (kind === 'pop') {
      for (let i = 0; i < count; i++) if (deque.pop() !== model.pop()) expect.fail('another')
    } else if (kind === 'take') {
      expect(deque.take(count)).toEqual(model.slice(0, count))
      model = model.slice(count)
    } else if (kind === 'filter') {
      deque.filter((item) => item % count === 0)
      model = model.filter((item) => item % count === 0)
    } else {
      deque.clear()
      model = []
    }
    // Plain comparisons: `expect` costs more than all the rest.
    if (deque.length !== model.length) expect.fail('another size')
    if (deque.first !== model[0] || deque.last !== model.at(-1)) expect.fail('another end')
  }
  expect([...deque]).toEqual(model)
  expect(deque.take()).toEqual(model)
  expect([deque.length, deque.first, deque.last]).toEqual([0, undefined, undefined])
})
