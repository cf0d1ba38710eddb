// Tallies: blocks of threads are read from their memory alone.

import { expect, test } from 'vitest'
import { Histogram, recordIn } from '../../../src/base/histogram.ts'
import { Tallies } from '../../../src/memory/tallies.ts'

test('two views of one block show the same counts', () => {
  const writer = new Tallies(2)
  const reader = new Tallies(2, writer.memory)
  writer.limited[1]! += 3
  recordIn(writer.delays, 4)
  expect([...reader.limited]).toEqual([0, 3])
  const { count, sum } = new Histogram(reader.delays)
  expect([count, sum]).toEqual([1, 4])
})
