// Histogram: durations in log-linear buckets, 16 to each doubling.
// Thread: any; an instance has one writer.
// Owns: its cells, which may be shared memory.
//
// The bucket of a duration is the exponent of its 64-bit float and the four bits after it, so that
// recording is one shift. A quantile is the middle of its bucket: at most 1/32 from the duration.

import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'

/** Durations below 2^-13 ms, about 0.1 µs, share the first bucket. */
const LEAST_MS = 2 ** -13
/** Doublings that have buckets of their own; past them, at 37 hours, is the last bucket. */
const DOUBLINGS = 40
const BUCKETS = DOUBLINGS * 16 + 2
/** The last bucket begins here. */
const LONGEST_MS = LEAST_MS * 2 ** DOUBLINGS
const SUM = 0
/** The least duration plus 1; 0 while nothing is recorded. */
const MIN = 1
const MAX = 2
const FIRST = 3

/** Cells that a histogram takes. */
export const HISTOGRAM_CELLS: number = FIRST + BUCKETS

const MANTISSA_SHIFT = 16
const float = new Float64Array(1)
const halves = new Int32Array(float.buffer)

function bitsOf(ms: number): number {
  float[0] = ms
  return halves[1]! >> MANTISSA_SHIFT
}

const BASE = bitsOf(LEAST_MS) - 1

/** Where a bucket begins, in milliseconds. */
function lowerMs(bucket: number): number {
  if (bucket === 0) return 0
  halves[0] = 0
  halves[1] = (BASE + bucket) << MANTISSA_SHIFT
  return float[0]!
}

/** {@link Histogram.record}, for a thread whose cells another one reads. */
export function recordIn(cells: Float64Array, ms: number): void {
  // Apart, so that V8 inlines the rest: for a call each duration would be boxed.
  if (!(ms >= 0 && ms < LONGEST_MS)) {
    recordOdd(cells, ms)
    return
  }
  float[0] = ms
  add(cells, Math.max(0, (halves[1]! >> MANTISSA_SHIFT) - BASE), ms)
}

/** Counts what is no duration, or has no bucket of its own. */
function recordOdd(cells: Float64Array, ms: number): void {
  if (!(ms >= LONGEST_MS)) add(cells, 0, 0)
  else add(cells, BUCKETS - 1, ms < Number.POSITIVE_INFINITY ? ms : LONGEST_MS)
}

function add(cells: Float64Array, bucket: number, ms: number): void {
  cells[FIRST + bucket]!++
  cells[SUM]! += ms
  if (ms > cells[MAX]!) cells[MAX] = ms
  const least = cells[MIN]!
  if (ms + 1 < least || least === 0) cells[MIN] = ms + 1
}

/** A histogram as JSON carries it between machines. Durations are milliseconds. */
export interface HistogramJson {
  /** How many durations. */
  readonly count: number
  /** All of them added up. */
  readonly sum: number
  /** The shortest; 0 if there is none. */
  readonly min: number
  /** The longest; 0 if there is none. */
  readonly max: number
  /** Their average; 0 if there is none. */
  readonly mean: number
  /** The median, within 1/32 of its value, as all percentiles are; 0 if there is none. */
  readonly p50: number
  /** 90th percentile. */
  readonly p90: number
  /** 95th percentile. */
  readonly p95: number
  /** 99th percentile. */
  readonly p99: number
  /** 99.9th percentile. */
  readonly p999: number
  /** Buckets that hold something: index and count. */
  readonly buckets: readonly (readonly [number, number])[]
}

/** Durations in milliseconds, 0.1 µs to 37 hours, each within 1/32 of its value. */
export class Histogram {
  readonly #cells: Float64Array

  /**
   * @param cells - `HISTOGRAM_CELLS` of them. Default: of its own, all 0.
   */
  constructor(cells: Float64Array = new Float64Array(HISTOGRAM_CELLS)) {
    this.#cells = cells
  }

  /**
   * The histogram that another process or machine has sent.
   *
   * @param json - From {@link Histogram.toJSON}.
   */
  static from(json: HistogramJson): Histogram {
    const { sum, count, min, max, buckets } = json
    const made = new Histogram()
    made.#cells[SUM] = sum
    made.#cells[MIN] = count === 0 ? 0 : min + 1
    made.#cells[MAX] = max
    for (const [index, times] of buckets) made.#cells[FIRST + index] = times
    return made
  }

  /**
   * Counts a duration. The stores are plain: where the cells are shared memory, a reader may be a
   * moment behind.
   *
   * @param ms - Milliseconds; less than 0 and NaN count as 0, Infinity as 2^27, 37 hours.
   */
  record(ms: number): void {
    recordIn(this.#cells, ms)
  }

  /** Durations counted. */
  get count(): number {
    let count = 0
    for (let i = FIRST; i < HISTOGRAM_CELLS; i++) count += this.#cells[i]!
    return count
  }

  /** Sum of the durations, exact. */
  get sum(): number {
    return this.#cells[SUM]!
  }

