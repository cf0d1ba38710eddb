// Group turns: the waiting commands that have a group, by lane, until their turn comes.
// Owns: a group queue for each lane to which such a command has come; lanes without have none.
// Must not: bind (dispatcher). Partitions know nothing of groups: all commands come through here.

import { nowMs } from '../../base/clock.ts'
import type { LanePlan } from '../../model/lane.ts'
import { GROUPS_LISTED, type GroupMetrics } from '../../model/metrics.ts'
import { GroupQueue } from '../../schedule/group-queue.ts'
import { SeatState } from '../../schedule/group-ring.ts'
import { ANY_PARTITION, type Command, CommandState } from '../command.ts'
import type { Lane } from '../lane-table.ts'
import type { PartitionHandle } from '../threads/partition-handle.ts'

/** So many commands of one turn of the event loop share a reading of the clock. */
const SHARED_READINGS = 64

/** A command costs its estimated run time in milliseconds; short ones cost the same. */
function costOf({ type }: Command): number {
  return Math.max(1, Math.round(type.estimateUs / 1000))
}

function startOf({ holder, slot }: Command): number {
  return holder === undefined ? 0 : holder.startOf(slot)
}

/** Keeps commands until the turns of their groups. */
export class GroupTurns {
  readonly #lanes: readonly LanePlan[]
  readonly #places: number
  /** By lane. */
  readonly #queues: (GroupQueue<Command> | undefined)[]
  /** Lanes that have one. */
  readonly #used: number[] = []
  /** By lane and place: the one that was put into the order last. */
  readonly #nexts: (Command | undefined)[]
  #readingsLeft = 0
  #readMs = 0

  /** @param places - As the backlog has. */
  constructor(lanes: readonly LanePlan[], places: number) {
    this.#lanes = lanes
    this.#places = places
    this.#queues = lanes.map(() => undefined)
    this.#nexts = new Array(lanes.length * places).fill(undefined)
  }

  /** Lanes of which commands with a group have come, by index. */
  get lanes(): readonly number[] {
    return this.#used
  }

