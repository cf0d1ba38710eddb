// Tallies: counts of a partition's thread while metrics are on: looks in which a limit let nothing
// start, and how late its event loop is. Runs are counted where their results are taken.
// Thread: each block has one writer, its partition's thread; the coordinator reads all.
// Owns: the layout of a block.
// A replacement thread gets a new block, so that a dying one never writes to its successor's.

import { nowMs, timers } from '../base/clock.ts'
import { HISTOGRAM_CELLS, recordIn } from '../base/histogram.ts'
import type { AttachedCommons } from './commons.ts'
import { LaneGate } from './lane-gate.ts'
import type { LaneCells } from './layout.ts'
import type { SharedMemory } from './views.ts'

/** How often the delay of an event loop is measured. */
const DELAY_SAMPLE_MS = 100

/** The block of one thread. */
export class Tallies {
  readonly memory: SharedMemory
  /** How late the event loop of the thread has come to a timer: cells of a histogram. */
  readonly delays: Float64Array
  /** By lane: looks in which a limit of the lane let none of its commands start. */
  readonly limited: Float64Array

  /**
   * @param lanes - How many there are.
   * @param memory - Of the block. Default: new.
   */
  constructor(
    lanes: number,
    memory: SharedMemory = new SharedArrayBuffer((HISTOGRAM_CELLS + lanes) * 8),
  ) {
    this.memory = memory
    this.delays = new Float64Array(memory, 0, HISTOGRAM_CELLS)
    this.limited = new Float64Array(memory, HISTOGRAM_CELLS * 8, lanes)
  }

  /**
   * Measures from now on how late the event loop of this thread comes to a timer. A thread that
   * sleeps until its bell rings has an event loop that is idle, and is not late.
   */
  measureDelay(): void {
    let dueMs = nowMs() + DELAY_SAMPLE_MS
    const sample = () => {
      const now = nowMs()
      recordIn(this.delays, now - dueMs)
      dueMs = now + DELAY_SAMPLE_MS
    }
    timers.setInterval(sample, DELAY_SAMPLE_MS).unref()
  }
}

/** A gate that counts how often it lets none in. */
export class CountingGate extends LaneGate {
  readonly #limited: Float64Array

  /** As for {@link LaneGate}; the last are the tallies of this thread. */
  constructor(
    commons: AttachedCommons,
    lanes: readonly LaneCells[],
    partition: number,
    incarnation: number,
    bell: number,
    { limited }: Tallies,
  ) {
    super(commons, lanes, partition, incarnation, bell)
    this.#limited = limited
  }

  override enter(laneIndex: number): boolean {
    const hasEntered = super.enter(laneIndex)
    if (!hasEntered) this.#limited[laneIndex]! += 1
    return hasEntered
  }
}
