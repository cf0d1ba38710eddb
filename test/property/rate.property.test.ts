// Goal: a rate limit grants exactly what it promises, whoever asks and in whatever order the
// threads' steps fall. Method: a manual clock and two models: a level of tokens, and a list of
// stamps. Threads are simulated: between two atomic steps of one take whole takes of other threads
// run, with clocks that were read earlier than their swaps; and a thread dies between its two
// swaps.

import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Excess, SlidingWindow, TokenBucket } from '../../src/memory/rate-cells.ts'
import type { CommonsViews } from '../../src/memory/views.ts'
import { lawOf } from '../support/law.ts'

const law = lawOf(300)
const MS = 1_000_000n
const CURSOR = 3
const FIRST = 2

class Death extends Error {}

function memory(cells: number): CommonsViews {
  const shared = new SharedArrayBuffer((FIRST + cells + 1) * 8)
  // The words lie apart from the stamps, as in the commons.
  const words = new Int32Array(new SharedArrayBuffer(64))
  return { words, stamps: new BigInt64Array(shared) }
}

const { load, compareExchange } = Atomics
/** What is called ahead of every atomic step; that of the innermost take. */
let beforeStep: ((name: string, target: object) => void) | undefined

beforeAll(() => {
  const wrap = (name: 'load' | 'compareExchange', real: unknown): void => {
    Atomics[name] = ((target: object, ...rest: unknown[]) => {
      beforeStep?.(name, target)
      return (real as (...given: unknown[]) => unknown)(target, ...rest)
    }) as never
  }
  wrap('load', load)
  wrap('compareExchange', compareExchange)
})

afterAll(() => {
  Object.assign(Atomics, { load, compareExchange })
})

/** Calls `before` ahead of every atomic step that `run` makes. */
function stepping<T>(run: () => T, before: (name: string, target: object) => void): T {
  const outer = beforeStep
  beforeStep = before
  try {
    return run()
  } finally {
    beforeStep = outer
  }
}

/** No interval holds more than `limit` stamps and one for each full `intervalNs` of its length. */
function expectBucketBound(
  stamps: readonly bigint[],
  limit: number,
  intervalNs: bigint,
  roundedNs = 0n,
): void {
  const ordered = [...stamps].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
  for (let from = 0; from < ordered.length; from++) {
    for (let to = from + limit; to < ordered.length; to++) {
      const beyond = BigInt(to - from + 1 - limit)
      expect(ordered[to]! - ordered[from]!).toBeGreaterThanOrEqual(beyond * intervalNs - roundedNs)
    }
  }
}

/** No window of that length, whatever its start, holds more than `limit` stamps. */
function expectWindowBound(stamps: readonly bigint[], limit: number, windowNs: bigint): void {
  const ordered = [...stamps].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
  for (let from = 0; from + limit < ordered.length; from++) {
    expect(ordered[from + limit]! - ordered[from]!).toBeGreaterThanOrEqual(windowNs)
  }
}

const limits = fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 12 }))
const windows = fc.constantFrom(1, 2.5, 7, 10, 1000)
/** Steps of the clock in thousandths of the window; mostly around the interval between tokens. */
const steps = fc.oneof(
  fc.constant(0),
  fc.integer({ min: 0, max: 300 }),
  fc.integer({ min: 0, max: 2500 }),
)

const gapsOf = fc.array(steps, { maxLength: 80 })

law(
  'a token bucket grants, refuses and names the next moment exactly as a level of tokens does',
  [limits, windows, gapsOf],
  (limit, windowMs, gaps) => {
    const { stamps } = memory(1)
    const bucket = new TokenBucket(stamps, FIRST, limit, windowMs)
    const interval = BigInt(Math.ceil((windowMs * 1e6) / limit))
    const full = interval * BigInt(limit)
    let level = full
    let now = 5_000n * MS
    for (const gap of gaps) {
      const passed = (BigInt(gap) * BigInt(windowMs * 1e6)) / 1000n
      now += passed
      level = level + passed > full ? full : level + passed
      expect(bucket.available(now)).toBe(Number(level / interval))
      const due = bucket.take(now)
      if (level >= interval) {
        expect(due).toBe(0n)
        level -= interval
      } else expect(due).toBe(now + interval - level)
    }
  },
)

