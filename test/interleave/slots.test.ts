// Goal: exactly one of start and revoke wins, and nothing the partition does for a command touches
// the next command of the same slot.
// Method: every interleaving, up to a number of preemptions, of a coordinator that closes and
// reopens one slot with a partition; and the same with mistakes that must be caught. One of them is
// a bug that was real: the partition stored "done" after the result's tail.

import { expect, test } from 'vitest'
import type { Scenario } from './support/explorer.ts'
import { openExplorer, smallCommons, smallRegion } from './support/memories.ts'

const explorer = openExplorer()

function slots(options: Record<string, unknown>): Scenario {
  return { name: 'slots', region: smallRegion(64, 64, -32), commons: smallCommons(), options }
}

test('exactly one of start and revoke wins, and each wins in some interleaving', () => {
  const seen = new Set<string>()
  const verdict = ([revoked, ran]: Int32Array) => {
    seen.add(`${revoked} revoked, ${ran} ran`)
    return undefined
  }
  const { violation } = explorer.explore({ ...slots({ rounds: 1 }), verdict }, Infinity)
  expect(violation).toBeUndefined()
  expect([...seen].sort()).toEqual(['0 revoked, 1 ran', '1 revoked, 0 ran'])
})

test('once its outcome is visible a command has no further effect on its slot', () => {
  expect(explorer.explore(slots({ rounds: 2 }), 3).violation).toBeUndefined()
  expect(explorer.explore(slots({ rounds: 4, leaveEvery: 2 }), 2).violation).toBeUndefined()
})

test('the explorer catches a start that looks and stores instead of swapping', () => {
  const variant = 'start without a swap'
  const { violation } = explorer.explore(slots({ rounds: 1, variant }), 2)
  expect(violation).toMatch(/^revoked true, outcome 1\nschedule of slots/)
})

test('the explorer catches a store to the slot after the outcome is visible, as a race', () => {
  for (const variant of ['late store', 'late plain store']) {
    const { violation } = explorer.explore(slots({ rounds: 2, variant }), 2)
    expect(violation).toMatch(/^a data race: .* of SLOTS\nschedule of slots/)
  }
})

test('the explorer catches that store by its effect too: the next command neither runs nor is revoked', () => {
  const options = { rounds: 2, variant: 'late store', ignoresRaces: true }
  const { violation } = explorer.explore(slots(options), 3)
  expect(violation).toMatch(/^revoked false, outcome 2\nschedule of slots/)
})
