// Heap gauge: tells the coordinator how large the thread's heap is.
// Thread: partition.   Owns: when it looked last.

import { getHeapStatistics } from 'node:v8'
import { setReading } from '../memory/counters.ts'
import { Counter } from '../memory/layout.ts'
import type { Views } from '../memory/views.ts'

/** The heap is looked at no more often. */
const LOOK_MS = 100

/** Looks at the heap. */
export class HeapGauge {
  readonly #views: Views
  #lastMs = 0

  /**
   * @param views - The partition's region.
   */
  constructor(views: Views) {
    this.#views = views
  }

  /**
   * Looks, unless it did a moment ago.
   *
   * @param nowMs - Monotonic milliseconds.
   */
  look(nowMs: number): void {
    if (nowMs - this.#lastMs < LOOK_MS) return
    this.#lastMs = nowMs
    setReading(this.#views, Counter.HEAP_KIB, getHeapStatistics().used_heap_size >>> 10)
  }
}
