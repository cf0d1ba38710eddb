// Tallies: blocks of threads that live and that have ended add up by partition and lane.

import { expect, test } from 'vitest'
import { Tallies, TallyBook } from '../../../src/memory/tallies.ts'

test('two views of one block show the same counts', () => {
  const writer = new Tallies(2)
  const reader = new Tallies(2, writer.memory)
  writer.countRun(1, 4, 8, true)
  writer.countLimited(1)
  writer.queuedAtMs[7] = 12
  const { failed, limited, wait, run } = reader.lanes[1]!
  expect([failed, limited, wait.sum, run.sum]).toEqual([1, 1, 4, 8])
  expect(reader.lanes[0]!.run.count).toBe(0)
  expect(reader.queuedAtMs[7]).toBe(12)
})

test('what a thread has counted stays when it ends, and is counted once', () => {
  const book = new TallyBook(2, 1)
  const first = book.open(1)
  first.countRun(0, 1, 10, false)
  book.close(1, first)
  book.close(1, first)
  const second = book.open(1)
  second.countRun(0, 1, 20, true)
  const { failed, run } = book.read(1, 0)
  expect([failed, run.count, run.sum, run.min, run.max]).toEqual([1, 2, 30, 10, 20])
  expect(book.read(0, 0).run.count).toBe(0)
})
