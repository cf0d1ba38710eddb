// Goal: a producer that has used its credit up and a consumer that gives some back never both
// sleep, the producer never makes more than it may, one whose stream is left learns of it, and no
// moment at which it waits for credit or for its turn is taken for a part of its run.
// Method: every interleaving of the two protocols up to a bound; broken ones must be caught.

import { expect, test } from 'vitest'
import type { Scenario } from './support/explorer.ts'
import { openExplorer, smallCommons, smallRegion } from './support/memories.ts'

const explorer = openExplorer()

function stream(options: Record<string, unknown>): Scenario {
  return {
    name: 'stream credit',
    region: smallRegion(64, 64),
    commons: smallCommons(),
    options: { count: 4, credit: 2, lot: 1, ...options },
  }
}

/** The producer stops by itself only when it learns that its stream was left. */
function leaving(options: Record<string, unknown> = {}): Scenario {
  return {
    ...stream({ count: 6, leavesAfter: 1, ...options }),
    verdict: (outcome) => (outcome[0] === 1 ? undefined : 'the producer was not told'),
  }
}

test('a stream whose values are given back one by one comes to its end', () => {
  const { violation, schedules } = explorer.explore(stream({}), 2)
  expect(violation).toBeUndefined()
  // Fewer would mean that the explorer does not explore.
  expect(schedules).toBeGreaterThan(80)
})

test('a stream whose values are given back in lots comes to its end', () => {
  expect(explorer.explore(stream({ count: 6, credit: 4, lot: 2 }), 2).violation).toBeUndefined()
  expect(explorer.explore(stream({ count: 3, credit: 1 }), 3).violation).toBeUndefined()
})

test('a stream that is left ends, whether its producer runs or waits for credit', () => {
  expect(explorer.explore(leaving(), 2).violation).toBeUndefined()
  expect(explorer.explore(leaving({ leavesAfter: 2 }), 2).violation).toBeUndefined()
  expect(explorer.explore(leaving({ credit: 1 }), 3).violation).toBeUndefined()
})

test.each(['no second look', 'look again before announcing', 'ring before the credit', 'no ring'])(
  'the explorer catches a credit protocol with the mistake "%s"',
  (variant) => {
    const { violation } = explorer.explore(stream({ variant, credit: 1 }), 2)
    expect(violation).toMatch(/^thread \d sleeps for ever\nschedule of stream credit/)
  },
)

test.each(['pause not published', 'pauses in two words', 'credit taken for a run'])(
  'the explorer catches pauses with the mistake "%s"',
  (variant) => {
    const { violation } = explorer.explore(stream({ variant, credit: 1 }), 2)
    expect(violation).toMatch(/^a run of \d+ ms is taken for one of \d+ ms/)
  },
)

test.each(['ring before the abort', 'abort without a ring', 'abort not looked at'])(
  'the explorer catches an abort with the mistake "%s"',
  (variant) => {
    const { violation } = explorer.explore(leaving({ variant, credit: 1 }), 2)
    expect(violation).toMatch(/^thread \d sleeps for ever\nschedule of stream credit/)
  },
)
