// Tally book: runs by partition and lane, runs without a result, and the counts of threads that
// live and that have ended.

import { expect, test } from 'vitest'
import { Histogram, recordIn } from '../../../src/base/histogram.ts'
import { TallyBook } from '../../../src/coordinator/tally-book.ts'

test('runs are counted by partition and lane, and what is read does not change', () => {
  const book = new TallyBook(2, 2)
  const [, lane] = book.runsOf(1)
  lane!.count({ atMs: 1 }, 5, 8, true)
  lane!.count({ atMs: 1 }, 3, 16, false)
  const { failed, limited, wait, run } = book.read(1, 1, book.threadsOf(1))
  lane!.count({ atMs: 1 }, 2, 1, false)
  expect([failed, limited, wait.sum, run.sum, run.count]).toEqual([1, 0, 6, 24, 2])
  for (const [partition, other] of [
    [0, 1],
    [1, 0],
  ] as const) {
    expect(book.read(partition, other, book.threadsOf(partition)).run.count).toBe(0)
  }
})

test('a run without a result is adrift until its result comes, in all partitions together', () => {
  const book = new TallyBook(3, 1)
  for (const partition of [0, 2]) book.runsOf(partition)[0]!.drifted()
  expect(book.adriftIn(0)).toBe(2)
  book.runsOf(2)[0]!.returned({ atMs: 1 }, 2, 2, true)
  expect(book.adriftIn(0)).toBe(1)
  expect(book.read(2, 0, book.threadsOf(2)).run.count).toBe(1)
})

test('what a thread has counted stays when it ends, and is counted once', () => {
  const book = new TallyBook(2, 1)
  const first = book.open(1)
  first.limited[0]! += 1
  recordIn(first.delays, 10)
  book.close(1, first)
  book.close(1, first)
  const second = book.open(1)
  second.limited[0]! += 2
  for (const ms of [1, 18]) recordIn(second.delays, ms)
  const { limited, delays } = book.threadsOf(1)
  const { count, max } = new Histogram(delays)
  expect([limited[0], count, max]).toEqual([3, 3, 18])
  expect(book.threadsOf(0).limited[0]).toBe(0)
})
