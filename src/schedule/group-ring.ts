// Group ring: the groups of one lane, and the turns of those that may release a command.
// Owns: the group that has the turn, and the slots and tokens that commands and runs hold.
// Must not: decide why a group waits (group-queue).

import { Deque } from '../base/deque.ts'
import type { GroupRate } from './group-rate.ts'
import type { HeapPlace } from './indexed-heap.ts'
import type { LaneQueue, Queueable } from './lane-queue.ts'

/** What a seat stands for. NAMED: a queue gave its command out, and sees to turns and limits. */
export const SeatState = Object.freeze({ FREE: 0, WAITING: 1, RELEASED: 2, STARTED: 3, NAMED: 4 })

/** Where a seat is. */
interface SeatKeeper {
  started(seat: GroupSeat, atMs: number): void
  leave(seat: GroupSeat, startedAtMs: number): void
}

/** What a command, or a run that goes on without one, holds of its group. */
export class GroupSeat {
  /** Name of the group. */
  readonly group: string
  /** Whose limits it counts for; undefined if it waits for no turn and nothing limits its group. */
  keeper: SeatKeeper | undefined = undefined
  /** One of {@link SeatState}. */
  state: number
  /** When its command began to wait. */
  sinceMs = 0
  /** Sequence and rank of its command before a turn changed them; undefined if none did. */
  number: number | undefined = undefined
  rank = 0
  /** Where its command is among those whose start is not known; -1 if it is not there. */
  at = -1

  /** @param group - Name of the group. */
  constructor(group: string, state: number = SeatState.FREE) {
    this.group = group
    this.state = state
  }

  /** Whether its command waits for turns of its group, and counts for its limits. */
  get takesTurns(): boolean {
    return this.state !== SeatState.NAMED
  }

  /** Whether its command has had its turn: it counts as one that runs. */
  get isReleased(): boolean {
    return this.state >= SeatState.RELEASED
  }

  /**
   * Notes that its command has started; only once is it counted.
   *
   * @param atMs - When, as its partition stamped it.
   */
  started(atMs: number): void {
    if (this.state === SeatState.RELEASED) this.keeper?.started(this, atMs)
  }

  /**
   * Gives back what it holds.
   *
   * @param startedAtMs - When its command started; 0 if it did not, or that was noted.
   */
  leave(startedAtMs = 0): void {
    if (this.keeper !== undefined) this.keeper.leave(this, startedAtMs)
    else if (this.takesTurns) this.state = SeatState.FREE
  }

  /**
   * Moves what it holds to a run that goes on without its command.
   *
   * @param startedAtMs - When that run started.
   */
  split(startedAtMs: number): GroupSeat {
    this.started(startedAtMs)
    const run = new GroupSeat(this.group, this.state)
    run.keeper = this.keeper
    this.keeper = undefined
    this.leave()
    return run
  }
}

/** What a group queue must know of an item. */
export interface GroupItem extends Queueable {
  readonly seat: GroupSeat
  /** Set when it is released, and set back when it comes again. */
  rank: number
  sequence: number
}

/** The queue of a group. */
interface GroupOwner<T extends GroupItem> {
  started(group: Group<T>, seat: GroupSeat, atMs: number): void
  leave(flow: Flow<T>, seat: GroupSeat, startedAtMs: number): void
}

/** The commands of one group that wait at one place. */
export abstract class Flow<T extends GroupItem> implements SeatKeeper {
  abstract readonly group: Group<T>
  readonly place: number
  /** What it may release in its turn. */
  deficit = 0
  /** Whether its turn has begun and not ended; a limit may keep it from going on with it. */
  hasTurn = false
  /** The last round in which it had a turn, or was added. */
  round = 0
  /** Commands that wait; those that left are not among them. */
  live = 0
  /** The only one that waits: most groups have one. */
  only: T | undefined = undefined
  queue: LaneQueue<T> | undefined = undefined
  /** In the ring; undefined if it is not there. */
  next: Flow<T> | undefined = undefined
  previous: Flow<T> | undefined = undefined

  constructor(place: number) {
    this.place = place
  }

  started(seat: GroupSeat, atMs: number): void {
    this.group.owner.started(this.group, seat, atMs)
  }

  leave(seat: GroupSeat, startedAtMs: number): void {
    this.group.owner.leave(this, seat, startedAtMs)
  }
}

