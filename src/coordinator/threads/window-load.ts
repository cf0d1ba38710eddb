// Window load: how much is bound to one incarnation, by slot, lane, key and urgency.
// Owns: the tallies of one window.
//
// A window is full by the work that can start soon. Two kinds of commands may be bound and not
// be able to start, and are counted apart: those of limited lanes, which may wait at the gate, and
// those behind another of their key, of which one runs at a time.

import { SLOT_COUNT } from '../../memory/layout.ts'
import { CREDIT_MAX } from '../../wire/result-record.ts'
import type { Command } from '../command.ts'
import type { Lane } from '../lane-table.ts'

/** What a stream counts for while it does not rest. */
interface Share {
  readonly lane: Lane
  readonly workUs: number
}

/** Rank and sequence of a command. */
interface Last {
  rank: number
  sequence: number
}

/** The commands of one key. One of them can run; the others wait for it. */
interface KeyTally {
  count: number
  /** Those of lanes that are not limited, and their estimated run time. */
  openCount: number
  openWorkUs: number
}

/** The commands of one key in one lane. */
interface LaneKeyTally {
  count: number
  workUs: number
  /** The one that runs last; may over-state. */
  readonly last: Last
}

/**
 * Tallies what is bound. Limited lanes are counted apart: their commands may wait at the gate. A
 * stream without credit rests: it holds no run, so it counts for nothing.
 */
export class WindowLoad {
  readonly #ranks = new Int32Array(SLOT_COUNT)
  readonly #sequences = new Float64Array(SLOT_COUNT)
  readonly #worksUs = new Float64Array(SLOT_COUNT)
  /** Of its record; those of a limited lane inverted. */
  readonly #bytes = new Int32Array(SLOT_COUNT)
  readonly #laneCounts: Int32Array
  readonly #laneBytes: Float64Array
  /** By lane: the command that runs last; may over-state. */
  readonly #laneLasts: readonly Last[]
  /** By slot and by key; undefined where only one command runs at a time anyway. */
  #keyOf: (string | undefined)[] | undefined
  readonly #keys = new Map<string, KeyTally>()
  readonly #laneKeys: readonly Map<string, LaneKeyTally>[]
  /** By slot of a stream: units that came, and units that its reader took, modulo 2^32. */
  readonly #received = new Int32Array(SLOT_COUNT)
  readonly #consumed = new Int32Array(SLOT_COUNT)
  readonly #resting = new Map<number, Share>()
  readonly #laneRestings: Int32Array
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
  /** Of the open ones, those behind another of their key, and their estimated run time. */
  #behindCount = 0
  #behindWorkUs = 0
  /** Commands behind another of their key and lane. */
  behindKeys = 0
  /**
   * Bytes of the records of lanes that are not limited; what takes the side port counts for a share
   * of the ring.
   */
  openBytes = 0
  /** The command that runs last; may over-state. */
  readonly #last: Last = { rank: Number.NEGATIVE_INFINITY, sequence: 0 }

  /**
   * @param laneCount - Number of lanes.
   * @param countsKeys - Whether commands of different keys may run at once. If not, a stream with a
   * key makes it necessary: see {@link WindowLoad.countKeys}.
   */
  constructor(laneCount: number, countsKeys: boolean) {
    this.#laneCounts = new Int32Array(laneCount)
    this.#laneRestings = new Int32Array(laneCount)
    this.#laneBytes = new Float64Array(laneCount)
    this.#laneLasts = Array.from({ length: laneCount }, () => ({ rank: 0, sequence: 0 }))
    this.#laneKeys = Array.from({ length: laneCount }, () => new Map())
    this.#keyOf = countsKeys ? new Array(SLOT_COUNT).fill(undefined) : undefined
  }

  /** Commands bound that could start if a run were free, running ones included. */
  get readyCount(): number {
    return this.openCount - this.#behindCount
  }

  /** Estimated run time of those, in microseconds. */
  get readyWorkUs(): number {
    return this.openWorkUs - this.#behindWorkUs
  }

  /** Commands bound of limited lanes. */
  get limitedCount(): number {
    return this.count - this.openCount
  }

  /** Streams that rest. */
  get restingCount(): number {
    return this.#resting.size
  }

  /** Streams of one lane that rest. */
  restingIn(laneIndex: number): number {
    return this.#laneRestings[laneIndex]!
  }

