// Group queue: the waiting commands of one lane that have a group, in fair turns between groups.
// Owns: the turns, the order within each group, and what groups hold of their limits.
// Must not: read a clock, know threads.
//
// Turns are a deficit round robin (M. Shreedhar and G. Varghese, "Efficient fair queueing using
// deficit round robin", SIGCOMM 1995). In each round a group gets a quantum, times its weight, and
// releases commands while it has as much left as the next one costs. The quantum is the greatest
// cost that was met in the round before, so a turn costs O(1) on average. While two groups always
// have commands waiting, the work released for each, divided by its weight, differs by less than a
// quantum and two commands.
//
// A released command gets the default priority and the age of a waiting command, so that it stays
// behind those released before it. The ages of all waiting commands are handed out in the order of
// turns, so other lanes see how long this lane has waited. A command that already has that priority
// and age keeps its own, as it always does where each group has one command.
//
// A group at a limit leaves the ring, and goes on with its turn when it returns. A group that waits
// for its rate, or whose starts still count for it, is in a heap by the moment at which that ends,
// or an earlier one. A group that holds nothing is kept for a while, since most come again; it is
// forgotten at once if many are idle.
//
// A command of a group below its limits passes at once while nothing waits. Where no group is ever
// limited, released commands hold nothing: a group is known only while one of its commands waits.

import { RenewedMap } from '../base/renewed-map.ts'
import { COMMAND_RULES } from '../model/command.ts'
import { type GroupPlan, rankOf, type SharedLanePlan } from '../model/lane.ts'
import type { GroupMetrics } from '../model/metrics.ts'
import { type GroupRate, groupRateOf } from './group-rate.ts'
import {
  Flows,
  type GroupItem,
  type GroupSeat,
  GroupState,
  NONE,
  Ring,
  restore,
  SeatState,
} from './group-ring.ts'
import { type HeapPlace, IndexedHeap } from './indexed-heap.ts'
import { LaneQueue } from './lane-queue.ts'

const PRIORITY = COMMAND_RULES.priority.default as number

/** Groups that hold nothing are forgotten after so long, twice that at most. */
const IDLE_MS = 1000

/** The most idle groups that are kept until then. */
const IDLE_MAX = 16_384

/** A queue is rebuilt once more commands than this, and than still wait, have left it. */
const LEFT_MAX = 64

/** When to look at a group again, at the latest. */
interface Wake extends HeapPlace {
  readonly group: number
  atMs: number
}

