// Backlog: every command that is not bound to a partition yet.
// Owns: the order of waiting commands, those held for a busy key, and those of groups.
//
// A command whose key has enough bound, or runs on a thread that is being terminated, is held: it
// waits beside the order, so that other keys of its lane are not behind it. A command that has a
// group comes into the order when its turn has come.

import type { LanePlan } from '../../model/lane.ts'
import { LaneQueue } from '../../schedule/lane-queue.ts'
import { precedes } from '../../schedule/priority-heap.ts'
import { type Admission, Scheduler } from '../../schedule/scheduler.ts'
import { judge } from '../../schedule/urgency.ts'
import type { Command } from '../command.ts'
import { type Lane, openCountOf } from '../lane-table.ts'
import { GroupTurns, isBeforeTurn, placeOf } from './group-turns.ts'

/** So many settled commands may stay here, and as many as there are others. */
const SETTLED_MAX = 1024

/** Commands of one key and lane that wait beside the order. */
interface HeldKey {
  readonly laneIndex: number
  readonly key: string
  readonly waiting: LaneQueue<Command>
}

/** What is held at one place. */
interface HeldPlace {
  /** By lane and key. */
  readonly commands: Map<string, HeldKey>
  /** By key: its runs in threads that are being terminated. */
  readonly detachedRuns: Map<string, number>
}

/** A scheduler for the commands of each partition, or one for all where any will do. */
export class Backlog {
  readonly #lanes: readonly LanePlan[]
  readonly #places: Scheduler<Command>[]
  readonly #held: readonly HeldPlace[]
  /** Commands that wait for the turns of their groups. */
  readonly turns: GroupTurns
  #size = 0
  /** Commands that are held, with those that were settled meanwhile. */
  #heldCount = 0

