// Group ring: the groups of one lane, and the turns of those that may release a command.
// Owns: the group that has the turn, and the slots and tokens that commands and runs hold.
// Must not: decide why a group waits (group-queue).

import { Deque } from '../base/deque.ts'
import type { LaneQueue, Queueable } from './lane-queue.ts'

/** No flow. */
export const NONE = 0

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
  /** Its number at the keeper: of its flow while its command waits, then of its group. */
  flow = NONE
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
    run.flow = this.flow
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

/** The state of a group. A flow that is free, or is not the first of its group, is IDLE. */
export const GroupState = Object.freeze({
  /** It holds something. */
  BUSY: 0,
  /** It holds something, and is to be looked at next time. */
  DUE: 1,
  /** It holds nothing. */
  IDLE: 2,
  /** It held nothing at the last sweep either. */
  RESTED: 3,
})

/** So many flows have room at first. */
const CAPACITY_MIN = 64

/** Arrays for more than so many shrink when most flows are gone. */
const KEPT_CAPACITY = 1024

/**
 * The flows of one lane: the commands of a group that wait at one place. A group is its flow at the
 * place where it was first seen. Flows are numbers, and what is known of them lies side by side:
 * groups are many, and each as an object would be far from the caches.
 */
export class Flows<T extends GroupItem> {
  place = new Int32Array(CAPACITY_MIN)
  /** Its group; NONE: the flow is free. */
  group = new Int32Array(CAPACITY_MIN)
  /** The next flow of its group, or the next that is free. */
  other = new Int32Array(CAPACITY_MIN)
  /** Commands that wait; those that left are not among them. */
  live = new Int32Array(CAPACITY_MIN)
  /** In the ring; NONE if it is not there. */
  next = new Int32Array(CAPACITY_MIN)
  previous = new Int32Array(CAPACITY_MIN)
  /** The last round in which it had a turn, or was added. */
  round = new Int32Array(CAPACITY_MIN)
  /** What it may release in its turn. */
  deficit = new Float64Array(CAPACITY_MIN)
  /** Whether its turn has begun and not ended; a limit may keep it from going on with it. */
  hasTurn = new Uint8Array(CAPACITY_MIN)
  /** The only one that waits: most groups have one. */
  readonly only: (T | undefined)[] = [undefined]
  readonly queue: (LaneQueue<T> | undefined)[] = [undefined]

  // Of groups alone.
  /** One of {@link GroupState}. */
  state = new Uint8Array(CAPACITY_MIN)
  waiting = new Int32Array(CAPACITY_MIN)
  released = new Int32Array(CAPACITY_MIN)
  /** Released commands whose start is not known; counted where a rate needs it. */
  pending = new Int32Array(CAPACITY_MIN)
  /** When no start counts for its rate any more. */
  idleAtMs = new Float64Array(CAPACITY_MIN)
  readonly name: string[] = ['']

  #free = NONE
  /** Those in use. */
  #count = 0
  /** Groups that were removed since the arrays got their length. */
  #removed = 0

  /** Adds a group, with a flow at a place. */
  add(name: string, place: number): number {
    const group = this.#add(place)
    this.group[group] = group
    this.state[group] = GroupState.BUSY
    this.name[group] = name
    return group
  }

  /** The flow of a group at a place; NONE if it was never there. */
  find(group: number, place: number): number {
    let flow = group
    while (flow !== NONE && this.place[flow] !== place) flow = this.other[flow]!
    return flow
  }

  /** The flow of a group at a place. */
  at(group: number, place: number): number {
    const known = this.find(group, place)
    if (known !== NONE) return known
    const flow = this.#add(place)
    this.group[flow] = group
    this.other[flow] = this.other[group]!
    this.other[group] = flow
    return flow
  }