/** A group, which is its flow at the place where it was first seen. */
export class Group<T extends GroupItem> extends Flow<T> {
  // First those that each command needs, side by side: groups are many and far from the caches.
  readonly group = this
  readonly owner: GroupOwner<T>
  rate: GroupRate | undefined
  waiting = 0
  released = 0
  /** Released commands whose start is not known; counted where a rate needs it. */
  pending = 0
  /** Whether it holds nothing. */
  isIdle = false
  /** Whether there was a sweep since it became idle. */
  hasRested = false
  /** Whether it is to be looked at next time. */
  isDue = false
  readonly name: string
  weight: number
  /** At other places. */
  others: Flow<T>[] | undefined = undefined
  /** When to look at it again, at the latest. */
  wakeAtMs = 0
  inHeap: HeapPlace | undefined

  constructor(
    owner: GroupOwner<T>,
    name: string,
    place: number,
    weight: number,
    rate: GroupRate | undefined,
  ) {
    super(place)
    this.owner = owner
    this.rate = rate
    this.name = name
    this.weight = weight
    this.inHeap = rate && { place: -1 }
  }

  /** Takes a rate in place of the one it had. */
  limit(rate: GroupRate | undefined): void {
    this.rate = rate
    if (rate !== undefined) this.inHeap ??= { place: -1 }
  }

  flowAt(place: number): Flow<T> {
    if (place === this.place) return this
    this.others ??= []
    for (const flow of this.others) if (flow.place === place) return flow
    const flow = new OtherFlow(this, place)
    this.others.push(flow)
    return flow
  }

  /** Calls a function with each of its flows. */
  eachFlow(visit: (flow: Flow<T>) => void): void {
    visit(this)
    if (this.others !== undefined) for (const flow of this.others) visit(flow)
  }
}

/** The commands of a group at another place. */
class OtherFlow<T extends GroupItem> extends Flow<T> {
  readonly group: Group<T>

  constructor(group: Group<T>, place: number) {
    super(place)
    this.group = group
  }
}

/** The flows of one place that may release something, in a circle. */
export class Ring<T extends GroupItem> {
  /** Whose turn it is. */
  first: Flow<T> | undefined = undefined
  count = 0
  #round = 0
  /** Flows that have had no turn in this round. */
  #left = 0
  quantum = 1
  /** The sequences of all that wait, to be handed out as ages. */
  readonly #ages = new Deque<number>()
  #lastAge = -1
  /** The greatest cost met in this round. */
  dearest = 0

  /** Takes the age of one that waits. */
  arrive(age: number): void {
    this.#ages.push(age)
  }

  /** Hands out the age of the next that is released. */
  release(): number {
    // One that came back is older than those that were released before it.
    this.#lastAge = Math.max(this.#ages.shift()!, this.#lastAge)
    return this.#lastAge
  }

  /** One that waited has left. */
  depart(): void {
    this.#ages.pop()
  }

  /** Whether one that goes now keeps its place behind all that were released; it is one of them. */
  follows(age: number): boolean {
    if (age < this.#lastAge) return false
    this.#lastAge = age
    return true
  }

  /** Adds a flow: it goes on with its turn, or has the next after those of all others. */
  add(flow: Flow<T>): void {
    const { first } = this
    this.count++
    flow.round = this.#round
    if (first === undefined) {
      flow.next = flow
      flow.previous = flow
      this.first = flow
      return
    }
    flow.next = first
    flow.previous = first.previous
    first.previous!.next = flow
    first.previous = flow
    if (flow.hasTurn) this.first = flow
  }

  /** Removes a flow, which keeps what is left of its turn. */
  remove(flow: Flow<T>): void {
    const { next, previous } = flow
    if (next === undefined) return
    this.count--
    if (flow.round !== this.#round) this.#left--
    if (this.first === flow) this.first = next === flow ? undefined : next
    previous!.next = next
    next.previous = previous
    flow.next = undefined
    flow.previous = undefined
  }

  /** Begins the turn of the first flow, and a round before it if the last one is over. */
  begin(flow: Flow<T>): void {
    if (this.#left === 0) {
      this.#round++
      this.#left = this.count
      this.quantum = Math.max(1, this.dearest)
      this.dearest = 0
    }
    this.#left--
    flow.round = this.#round
    flow.hasTurn = true
    flow.deficit += this.quantum * flow.group.weight
  }

  /** Ends the turn of the first flow. */
  pass(flow: Flow<T>): void {
    flow.hasTurn = false
    this.first = flow.next
  }
}

/** Gives an item the sequence and the rank that it had before it was released. */
export function restore(item: GroupItem): void {
  const { seat } = item
  if (seat.number === undefined) return
  item.sequence = seat.number
  item.rank = seat.rank
  seat.number = undefined
}
