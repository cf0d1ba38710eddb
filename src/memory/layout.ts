// Layout: every offset, width and writer of the shared memory. No other file adds numbers.
// Thread: any.   Owns: nothing; it is arithmetic.
// The picture, the protocols and why they are right are in README.md beside this file.

import { isPowerOfTwo } from '../base/bits.ts'
import { invariant } from '../base/errors.ts'

/** Grows whenever a partition built from other sources could misread the memory. */
export const LAYOUT_VERSION = 1

/** Words written by different threads never share a cache line. */
export const CACHE_LINE_BYTES = 64
const LINE_WORDS = CACHE_LINE_BYTES / 4

/**
 * Int32 indices into a region.
 *
 * | word | writer | readers | meaning of 0 |
 * |---|---|---|---|
 * | VERSION | creator, once | partition | not a region |
 * | COMMAND_RING_BYTES, RESULT_RING_BYTES | creator, once | both | not a region |
 * | COMMAND_TAIL | coordinator | partition | nothing written yet |
 * | COMMAND_HEAD | partition | coordinator | nothing read yet |
 * | RESULT_TAIL | partition | coordinator | nothing written yet |
 * | RESULT_HEAD | coordinator | partition | nothing read yet |
 * | BELL | both, by compare-and-swap | both | the partition is awake |
 * | SPACE_WANTED | partition sets, coordinator clears | both | the result ring has room |
 * | COUNTERS | partition | coordinator | nothing counted yet |
 * | SLOTS | coordinator and partition, see slots.ts | both | never used |
 */
export const Word = Object.freeze({
  VERSION: 0,
  COMMAND_RING_BYTES: 1,
  RESULT_RING_BYTES: 2,
  COMMAND_TAIL: LINE_WORDS,
  COMMAND_HEAD: 2 * LINE_WORDS,
  RESULT_TAIL: 3 * LINE_WORDS,
  RESULT_HEAD: 4 * LINE_WORDS,
  BELL: 5 * LINE_WORDS,
  SPACE_WANTED: 6 * LINE_WORDS,
  COUNTERS: 7 * LINE_WORDS,
  SLOTS: 8 * LINE_WORDS,
})

/** Int32 indices into the commons of a manager; both words are written by every thread. */
export const CommonsWord = Object.freeze({ VERSION: 0, BELL: LINE_WORDS, END: 2 * LINE_WORDS })

/** Counters of a partition: Int32 indices from `Word.COUNTERS`. Each wraps at 2^32. */
export const Counter = Object.freeze({
  /** Commands whose handler was entered. */
  STARTED: 0,
  /** Times the partition went to sleep. */
  PARKED: 1,
  /** Times it found the result ring full. */
  STALLED: 2,
})

/** One of {@link Counter}. */
export type CounterIndex = (typeof Counter)[keyof typeof Counter]

/** Bits of a command id that name its slot; the rest is the slot's generation. */
export const SLOT_BITS = 10

/** Commands that can be bound to one incarnation at a time. */
export const SLOT_COUNT: number = 1 << SLOT_BITS

/** Byte offset of the command ring; the result ring follows it. */
export const RINGS_OFFSET: number = (Word.SLOTS + SLOT_COUNT) * 4

/** Smallest ring: it holds a few records of the least size. */
export const RING_BYTES_MIN = 1024

/** Largest ring. */
export const RING_BYTES_MAX: number = 1 << 28

/**
 * Header of a record, before its body:
 *
 * ```
 *  0        4        8
 * +--------+--------+------------------ - -
 * | length |  kind  | body, 8-byte aligned
 * +--------+--------+------------------ - -
 * ```
 *
 * `length` counts header and body in bytes; the next record starts at the next multiple of 8.
 */
export const RECORD_HEADER_BYTES = 8

/** Kind of the filler between the last record before the wrap and the ring's end. */
export const PADDING_KIND = -1

invariant(Object.keys(Counter).length <= LINE_WORDS, 'the counters fit their cache line')
invariant(RINGS_OFFSET % CACHE_LINE_BYTES === 0, 'the rings start on a cache line')
invariant(isPowerOfTwo(SLOT_COUNT), 'a slot is the low bits of an id')

/**
 * Bytes of a region with rings of these sizes.
 *
 * @param commandRingBytes - A power of two from {@link RING_BYTES_MIN} to {@link RING_BYTES_MAX}.
 * @param resultRingBytes - Likewise.
 */
export function regionBytes(commandRingBytes: number, resultRingBytes: number): number {
  for (const bytes of [commandRingBytes, resultRingBytes]) {
    invariant(
      isPowerOfTwo(bytes) && bytes >= RING_BYTES_MIN && bytes <= RING_BYTES_MAX,
      `ring bytes ${bytes} must be a power of two from ${RING_BYTES_MIN} to ${RING_BYTES_MAX}`,
    )
  }
  return RINGS_OFFSET + commandRingBytes + resultRingBytes
}
