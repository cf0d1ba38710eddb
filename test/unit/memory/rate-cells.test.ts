// Rate cells: where a lane's limit lies and whom it holds for. What it grants is in
// test/property/rate.property.test.ts.

import { expect, test } from 'vitest'
import { attachCommons, CoordinatorCommons } from '../../../src/memory/commons.ts'
import type { LaneCells } from '../../../src/memory/layout.ts'
import { rateCells, SlidingWindow, TokenBucket } from '../../../src/memory/rate-cells.ts'

const MS = 1_000_000n

function cellsOf(isSliding: boolean, isPerPartition: boolean) {
  const rate = { limit: 3, windowMs: 10, isSliding, isPerPartition }
  const lanes: LaneCells[] = [{ owners: 0, minConcurrency: 0, rate }]
  const commons = new CoordinatorCommons(4, lanes)
  const { views, layout } = attachCommons(commons.memory, 4, lanes)
  return [0, 1, 2, 3].map((partition) => rateCells(views, layout.lanes[0]!, rate, partition))
}

test.each([
  ['token bucket', false, TokenBucket],
  ['sliding window', true, SlidingWindow],
] as const)('a global %s is one for all partitions', (_name, isSliding, kind) => {
  const all = cellsOf(isSliding, false)
  for (const [i, cells] of all.slice(0, 3).entries()) {
    expect(cells).toBeInstanceOf(kind)
    expect(cells.take(50n * MS + BigInt(i))).toBe(0n)
  }
  for (const cells of all) {
    expect(cells.available(50n * MS + 5n)).toBe(0)
    expect(cells.take(50n * MS + 5n)).toBeGreaterThan(50n * MS)
  }
})

test.each([
  ['token bucket', false],
  ['sliding window', true],
] as const)('with a %s of its own each partition takes the whole limit', (_name, isSliding) => {
  const all = cellsOf(isSliding, true)
  for (const cells of all) {
    expect(cells.available(50n * MS)).toBe(3)
    for (let i = 0; i < 3; i++) expect(cells.take(50n * MS)).toBe(0n)
    expect(cells.take(50n * MS)).toBeGreaterThan(50n * MS)
    expect(cells.available(50n * MS)).toBe(0)
  }
})
