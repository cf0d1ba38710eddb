// Layout: every offset, width and writer of the shared memory. No other file adds numbers.
// Owns: nothing; it is arithmetic.
// The picture, the protocols and why they are right are in README.md beside this file.

import { isPowerOfTwo } from '../base/bits.ts'
import { invariant } from '../base/errors.ts'

/** Grows whenever a partition built from other sources could misread the memory. */
export const LAYOUT_VERSION = 6

/** Words written by different threads never share a cache line. */
export const CACHE_LINE_BYTES = 64
const LINE_WORDS = CACHE_LINE_BYTES / 4

/** Bits of a command id that name its slot; the rest is the slot's generation. */
export const SLOT_BITS = 10

/** Commands that can be bound to one incarnation at a time. */
export const SLOT_COUNT: number = 1 << SLOT_BITS

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
 * | SPACE_WANTED | partition sets, coordinator clears | both | no partition waits for room |
 * | COUNTERS | partition | coordinator | nothing counted yet |
 * | SLOTS | coordinator and partition, see slots.ts | both | never used |
 * | STARTS | partition, before it starts the command | coordinator | never started |
 * | CREDITS | coordinator | partition | nothing of the stream was consumed |
 * | PAUSES | partition, cleared by the coordinator at open | coordinator | the run never paused |
 */
export const Word = Object.freeze({
  VERSION: 0,
  COMMAND_RING_BYTES: 1,
  RESULT_RING_BYTES: 2,
  COMMAND_TAIL: LINE_WORDS,
  COMMAND_HEAD: 2 * LINE_WORDS,
  RESULT_TAIL: 3 * LINE_WORDS,
  RESULT_HEAD: 4 * LINE_WORDS,
  SPACE_WANTED: 5 * LINE_WORDS,
  COUNTERS: 6 * LINE_WORDS,
  SLOTS: 7 * LINE_WORDS,
  STARTS: 7 * LINE_WORDS + SLOT_COUNT,
  CREDITS: 7 * LINE_WORDS + 3 * SLOT_COUNT,
  PAUSES: 7 * LINE_WORDS + 4 * SLOT_COUNT,
})

/** Counters of a partition: Int32 indices from `Word.COUNTERS`. Each wraps at 2^32. */
export const Counter = Object.freeze({
  /** Commands whose handler was entered. */
  STARTED: 0,
  /** Times the partition went to sleep. */
  PARKED: 1,
  /** Times it found the result ring full. */
  STALLED: 2,
  /** Not a count but the heap in use when the partition last looked, in KiB. */
  HEAP_KIB: 3,
})

/** One of {@link Counter}. */
export type CounterIndex = (typeof Counter)[keyof typeof Counter]

/** Byte offset of the command ring; the result ring follows it. */
export const RINGS_OFFSET: number = (Word.PAUSES + SLOT_COUNT) * 4

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

/**
 * Int32 indices into the commons of a manager, before what depends on its partitions and lanes.
 *
 * | word | writer | readers | meaning of 0 |
 * |---|---|---|---|
 * | VERSION | creator, once | partitions | not a commons |
 * | BELL | every thread, by compare-and-swap | every thread | the coordinator is awake |
 * | LISTENERS | coordinator | partitions | no subscription wants starts of handlers |
 */
export const CommonsWord = Object.freeze({
  VERSION: 0,
  BELL: LINE_WORDS,
  LISTENERS: 2 * LINE_WORDS,
  END: 3 * LINE_WORDS,
})

/**
 * Bells of a partition, one for each of its threads that live at a time: one that ends must touch
 * neither the bell of its successor nor that one's bit among the waiters of a lane.
 */
export const BELLS_PER_PARTITION = 8

/** Int32 words from one cursor of a sliding window to the next. */
export const CURSOR_WORDS: number = LINE_WORDS

/** 64-bit cells of the limits of a lane. */
export const TERM_CELLS = 3

/** Partitions that an owner's word can tell apart. */
export const OWNER_PARTITIONS = 512

