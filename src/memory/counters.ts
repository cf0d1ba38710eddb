// Counters: counts of a partition that the coordinator reads, without a message.
// Thread: the partition adds, the coordinator reads.
// Owns: the counter words of a region.

import { type CounterIndex, Word } from './layout.ts'
import type { Views } from './views.ts'

/**
 * Adds one to a counter. Only the partition's thread may call it.
 *
 * @param views - The partition's region.
 * @param counter - Which one.
 */
export function count(views: Views, counter: CounterIndex): void {
  // A plain add: the word has one writer, and a reader may be a little behind.
  views.words[Word.COUNTERS + counter]! += 1
}

/**
 * Sets a counter that is a reading. Only the partition's thread may call it.
 *
 * @param views - The partition's region.
 * @param counter - Which one.
 * @param value - The reading.
 */
export function setReading(views: Views, counter: CounterIndex, value: number): void {
  views.words[Word.COUNTERS + counter] = value
}

/**
 * Reads a counter.
 *
 * @param views - The partition's region.
 * @param counter - Which one.
 * @returns A count that may lag behind and wraps at 2^32; never ahead of the truth.
 */
export function readCounter(views: Views, counter: CounterIndex): number {
  return Atomics.load(views.words, Word.COUNTERS + counter) >>> 0
}
