import { expect, test } from 'vitest'
import { count, readCounter } from '../../../src/memory/counters.ts'
import { Counter, RINGS_OFFSET, Word } from '../../../src/memory/layout.ts'
import { viewsOf } from '../../../src/memory/views.ts'

function fresh() {
  return viewsOf(new SharedArrayBuffer(RINGS_OFFSET))
}

test('each counter counts on its own from 0', () => {
  const views = fresh()
  count(views, Counter.STARTED)
  count(views, Counter.STARTED)
  count(views, Counter.STALLED)
  expect(readCounter(views, Counter.STARTED)).toBe(2)
  expect(readCounter(views, Counter.PARKED)).toBe(0)
  expect(readCounter(views, Counter.STALLED)).toBe(1)
})

test('a counter is read without a sign and wraps at 2^32', () => {
  const views = fresh()
  views.words[Word.COUNTERS + Counter.PARKED] = 2 ** 31 - 1
  count(views, Counter.PARKED)
  expect(readCounter(views, Counter.PARKED)).toBe(2 ** 31)
  views.words[Word.COUNTERS + Counter.PARKED] = -1
  expect(readCounter(views, Counter.PARKED)).toBe(2 ** 32 - 1)
  count(views, Counter.PARKED)
  expect(readCounter(views, Counter.PARKED)).toBe(0)
})