/** What a lane needs in the commons. */
export interface LaneCells {
  /** Commands that may run at once, if that is accounted; 0 if it is not. */
  readonly owners: number
  /** The most that may be allowed later. Default: `owners`. */
  readonly ownersMax?: number
  /** Commands that it is promised. */
  readonly minConcurrency: number
  readonly rate:
    | {
        readonly limit: number
        readonly windowMs: number
        readonly isSliding: boolean
        readonly isPerPartition: boolean
      }
    | undefined
}

/**
 * Where a lane's cells are.
 *
 * | words | writer | meaning of 0 |
 * |---|---|---|
 * | timer | every partition, by compare-and-swap | no partition waits for the lane's next token |
 * | waiters | every thread, by or / and | no idle thread of those 32 bells waits for the lane |
 * | busyWaiters | every thread, by or / and | no busy thread of those 32 bells waits for the lane |
 * | running | the partition of that index | it runs no command of the lane |
 * | owners | every partition, by compare-and-swap | the slot is free |
 * | cursor | every partition, by compare-and-swap | the first stamp is the oldest |
 * | stamps | every partition, by compare-and-swap | never used |
 * | version | coordinator | the limits are those that the lane was made with |
 * | terms | coordinator | |
 *
 * Stamps and terms are indices of 64-bit cells, the others are Int32 indices. Terms of an even and
 * of an odd version lie side by side: slots, starts in a window, and its nanoseconds.
 */
export interface LanePlace {
  readonly timer: number
  readonly waiters: number
  readonly busyWaiters: number
  readonly running: number
  readonly owners: number
  readonly ownerCount: number
  readonly version: number
  readonly terms: number
  /** One cursor per scope: one for all partitions, or one for each. */
  readonly cursor: number
  readonly stamps: number
  /** 64-bit cells per scope. */
  readonly stampCount: number
}

/** Where everything in the commons is. */
export interface CommonsLayout {
  readonly partitions: number
  readonly lanes: readonly LanePlace[]
  /** Int32 words in all. */
  readonly words: number
}

/** Int32 words of a bit set with a bit for each bell of the partitions. */
export function bitWords(partitions: number): number {
  return Math.ceil((partitions * BELLS_PER_PARTITION) / 32)
}

/**
 * The Int32 index of a bell.
 *
 * @param partition - Index of the partition.
 * @param bell - Which of its bells, 0 to {@link BELLS_PER_PARTITION} - 1.
 */
export function bellWord(partition: number, bell: number): number {
  return CommonsWord.END + (partition * BELLS_PER_PARTITION + bell) * LINE_WORDS
}

/**
 * The number of a bell among those of all partitions, from 0.
 *
 * @param word - Its Int32 index.
 */
export function bellNumber(word: number): number {
  return (word - CommonsWord.END) / LINE_WORDS
}

/**
 * Lays out the commons.
 *
 * @param partitions - How many there are.
 * @param lanes - What each lane needs.
 */
export function layOutCommons(partitions: number, lanes: readonly LaneCells[]): CommonsLayout {
  let next = bellWord(partitions, 0)
  const claim = (words: number): number => {
    const at = next
    next += Math.ceil(words / LINE_WORDS) * LINE_WORDS
    return at
  }
  const places = lanes.map(({ owners, ownersMax = owners, rate }): LanePlace => {
    const scopes = rate === undefined ? 0 : rate.isPerPartition ? partitions : 1
    const stampCount = rate === undefined ? 0 : rate.isSliding ? rate.limit : 1
    return {
      timer: claim(1),
      waiters: claim(bitWords(partitions)),
      busyWaiters: claim(bitWords(partitions)),
      running: claim(partitions),
      owners: claim(ownersMax),
      ownerCount: ownersMax,
      version: claim(1),
      terms: claim(2 * TERM_CELLS * 2) / 2,
      cursor: claim(scopes * CURSOR_WORDS),
      stamps: claim(scopes * stampCount * 2) / 2,
      stampCount,
    }
  })
  return { partitions, lanes: places, words: next }
}
