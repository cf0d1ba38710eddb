// Tallies: what the thread of a partition counts of each lane while metrics are on.
// Thread: each block has one writer, its partition's thread, but for the queued times, which the
// coordinator writes; the coordinator reads all.   Owns: the layout of a block.
// A replacement thread gets a new block, so that a dying one never writes to its successor's.

import { nowMs, timers } from '../base/clock.ts'
import { HISTOGRAM_CELLS, Histogram, recordDuration } from '../base/histogram.ts'
import { SLOT_COUNT } from './layout.ts'
import type { SharedMemory } from './views.ts'

/** Handlers that failed, and looks in which a limit of the lane let none of its commands start. */
const COUNTER_CELLS = 2
const LANE_CELLS = COUNTER_CELLS + 2 * HISTOGRAM_CELLS

/** Allocates a block. */
function tallyMemory(lanes: number): SharedMemory {
  return new SharedArrayBuffer((SLOT_COUNT + lanes * LANE_CELLS + HISTOGRAM_CELLS) * 8)
}

/** What is counted of one lane. */
export class LaneTally {
  /** From the moment at which a command could have started to that at which it did. */
  readonly wait: Histogram
  /** From its start to its end, the pauses of a stream left out. */
  readonly run: Histogram
  readonly #counters: Float64Array

  /**
   * @param cells - Those of the lane. Default: of its own.
   */
  constructor(cells: Float64Array = new Float64Array(LANE_CELLS)) {
    const runs = COUNTER_CELLS + HISTOGRAM_CELLS
    this.#counters = cells.subarray(0, COUNTER_CELLS)
    this.wait = new Histogram(cells.subarray(COUNTER_CELLS, runs))
    this.run = new Histogram(cells.subarray(runs, LANE_CELLS))
  }

  /** Runs that failed. */
  get failed(): number {
    return this.#counters[0]!
  }

  /** Times the lane was passed over since its rate or its concurrency was used up. */
  get limited(): number {
    return this.#counters[1]!
  }

  /**
   * Adds another tally to this one.
   *
   * @param other - Of another thread.
   */
  add(other: LaneTally): this {
    this.#counters[0]! += other.failed
    this.#counters[1]! += other.limited
    this.wait.add(other.wait)
    this.run.add(other.run)
    return this
  }
}

/** The block of one thread. */
export class Tallies {
  readonly memory: SharedMemory
  /** When the command in a slot could have started, monotonic milliseconds. */
  readonly queuedAtMs: Float64Array
  /** By index. */
  readonly lanes: readonly LaneTally[]
  /** How late the event loop of the thread has come to a timer. */
  readonly delay: Histogram
  readonly #cells: Float64Array

  /**
   * @param lanes - How many there are.
   * @param memory - Of the block. Default: new.
   */
  constructor(lanes: number, memory: SharedMemory = tallyMemory(lanes)) {
    this.memory = memory
    // Stored before the tail of the command ring, and read after it.
    this.queuedAtMs = new Float64Array(memory, 0, SLOT_COUNT)
    const cells = new Float64Array(memory, SLOT_COUNT * 8)
    this.#cells = cells
    this.lanes = Array.from(
      { length: lanes },
      (_, lane) => new LaneTally(cells.subarray(lane * LANE_CELLS, (lane + 1) * LANE_CELLS)),
    )
    this.delay = new Histogram(cells.subarray(lanes * LANE_CELLS))
  }

  /**
   * Counts a run that has ended. Only the thread of the block may call it.
   *
   * @param lane - The lane's index.
   * @param waitMs - How long its command has waited.
   * @param runMs - How long it has run.
   * @param hasFailed - Whether it has failed.
   */
  countRun(lane: number, waitMs: number, runMs: number, hasFailed: boolean): void {
    const at = lane * LANE_CELLS
    recordDuration(this.#cells, at + COUNTER_CELLS, waitMs)
    recordDuration(this.#cells, at + COUNTER_CELLS + HISTOGRAM_CELLS, runMs)
    if (hasFailed) this.#cells[at]! += 1
  }

  /**
   * Counts a look that passed a lane over. Only the thread of the block may call it.
   *
   * @param lane - The lane's index.
   */
  countLimited(lane: number): void {
    this.#cells[lane * LANE_CELLS + 1]! += 1
  }
}

/** How often the delay of an event loop is measured. */
const DELAY_SAMPLE_MS = 100

/**
 * Measures from now on how late the event loop of this thread comes to a timer. A thread that
 * sleeps until its bell rings has an event loop that is idle, and is not late.
 */
export function measureDelay({ memory, lanes }: Tallies): void {
  const cells = new Float64Array(memory, SLOT_COUNT * 8)
  const at = lanes.length * LANE_CELLS
  let dueMs = nowMs() + DELAY_SAMPLE_MS
  const sample = () => {
    const now = nowMs()
    recordDuration(cells, at, Math.max(0, now - dueMs))
    dueMs = now + DELAY_SAMPLE_MS
  }
  timers.setInterval(sample, DELAY_SAMPLE_MS).unref()
}

/** The blocks of all threads of a manager. */
export class TallyBook {
  readonly #lanes: number
  /** By partition: the blocks of its living threads. */
  readonly #open: readonly Set<Tallies>[]
  /** By partition and lane: the sum of those whose threads have ended. */
  readonly #ended: readonly LaneTally[][]
  /** By partition: the delays of those. */
  readonly #delays: readonly Histogram[]

  /**
   * @param partitions - How many there are.
   * @param lanes - How many there are.
   */
  constructor(partitions: number, lanes: number) {
    this.#lanes = lanes
    this.#open = Array.from({ length: partitions }, () => new Set())
    this.#ended = Array.from({ length: partitions }, () => [])
    this.#delays = Array.from({ length: partitions }, () => new Histogram())
  }

  /** A block for a thread that is about to start. */
  open(partition: number): Tallies {
    const block = new Tallies(this.#lanes)
    this.#open[partition]!.add(block)
    return block
  }

  /**
   * Keeps what a thread has counted; it has exited.
   *
   * @param block - Its block.
   */
  close(partition: number, block: Tallies): void {
    if (!this.#open[partition]!.delete(block)) return
    const ended = this.#ended[partition]!
    this.#delays[partition]!.add(block.delay)
    for (const [lane, tally] of block.lanes.entries()) {
      ended[lane] ??= new LaneTally()
      ended[lane].add(tally)
    }
  }

  /** How late the event loops of a partition's threads have come to timers; a copy. */
  delay(partition: number): Histogram {
    const sum = new Histogram().add(this.#delays[partition]!)
    for (const { delay } of this.#open[partition]!) sum.add(delay)
    return sum
  }

  /**
   * What all threads of a partition have counted of a lane.
   *
   * @param lane - The lane's index.
   * @returns A copy.
   */
  read(partition: number, lane: number): LaneTally {
    const sum = new LaneTally()
    const ended = this.#ended[partition]![lane]
    if (ended !== undefined) sum.add(ended)
    for (const block of this.#open[partition]!) sum.add(block.lanes[lane]!)
    return sum
  }
}