const anyLimit = fc.integer({ min: 1, max: 1_000_000_000 })
const anyWindow = fc.integer({ min: 1, max: 604_800_000 })

law('an interval is its share of the window, rounded up', [anyLimit, anyWindow], (limit, ms) => {
  const { stamps } = memory(1)
  const bucket = new TokenBucket(stamps, FIRST, limit, ms)
  const start = 7n * MS
  expect(bucket.take(start)).toBe(0n)
  const interval = Atomics.load(stamps, FIRST) - start
  const windowNs = BigInt(ms) * MS
  expect(interval * BigInt(limit)).toBeGreaterThanOrEqual(windowNs)
  expect((interval - 1n) * BigInt(limit)).toBeLessThan(windowNs)
})

interface Take {
  /** Time that passes before the thread reads its clock, in thousandths of the window. */
  readonly gap: number
  /** How much earlier than the first of its steps it read it, likewise. */
  readonly lag: number
  /** Before which of its atomic steps other threads run. */
  readonly yieldsAt: number
  /** How many of the takes that follow run then. */
  readonly others: number
}

const takes = fc.array(
  fc.record({
    gap: steps,
    lag: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 400 })),
    yieldsAt: fc.integer({ min: 0, max: 4 }),
    others: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 3 })),
  }),
  { maxLength: 60 },
)

/** Runs takes inside takes, as threads that are interrupted would; gives the stamps granted. */
function interleave(
  plan: readonly Take[],
  windowMs: number,
  take: (now: bigint) => bigint,
): bigint[] {
  const granted: bigint[] = []
  const unit = BigInt(windowMs * 1e6) / 1000n
  let clock = 9_000n * MS
  let next = 0
  const run = (): void => {
    const { gap, lag, yieldsAt, others } = plan[next++]!
    clock += BigInt(gap) * unit
    const read = clock - BigInt(lag) * unit
    let step = 0
    const due = stepping(
      () => take(read),
      () => {
        if (step++ !== yieldsAt) return
        for (let i = 0; i < others && next < plan.length; i++) run()
      },
    )
    if (due === 0n) granted.push(read)
    else expect(due).toBeGreaterThan(read)
  }
  while (next < plan.length) run()
  return granted
}

law('a bucket keeps its bound in any interval', [limits, windows, takes], (limit, ms, plan) => {
  const { stamps } = memory(1)
  const bucket = new TokenBucket(stamps, FIRST, limit, ms)
  const granted = interleave(plan, ms, (now) => bucket.take(now))
  expectBucketBound(granted, limit, BigInt(Math.ceil((ms * 1e6) / limit)))
})

law('a window keeps its bound, however swaps fall', [limits, windows, takes], (limit, ms, plan) => {
  const window = new SlidingWindow(memory(limit), CURSOR, FIRST, limit, ms)
  const granted = interleave(plan, ms, (now) => window.take(now))
  expectWindowBound(granted, limit, BigInt(Math.ceil(ms * 1e6)))
})

law(
  'a sliding window grants, refuses, counts and names the next moment exactly as a list of stamps does',
  [limits, windows, fc.array(fc.tuple(steps, fc.boolean()), { maxLength: 80 })],
  (limit, windowMs, plan) => {
    const views = memory(limit)
    const window = new SlidingWindow(views, CURSOR, FIRST, limit, windowMs)
    const windowNs = BigInt(Math.ceil(windowMs * 1e6))
    const starts: bigint[] = []
    let now = 11_000n * MS
    let isBroken = false
    for (const [gap, dies] of plan) {
      now += (BigInt(gap) * windowNs) / 1000n
      const recent = starts.filter((start) => start + windowNs > now)
      const free = limit - recent.length
      // A dead thread's cursor stands at a stamp that is not free: one too many at most.
      const counted = window.available(now) - free
      expect(counted).toBeGreaterThanOrEqual(0)
      expect(counted).toBeLessThanOrEqual(isBroken ? 1 : 0)
      const due = takeOrDie(window, views, now, dies)
      if (free > 0) {
        expect(due).toBe(dies ? 'dead' : 0n)
        starts.push(now)
        isBroken = dies
      } else expect(due).toBe(recent[0]! + windowNs)
    }
  },
)

