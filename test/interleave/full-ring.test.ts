// Goal: a partition that waits for room and a coordinator that waits for results never both sleep.
// Method: interleavings of the two loops on a result ring of four records; the coordinator takes at
// most a few records at a time, so that room comes in parts. Broken protocols must be caught.

import { expect, test } from 'vitest'
import type { Scenario } from './support/explorer.ts'
import { openExplorer, smallCommons, smallRegion } from './support/memories.ts'

const explorer = openExplorer()

function fullRing(options: Record<string, unknown>): Scenario {
  const defaults = { count: 6, lengths: [8], limit: 2 }
  return {
    name: 'full ring',
    region: smallRegion(64, 64, -32),
    commons: smallCommons(),
    options: { ...defaults, ...options },
  }
}

test('every result comes through a full ring, and the two never both sleep', () => {
  expect(explorer.explore(fullRing({}), 2).violation).toBeUndefined()
})

test('the longest records, which need padding and more than half the ring, come through too', () => {
  for (const lengths of [[24], [8, 24]]) {
    expect(explorer.explore(fullRing({ lengths }), 2).violation).toBeUndefined()
  }
})

test('room that comes record by record, or all at once, is noticed', () => {
  for (const limit of [1, 3, 100]) {
    expect(explorer.explore(fullRing({ limit }), 2).violation).toBeUndefined()
  }
})

test.each([
  'no second look',
  'want after the second look',
  'clear after the ring',
  'publish without a ring',
])('the explorer catches a full-ring protocol with the mistake "%s"', (variant) => {
  const { violation } = explorer.explore(fullRing({ count: 10, variant }), 2)
  expect(violation).toMatch(/^thread \d sleeps for ever\nschedule of full ring/)
})
