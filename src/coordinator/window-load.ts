// Window load: how much is bound to one incarnation, by slot, lane and urgency.
// Thread: main.   Owns: the tallies of one window.

import { SLOT_COUNT } from '../memory/layout.ts'
import { CREDIT_MAX } from '../wire/result-record.ts'
import type { Lane } from './lane-table.ts'

/** What a stream counts for while it does not rest. */
interface Share {
  readonly lane: Lane
  readonly workUs: number
}

/**
 * Tallies what is bound. Limited lanes are told apart: their commands may wait at the gate. A
 * stream without credit rests: it holds no run, so it counts for nothing.
 */
export class WindowLoad {
  readonly #ranks = new Int32Array(SLOT_COUNT)
  readonly #sequences = new Float64Array(SLOT_COUNT)
  readonly #worksUs = new Float64Array(SLOT_COUNT)
  readonly #bytes = new Int32Array(SLOT_COUNT)
  /** By slot that is taken: index of the lane. */
  readonly #lanes = new Uint8Array(SLOT_COUNT)
  readonly #laneCounts: Int32Array
  /** By lane: rank and sequence of its bound command that runs last; may over-state. */
  readonly #laneRanks: Float64Array
  readonly #laneSequences: Float64Array
  /** By slot of a stream: units that came, and units that its reader took, modulo 2^32. */
  readonly #received = new Int32Array(SLOT_COUNT)
  readonly #consumed = new Int32Array(SLOT_COUNT)
  readonly #resting = new Map<number, Share>()
  /** Commands bound. */
  count = 0
  /** Estimated run time of those, in microseconds. */
  workUs = 0
  /** Commands bound of lanes that are not limited. */
  openCount = 0
  /** Estimated run time of those, in microseconds. */
  openWorkUs = 0
  /** When a bound command becomes more urgent by itself, or before; Infinity if none does. */
  changesAtMs = Number.POSITIVE_INFINITY
  /** Bytes of their records; what takes the side port counts for a share of the ring. */
  bytes = 0
  /** Rank and sequence of the bound command that runs last; may over-state. */
  #lastRank = Number.NEGATIVE_INFINITY
  #lastSequence = 0

  /**
   * @param laneCount - Number of lanes.
   */
  constructor(laneCount: number) {
    this.#laneCounts = new Int32Array(laneCount)
    this.#laneRanks = new Float64Array(laneCount)
    this.#laneSequences = new Float64Array(laneCount)
  }

