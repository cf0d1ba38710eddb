// Partition choice: which partition a command goes to, if any has room for it.
// Owns: bounds on what is bound: the most of a limited lane, the least of one with a minimum.
// Must not: bind or take back (dispatcher). It writes one thing: the partition that is kept free
// for a command that must run by itself.

import { nowMs } from '../../base/clock.ts'
import type { CoordinatorCommons } from '../../memory/commons.ts'
import { toNs } from '../../memory/lane-gate.ts'
import { ANY_PARTITION, type Command } from '../command.ts'
import { type Lane, openCountOf } from '../lane-table.ts'
import type { InFlightWindow } from '../threads/in-flight-window.ts'
import type { PartitionHandle } from '../threads/partition-handle.ts'

/** Work on an awake partition that costs about as much as waking one that sleeps. */
const WAKE_COST_US = 200

/**
 * Below so much work each, partitions that are awake count as equal, and the one used last gets the
 * command: a second one would fall asleep and be woken over and over for what the first does in
 * passing. In flight 10 and 100, no-op commands ran 1.5 times as fast with this as without.
 */
const SMALL_WORK_US = 50

/**
 * A limited lane keeps at hand what could start within so long: the main thread may be that late.
 */
const ALLOWANCE_MS = 10

export class PartitionChoice {
  /** Whether a limited lane had enough bound when the last command was refused. */
  wasOverAllowance = false
  readonly #partitions: readonly PartitionHandle[]
  readonly #commons: CoordinatorCommons
  /** By limited lane: how many may wait bound to each partition; 0 where that is unknown. */
  readonly #allowances: Float64Array
  /**
   * By lane: commands that stay bound to each partition, so that the lane has its minimum. Where
   * fewer handlers run at once than all minima add up to, only the most urgent lanes have some: in
   * a window that ran dry, commands of the others would run before those that wait of these lanes.
   */
  readonly promised: Float64Array
  /** By lane: runs that go on in threads that are being terminated; kept by the dispatcher. */
  readonly detachedRuns: Int32Array
  /** Lanes with a minimum, the most urgent first. */
  readonly #promising: readonly Lane[]
  readonly #capacity: number

  /** @param capacity - Handlers that can run at once in all partitions together. */
  constructor(
    partitions: readonly PartitionHandle[],
    commons: CoordinatorCommons,
    lanes: readonly Lane[],
    capacity: number,
  ) {
    this.#partitions = partitions
    this.#commons = commons
    this.#allowances = new Float64Array(lanes.length)
    this.promised = new Float64Array(lanes.length)
    this.detachedRuns = new Int32Array(lanes.length)
    this.#promising = lanes
      .filter(({ plan }) => plan.minConcurrency > 0)
      .sort((a, b) => a.plan.priority - b.plan.priority)
    this.#capacity = capacity
  }

  /** Finds out anew what lanes may and must have bound: time has passed, or commands have ended. */
  refresh(): void {
    this.#allowances.fill(0)
    let left = this.#capacity
    for (const lane of this.#promising) {
      const minimum = Math.min(lane.plan.minConcurrency, left)
      this.promised[lane.index] = minimum
      left -= Math.min(minimum, openCountOf(lane))
    }
  }