/** The waiting commands of one lane that have a group. */
export class GroupQueue<T extends GroupItem> {
  #lane: SharedLanePlan
  #plan: GroupPlan
  /** Whether no group is ever limited. */
  readonly isOpen: boolean
  /** Of released commands. */
  #rank: number
  readonly #flows = new Flows<T>()
  readonly #rings: readonly Ring[]
  readonly #costOf: (item: T) => number
  readonly #startOf: (item: T) => number
  readonly #groups = new RenewedMap<string, number>()
  readonly #wakes = new IndexedHeap<Wake>(
    (a, b) => a.atMs < b.atMs,
    (wake) => wake,
  )
  /** By group; those in the heap. */
  readonly #wakeOf = new RenewedMap<number, Wake>()
  #size = 0
  /** Groups that hold nothing. */
  #idleCount = 0
  /** When to forget some of those; 0: to be decided at the next look. */
  #sweepAtMs = Number.POSITIVE_INFINITY
  #rate: GroupRate | undefined
  /** Released items whose start is not known, in no order; kept where there is a rate. */
  readonly #pending: T[] = []
  /** Groups to look at next time, since the clock matters to them. */
  readonly #due: number[] = []

  /**
   * @param plan - What its lane promises each group.
   * @param places - Where commands may wait; each place has turns of its own, the limits are one.
   * @param costOf - What an item takes of its group's turn; more than 0.
   * @param startOf - When a released item has started; 0 if it has not.
   * @param isFixed - Whether its terms never change. Default false.
   */
  constructor(
    lane: SharedLanePlan,
    plan: GroupPlan,
    places: number,
    costOf: (item: T) => number,
    startOf: (item: T) => number,
    isFixed = false,
  ) {
    this.#lane = lane
    this.#plan = plan
    const isLimited = plan.rate !== undefined || plan.concurrency !== Number.POSITIVE_INFINITY
    this.isOpen = isFixed && !isLimited
    this.#rate = groupRateOf(plan.rate, this.#flows)
    this.#rank = rankOf(lane.priority, PRIORITY)
    this.#rings = Array.from({ length: places }, () => new Ring(this.#flows))
    this.#costOf = costOf
    this.#startOf = startOf
  }

  /** How many items wait. */
  get size(): number {
    return this.#size
  }

  /** How many groups are known. */
  get groupCount(): number {
    return this.#groups.size
  }

  /** Whether a group may release something at a place. */
  isReady(place: number): boolean {
    return this.#rings[place]!.count > 0
  }

  /** Whether the group of an item that waits may release nothing. */
  isAtLimit({ flow }: GroupSeat): boolean {
    return this.#flows.next[flow] === NONE
  }

  /** How many items could be released now, at most. */
  get readyCount(): number {
    let flows = 0
    for (const { count } of this.#rings) flows += count
    return flows === 0 ? 0 : Math.min(this.#size, flows * this.#plan.concurrency)
  }

  /** When a group may release something, or be forgotten, by the clock alone. */
  get changesAtMs(): number {
    if (this.#due.length > 0) return Number.NEGATIVE_INFINITY
    return Math.min(this.#wakes.peek()?.atMs ?? Number.POSITIVE_INFINITY, this.#sweepAtMs)
  }

  /**
   * Adds an item.
   *
   * @param item - New, or back from where it was: its sequence puts it where it was in its group.
   * @param place - Where it waits.
   * @param nowMs - Monotonic milliseconds; any number where no rate, deadline or boost matters.
   */
  offer(item: T, place: number, nowMs: number): void {
    const { seat } = item
    const flows = this.#flows
    const group = this.#enter(this.#groups.get(seat.group), seat.group, place)
    const flow = flows.at(group, place)
    restore(item)
    this.#rings[place]!.arrive(item.sequence)
    seat.keeper = this
    seat.flow = flow
    seat.state = SeatState.WAITING
    this.#size++
    flows.waiting[group]!++
    this.#store(flow, item, nowMs)
    if (++flows.live[flow]! === 1) this.#reconsider(group, nowMs)
  }

  /** Whether the clock decides when groups go on. */
  get isTimed(): boolean {
    return this.#plan.rate !== undefined
  }

  /**
   * Whether an item needs no turn and goes by: nothing waits, its group is at no limit, and it
   * passes nothing that went. One that does not is to be offered.
   *
   * @param nowMs - The present moment or one a little before; any number where there is no rate.
   */
  passes(item: T, place: number, nowMs: number): boolean {
    if (this.#size > 0 || item.rank !== this.#rank) return false
    const { seat } = item
    const known = this.isOpen ? undefined : this.#groups.get(seat.group)
    if (known !== undefined && this.#allowedAtMs(known, nowMs) > nowMs) return false
    if (!this.#rings[place]!.follows(item.sequence)) return false
    seat.state = SeatState.RELEASED
    if (this.isOpen) return true
    seat.keeper = this
    this.#count(this.#enter(known, seat.group, place), item)
    return true
  }

  /** Takes other terms from now on. Starts that count for a rate are forgotten if that changes. */
  replan(lane: SharedLanePlan, plan: GroupPlan, nowMs: number): void {
    const waiting = this.#rings.map((_, place) => this.takeAll(place, nowMs))
    const isSameRate = isSame(plan.rate, this.#plan.rate)
    const before = this.#rate
    if (!isSameRate) this.#rate = groupRateOf(plan.rate, this.#flows)
    this.#lane = lane
    this.#plan = plan
    this.#rank = rankOf(lane.priority, PRIORITY)
    for (const group of isSameRate ? [] : this.#groups.values()) {
      before?.forget(group)
      this.#unwake(group)
      this.#reconsider(group, nowMs)
    }
    for (const [place, items] of waiting.entries()) {
      items.sort((a, b) => a.sequence - b.sequence)
      for (const item of items) this.offer(item, place, nowMs)
    }
  }

  /** Looks at groups whose moment has come. Call it before {@link GroupQueue.next}. */
  advance(nowMs: number): void {
    const flows = this.#flows
    if (this.#sweepAtMs <= nowMs) this.#sweep(nowMs)
    for (const group of this.#due) {
      if (flows.state[group] !== GroupState.DUE) continue
      flows.state[group] = GroupState.BUSY
      this.#reconsider(group, nowMs)
    }
    this.#due.length = 0
    let hasNoted = false
    for (let wake = this.#wakes.peek(); wake !== undefined; wake = this.#wakes.peek()) {
      const { group, atMs } = wake
      if (atMs > nowMs) return
      this.#unwake(group)
      if (flows.pending[group]! > 0 && !hasNoted) {
        this.#noteStarts()
        hasNoted = true
      }
      this.#reconsider(group, nowMs)
    }
  }

  /**
   * Releases the item whose turn it is: it counts as one that runs until its seat is left.
   *
   * @returns Undefined if no group may release anything there.
   */
  next(place: number, nowMs: number): T | undefined {
    const { deficit, hasTurn, group } = this.#flows
    const ring = this.#rings[place]!
    for (;;) {
      const flow = ring.first
      if (flow === NONE) return undefined
      if (!hasTurn[flow]) ring.begin(flow, this.#weightOf(group[flow]!))
      const cost = this.#costOf(this.#peek(flow, nowMs))
      ring.dearest = Math.max(ring.dearest, cost)
      if (cost <= deficit[flow]!) {
        deficit[flow]! -= cost
        return this.#release(flow, nowMs)
      }
      ring.pass(flow)
    }
  }

  /**
   * Takes back the turn of a released item that has not started, as if it had never been released.
   * It is here no more.
   *
   * @param place - Where it waited.
   */
  giveBack(item: T, place: number, cost: number): void {
    const { seat } = item
    const { deficit, hasTurn } = this.#flows
    const flow = this.#flows.find(this.#groups.get(seat.group) ?? NONE, place)
    if (hasTurn[flow]) deficit[flow]! += cost
    seat.leave()
    restore(item)
  }

  /** Takes all items that wait at a place, those of each group in order. */
  takeAll(place: number, nowMs: number): T[] {
    const flows = this.#flows
    const taken: T[] = []
    for (const group of this.#groups.values()) {
      const flow = flows.find(group, place)
      if (flow === NONE || flows.live[flow] === 0) continue
      while (flows.live[flow]! > 0) {
        const item = this.#take(flow, nowMs)
        this.#rings[place]!.depart()
        item.seat.state = SeatState.FREE
        item.seat.keeper = undefined
        taken.push(item)
      }
      this.#reconsider(group, nowMs)
    }
    return taken
  }

  /** The oldest item of each group at least, in no particular order. */
  *oldest(): Generator<T> {
    for (const group of this.#groups.values()) yield* this.#oldestOf(group)
  }

  /**
   * The groups whose oldest item has waited longest, that one first. It costs O(groups).
   *
   * @param count - How many at most.
   */
  longestWaiting(count: number, nowMs: number): GroupMetrics[] {
    const { name, waiting, released } = this.#flows
    const found: { group: number; sinceMs: number }[] = []
    for (const group of this.#groups.values()) {
      if (waiting[group] === 0) continue
      let sinceMs = Number.POSITIVE_INFINITY
      for (const { seat } of this.#oldestOf(group)) {
        if (seat.state === SeatState.WAITING) sinceMs = Math.min(sinceMs, seat.sinceMs)
      }
      if (found.length === count && sinceMs >= found[count - 1]!.sinceMs) continue
      const at = found.findIndex((other) => sinceMs < other.sinceMs)
      found.splice(at < 0 ? found.length : at, 0, { group, sinceMs })
      found.length = Math.min(found.length, count)
    }
    return found.map(({ group, sinceMs }) => {
      const oldestMs = sinceMs === Number.POSITIVE_INFINITY ? 0 : Math.max(0, nowMs - sinceMs)
      return { group: name[group]!, queued: waiting[group]!, released: released[group]!, oldestMs }
    })
  }

  /** @internal */
  started(seat: GroupSeat, atMs: number): void {
    seat.state = SeatState.STARTED
    this.#uncount(seat)
    this.#rate?.started(seat.flow, atMs)
  }

  /** @internal */
  leave(seat: GroupSeat, startedAtMs: number): void {
    const flows = this.#flows
    const { flow } = seat
    const group = flows.group[flow]!
    if (seat.state === SeatState.WAITING) {
      seat.state = SeatState.FREE
      this.#size--
      flows.waiting[group]!--
      this.#rings[flows.place[flow]!]!.depart()
      if (--flows.live[flow]! === 0) this.#clear(flow)
      else this.#purge(flow)
    } else {
      if (startedAtMs > 0) seat.started(startedAtMs)
      this.#uncount(seat)
      flows.released[group]!--
      seat.state = SeatState.FREE
    }
    seat.keeper = undefined
    const holdsNothing = flows.waiting[group] === 0 && flows.released[group] === 0
    // Without a look at the clock: it may rest while starts still count for its rate.
    if (holdsNothing && this.#idleCount < IDLE_MAX) this.#idle(group)
    else if (this.#rate === undefined) this.#reconsider(group, 0)
    else if (
      flows.state[group] === GroupState.BUSY &&
      (holdsNothing || flows.waiting[group]! > 0)
    ) {
      flows.state[group] = GroupState.DUE
      this.#due.push(group)
    }
  }

  /** The group of a name, which holds something from now on. */
  #enter(known: number | undefined, name: string, place: number): number {
    if (known === undefined) {
      const group = this.#flows.add(name, place)
      this.#groups.set(name, group)
      return group
    }
    const { state } = this.#flows
    if (state[known]! >= GroupState.IDLE) {
      state[known] = GroupState.BUSY
      this.#idleCount--
    }
    return known
  }

  #weightOf(group: number): number {
    const { weights } = this.#plan
    return weights.size === 0 ? 1 : (weights.get(this.#flows.name[group]!) ?? 1)
  }

  /** When a group may release one more, as far as is known; Infinity: once one of it has ended. */
  #allowedAtMs(group: number, nowMs: number): number {
    const { released, pending } = this.#flows
    if (released[group]! >= this.#plan.concurrency) return Number.POSITIVE_INFINITY
    return this.#rate === undefined ? nowMs : this.#rate.nextAtMs(group, nowMs, pending[group]!)
  }

  /** Counts an item that has its turn: it may start at any moment. */
  #count(group: number, item: T): void {
    const { seat } = item
    seat.flow = group
    this.#flows.released[group]!++
    if (this.#rate === undefined) return
    this.#flows.pending[group]!++
    seat.at = this.#pending.push(item) - 1
  }

  /** The start of a released item is known, or never comes. */
  #uncount(seat: GroupSeat): void {
    const { at } = seat
    if (at < 0) return
    const last = this.#pending.pop()!
    if (last.seat !== seat) {
      this.#pending[at] = last
      last.seat.at = at
    }
    seat.at = -1
    this.#flows.pending[seat.flow]!--
  }

  /** Counts the starts of released items that have become known, of all groups and in order. */
  #noteStarts(): void {
    const starts: { seat: GroupSeat; atMs: number }[] = []
    for (const item of this.#pending) {
      const atMs = this.#startOf(item)
      if (atMs > 0) starts.push({ seat: item.seat, atMs })
    }
    starts.sort((a, b) => a.atMs - b.atMs)
    for (const { seat, atMs } of starts) seat.started(atMs)
  }

  #store(flow: number, item: T, nowMs: number): void {
    const { only, queue } = this.#flows
    const known = queue[flow]
    const alone = only[flow]
    if (known !== undefined) known.offer(item, nowMs)
    else if (alone === undefined) only[flow] = item
    else {
      const both = new LaneQueue<T>(this.#lane)
      both.offer(alone, nowMs)
      both.offer(item, nowMs)
      queue[flow] = both
      only[flow] = undefined
    }
  }

  /** The oldest items of a group, and some that left. */
  *#oldestOf(group: number): Generator<T> {
    const { only, queue, other } = this.#flows
    for (let flow = group; flow !== NONE; flow = other[flow]!) {
      const alone = only[flow]
      if (alone === undefined) yield* queue[flow]?.oldest() ?? []
      else yield alone
    }
  }

  /** The next item of a flow that has one. */
  #peek(flow: number, nowMs: number): T {
    const alone = this.#flows.only[flow]
    if (alone !== undefined) return alone
    for (const queue = this.#flows.queue[flow]!; ; queue.take(nowMs)) {
      queue.front(nowMs)
      const item = queue.peek()!
      if (item.seat.state === SeatState.WAITING) return item
    }
  }

  #take(flow: number, nowMs: number): T {
    const { queue, waiting, live, group } = this.#flows
    const item = this.#peek(flow, nowMs)
    queue[flow]?.take(nowMs)
    this.#size--
    waiting[group[flow]!]!--
    if (--live[flow]! === 0) this.#clear(flow)
    return item
  }

  #release(flow: number, nowMs: number): T {
    const { group: groups, place, waiting, released } = this.#flows
    const group = groups[flow]!
    const item = this.#take(flow, nowMs)
    const { seat } = item
    seat.state = SeatState.RELEASED
    const age = this.#rings[place[flow]!]!.release()
    if (item.sequence !== age || item.rank !== this.#rank) {
      seat.number = item.sequence
      seat.rank = item.rank
      item.sequence = age
      item.rank = this.#rank
    }
    if (this.isOpen) {
      seat.keeper = undefined
      if (waiting[group] === 0) this.#forget(group)
      return item
    }
    this.#count(group, item)
    if (this.#rate !== undefined || released[group]! >= this.#plan.concurrency) {
      this.#reconsider(group, nowMs)
    }
    return item
  }

  /** Lets go of a flow's store, in which nothing waits any more, and of its turn. */
  #clear(flow: number): void {
    const { only, queue, place, hasTurn, deficit } = this.#flows
    only[flow] = undefined
    queue[flow] = undefined
    this.#rings[place[flow]!]!.remove(flow)
    hasTurn[flow] = 0
    deficit[flow] = 0
  }

  /** Rebuilds a queue without the items that have left, once they are more than those that wait. */
  #purge(flow: number): void {
    const live = this.#flows.live[flow]!
    const queue = this.#flows.queue[flow]
    if (queue === undefined || queue.size - live <= Math.max(LEFT_MAX, live)) return
    const kept = new LaneQueue<T>(this.#lane)
    for (let left = live; left > 0; ) {
      queue.front(0)
      const item = queue.take(0)
      if (item.seat.state !== SeatState.WAITING) continue
      kept.offer(item, 0)
      left--
    }
    this.#flows.queue[flow] = kept
  }

  /** Decides what a group waits for: its turn, a slot, a moment, or nothing. */
  #reconsider(group: number, nowMs: number): void {
    const { state, waiting, released, idleAtMs, place, live, next, other } = this.#flows
    if (state[group]! >= GroupState.IDLE) return
    if (waiting[group] === 0) {
      if (released[group]! > 0) return
      if (this.#rate === undefined || idleAtMs[group]! <= nowMs) this.#idle(group)
      else this.#wake(group, idleAtMs[group]!)
      return
    }
    const atMs = this.#allowedAtMs(group, nowMs)
    const isReady = atMs <= nowMs
    if (!isReady && atMs < Number.POSITIVE_INFINITY) this.#wake(group, atMs)
    for (let flow = group; flow !== NONE; flow = other[flow]!) {
      const ring = this.#rings[place[flow]!]!
      if (!isReady) ring.remove(flow)
      else if (live[flow]! > 0 && next[flow] === NONE) ring.add(flow)
    }
  }

  /** Lets a group rest that holds nothing, or forgets it if many do. */
  #idle(group: number): void {
    if (this.isOpen || this.#idleCount >= IDLE_MAX) {
      this.#forget(group)
      return
    }
    this.#unwake(group)
    this.#flows.state[group] = GroupState.IDLE
    this.#idleCount++
    if (this.#sweepAtMs === Number.POSITIVE_INFINITY) this.#sweepAtMs = 0
  }

  #forget(group: number): void {
    const flows = this.#flows
    this.#unwake(group)
    this.#rate?.forget(group)
    this.#groups.delete(flows.name[group]!)
    flows.remove(group)
  }

  /** Forgets groups that have been idle since the last sweep, once no start of them counts. */
  #sweep(nowMs: number): void {
    const flows = this.#flows
    for (const group of this.#sweepAtMs > 0 ? this.#groups.values() : []) {
      if (flows.state[group] === GroupState.IDLE) flows.state[group] = GroupState.RESTED
      else if (flows.state[group] === GroupState.RESTED) {
        this.#idleCount--
        flows.state[group] = GroupState.BUSY
        const idleAtMs = flows.idleAtMs[group]!
        if (idleAtMs <= nowMs) this.#forget(group)
        else this.#wake(group, idleAtMs)
      }
    }
    this.#sweepAtMs = this.#idleCount === 0 ? Number.POSITIVE_INFINITY : nowMs + IDLE_MS
  }

  #wake(group: number, atMs: number): void {
    const known = this.#wakeOf.get(group)
    // A look that is too early leads to another.
    if (known !== undefined && known.atMs <= atMs) return
    const wake = known ?? { group, atMs, place: -1 }
    wake.atMs = atMs
    this.#wakeOf.set(group, wake)
    this.#wakes.put(wake)
  }

  #unwake(group: number): void {
    if (this.#wakes.size === 0) return
    const wake = this.#wakeOf.get(group)
    if (wake === undefined) return
    this.#wakes.remove(wake)
    this.#wakeOf.delete(group)
  }
}

function isSame(a: GroupPlan['rate'], b: GroupPlan['rate']): boolean {
  return a?.limit === b?.limit && a?.windowMs === b?.windowMs && a?.isSliding === b?.isSliding
}
