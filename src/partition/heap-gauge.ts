// Heap gauge: tells the coordinator how large the thread's heap is.
// Owns: when it looked last.

import type v8 from 'node:v8'
import { nowMs } from '../base/clock.ts'
import { setReading } from '../memory/counters.ts'
import { Counter } from '../memory/layout.ts'
import type { Views } from '../memory/views.ts'

/** The heap is looked at no more often. */
const LOOK_MS = 100

export class HeapGauge {
  readonly #views: Views
  #lastMs = nowMs()
  /** Loaded by the first look: a thread is ready a millisecond sooner. */
  #v8: typeof v8 | undefined

  /**
   * @param views - The partition's region.
   */
  constructor(views: Views) {
    this.#views = views
  }

  /** Looks, unless it did or was made a moment ago. */
  look(now: number): void {
    if (now - this.#lastMs < LOOK_MS) return
    this.#lastMs = now
    this.#v8 ??= process.getBuiltinModule('node:v8')
    setReading(this.#views, Counter.HEAP_KIB, this.#v8.getHeapStatistics().used_heap_size / 1024)
  }
}