  /** Removes a group that holds nothing: its numbers may be given to others. */
  remove(group: number): void {
    this.name[group] = ''
    this.state[group] = GroupState.IDLE
    for (let flow = group; flow !== NONE; ) {
      const other = this.other[flow]!
      this.group[flow] = NONE
      this.other[flow] = this.#free
      this.#free = flow
      this.#count--
      flow = other
    }
    const capacity = this.group.length
    if (capacity <= KEPT_CAPACITY) return
    const isSparse = ++this.#removed > capacity >> 1 && this.#count <= capacity >> 3
    if (this.#count === 0 || isSparse) this.#trim()
  }

  #add(place: number): number {
    let flow = this.#free
    if (flow === NONE) {
      flow = this.name.push('') - 1
      this.only.push(undefined)
      this.queue.push(undefined)
      if (flow === this.group.length) this.#resize(2 * flow)
    } else this.#free = this.other[flow]!
    this.#count++
    this.place[flow] = place
    this.other[flow] = NONE
    this.state[flow] = GroupState.IDLE
    return flow
  }

  /** Lets go of the end of the arrays, as far as it is free; low numbers are given out first. */
  #trim(): void {
    let { length } = this.name
    while (length > 1 && this.group[length - 1] === NONE) length--
    this.name.length = length
    this.only.length = length
    this.queue.length = length
    this.#free = NONE
    for (let flow = length - 1; flow > NONE; flow--) {
      if (this.group[flow] !== NONE) continue
      this.other[flow] = this.#free
      this.#free = flow
    }
    let capacity = this.group.length
    while (capacity > KEPT_CAPACITY && length <= capacity >> 2) capacity >>= 1
    this.#resize(capacity)
  }

  #resize(capacity: number): void {
    this.#removed = 0
    this.place = resized(this.place, capacity)
    this.group = resized(this.group, capacity)
    this.other = resized(this.other, capacity)
    this.live = resized(this.live, capacity)
    this.next = resized(this.next, capacity)
    this.previous = resized(this.previous, capacity)
    this.round = resized(this.round, capacity)
    this.deficit = resized(this.deficit, capacity)
    this.hasTurn = resized(this.hasTurn, capacity)
    this.state = resized(this.state, capacity)
    this.waiting = resized(this.waiting, capacity)
    this.released = resized(this.released, capacity)
    this.pending = resized(this.pending, capacity)
    this.idleAtMs = resized(this.idleAtMs, capacity)
  }
}

/** The same numbers in an array of another length. */
function resized<A extends Int32Array | Float64Array | Uint8Array>(from: A, length: number): A {
  const to = new (from.constructor as new (length: number) => A)(length)
  to.set(from.subarray(0, length))
  return to
}

/** What a ring knows of flows. */
type Circle = Pick<Flows<GroupItem>, 'next' | 'previous' | 'round' | 'hasTurn' | 'deficit'>

/** The flows of one place that may release something, in a circle. */
export class Ring {
  readonly #flows: Circle
  /** Whose turn it is. */
  first = NONE
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

  constructor(flows: Circle) {
    this.#flows = flows
  }

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
  add(flow: number): void {
    const { next, previous, round, hasTurn } = this.#flows
    const { first } = this
    this.count++
    round[flow] = this.#round
    const after = first === NONE ? flow : first
    const before = first === NONE ? flow : previous[first]!
    next[flow] = after
    previous[flow] = before
    next[before] = flow
    previous[after] = flow
    if (first === NONE || hasTurn[flow]) this.first = flow
  }

  /** Removes a flow, which keeps what is left of its turn. */
  remove(flow: number): void {
    const { next, previous, round } = this.#flows
    const after = next[flow]!
    if (after === NONE) return
    this.count--
    if (round[flow] !== this.#round) this.#left--
    if (this.first === flow) this.first = after === flow ? NONE : after
    const before = previous[flow]!
    next[before] = after
    previous[after] = before
    next[flow] = NONE
  }

  /**
   * Begins the turn of the first flow, and a round before it if the last one is over.
   *
   * @param weight - Of its group.
   */
  begin(flow: number, weight: number): void {
    if (this.#left === 0) {
      this.#round = (this.#round + 1) | 0
      this.#left = this.count
      this.quantum = Math.max(1, this.dearest)
      this.dearest = 0
    }
    this.#left--
    const { round, hasTurn, deficit } = this.#flows
    round[flow] = this.#round
    hasTurn[flow] = 1
    deficit[flow]! += this.quantum * weight
  }

  /** Ends the turn of the first flow. */
  pass(flow: number): void {
    this.#flows.hasTurn[flow] = 0
    this.first = this.#flows.next[flow]!
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