/** A take whose thread may die once it has swapped its stamp and not moved the cursor. */
function takeOrDie(
  window: SlidingWindow,
  { words, stamps }: CommonsViews,
  now: bigint,
  dies: boolean,
): bigint | 'dead' {
  if (!dies) return window.take(now)
  const before = stamps.slice()
  try {
    return stepping(
      () => window.take(now),
      (name, target) => {
        if (name !== 'compareExchange' || target !== words) return
        if (stamps.some((stamp, cell) => stamp !== before[cell])) throw new Death()
      },
    )
  } catch (error) {
    if (error instanceof Death) return 'dead'
    throw error
  }
}

test('a sliding window goes round its ring of cells many times without losing a start', () => {
  for (const limit of [1, 2, 3, 7]) {
    const views = memory(limit)
    const window = new SlidingWindow(views, CURSOR, FIRST, limit, 10)
    let now = 20n * MS
    for (let round = 0; round < 50; round++) {
      for (let i = 0; i < limit; i++) expect(window.take(now)).toBe(0n)
      expect(window.available(now)).toBe(0)
      expect(window.take(now)).toBe(now + 10n * MS)
      expect(window.take(now + 10n * MS - 1n)).toBe(now + 10n * MS)
      now += 10n * MS
      expect(window.available(now)).toBe(limit)
    }
    expect(views.words[CURSOR]).toBe(0)
  }
})

test.each([
  ['token-bucket', 1000, 20_000],
  ['sliding-window', 1000, 2_000],
  ['sliding-window', 1000, 20_000],
  ['sliding-window', 100, 200_000],
  ['sliding-window', 2, 200_000],
] as const)(
  'a %s of %i that is asked all the time loses no start to clocks read up to %i ns early',
  (algorithm, limit, lagNs) => {
    const views = memory(limit)
    const cells =
      algorithm === 'token-bucket'
        ? new TokenBucket(views.stamps, FIRST, limit, 10)
        : new SlidingWindow(views, CURSOR, FIRST, limit, 10)
    let seed = 11
    const below = (max: number): bigint => {
      seed = (seed * 48_271) % 2_147_483_647
      return BigInt(seed % Math.max(1, max))
    }
    // Several times as often as the limit allows, for a hundred windows.
    const gapNs = Math.min(Math.ceil(5_000_000 / limit), 20_000)
    const begin = 50n * MS
    let granted = 0
    for (let now = begin; now < begin + 1000n * MS; now += below(gapNs) + 1n) {
      if (cells.take(now - below(lagNs)) === 0n) granted++
    }
    const lagShare = 1 - lagNs / 10_000_000
    expect(granted).toBeGreaterThanOrEqual(Math.floor(limit * 99 * lagShare))
  },
)

test('cells beside those of a limit are never touched', () => {
  const views = memory(4)
  const window = new SlidingWindow(views, CURSOR, FIRST, 4, 10)
  const bucket = new TokenBucket(views.stamps, FIRST + 4, 4, 10)
  for (let now = 30n * MS; now < 200n * MS; now += MS) {
    window.take(now)
    bucket.take(now)
  }
  expect([...views.stamps.slice(0, FIRST)]).toEqual([0n, 0n])
  expect([...views.words].filter((word, index) => index !== CURSOR && word !== 0)).toEqual([])
})

