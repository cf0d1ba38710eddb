import { expect, test } from 'vitest'
import { isPowerOfTwo } from '../../../src/base/bits.ts'
import { InvariantError } from '../../../src/base/errors.ts'
import {
  BELLS_PER_PARTITION,
  bellNumber,
  bellWord,
  bitWords,
  CACHE_LINE_BYTES,
  CommonsWord,
  Counter,
  CURSOR_WORDS,
  type LaneCells,
  layOutCommons,
  PADDING_KIND,
  RECORD_HEADER_BYTES,
  RING_BYTES_MAX,
  RING_BYTES_MIN,
  RINGS_OFFSET,
  regionBytes,
  SLOT_BITS,
  SLOT_COUNT,
  Word,
} from '../../../src/memory/layout.ts'

const LINE_WORDS = CACHE_LINE_BYTES / 4

test('words that different threads write lie on cache lines of their own', () => {
  const shared = Object.entries(Word).filter(([name]) => !/VERSION|RING_BYTES/.test(name))
  const lines = shared.map(([, index]) => Math.floor(index / LINE_WORDS))
  expect(new Set(lines).size).toBe(shared.length)
  // The words written once at creation share the first line with nothing else.
  expect(Math.min(...lines)).toBe(1)
})

test('the words of the commons lie on cache lines of their own', () => {
  const lines = Object.values(CommonsWord).map((index) => Math.floor(index / LINE_WORDS))
  expect(new Set(lines).size).toBe(lines.length)
  expect(Math.max(...Object.values(CommonsWord))).toBe(CommonsWord.END)
})

test('no two words overlap, and what slots have fills the space up to the rings', () => {
  const starts = Object.values(Word)
  expect(new Set(starts).size).toBe(starts.length)
  // A word of state, a moment of 64 bits, a word of credit and one of pauses for each slot.
  const bySlot = [Word.SLOTS, Word.STARTS, Word.CREDITS, Word.PAUSES]
  expect([...starts].sort((a, b) => a - b).slice(-4)).toEqual(bySlot)
  const bounds = [...bySlot, RINGS_OFFSET / 4]
  const sizes = bySlot.map((word, i) => bounds[i + 1]! - word)
  expect(sizes).toEqual([SLOT_COUNT, 2 * SLOT_COUNT, SLOT_COUNT, SLOT_COUNT])
  expect(Word.STARTS % 2).toBe(0)
})

test('the counters fit between their word and the slots, each with a place of its own', () => {
  const counters = Object.values(Counter)
  expect(new Set(counters).size).toBe(counters.length)
  expect(Math.max(...counters)).toBeLessThan(LINE_WORDS)
  expect(Word.COUNTERS + LINE_WORDS).toBeLessThanOrEqual(Word.SLOTS)
})

test('the rings start on a cache line, so that record bodies are 8-aligned', () => {
  expect(RINGS_OFFSET % CACHE_LINE_BYTES).toBe(0)
  expect(RECORD_HEADER_BYTES % 8).toBe(0)
})

test('a slot number is the low bits of an id', () => {
  expect(isPowerOfTwo(SLOT_COUNT)).toBe(true)
  expect(SLOT_COUNT).toBe(2 ** SLOT_BITS)
})

test('padding has a kind that no record can have', () => {
  expect(PADDING_KIND).toBeLessThan(0)
})

test('a region holds its words and both rings', () => {
  expect(regionBytes(1024, 4096)).toBe(RINGS_OFFSET + 1024 + 4096)
  expect(regionBytes(RING_BYTES_MIN, RING_BYTES_MAX) % 8).toBe(0)
})

test('positions in the largest ring cannot be mistaken for each other after a wrap', () => {
  expect(RING_BYTES_MAX).toBeLessThan(2 ** 31)
})

test.each([0, 512, 1000, 1025, 1536, 2 ** 29, -1024, Number.NaN])(
  'rings of %d bytes are refused',
  (bytes) => {
    expect(() => regionBytes(bytes, 1024)).toThrow(InvariantError)
    expect(() => regionBytes(1024, bytes)).toThrow(InvariantError)
  },
)

/** Words of the commons that a lane has, as [first, count]. */
function rangesOf(partitions: number, lanes: readonly LaneCells[]): [number, number][] {
  const layout = layOutCommons(partitions, lanes)
  const ranges: [number, number][] = []
  for (const [i, place] of layout.lanes.entries()) {
    const { rate } = lanes[i]!
    const scopes = rate === undefined ? 0 : rate.isPerPartition ? partitions : 1
    ranges.push(
      [place.timer, 1],
      [place.waiters, bitWords(partitions)],
      [place.busyWaiters, bitWords(partitions)],
      [place.running, partitions],
      [place.owners, place.ownerCount],
      [place.cursor, scopes * CURSOR_WORDS],
      [place.stamps * 2, scopes * place.stampCount * 2],
    )
  }
  return ranges.filter(([, count]) => count > 0)
}

test('in the commons no two things share a cache line, and all lie behind the bells', () => {
  const rate = { limit: 20, windowMs: 1000, isSliding: true, isPerPartition: true }
  const lanes: LaneCells[] = [
    { owners: 0, minConcurrency: 0, rate: undefined },
    { owners: 33, minConcurrency: 2, rate },
    { owners: 1, minConcurrency: 0, rate: { ...rate, isSliding: false, isPerPartition: false } },
  ]
  for (const partitions of [1, 2, 33, 256]) {
    const seen = new Set<number>()
    for (const [first, count] of rangesOf(partitions, lanes)) {
      expect(first).toBeGreaterThanOrEqual(bellWord(partitions, 0))
      const lines = new Set<number>()
      for (let word = first; word < first + count; word++) lines.add(Math.floor(word / LINE_WORDS))
      for (const line of lines) expect(seen.has(line)).toBe(false)
      for (const line of lines) seen.add(line)
      expect(first + count).toBeLessThanOrEqual(layOutCommons(partitions, lanes).words)
    }
  }
})

test('every bell has a cache line of its own, behind the first words', () => {
  const words: number[] = []
  for (let partition = 0; partition < 3; partition++) {
    for (let bell = 0; bell < BELLS_PER_PARTITION; bell++) {
      words.push(bellWord(partition, bell))
      expect(bellNumber(words.at(-1)!)).toBe(words.length - 1)
    }
  }
  expect(Math.min(...words)).toBeGreaterThanOrEqual(CommonsWord.END)
  expect(new Set(words.map((word) => Math.floor(word / LINE_WORDS))).size).toBe(
    3 * BELLS_PER_PARTITION,
  )
})
