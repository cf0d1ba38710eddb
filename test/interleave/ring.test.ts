// Goal: records come in order, none is lost, none is torn, wherever in the ring and whenever.
// Method: interleavings of a writer and a reader on a ring of four records that starts just below
// 2^32, so that index and position both wrap; a race detector watches every byte that is touched.

import { expect, test } from 'vitest'
import type { Scenario } from './support/explorer.ts'
import { openExplorer, smallCommons, smallRegion } from './support/memories.ts'

const explorer = openExplorer()

function ring(options: Record<string, unknown>): Scenario {
  const defaults = { count: 6, lengths: [8], publishEvery: 1, limit: 100 }
  return {
    name: 'ring',
    region: smallRegion(64, 64, -32),
    commons: smallCommons(),
    options: { ...defaults, ...options },
  }
}

test('records of one size come whole and in order through a ring that is full again and again', () => {
  expect(explorer.explore(ring({ count: 9 }), 2).violation).toBeUndefined()
})

test('records of all sizes, with padding at the wrap, come whole and in order', () => {
  for (const lengths of [
    [0, 8, 16, 24],
    [24, 16],
    [4, 20, 12],
  ]) {
    expect(explorer.explore(ring({ lengths }), 2).violation).toBeUndefined()
  }
})

test('batches that are published late and read one by one come whole and in order', () => {
  const scenario = ring({ publishEvery: 2, limit: 1 })
  expect(explorer.explore(scenario, 2).violation).toBeUndefined()
})

test('four records come through in every interleaving with up to three preemptions', () => {
  expect(explorer.explore(ring({ count: 4, lengths: [24, 8] }), 3).violation).toBeUndefined()
})

test('the explorer catches a writer that publishes before it writes', () => {
  const { violation } = explorer.explore(ring({ variant: 'publish before the bytes' }), 2)
  expect(violation).toMatch(/^a data race: plain \w+ of ring byte \d+\nschedule of ring/)
})

test('the explorer catches a reader that gives bytes back before it has read them', () => {
  const variant = 'give back before reading'
  const raced = explorer.explore(ring({ variant }), 2)
  expect(raced.violation).toMatch(/^a data race: plain \w+ of ring byte \d+\nschedule of ring/)
  const torn = explorer.explore(ring({ variant, ignoresRaces: true }), 2)
  expect(torn.violation).toMatch(/^record \d+ .*\nschedule of ring/)
})