  /** Streams that rest. */
  get restingCount(): number {
    return this.#resting.size
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
   * How urgent the command in a slot was when that was last judged.
   *
   * @param slot - A slot that is taken.
   */
  rankOf(slot: number): number {
    return this.#ranks[slot]!
  }

  /**
   * Orders two slots that are taken by when their commands run.
   *
   * @param a - A slot.
   * @param b - Another slot.
   * @returns Less than 0 if the command in `a` runs first.
   */
  compare(a: number, b: number): number {
    return this.#ranks[a]! - this.#ranks[b]! || this.#sequences[a]! - this.#sequences[b]!
  }

  /**
   * Whether the command in a slot runs after a command that is not bound would.
   *
   * @param slot - A slot that is taken.
   * @param rank - How urgent the command is.
   * @param sequence - Of the command.
   */
  isAfter(slot: number, rank: number, sequence: number): boolean {
    const own = this.#ranks[slot]!
    return own > rank || (own === rank && this.#sequences[slot]! > sequence)
  }

  /**
   * Whether any bound command may run after a command that is not bound would.
   *
   * @param rank - How urgent the command is.
   * @param sequence - Of the command.
   */
  hasAfter(rank: number, sequence: number): boolean {
    const last = this.#lastRank
    return last > rank || (last === rank && this.#lastSequence > sequence)
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
   * Whether any bound command of a lane may run after one that is not bound would.
   *
   * @param laneIndex - The lane.
   * @param rank - How urgent the command is.
   * @param sequence - Of the command.
   */
  hasAfterIn(laneIndex: number, rank: number, sequence: number): boolean {
    if (this.#laneCounts[laneIndex] === 0) return false
    const last = this.#laneRanks[laneIndex]!
    return last > rank || (last === rank && this.#laneSequences[laneIndex]! > sequence)
  }

  /**
   * Finds the bound command of a lane that runs last.
   *
   * @param laneIndex - The lane.
   * @param isTaken - Whether a slot is.
   * @returns Its slot; -1 if there is none.
   */
  lastIn(laneIndex: number, isTaken: (slot: number) => boolean): number {
    let last = -1
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      if (this.#lanes[slot] !== laneIndex || !isTaken(slot)) continue
      if (last < 0 || this.compare(slot, last) > 0) last = slot
    }
    this.#laneRanks[laneIndex] = last < 0 ? Number.NEGATIVE_INFINITY : this.#ranks[last]!
    this.#laneSequences[laneIndex] = last < 0 ? 0 : this.#sequences[last]!
    return last
  }

  /**
   * Estimated work that runs before a command that is not bound would.
   *
   * @param rank - How urgent the command is.
   * @param sequence - Of the command.
   * @returns Microseconds.
   */
  aheadUs(rank: number, sequence: number): number {
    let sum = 0
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      if (!this.isAfter(slot, rank, sequence)) sum += this.#worksUs[slot]!
    }
    return sum
  }

  /**
   * Adds a command.
   *
   * @param slot - Where it is bound.
   * @param lane - Its lane.
   * @param rank - How urgent it is.
   * @param sequence - Its age.
   * @param workUs - How long it is estimated to run, in microseconds.
   * @param bytes - What its record counts for.
   */
  add(
    slot: number,
    lane: Lane,
    rank: number,
    sequence: number,
    workUs: number,
    bytes: number,
  ): void {
    this.#ranks[slot] = rank
    this.#sequences[slot] = sequence
    this.#worksUs[slot] = workUs
    this.#bytes[slot] = bytes
    this.#lanes[slot] = lane.index
    this.#received[slot] = 0
    this.#consumed[slot] = 0
    this.#count(slot, lane)
  }

  /**
   * Takes a command away again.
   *
   * @param slot - Where it was bound.
   * @param lane - Its lane.
   */
  remove(slot: number, lane: Lane): void {
    if (!this.#resting.delete(slot)) this.#discount(slot, lane)
  }

  /**
   * Notes a value of a stream. The partition rests the stream once it has used its credit up.
   *
   * @param slot - Where it is bound.
   * @param lane - Its lane.
   * @param weight - Units that the value takes.
   */
  received(slot: number, lane: Lane, weight: number): void {
    this.#received[slot]! += weight
    if (!this.#isSpent(slot) || this.#resting.has(slot)) return
    const workUs = this.#worksUs[slot]!
    this.#resting.set(slot, { lane, workUs })
    this.#discount(slot, lane)
  }

  /**
   * Notes that the reader of a stream lets it go on.
   *
   * @param slot - Where it is bound.
   * @param credit - Units that it took, modulo 2^32.
   */
  granted(slot: number, credit: number): void {
    this.#consumed[slot] = credit
    const share = this.#resting.get(slot)
    if (share === undefined || this.#isSpent(slot)) return
    this.#resting.delete(slot)
    this.#worksUs[slot] = share.workUs
    this.#count(slot, share.lane)
  }

  #isSpent(slot: number): boolean {
    return ((this.#received[slot]! - this.#consumed[slot]!) | 0) >= CREDIT_MAX
  }

  #count(slot: number, lane: Lane): void {
    const workUs = this.#worksUs[slot]!
    const rank = this.#ranks[slot]!
    const sequence = this.#sequences[slot]!
    if (!this.hasAfterIn(lane.index, rank, sequence)) {
      this.#laneRanks[lane.index] = rank
      this.#laneSequences[lane.index] = sequence
    }
    this.#laneCounts[lane.index]!++
    if (this.count++ === 0 || !this.hasAfter(rank, sequence)) this.#setLast(slot)
    this.workUs += workUs
    this.bytes += this.#bytes[slot]!
    if (lane.isLimited) return
    this.openCount++
    this.openWorkUs += workUs
  }

  #discount(slot: number, lane: Lane): void {
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
   * Notes that the command in a slot runs earlier than it was bound to. Refresh what runs last
   * after it.
   *
   * @param slot - A slot that is taken.
   * @param rank - How urgent it is now.
   */
  raise(slot: number, rank: number): void {
    this.#ranks[slot] = rank
  }

  /**
   * Finds out again which command runs last.
   *
   * @param isTaken - Whether a slot is.
   */
  refreshLast(isTaken: (slot: number) => boolean): void {
    this.#lastRank = Number.NEGATIVE_INFINITY
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      if (isTaken(slot) && this.isAfter(slot, this.#lastRank, this.#lastSequence)) {
        this.#setLast(slot)
      }
    }
  }

  #setLast(slot: number): void {
    this.#lastRank = this.#ranks[slot]!
    this.#lastSequence = this.#sequences[slot]!
  }
}