  /** Whether any command waits for its turn. */
  get hasWaiting(): boolean {
    for (const laneIndex of this.#used) if (this.#queues[laneIndex]!.size > 0) return true
    return false
  }

  /** Groups that are known. */
  get groupCount(): number {
    let count = 0
    for (const laneIndex of this.#used) count += this.#queues[laneIndex]!.groupCount
    return count
  }

  /** How many commands could be released now, at most. */
  get readyCount(): number {
    let count = 0
    for (const laneIndex of this.#used) count += this.readyIn(laneIndex)
    return count
  }

  /** How many of one lane. */
  readyIn(laneIndex: number): number {
    return this.#queues[laneIndex]?.readyCount ?? 0
  }

  /** When a group may release a command by the clock alone. */
  get changesAtMs(): number {
    let atMs = Number.POSITIVE_INFINITY
    for (const laneIndex of this.#used) {
      atMs = Math.min(atMs, this.#queues[laneIndex]!.changesAtMs)
    }
    return atMs
  }

  /** Whether some group of a lane may release a command at a place. */
  isReady(laneIndex: number, place: number): boolean {
    return this.#queues[laneIndex]!.isReady(place)
  }

  /** Whether a command waits for its turn, and its group is at a limit. */
  isAtLimit({ groupSeat: seat, laneIndex }: Command): boolean {
    return seat?.state === SeatState.WAITING && this.#queues[laneIndex]!.isAtLimit(seat)
  }

  /** Of how many lanes some group may release a command at a place. */
  readyLanes(place: number): number {
    let count = 0
    for (const laneIndex of this.#used) if (this.isReady(laneIndex, place)) count++
    return count
  }

  /** Whether a command needs no turn: none of its lane waits, and its group is at no limit. */
  passes(command: Command): boolean {
    const { laneIndex, lane, home } = command
    if (lane.isPaused) return false
    const queue = this.#queueOf(laneIndex)
    const now = queue.isTimed ? this.#sharedNow() : 0
    return queue.passes(command, placeOf(home), now)
  }

  /** Adds a command that has a group. */
  offer(command: Command, now: number): void {
    const { laneIndex, home, seat } = command
    seat.sinceMs = this.#sharedNow()
    this.#queueOf(laneIndex).offer(command, placeOf(home), now)
  }

  /** The turn of the event loop has ended: the next command reads the clock. */
  endTurn(): void {
    this.#readingsLeft = 0
  }

  /** Looks at groups whose moment has come. */
  advance(): void {
    if (this.#used.length === 0) return
    const now = nowMs()
    for (const laneIndex of this.#used) this.#queues[laneIndex]!.advance(now)
  }

  /** Releases the command of a lane whose turn it is at a place; undefined if there is none. */
  next(laneIndex: number, place: number, now: number): Command | undefined {
    return this.#queues[laneIndex]!.next(place, now)
  }

  /** Notes that a command whose turn has come waits in the order. */
  putInOrder(command: Command): void {
    this.#nexts[command.laneIndex * this.#places + placeOf(command.home)] = command
  }

  /** Whether one of a lane waits in the order of a place; no other has its turn before it goes. */
  hasInOrder(laneIndex: number, place: number): boolean {
    const at = laneIndex * this.#places + place
    const next = this.#nexts[at]
    if (next?.state === CommandState.QUEUED && next.seat.isReleased) return true
    this.#nexts[at] = undefined
    return false
  }

  /**
   * Takes back the turns of commands that had them and have not started.
   *
   * @returns All the commands.
   */
  giveBack(commands: readonly Command[]): readonly Command[] {
    for (const command of commands) {
      const seat = command.groupSeat
      if (seat?.isReleased && seat.takesTurns) {
        const place = placeOf(command.home)
        this.#queues[command.laneIndex]!.giveBack(command, place, costOf(command))
      }
    }
    return commands
  }

  /**
   * Gives back what commands in the order keep of their groups; they wait there still.
   *
   * @param isHeldUp - Whether one keeps it in vain.
   */
  giveUp(isHeldUp: (command: Command) => boolean): void {
    for (const laneIndex of this.#used) {
      for (let place = 0; place < this.#places; place++) {
        if (!this.hasInOrder(laneIndex, place)) continue
        const next = this.#nexts[laneIndex * this.#places + place]!
        if (isHeldUp(next)) next.seat.leave()
      }
    }
  }

  takeFrom(place: number, now: number): Command[] {
    return this.#used.flatMap((laneIndex) => this.#queues[laneIndex]!.takeAll(place, now))
  }

  /** The commands of a lane among which is the oldest that waits. */
  oldestOf(laneIndex: number): Iterable<Command> {
    return this.#queues[laneIndex]?.oldest() ?? []
  }

  /**
   * The groups of a lane that have waited longest, that one first.
   *
   * @param partitions - Hold the released commands of groups that are not limited.
   */
  longestWaiting(
    laneIndex: number,
    partitions: readonly PartitionHandle[],
  ): readonly GroupMetrics[] {
    const queue = this.#queues[laneIndex]
    const listed = queue?.longestWaiting(GROUPS_LISTED, nowMs()) ?? []
    if (listed.length === 0 || !queue!.isOpen) return listed
    const bound = new Map<string | undefined, number>()
    for (const { incarnation } of partitions) {
      for (const { command } of incarnation?.window.snapshotOf(laneIndex) ?? []) {
        bound.set(command.group, (bound.get(command.group) ?? 0) + 1)
      }
    }
    return listed.map((one) => ({ ...one, released: bound.get(one.group) ?? 0 }))
  }

  /** The present whole millisecond, or one a little before. */
  #sharedNow(): number {
    if (--this.#readingsLeft < 0) {
      this.#readingsLeft = SHARED_READINGS - 1
      this.#readMs = Math.floor(nowMs())
    }
    return this.#readMs
  }

  #queueOf(laneIndex: number): GroupQueue<Command> {
    let queue = this.#queues[laneIndex]
    if (queue === undefined) {
      const plan = this.#lanes[laneIndex]!
      queue = new GroupQueue(plan, plan.groups, this.#places, costOf, startOf, true)
      this.#queues[laneIndex] = queue
      this.#used.push(laneIndex)
    }
    return queue
  }
}

/** Whether commands keep others of their group from starting. */
export function hasGroupLimits({ plan: { groups } }: Lane): boolean {
  return groups.rate !== undefined || groups.concurrency !== Number.POSITIVE_INFINITY
}

/** Whether a command has a group, and its turn has not come. */
export function isBeforeTurn({ groupSeat }: Command): boolean {
  return groupSeat !== undefined && !groupSeat.isReleased
}

/** The place where a command waits. */
export function placeOf(home: number): number {
  return home === ANY_PARTITION ? 0 : home
}