  /** @param places - One per partition where commands have a home, else 1. */
  constructor(lanes: readonly LanePlan[], places: number) {
    this.#lanes = lanes
    this.turns = new GroupTurns(lanes, places)
    this.#held = Array.from({ length: places }, () => ({
      commands: new Map(),
      detachedRuns: new Map(),
    }))
    this.#places = Array.from({ length: places }, () => new Scheduler<Command>(lanes))
  }

  /** Commands in the order, with those that were settled meanwhile and not come across yet. */
  get size(): number {
    return this.#size
  }

  get places(): number {
    return this.#places.length
  }

  /** How many commands of one lane wait. */
  sizeOf(laneIndex: number): number {
    return this.#places.reduce((sum, place) => sum + place.sizeOf(laneIndex), 0)
  }

  /** The commands of a lane among which is the oldest that waits, wherever it does. */
  *oldestOf(laneIndex: number): Generator<Command> {
    yield* this.turns.oldestOf(laneIndex)
    for (const place of this.#places) yield* place.oldestOf(laneIndex)
    for (const { commands } of this.#held) {
      for (const held of commands.values()) {
        if (held.laneIndex === laneIndex) yield* held.waiting.oldest()
      }
    }
  }

  /** Whether nothing waits where a command would have to. */
  isEmptyAt(home: number): boolean {
    return this.#places[placeOf(home)]!.size === 0
  }

  /** Whether a command whose turn has not come goes on without: nothing is before it. */
  passes(command: Command): boolean {
    return this.isEmptyAt(command.home) && this.turns.passes(command)
  }

  /**
   * Adds a command.
   *
   * @param command - New, or back from a partition: its old sequence puts it where it was.
   */
  offer(command: Command, nowMs: number): void {
    this.#places[placeOf(command.home)]!.offer(command, nowMs)
    this.#size++
  }

  /** Adds a command of a group whose turn has come. */
  offerNext(command: Command, nowMs: number): void {
    this.turns.putInOrder(command)
    this.offer(command, nowMs)
  }

  /** Adds a command to the order, or to its group if that has not had its turn. */
  takeBack(command: Command, nowMs: number): void {
    if (isBeforeTurn(command)) this.turns.offer(command, nowMs)
    else this.offer(command, nowMs)
  }

  /** Whether any command is held. */
  get holdsAny(): boolean {
    return this.#held.some(({ commands }) => commands.size > 0)
  }

  /**
   * Whether others of a command's key and lane are held.
   *
   * @param command - With a home and a key.
   */
  holdsLike(command: Command): boolean {
    const { commands } = this.#held[placeOf(command.home)]!
    return commands.size > 0 && commands.has(heldNameOf(command))
  }

  /**
   * Whether a held command of the same key and lane runs before a command in the order.
   *
   * @param command - With a home and a key.
   * @param rank - How urgent it is at this moment.
   */
  holdsBefore(command: Command, rank: number, nowMs: number): boolean {
    const { commands } = this.#held[placeOf(command.home)]!
    if (commands.size === 0) return false
    const front = commands.get(heldNameOf(command))?.waiting.front(nowMs)
    if (front === undefined) return false
    const { groupSeat: seat } = command
    if (seat === undefined) return precedes(front, { rank, sequence: command.sequence })
    // Its turn may have given it another place, and no rank of this moment; held ones have both.
    const { submittedAtMs, deadlineMs } = command
    const sequence = seat.number ?? command.sequence
    const ownRank = seat.number === undefined ? command.rank : seat.rank
    const urgency = { rank: ownRank, untilMs: 0 }
    judge(
      this.#lanes[command.laneIndex]!,
      { rank: ownRank, submittedAtMs, deadlineMs },
      nowMs,
      urgency,
    )
    return precedes(front, { rank: urgency.rank, sequence })
  }

  /**
   * Whether a run of a command's key goes on in a thread that is being terminated.
   *
   * @param command - With a home and a key.
   */
  isDetached({ home, key }: Command): boolean {
    const { detachedRuns } = this.#held[placeOf(home)]!
    return detachedRuns.size > 0 && detachedRuns.has(key!)
  }

  /**
   * Holds a command until it is released.
   *
   * @param command - With a home and a key; not in the order.
   */
  hold(command: Command, nowMs: number): void {
    const { commands } = this.#held[placeOf(command.home)]!
    const name = heldNameOf(command)
    let held = commands.get(name)
    if (held === undefined) {
      const { laneIndex } = command
      const waiting = new LaneQueue<Command>(this.#lanes[laneIndex]!)
      held = { laneIndex, key: command.key!, waiting }
      commands.set(name, held)
    }
    held.waiting.offer(command, nowMs)
    this.#heldCount++
  }

  /**
   * The most urgent held command of each lane and key at a place, unless a detached run holds that.
   * The next of its key follows if it is released and its group is at a limit.
   */
  *heldAt(place: number, nowMs: number): Generator<Command> {
    const { commands, detachedRuns } = this.#held[place]!
    for (const [name, { key, waiting }] of commands) {
      if (detachedRuns.has(key)) continue
      let command: Command | undefined
      do {
        command = this.#frontOf(waiting, nowMs)
        if (command === undefined) commands.delete(name)
        else yield command
      } while (command !== undefined && this.turns.isAtLimit(command))
    }
  }

  /** Puts a command that {@link Backlog.heldAt} gave into the order, or back into its group. */
  release(command: Command, nowMs: number): void {
    const { commands } = this.#held[placeOf(command.home)]!
    const name = heldNameOf(command)
    const { waiting } = commands.get(name)!
    waiting.take(nowMs)
    this.#heldCount--
    if (waiting.size === 0) commands.delete(name)
    this.takeBack(command, nowMs)
  }

  /** Holds a key while a run of it goes on in a thread that is being terminated. */
  detach(place: number, key: string): void {
    const { detachedRuns } = this.#held[place]!
    detachedRuns.set(key, (detachedRuns.get(key) ?? 0) + 1)
  }

  /** Ends what {@link Backlog.detach} began. */
  reattach(place: number, key: string): void {
    const { detachedRuns } = this.#held[place]!
    const left = detachedRuns.get(key)! - 1
    if (left > 0) detachedRuns.set(key, left)
    else detachedRuns.delete(key)
  }

  /** The most urgent command of a queue of held ones; drops those before it that are settled. */
  #frontOf(waiting: LaneQueue<Command>, nowMs: number): Command | undefined {
    while (waiting.front(nowMs) !== undefined) {
      const command = waiting.peek()!
      if (!command.isSettled) return command
      waiting.take(nowMs)
      this.#heldCount--
    }
    return undefined
  }

  /** Whether a command that waits is the front of its lane at its place. */
  isFront(command: Command, nowMs: number): boolean {
    return this.#places[placeOf(command.home)]!.isFront(command, nowMs)
  }

  /** The rank of the most urgent command at a place; undefined if none waits there. */
  frontRank(place: number, nowMs: number): number | undefined {
    return this.#places[place]!.frontRank(nowMs)
  }

  /** When the order of waiting commands may change by itself; Infinity if it cannot. */
  get changesAtMs(): number {
    let atMs = Number.POSITIVE_INFINITY
    for (const place of this.#places) atMs = Math.min(atMs, place.changesAtMs)
    return atMs
  }

  /**
   * Takes the command that is next at a place.
   *
   * @param admission - Decides whether it may go.
   * @returns The command; undefined if none may go.
   */
  next(place: number, admission: Admission<Command>, nowMs: number): Command | undefined {
    const command = this.#places[place]!.next(admission, nowMs)
    if (command !== undefined) this.#size--
    return command
  }

  /** Takes all commands, in the order they would have run at each place. */
  takeAll(nowMs: number): Command[] {
    return this.#places.flatMap((_, place) => this.takeFrom(place, nowMs))
  }

  takeFrom(place: number, nowMs: number): Command[] {
    const taken = this.#places[place]!.takeAll(nowMs)
    this.#size -= taken.length
    for (const command of this.turns.takeFrom(place, nowMs)) taken.push(command)
    const { commands } = this.#held[place]!
    for (const { waiting } of commands.values()) {
      this.#heldCount -= waiting.size
      taken.push(...taking(waiting, nowMs))
    }
    commands.clear()
    return taken.filter(isOpen)
  }

  /**
   * Lets go of settled commands once most that wait are such: where a lane is paused or starves, or
   * a key is busy for long, none comes across them.
   *
   * @param lanes - All.
   */
  prune(lanes: readonly Lane[], nowMs: number): void {
    const count = this.#size + this.#heldCount
    if (count <= SETTLED_MAX) return
    const open = lanes.reduce((sum, lane) => sum + openCountOf(lane), 0)
    if (count <= 2 * open + SETTLED_MAX) return
    this.#size = 0
    this.#heldCount = 0
    for (const place of this.#places) {
      place.retain(isOpen, nowMs)
      this.#size += place.size
    }
    for (const { commands } of this.#held) {
      for (const [name, { waiting }] of commands) {
        const kept = [...taking(waiting, nowMs)].filter(isOpen)
        for (const command of kept) waiting.offer(command, nowMs)
        this.#heldCount += kept.length
        if (kept.length === 0) commands.delete(name)
      }
    }
  }
}

function isOpen({ isSettled }: Command): boolean {
  return !isSettled
}

/** Takes items, the most urgent first. */
function* taking(waiting: LaneQueue<Command>, nowMs: number): Generator<Command> {
  while (waiting.front(nowMs) !== undefined) yield waiting.take(nowMs)
}

function heldNameOf({ laneIndex, key }: Command): string {
  return `${laneIndex}/${key}`
}
