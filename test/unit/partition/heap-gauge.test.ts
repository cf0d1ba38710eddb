// Heap gauge: what the coordinator reads of the heap of a thread.

import { expect, test, vi } from 'vitest'
import { nowMs } from '../../../src/base/clock.ts'
import { readCounter } from '../../../src/memory/counters.ts'
import { Counter, RINGS_OFFSET } from '../../../src/memory/layout.ts'
import { viewsOf } from '../../../src/memory/views.ts'
import { HeapGauge } from '../../../src/partition/heap-gauge.ts'

test.each([1, 3, 5, 1000])('a heap of %i GiB is read as such', (gib) => {
  const v8 = process.getBuiltinModule('node:v8')
  const statistics = vi.spyOn(v8, 'getHeapStatistics')
  statistics.mockReturnValue({ used_heap_size: gib * 2 ** 30 } as never)
  const views = viewsOf(new SharedArrayBuffer(RINGS_OFFSET))
  new HeapGauge(views).look(nowMs() + 1000)
  expect(readCounter(views, Counter.HEAP_KIB)).toBe(gib * 2 ** 20)
})
