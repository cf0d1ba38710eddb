// Window limits: whether one more command may be bound to a window: by its slots, its bytes, its
// work, and what limited lanes and keys may take of them.
// Owns: how much work the window should hold.
// Must not: choose a window (partition-choice), or bind.

import type { CoordinatorSlots } from '../../memory/slots.ts'
import type { LanePlan } from '../../model/lane.ts'
import type { Command } from '../command.ts'
import type { RunClaim } from '../manager-events.ts'
import { WORK_MS_MIN } from '../results/horizon.ts'
import type { OrphanedCommand } from './run-watch.ts'
import type { WindowLoad } from './window-load.ts'

/** Work of one key that may be bound. */
const KEY_WORK_US = 10_000

/** Slots that only a command more urgent than something bound may take. */
const RESERVED_SLOTS = 64

/** Slots that limited lanes may fill together; a lane may fill its share in any case. */
const LIMITED_SLOTS = 384

/** Commands that may wait bound behind others of their keys. */
const BEHIND_KEYS_MAX = 128

/** Bounds of a window that its manager sets. */
export interface WindowPlan {
  /** Longest payload that may lie in a record. */
  readonly inlineBytesMax: number
  readonly lanes: readonly LanePlan[]
  /** Handlers that may run at once in one partition. */
  readonly concurrency: number
}

/** What is bound, with whether it runs, and runs that go on though their commands have ended. */
interface Bound {
  snapshot(): Iterable<OrphanedCommand>
  snapshotOf(laneIndex: number): Iterable<OrphanedCommand>
  readonly watch: { readonly detached: Iterable<RunClaim> }
}

export class WindowLimits {
  readonly #slots: CoordinatorSlots
  readonly #load: WindowLoad
  readonly #bytesMax: number
  readonly #bound: Bound
  /** Slots that each limited lane may fill, whatever the others do. */
  readonly #limitedShare: number
  /** So many commands may be bound however long they run: as many as can run, and one at hand. */
  readonly #countMin: number
  /** Work that the window should hold, in microseconds. */
  workUsMax: number = WORK_MS_MIN * 1000

  /**
   * @param load - How much is bound.
   * @param bytesMax - Longest record of the ring, in bytes.
   * @param bound - What is bound: the window.
   */
  constructor(
    slots: CoordinatorSlots,
    load: WindowLoad,
    bytesMax: number,
    { lanes, concurrency }: WindowPlan,
    bound: Bound,
  ) {
    this.#slots = slots
    this.#load = load
    this.#bytesMax = bytesMax
    this.#bound = bound
    this.#limitedShare = Math.ceil(LIMITED_SLOTS / lanes.length)
    this.#countMin = concurrency + 1
  }

  /** Whether a slot is free that is not kept for a more urgent command. */
  get hasSlot(): boolean {
    return this.#slots.freeCount > RESERVED_SLOTS
  }

  /**
   * Whether a slot is free for a command: the last ones are for those that overtake others.
   *
   * @param rank - How urgent it is at this moment.
   */
  hasSlotFor({ sequence }: Command, rank: number): boolean {
    if (this.hasSlot) return true
    return this.#slots.freeCount > 0 && this.#load.hasAfter(rank, sequence)
  }

  /** Whether there is room for one more command of a lane that is not limited, its work aside. */
  get hasRoom(): boolean {
    return this.hasSlot && this.#load.openBytes <= this.#bytesMax
  }

  /**
   * Whether the window has room for a command: for its share of work, at least two commands, and
   * beyond that for one that must overtake something bound, as long as little is ahead of it.
   *
   * @param command - The next one of its place, of a lane that is not limited.
   * @param rank - How urgent it is at this moment.
   */
  accepts(command: Command, rank: number): boolean {
    const load = this.#load
    const { freeCount } = this.#slots
    if (freeCount === 0) return false
    // Streams that rest must leave slots to what can run.
    if (command.isStream && freeCount <= RESERVED_SLOTS) return false
    if (load.readyCount < this.#countMin) return true
    const work = command.type.estimateUs
    if (this.hasRoom && load.readyWorkUs + work <= this.workUsMax) return true
    const { sequence } = command
    return load.hasAfter(rank, sequence) && load.aheadUs(rank, sequence) + work <= this.workUsMax
  }

  /**
   * Whether the window has room for a command of a limited lane. One of each lane that may start
   * always waits at the gate: those that wait for their keys may wait for this very command. More
   * may, within slots and bytes that limited lanes do not take from others.
   *
   * @param command - The next one of its place.
   * @param rank - How urgent it is at this moment.
   * @param allowance - How many of its lane may wait there besides those that run.
   */
  acceptsLimited(command: Command, rank: number, allowance: number): boolean {
    const load = this.#load
    const { laneIndex } = command
    const bound = load.inLane(laneIndex)
    if (!this.hasSlotFor(command, rank)) return false
    if (bound === 0) return true
    const isFull = load.limitedCount >= LIMITED_SLOTS && bound >= this.#limitedShare
    if (isFull || load.bytesIn(laneIndex) > this.#bytesMax / 4) {
      return this.startableIn(laneIndex) === 0
    }
    return bound < allowance || this.startableIn(laneIndex) < allowance
  }

  /**
   * Whether another command of a key may be bound: one that runs and the next always may, more only
   * if they are short. Lanes count apart: bound commands of one may wait at its gate for a handler
   * that waits for a command of the same key in another.
   *
   * @param estimateUs - Estimated run time of the command. Default: as those that are bound.
   */
  acceptsKey(laneIndex: number, key: string, estimateUs?: number): boolean {
    const load = this.#load
    const count = load.ofKey(laneIndex, key)
    if (count < 2) return true
    const workUs = load.workOfKey(laneIndex, key)
    const isShort = workUs + (estimateUs ?? workUs / count) <= KEY_WORK_US
    return isShort && load.behindKeys < BEHIND_KEYS_MAX
  }

  /** Whether a bound command of a lane and a key has started, or a detached run has the key. */
  hasStarted(laneIndex: number, key: string): boolean {
    for (const run of this.#bound.watch.detached) if (run.key === key) return true
    for (const { command, started } of this.#bound.snapshotOf(laneIndex)) {
      if (started && command.key === key) return true
    }
    return false
  }

  /** Commands of a lane that have not started and are not behind another of their key. */
  startableIn(laneIndex: number): number {
    let count = 0
    const keys = new Set<string | undefined>()
    for (const { command, started } of this.#bound.snapshotOf(laneIndex)) {
      if (started) continue
      if (command.key === undefined) count++
      else keys.add(command.key)
    }
    if (keys.size === 0) return count
    for (const { key } of this.#bound.watch.detached) keys.delete(key)
    for (const { command, started } of this.#bound.snapshot()) {
      if (started) keys.delete(command.key)
    }
    return count + keys.size
  }
}