  /** The least; 0 if there is none. */
  get min(): number {
    return Math.max(0, this.#cells[MIN]! - 1)
  }

  /** The greatest; 0 if there is none. */
  get max(): number {
    return this.#cells[MAX]!
  }

  /** The mean; 0 if there is none. */
  get mean(): number {
    const { count } = this
    return count === 0 ? 0 : this.sum / count
  }

  /** The standard deviation, with each duration as the middle of its bucket; 0 if there is none. */
  get stddev(): number {
    const { mean, count } = this
    let squares = 0
    for (const [ms, times] of this.buckets()) squares += times * (ms - mean) ** 2
    return count === 0 ? 0 : Math.sqrt(squares / count)
  }

  /** 50th percentile. */
  get p50(): number {
    return this.quantile(0.5)
  }

  /** 90th percentile. */
  get p90(): number {
    return this.quantile(0.9)
  }

  /** 95th percentile. */
  get p95(): number {
    return this.quantile(0.95)
  }

  /** 99th percentile. */
  get p99(): number {
    return this.quantile(0.99)
  }

  /** 99.9th percentile. */
  get p999(): number {
    return this.quantile(0.999)
  }

  /** Forgets every duration. */
  clear(): void {
    this.#cells.fill(0)
  }

  /**
   * The duration that a share of all do not exceed.
   *
   * @param share - 0 to 1.
   * @returns Milliseconds, at most 1/32 off; 0 if nothing is counted.
   */
  quantile(share: number): number {
    const { count } = this
    if (count === 0) return 0
    const rank = Math.max(1, Math.ceil(share * count))
    let seen = 0
    let bucket = -1
    while (seen < rank && bucket < BUCKETS - 1) seen += this.#cells[FIRST + ++bucket]!
    const middle = bucket === BUCKETS - 1 ? this.max : (lowerMs(bucket) + lowerMs(bucket + 1)) / 2
    return Math.min(Math.max(middle, this.min), this.max)
  }

  /**
   * How many durations are below a bound, which is rounded down to that of a bucket.
   *
   * @param ms - The bound in milliseconds.
   */
  countUpTo(ms: number): number {
    const end = Math.min(Math.max(0, bitsOf(ms) - BASE), BUCKETS)
    let count = 0
    for (let bucket = 0; bucket < end; bucket++) count += this.#cells[FIRST + bucket]!
    return count
  }

  /** What is counted: the middle of each bucket in milliseconds, and how often. */
  *buckets(): Generator<readonly [ms: number, times: number]> {
    for (const [bucket, times] of this.#filled()) {
      yield [bucket === BUCKETS - 1 ? this.max : (lowerMs(bucket) + lowerMs(bucket + 1)) / 2, times]
    }
  }

  /**
   * Adds another histogram to this one.
   *
   * @param other - Of another thread or machine.
   */
  add(other: Histogram): this {
    const [own, others] = [this.#cells, other.#cells]
    const leasts = [own[MIN]!, others[MIN]!].filter((least) => least > 0)
    const max = Math.max(own[MAX]!, others[MAX]!)
    for (let i = 0; i < HISTOGRAM_CELLS; i++) own[i]! += others[i]!
    own[MIN] = leasts.length === 0 ? 0 : Math.min(...leasts)
    own[MAX] = max
    return this
  }

  /**
   * What was counted since an earlier copy. Least and greatest are those of the buckets.
   *
   * @param earlier - A copy of this histogram from before.
   */
  since(earlier: Histogram): Histogram {
    const made = new Histogram()
    made.#cells[SUM] = Math.max(0, this.sum - earlier.sum)
    for (let i = FIRST; i < HISTOGRAM_CELLS; i++) {
      const times = Math.max(0, this.#cells[i]! - earlier.#cells[i]!)
      made.#cells[i] = times
      if (times === 0) continue
      const bucket = i - FIRST
      if (made.#cells[MIN] === 0) made.#cells[MIN] = Math.max(this.min, lowerMs(bucket)) + 1
      made.#cells[MAX] = Math.min(this.max, lowerMs(bucket + 1))
    }
    return made
  }

  /**
   * The same as a histogram of Node, in nanoseconds, each duration as the middle of its bucket. On
   * Node 26 its `export()` gives bytes that `importHistogram` of `node:perf_hooks` reads elsewhere.
   */
  toNative(): RecordableHistogram {
    const native = createHistogram()
    let most = 0
    for (const [, times] of this.#filled()) most = Math.max(most, times)
    // Node records one value at a time. So counts are made of their binary digits: each digit
    // doubles the counts so far, and records the values that have it once.
    for (let digit = 2 ** Math.floor(Math.log2(most)); digit >= 1; digit /= 2) {
      native.add(native)
      for (const [ms, times] of this.buckets()) {
        if (Math.floor(times / digit) % 2 === 1) native.record(Math.max(1, Math.round(ms * 1e6)))
      }
    }
    return native
  }

  /** Its numbers and buckets, for {@link Histogram.from}. */
  toJSON(): HistogramJson {
    const { count, sum, min, max, mean, p50, p90, p95, p99, p999 } = this
    const buckets = [...this.#filled()]
    return { count, sum, min, max, mean, p50, p90, p95, p99, p999, buckets }
  }

  *#filled(): Generator<readonly [bucket: number, times: number]> {
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      const times = this.#cells[FIRST + bucket]!
      if (times > 0) yield [bucket, times]
    }
  }
}
