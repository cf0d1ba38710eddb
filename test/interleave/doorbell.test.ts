// Goal: no schedule of publish-and-ring against announce, look again and wait loses a wake-up.
// Method: every interleaving of the atomic operations of two threads, and the same for protocols
// that are broken on purpose, which must be caught.

import { expect, test } from 'vitest'
import type { Scenario } from './support/explorer.ts'
import { openExplorer, smallCommons, smallRegion } from './support/memories.ts'

const explorer = openExplorer()

function doorbell(options: Record<string, unknown>): Scenario {
  return { name: 'doorbell', region: smallRegion(64, 64, -16), commons: smallCommons(), options }
}

test('one command always reaches a partition that is about to park, in every interleaving', () => {
  const { violation, schedules } = explorer.explore(doorbell({ count: 1 }), Infinity)
  expect(violation).toBeUndefined()
  // Fewer would mean that the explorer does not explore.
  expect(schedules).toBeGreaterThan(80)
})

test('several commands always reach a partition that parks in between', () => {
  expect(explorer.explore(doorbell({ count: 2 }), 4).violation).toBeUndefined()
  expect(explorer.explore(doorbell({ count: 4 }), 2).violation).toBeUndefined()
})

test('a thread that dozes, looks by itself and sleeps on the same outstanding wait is still woken', () => {
  for (const timersFirst of [false, true]) {
    const scenario = doorbell({ count: 2, dozes: 2, timersFirst })
    expect(explorer.explore(scenario, 3).violation).toBeUndefined()
  }
})

test.each([
  'no second look',
  'look again before announcing',
  'ring before publish',
  'publish without a ring',
  'notify before the swap',
])('the explorer catches a doorbell with the mistake "%s"', (variant) => {
  const { violation } = explorer.explore(doorbell({ count: 1, variant }), 2)
  expect(violation).toMatch(/^thread 1 sleeps for ever\nschedule of doorbell/)
})
