// Window load: how much is bound to one incarnation, by slot, lane and urgency.
// Thread: main.   Owns: the tallies of one window.

import { SLOT_COUNT } from '../memory/layout.ts'
import type { Lane } from './lane-table.ts'

/** Tallies what is bound. Limited lanes are told apart: their commands may wait at the gate. */
export class WindowLoad {
  readonly #ranks = new Int32Array(SLOT_COUNT)
  readonly #worksUs = new Float64Array(SLOT_COUNT)
  readonly #bytes = new Int32Array(SLOT_COUNT)
  readonly #laneCounts: Int32Array
  /** Commands bound. */
  count = 0
  /** Estimated run time of those, in microseconds. */
  workUs = 0
  /** Commands bound of lanes that are not limited. */
  openCount = 0
  /** Estimated run time of those, in microseconds. */
  openWorkUs = 0
  /** Bytes of their records; what takes the side port counts for a share of the ring. */
  bytes = 0
  /** No bound command is less urgent; may over-state. */
  lastRank = 0

  /**
   * @param laneCount - Number of lanes.
   */
  constructor(laneCount: number) {
    this.#laneCounts = new Int32Array(laneCount)
  }

  /**
   * Commands bound of one lane.
   *
   * @param laneIndex - The lane.
   */
  inLane(laneIndex: number): number {
    return this.#laneCounts[laneIndex]!
  }

  /**
   * How urgent the command in a slot was when it was bound.
   *
   * @param slot - A slot that is taken.
   */
  rankOf(slot: number): number {
    return this.#ranks[slot]!
  }

  /**
   * Estimated run time of the command in a slot, in microseconds.
   *
   * @param slot - A slot that is taken.
   */
  workOf(slot: number): number {
    return this.#worksUs[slot]!
  }

  /**
   * Estimated work that runs before a command of a rank would.
   *
   * @param rank - Of the command.
   * @returns Microseconds.
   */
  aheadUs(rank: number): number {
    let sum = 0
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      if (this.#ranks[slot]! <= rank) sum += this.#worksUs[slot]!
    }
    return sum
  }

  /**
   * Adds a command.
   *
   * @param slot - Where it is bound.
   * @param lane - Its lane.
   * @param rank - How urgent it is.
   * @param workUs - How long it is estimated to run, in microseconds.
   * @param bytes - What its record counts for.
   */
  add(slot: number, lane: Lane, rank: number, workUs: number, bytes: number): void {
    this.#ranks[slot] = rank
    this.#worksUs[slot] = workUs
    this.#bytes[slot] = bytes
    this.#laneCounts[lane.index]!++
    if (this.count++ === 0 || rank > this.lastRank) this.lastRank = rank
    this.workUs += workUs
    this.bytes += bytes
    if (lane.isLimited) return
    this.openCount++
    this.openWorkUs += workUs
  }

  /**
   * Takes a command away again.
   *
   * @param slot - Where it was bound.
   * @param lane - Its lane.
   */
  remove(slot: number, lane: Lane): void {
    const workUs = this.#worksUs[slot]!
    this.#worksUs[slot] = 0
    this.#laneCounts[lane.index]!--
    this.bytes -= this.#bytes[slot]!
    // Sums of estimates drift by rounding; an empty window starts from zero again.
    if (--this.count === 0) this.workUs = 0
    else this.workUs -= workUs
    if (lane.isLimited) return
    if (--this.openCount === 0) this.openWorkUs = 0
    else this.openWorkUs -= workUs
  }

  /**
   * Finds out again what the least urgent rank is.
   *
   * @param isTaken - Whether a slot is.
   */
  refreshLastRank(isTaken: (slot: number) => boolean): void {
    this.lastRank = 0
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      if (isTaken(slot)) this.lastRank = Math.max(this.lastRank, this.#ranks[slot]!)
    }
  }
}