  /**
   * Counts keys from now on: while a stream rests commands of other keys run.
   *
   * @param commands - What is bound, by slot.
   */
  countKeys(commands: readonly (Command | undefined)[]): void {
    if (this.#keyOf !== undefined) return
    this.#keyOf = new Array(SLOT_COUNT).fill(undefined)
    for (const [slot, command] of commands.entries()) {
      if (command?.key !== undefined) this.#addKey(slot, command.key, command.lane)
    }
  }

  /** Commands bound of one lane. */
  inLane(laneIndex: number): number {
    return this.#laneCounts[laneIndex]!
  }

  /** Bytes of the records of one limited lane. */
  bytesIn(laneIndex: number): number {
    return this.#laneBytes[laneIndex]!
  }

  /** Commands bound of one key in one lane; 0 where keys are not counted. */
  ofKey(laneIndex: number, key: string): number {
    return this.#laneKeys[laneIndex]!.get(key)?.count ?? 0
  }

  /** Estimated run time of those, in microseconds. */
  workOfKey(laneIndex: number, key: string): number {
    return this.#laneKeys[laneIndex]!.get(key)?.workUs ?? 0
  }

  /**
   * Whether any of those may run after a command that is not bound would.
   *
   * @param rank - How urgent the command is.
   */
  hasAfterOfKey(laneIndex: number, key: string, rank: number, sequence: number): boolean {
    const tally = this.#laneKeys[laneIndex]!.get(key)
    return tally !== undefined && isLater(tally.last, rank, sequence)
  }

  /**
   * Corrects {@link WindowLoad.hasAfterOfKey}: none that may be taken back runs after a command.
   *
   * @param key - A key of which something is bound there.
   * @param rank - How urgent the command is.
   */
  lowerLastOfKey(laneIndex: number, key: string, rank: number, sequence: number): void {
    setLast(this.#laneKeys[laneIndex]!.get(key)!.last, rank, sequence)
  }

  /**
   * Whether any bound command of a lane may run after a command that is not bound would; only
   * while some of the lane are bound.
   *
   * @param rank - How urgent the command is.
   */
  hasAfterInLane(laneIndex: number, rank: number, sequence: number): boolean {
    return isLater(this.#laneLasts[laneIndex]!, rank, sequence)
  }

  /**
   * Corrects {@link WindowLoad.hasAfterInLane}: none that may be taken back runs after a command.
   *
   * @param rank - How urgent the command is.
   */
  lowerLastInLane(laneIndex: number, rank: number, sequence: number): void {
    setLast(this.#laneLasts[laneIndex]!, rank, sequence)
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
   */
  isAfter(slot: number, rank: number, sequence: number): boolean {
    const own = this.#ranks[slot]!
    return own > rank || (own === rank && this.#sequences[slot]! > sequence)
  }

  /**
   * Whether any bound command may run after a command that is not bound would.
   *
   * @param rank - How urgent the command is.
   */
  hasAfter(rank: number, sequence: number): boolean {
    return isLater(this.#last, rank, sequence)
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
   * Estimated work that runs before a command that is not bound would.
   *
   * @param rank - How urgent the command is.
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
   * @param rank - How urgent it is.
   * @param workUs - How long it is estimated to run, in microseconds.
   * @param bytes - What its record counts for.
   * @param key - Its key, if it has one.
   */
  add(
    slot: number,
    lane: Lane,
    rank: number,
    sequence: number,
    workUs: number,
    bytes: number,
    key: string | undefined,
  ): void {
    this.#ranks[slot] = rank
    this.#sequences[slot] = sequence
    this.#worksUs[slot] = workUs
    // The lane's limits may change before it is removed.
    this.#bytes[slot] = lane.isLimited ? ~bytes : bytes
    this.#received[slot] = 0
    this.#consumed[slot] = 0
    this.#count(slot, lane)
    if (key !== undefined && this.#keyOf !== undefined) this.#addKey(slot, key, lane)
  }

  /**
   * Takes a command away again.
   *
   * @param slot - Where it was bound.
   */
  remove(slot: number, lane: Lane): void {
    const resting = this.#resting.size === 0 ? undefined : this.#resting.get(slot)
    // A stream that rests holds its key all the same.
    const key = this.#keyOf?.[slot]
    if (key !== undefined) this.#removeKey(slot, key, lane, resting?.workUs ?? this.#worksUs[slot]!)
    if (resting === undefined) this.#discount(slot, lane)
    else {
      this.#resting.delete(slot)
      this.#laneRestings[lane.index]!--
    }
  }

  /**
   * Notes a value of a stream. The partition rests the stream once it has used its credit up.
   *
   * @param slot - Where it is bound.
   * @param weight - Units that the value takes.
   */
  received(slot: number, lane: Lane, weight: number): void {
    this.#received[slot]! += weight
    if (!this.#isSpent(slot) || this.#resting.has(slot)) return
    const workUs = this.#worksUs[slot]!
    this.#resting.set(slot, { lane, workUs })
    this.#laneRestings[lane.index]!++
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
    this.#laneRestings[share.lane.index]!--
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
    const isFirstInLane = this.#laneCounts[lane.index]!++ === 0
    if (isFirstInLane || !this.hasAfterInLane(lane.index, rank, sequence)) {
      setLast(this.#laneLasts[lane.index]!, rank, sequence)
    }
    if (this.count++ === 0 || !this.hasAfter(rank, sequence)) this.#setLast(slot)
    this.workUs += workUs
    const bytes = this.#bytes[slot]!
    if (bytes < 0) {
      this.#laneBytes[lane.index]! += ~bytes
      return
    }
    this.openBytes += bytes
    this.openCount++
    this.openWorkUs += workUs
  }

  #discount(slot: number, lane: Lane): void {
    const workUs = this.#worksUs[slot]!
    this.#worksUs[slot] = 0
    this.#laneCounts[lane.index]!--
    // Sums of estimates drift by rounding; an empty window starts from zero again.
    if (--this.count === 0) this.workUs = 0
    else this.workUs -= workUs
    const bytes = this.#bytes[slot]!
    if (bytes < 0) {
      this.#laneBytes[lane.index]! -= ~bytes
      return
    }
    this.openBytes -= bytes
    if (--this.openCount === 0) this.openWorkUs = 0
    else this.openWorkUs -= workUs
  }

  /**
   * Notes that the command in a slot has become more urgent. Refresh what runs last after it.
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
    this.#last.rank = Number.NEGATIVE_INFINITY
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      if (isTaken(slot) && this.isAfter(slot, this.#last.rank, this.#last.sequence)) {
        this.#setLast(slot)
      }
    }
  }

  #setLast(slot: number): void {
    setLast(this.#last, this.#ranks[slot]!, this.#sequences[slot]!)
  }

  #addKey(slot: number, key: string, lane: Lane): void {
    const workUs = this.#worksUs[slot]!
    const rank = this.#ranks[slot]!
    const sequence = this.#sequences[slot]!
    this.#keyOf![slot] = key
    const tally = this.#keys.get(key) ?? { count: 0, openCount: 0, openWorkUs: 0 }
    if (tally.count === 0) this.#keys.set(key, tally)
    this.#countBehind(tally, -1)
    tally.count++
    if (this.#bytes[slot]! >= 0) {
      tally.openCount++
      tally.openWorkUs += workUs
    }
    this.#countBehind(tally, 1)
    const inLane = this.#laneKeys[lane.index]!
    const own = inLane.get(key) ?? { count: 0, workUs: 0, last: { rank, sequence } }
    if (own.count++ === 0) inLane.set(key, own)
    else this.behindKeys++
    own.workUs += workUs
    if (!isLater(own.last, rank, sequence)) setLast(own.last, rank, sequence)
  }

  #removeKey(slot: number, key: string, lane: Lane, workUs: number): void {
    this.#keyOf![slot] = undefined
    const tally = this.#keys.get(key)!
    this.#countBehind(tally, -1)
    tally.count--
    if (this.#bytes[slot]! >= 0) {
      tally.openCount--
      tally.openWorkUs -= workUs
    }
    this.#countBehind(tally, 1)
    if (tally.count === 0) this.#keys.delete(key)
    const inLane = this.#laneKeys[lane.index]!
    const own = inLane.get(key)!
    own.workUs -= workUs
    if (--own.count === 0) inLane.delete(key)
    else this.behindKeys--
  }

  /** Adds those of a key that wait behind its first command to the tallies, or takes them away. */
  #countBehind({ count, openCount, openWorkUs }: KeyTally, sign: 1 | -1): void {
    // The first is one of those unless a limited lane has one, too.
    const behind = count > openCount ? openCount : openCount - 1
    if (behind <= 0) return
    this.#behindCount += sign * behind
    if (this.#behindCount === 0) this.#behindWorkUs = 0
    else this.#behindWorkUs += (sign * openWorkUs * behind) / openCount
  }
}

/** Whether a bound command runs after one that is not bound would. */
function isLater(last: Last, rank: number, sequence: number): boolean {
  return last.rank > rank || (last.rank === rank && last.sequence > sequence)
}

function setLast(last: Last, rank: number, sequence: number): void {
  last.rank = rank
  last.sequence = sequence
}
