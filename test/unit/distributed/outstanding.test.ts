// Outstanding: how long commands wait for others on their way to the queue.

import { expect, test } from 'vitest'
import { gatherMs } from '../../../src/distributed/submit/outstanding.ts'

test.each([
  [1, 60_000, 0],
  [79, 60_000, 0],
  [80, 100, 5],
  [80, 60_000, 15],
  [1_000, 2, 0.1],
])('with %i open, whose results take %i ms, a command waits %d ms', (open, tookMs, ms) => {
  expect(gatherMs(open, tookMs)).toBeCloseTo(ms)
})