const change = fc.record({ gap: steps, limit: fc.option(fc.integer({ min: 1, max: 8 })) })

law(
  'a sliding window whose limit changes grants at most the present limit in the window that ends now',
  [windows, fc.array(change, { maxLength: 80 })],
  (windowMs, changes) => {
    const most = 8
    const views = memory(most)
    const cellsOf = (limit: number) =>
      new SlidingWindow(views, CURSOR, FIRST, limit, windowMs, most)
    const windowNs = BigInt(windowMs * 1e6)
    const granted: bigint[] = []
    let limit = most
    let now = 5_000n * MS
    for (const { gap, limit: changed } of changes) {
      now += (BigInt(gap) * windowNs) / 1000n
      limit = changed ?? limit
      const window = cellsOf(limit)
      const recent = granted.filter((stamp) => stamp + windowNs > now)
      expect(window.available(now)).toBe(Math.max(0, limit - recent.length))
      const due = window.take(now)
      expect(due === 0n).toBe(recent.length < limit)
      if (due === 0n) granted.push(now)
      else expect(due).toBe(recent.at(-limit)! + windowNs)
    }
  },
)

test('tokens come back to a bucket whose limit changes all the time', () => {
  const { stamps } = memory(1)
  const [high, low] = [4, 2].map((limit) => new TokenBucket(stamps, FIRST, limit, 1000))
  let now = 5_000n * MS
  let excess: Excess | undefined
  for (let i = 0; i < 4; i++) expect(high!.take(now)).toBe(0n)
  for (let i = 0; i < 50; i++) {
    now += 10n * MS
    excess = low!.carry(now, high!, high!.carry(now, low!, excess))
    excess = high!.carry(now, high!, excess)
  }
  expect([high!.available(now), excess]).toEqual([2, undefined])
})

// Lowered, three taken tokens are longer than an interval by what was rounded up.
const taking = { gap: 0, limit: null }
const toLimit = (limit: number) => ({ ...taking, limit })
const lowered = [taking, taking, taking, toLimit(1), toLimit(2)]
const lowAndHigh = [taking, taking, taking, toLimit(1), toLimit(3), taking]

law(
  'a token bucket whose limit changes grants no more than the present one from the change on, nor than the highest one over all changes',
  [windows, fc.array(fc.record({ gap: steps, limit: fc.option(limits) }), { maxLength: 80 })],
  (windowMs, changes) => {
    const { stamps } = memory(1)
    const bucketOf = (limit: number) => new TokenBucket(stamps, FIRST, limit, windowMs)
    const intervalOf = (limit: number) => BigInt(Math.ceil((windowMs * 1e6) / limit))
    let limit = 3
    let highest = limit
    let bucket = bucketOf(limit)
    let granted: bigint[] = []
    const all: bigint[] = []
    let excess: Excess | undefined
    let now = 5_000n * MS
    for (const { gap, limit: changed } of changes) {
      now += (BigInt(gap) * BigInt(windowMs * 1e6)) / 1000n
      if (changed !== null && changed !== limit) {
        expectBucketBound(granted, limit, intervalOf(limit))
        const next = bucketOf(changed)
        const available = bucket.available(now)
        const hasExcess = excess !== undefined
        excess = bucket.carry(now, next, excess)
        // Tokens that are taken stay so, and no others are.
        if (changed > limit && !hasExcess) {
          expect(next.available(now)).toBe(changed - limit + available)
        }
        bucket = next
        limit = changed
        highest = Math.max(highest, limit)
        granted = []
      }
      if (bucket.take(now) === 0n) {
        granted.push(now)
        all.push(now)
      }
    }
    expectBucketBound(granted, limit, intervalOf(limit))
    // Intervals are rounded up, so those of a lower limit take up to a nanosecond each more.
    expectBucketBound(all, highest, intervalOf(highest), BigInt(highest))
  },
  {
    examples: [
      [1, lowered],
      [1000, lowAndHigh],
    ],
  },
)
