// Tallies: blocks of threads are read from their memory alone, and add up.

import { expect, test } from 'vitest'
import { Tallies } from '../../../src/memory/tallies.ts'

test('two views of one block show the same counts', () => {
  const writer = new Tallies(2)
  const reader = new Tallies(2, writer.memory)
  writer.limited[1]! += 3
  writer.delay.record(4)
  expect([...reader.limited]).toEqual([0, 3])
  expect([reader.delay.count, reader.delay.sum]).toEqual([1, 4])
})

test('the blocks of two threads add up', () => {
  const [first, second] = [new Tallies(1), new Tallies(1)]
  first.limited[0] = 1
  second.limited[0] = 2
  for (const ms of [1, 8]) second.delay.record(ms)
  const { limited, delay } = new Tallies(1).add(first).add(second)
  expect([[...limited], delay.count, delay.max]).toEqual([[3], 2, 8])
})