  /**
   * The partition that a command goes to.
   *
   * @param command - QUEUED.
   * @param rank - How urgent it is at this moment.
   * @returns Undefined if it must wait.
   */
  of(command: Command, rank: number): PartitionHandle | undefined {
    this.wasOverAllowance = false
    const partitions = this.#partitions
    // Where handlers wait, a partition that is kept free may be the one that they wait for.
    const mayBeAlone = command.isSuspect && !partitions.some(({ hasWaiting }) => hasWaiting)
    if (mayBeAlone) return this.#chooseAlone(command)
    if (command.home !== ANY_PARTITION) {
      const home = partitions[command.home]!
      return home.window && this.#accepts(home, home.window, command, rank) ? home : undefined
    }
    let best: PartitionHandle | undefined
    let bestCost = Number.POSITIVE_INFINITY
    let isAnyMoving = false
    for (const partition of partitions) {
      const window = partition.window
      // A command bound where all handlers wait could be the one that they wait for.
      if (window === undefined || partition.isHeld) continue
      // Commands bound to a stuck partition wait for its long command: better to wait for room
      // elsewhere.
      if (partition.isStuck) {
        if (isAnyMoving) continue
      } else if (!isAnyMoving) {
        isAnyMoving = true
        this.wasOverAllowance = false
        best = undefined
        bestCost = Number.POSITIVE_INFINITY
      }
      const workUs = Math.max(window.load.workUs, SMALL_WORK_US)
      const cost = workUs + (window.end.bell.isAwake ? 0 : WAKE_COST_US)
      if (cost > bestCost || (cost === bestCost && partition.touched < best!.touched)) continue
      if (!this.#accepts(partition, window, command, rank)) continue
      best = partition
      bestCost = cost
    }
    return best
  }

  /**
   * By how many commands a lane has more bound than its maximum lets start, where handlers that run
   * could not reach that: streams that rest, and runs of threads that are being terminated, hold
   * slots as well. Without such it is less than 0, whatever is bound. A paused lane has nothing
   * bound, and is full.
   */
  excessOf({ index, neverHoldsBack, isPaused, slots }: Lane): number {
    if (neverHoldsBack) return -1
    if (isPaused) return 0
    let holders = this.detachedRuns[index]!
    for (const { window, retiring } of this.#partitions) {
      holders += window?.load.restingIn(index) ?? 0
      // Runs that their callers have left may go on in a thread that was taken over from.
      for (const one of retiring) holders += one.living?.window.load.inLane(index) ?? 0
    }
    if (holders === 0) return -1
    let bound = 0
    for (const { window, isHeld } of this.#partitions) {
      if (window === undefined) continue
      bound += window.load.inLane(index)
      for (const { started } of window.snapshotOf(index)) if (!started) bound--
      // None of them starts where all handlers wait, perhaps for a command of this lane, or behind
      // a key whose holder may wait for one.
      if (!isHeld) bound += window.limits.startableIn(index)
    }
    return bound + holders - slots
  }

  /** Whether a lane lets a command start: now, or once its rate does. */
  mayStart({ index, isLimited }: Lane): boolean {
    return !isLimited || this.#commons.freeSlots(index) > 0
  }

  /**
   * A partition where nothing runs; the one that will be first is kept free for the command. Runs
   * that their callers have left may never end: the command runs beside such if there are
   * everywhere.
   */
  #chooseAlone(command: Command): PartitionHandle | undefined {
    let best: PartitionHandle | undefined
    let bestCost = Number.POSITIVE_INFINITY
    for (const partition of this.#partitions) {
      const { index, window } = partition
      if (window === undefined || isReserved(window, command)) continue
      if (command.home !== ANY_PARTITION && command.home !== index) continue
      const { workUs } = window.load
      const isKept = window.reservedFor === command
      if (isKept) window.reservedFor = undefined
      const cost = window.watch.detachedCount > 0 ? Number.MAX_VALUE : isKept ? -1 : workUs
      if (cost >= bestCost) continue
      best = partition
      bestCost = cost
    }
    if (best === undefined) return undefined
    const { load, watch } = best.window!
    best.window!.reservedFor = command
    return load.count <= watch.detachedCount ? best : undefined
  }

  /** Whether a window that a command might go to is kept free for another command. */
  isKeptOut(command: Command): boolean {
    return this.#partitions.some(
      ({ index, window }) =>
        window !== undefined &&
        (command.home === ANY_PARTITION || command.home === index) &&
        isReserved(window, command),
    )
  }

  #accepts(
    { hasWaiting }: PartitionHandle,
    window: InFlightWindow,
    command: Command,
    rank: number,
  ): boolean {
    if (isReserved(window, command)) return false
    const { lane } = command
    const isPromised = this.promised[lane.index]! > window.load.inLane(lane.index)
    const { limits } = window
    if (isPromised) return limits.hasSlotFor(command, rank)
    if (lane.isLimited) {
      const allowance = this.#allowance(lane, command.type.estimateUs)
      const isAccepted = limits.acceptsLimited(command, rank, allowance)
      this.wasOverAllowance ||= !isAccepted && limits.hasSlotFor(command, rank)
      return isAccepted
    }
    // Handlers that wait count as bound; the command may be what they wait for.
    return (hasWaiting && limits.hasRoom) || limits.accepts(command, rank)
  }

  /** How many commands of a limited lane should wait bound to a partition: one at the gate. */
  #allowance(lane: Lane, estimateUs: number): number {
    let allowance = this.#allowances[lane.index]!
    if (allowance === 0) {
      const starts = this.#commons.startsAhead(lane.index, toNs(nowMs()), ALLOWANCE_MS)
      const runs = lane.slots === 0 ? starts : this.#runsAhead(lane, estimateUs)
      allowance = Math.min(starts, runs) + 1
      this.#allowances[lane.index] = allowance
    }
    return allowance
  }

  /** How many commands of a lane its slots let run within a moment. */
  #runsAhead(lane: Lane, estimateUs: number): number {
    const perSlot = Math.floor((ALLOWANCE_MS * 1000) / estimateUs)
    // Short commands free their slots again and again; of long ones only those that are free count.
    return perSlot > 1 ? lane.slots * perSlot : this.#commons.freeSlots(lane.index)
  }
}

/**
 * Whether a window is kept free for a command that must run by itself, and not for this one.
 *
 * Only the front of a lane is looked at. Commands ahead of a suspect in its own lane must therefore
 * pass while the suspect waits: neither would ever be bound.
 */
function isReserved(window: InFlightWindow, command: Command): boolean {
  const { reservedFor } = window
  if (reservedFor === undefined || reservedFor === command) return false
  const { holder } = reservedFor
  if (reservedFor.isSettled || (holder !== undefined && holder !== window)) {
    window.reservedFor = undefined
    return false
  }
  return reservedFor.lane !== command.lane || holder === window
}
