// Group queue: the waiting commands of one lane that have a group, in fair turns between groups.
// Owns: the turns, the order within each group, and what groups hold of their limits.
// Must not: read a clock, know threads.
//
// Turns are a deficit round robin (M. Shreedhar and G. Varghese, "Efficient fair queueing using
// deficit round robin", SIGCOMM 1995). In each round a group gets a quantum, times its weight, and
// releases commands while it has as much left as the next one costs. The quantum is the greatest
// cost that was met in the round before, so a turn costs O(1) on the average. While two groups wait
// all the time, what they have got differs, by weight, by less than a quantum and two commands.
//
// A released command gets the most usual priority and an age, so that it keeps its place everywhere
// behind those that were released before it: the ages of all that wait are handed out in the order
// of turns, and other lanes see a lane as old as it is. One that has that priority and that age
// keeps its own: it always does where each group has one command.
//
// A group at a limit is in no ring, and goes on with its turn when it comes back. One that waits
// for its rate, or whose starts must still be remembered, is in a heap by the moment at which that
// ends, or an earlier one. One that holds nothing is forgotten soon: at once if many are idle. It
// mostly comes again.
//
// One that comes while nothing waits, of a group below its limits, goes by. Where no group is ever
// limited released commands hold nothing: groups are known only while something of theirs waits.

import { COMMAND_RULES } from '../model/command.ts'
import { type GroupPlan, rankOf, type SharedLanePlan } from '../model/lane.ts'
import type { GroupMetrics } from '../model/metrics.ts'
import { type GroupRate, groupRatesOf } from './group-rate.ts'
import {
  type Flow,
  Group,
  type GroupItem,
  type GroupSeat,
  Ring,
  restore,
  SeatState,
} from './group-ring.ts'
import { IndexedHeap } from './indexed-heap.ts'
import { LaneQueue } from './lane-queue.ts'

const PRIORITY = COMMAND_RULES.priority.default as number

/** Groups that hold nothing are forgotten after so long, twice that at most. */
const IDLE_MS = 1000

/** So many of them are kept until then. */
const IDLE_MAX = 16_384

/** More commands that left than this, and than wait, are let go of. */
const LEFT_MAX = 64

/** The waiting commands of one lane that have a group. */
export class GroupQueue<T extends GroupItem> {
  #lane: SharedLanePlan
  #plan: GroupPlan
  /** Whether no group is ever limited. */
  readonly isOpen: boolean
  /** Of released commands. */
  #rank: number
  readonly #rings: readonly Ring<T>[]
  readonly #costOf: (item: T) => number
  readonly #startOf: (item: T) => number
  readonly #groups = new Map<string, Group<T>>()
  readonly #wakes = new IndexedHeap<Group<T>>(
    (a, b) => a.wakeAtMs < b.wakeAtMs,
    (group) => group.inHeap!,
  )
  #size = 0
  /** Groups that hold nothing. */
  #idleCount = 0
  /** When to forget some of those; 0: to be decided at the next look. */
  #sweepAtMs = Number.POSITIVE_INFINITY
  /** Makes the rate of a group; undefined if there is none. */
  #rateOf: (() => GroupRate) | undefined
  /** Released items whose start is not known, in no order; kept where there is a rate. */
  readonly #pending: T[] = []
  /** Groups to look at next time, since the clock matters to them. */
  readonly #due: Group<T>[] = []

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
    this.#rateOf = groupRatesOf(plan.rate)
    this.#rank = rankOf(lane.priority, PRIORITY)
    this.#rings = Array.from({ length: places }, () => new Ring<T>())
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

  /** How many items could be released now, at most. */
  get readyCount(): number {
    let flows = 0
    for (const { count } of this.#rings) flows += count
    return flows === 0 ? 0 : Math.min(this.#size, flows * this.#plan.concurrency)
  }

  /** When a group may release something, or be forgotten, by the clock alone. */
  get changesAtMs(): number {
    if (this.#due.length > 0) return Number.NEGATIVE_INFINITY
    return Math.min(this.#wakes.peek()?.wakeAtMs ?? Number.POSITIVE_INFINITY, this.#sweepAtMs)
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
    const group = this.#enter(this.#groups.get(seat.group), seat.group, place)
    const flow = group.flowAt(place)
    restore(item)
    this.#rings[place]!.arrive(item.sequence)
    seat.keeper = flow
    seat.state = SeatState.WAITING
    this.#size++
    group.waiting++
    flow.live++
    this.#store(flow, item, nowMs)
    if (flow.live === 1) this.#reconsider(group, nowMs)
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
    const group = this.#enter(known, seat.group, place)
    seat.keeper = group.flowAt(place)
    this.#count(group, item)
    return true
  }

  /** Takes other terms from now on. Starts that count for a rate are forgotten if that changes. */
  replan(lane: SharedLanePlan, plan: GroupPlan, nowMs: number): void {
    const waiting = this.#rings.map((_, place) => this.takeAll(place, nowMs))
    const { rate } = plan
    const isSameRate = isSame(rate, this.#plan.rate)
    if (!isSameRate) this.#rateOf = groupRatesOf(rate)
    this.#lane = lane
    this.#plan = plan
    this.#rank = rankOf(lane.priority, PRIORITY)
    for (const group of this.#groups.values()) {
      group.weight = plan.weights.get(group.name) ?? 1
      if (isSameRate) continue
      if (group.inHeap !== undefined) this.#wakes.remove(group)
      group.limit(this.#rateOf?.())
      if (!group.isIdle) this.#reconsider(group, nowMs)
    }
    for (const [place, items] of waiting.entries()) {
      items.sort((a, b) => a.sequence - b.sequence)
      for (const item of items) this.offer(item, place, nowMs)
    }
  }

  /** Looks at groups whose moment has come. Call it before {@link GroupQueue.next}. */
  advance(nowMs: number): void {
    if (this.#sweepAtMs <= nowMs) this.#sweep(nowMs)
    for (const group of this.#due) {
      group.isDue = false
      this.#reconsider(group, nowMs)
    }
    this.#due.length = 0
    let hasNoted = false
    for (let group = this.#wakes.peek(); group !== undefined; group = this.#wakes.peek()) {
      if (group.wakeAtMs > nowMs) return
      this.#wakes.remove(group)
      if (group.pending > 0 && !hasNoted) {
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
    const ring = this.#rings[place]!
    for (;;) {
      const flow = ring.first
      if (flow === undefined) return undefined
      if (!flow.hasTurn) ring.begin(flow)
      const cost = this.#costOf(this.#peek(flow, nowMs))
      ring.dearest = Math.max(ring.dearest, cost)
      if (cost <= flow.deficit) {
        flow.deficit -= cost
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
    const flow = this.#groups.get(seat.group)?.flowAt(place)
    if (flow?.hasTurn) flow.deficit += cost
    seat.leave()
    restore(item)
  }

  /** Takes all items that wait at a place, those of each group in order. */
  takeAll(place: number, nowMs: number): T[] {
    const taken: T[] = []
    for (const group of this.#groups.values()) {
      const flow = group.flowAt(place)
      const hadSome = flow.live > 0
      while (flow.live > 0) {
        const item = this.#take(flow, nowMs)
        this.#rings[place]!.depart()
        item.seat.state = SeatState.FREE
        item.seat.keeper = undefined
        taken.push(item)
      }
      if (hadSome) this.#reconsider(group, nowMs)
    }
    return taken
  }

  /** The oldest item of each group at least, in no particular order. */
  *oldest(): Generator<T> {
    for (const group of this.#groups.values()) {
      for (const { only, queue } of [group, ...(group.others ?? [])]) {
        if (only !== undefined) yield only
        if (queue !== undefined) yield* queue.oldest()
      }
    }
  }

  /**
   * The groups whose oldest item has waited longest, that one first. It costs O(groups).
   *
   * @param count - How many at most.
   */
  longestWaiting(count: number, nowMs: number): GroupMetrics[] {
    const found: { group: Group<T>; sinceMs: number }[] = []
    for (const group of this.#groups.values()) {
      if (group.waiting === 0) continue
      let sinceMs = Number.POSITIVE_INFINITY
      group.eachFlow(({ only, queue }) => {
        if (only !== undefined) sinceMs = Math.min(sinceMs, only.seat.sinceMs)
        for (const { seat } of queue?.oldest() ?? []) {
          if (seat.state === SeatState.WAITING) sinceMs = Math.min(sinceMs, seat.sinceMs)
        }
      })
      if (found.length === count && sinceMs >= found[count - 1]!.sinceMs) continue
      const at = found.findIndex((other) => sinceMs < other.sinceMs)
      found.splice(at < 0 ? found.length : at, 0, { group, sinceMs })
      found.length = Math.min(found.length, count)
    }
    return found.map(({ group: { name, waiting, released }, sinceMs }) => {
      const oldestMs = sinceMs === Number.POSITIVE_INFINITY ? 0 : Math.max(0, nowMs - sinceMs)
      return { group: name, queued: waiting, released, oldestMs }
    })
  }

  /** @internal */
  started(group: Group<T>, seat: GroupSeat, atMs: number): void {
    seat.state = SeatState.STARTED
    this.#uncount(group, seat)
    group.rate?.started(atMs)
  }

  /** @internal */
  leave(flow: Flow<T>, seat: GroupSeat, startedAtMs: number): void {
    const { group } = flow
    if (seat.state === SeatState.WAITING) {
      seat.state = SeatState.FREE
      this.#size--
      group.waiting--
      this.#rings[flow.place]!.depart()
      if (--flow.live === 0) this.#clear(flow)
      else this.#purge(flow)
    } else {
      if (startedAtMs > 0) seat.started(startedAtMs)
      this.#uncount(group, seat)
      group.released--
      seat.state = SeatState.FREE
    }
    seat.keeper = undefined
    if (group.rate === undefined) this.#reconsider(group, 0)
    else if (!group.isDue && (group.waiting > 0 || group.released === 0)) {
      group.isDue = true
      this.#due.push(group)
    }
  }

  /** The group of a name, which holds something from now on. */
  #enter(known: Group<T> | undefined, name: string, place: number): Group<T> {
    if (known === undefined) {
      const weight = this.#plan.weights.get(name) ?? 1
      const group = new Group<T>(this, name, place, weight, this.#rateOf?.())
      this.#groups.set(name, group)
      return group
    }
    if (known.isIdle) {
      known.isIdle = false
      this.#idleCount--
    }
    return known
  }

  /** When a group may release one more, as far as is known; Infinity: once one of it has ended. */
  #allowedAtMs({ rate, released, pending }: Group<T>, nowMs: number): number {
    if (released >= this.#plan.concurrency) return Number.POSITIVE_INFINITY
    return rate === undefined ? nowMs : rate.nextAtMs(nowMs, pending)
  }

  /** Counts an item that has its turn: it may start at any moment. */
  #count(group: Group<T>, item: T): void {
    group.released++
    if (group.rate === undefined) return
    group.pending++
    item.seat.at = this.#pending.push(item) - 1
  }

  /** The start of a released item is known, or never comes. */
  #uncount(group: Group<T>, seat: GroupSeat): void {
    const { at } = seat
    if (at < 0) return
    const last = this.#pending.pop()!
    if (last.seat !== seat) {
      this.#pending[at] = last
      last.seat.at = at
    }
    seat.at = -1
    group.pending--
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

  #store(flow: Flow<T>, item: T, nowMs: number): void {
    if (flow.queue !== undefined) flow.queue.offer(item, nowMs)
    else if (flow.only === undefined) flow.only = item
    else {
      flow.queue = new LaneQueue<T>(this.#lane)
      flow.queue.offer(flow.only, nowMs)
      flow.queue.offer(item, nowMs)
      flow.only = undefined
    }
  }

  /** The next item of a flow that has one. */
  #peek({ only, queue }: Flow<T>, nowMs: number): T {
    if (only !== undefined) return only
    for (;;) {
      queue!.front(nowMs)
      const item = queue!.peek()!
      if (item.seat.state === SeatState.WAITING) return item
      queue!.take(nowMs)
    }
  }

  #take(flow: Flow<T>, nowMs: number): T {
    const item = this.#peek(flow, nowMs)
    if (flow.only === undefined) flow.queue!.take(nowMs)
    this.#size--
    flow.group.waiting--
    if (--flow.live === 0) this.#clear(flow)
    return item
  }

  #release(flow: Flow<T>, nowMs: number): T {
    const { group } = flow
    const item = this.#take(flow, nowMs)
    const { seat } = item
    seat.state = SeatState.RELEASED
    const age = this.#rings[flow.place]!.release()
    if (item.sequence !== age || item.rank !== this.#rank) {
      seat.number = item.sequence
      seat.rank = item.rank
      item.sequence = age
      item.rank = this.#rank
    }
    if (this.isOpen) {
      seat.keeper = undefined
      if (group.waiting === 0) this.#groups.delete(group.name)
      return item
    }
    this.#count(group, item)
    if (group.rate !== undefined || group.released >= this.#plan.concurrency) {
      this.#reconsider(group, nowMs)
    }
    return item
  }

  /** Lets go of a flow's store, in which nothing waits any more, and of its turn. */
  #clear(flow: Flow<T>): void {
    flow.only = undefined
    flow.queue = undefined
    this.#rings[flow.place]!.remove(flow)
    flow.hasTurn = false
    flow.deficit = 0
  }

  /** Lets go of items that have left, once they are more than those that wait. */
  #purge(flow: Flow<T>): void {
    const { live, queue } = flow
    if (queue === undefined || queue.size - live <= Math.max(LEFT_MAX, live)) return
    flow.queue = new LaneQueue<T>(this.#lane)
    for (let left = live; left > 0; ) {
      queue.front(0)
      const item = queue.take(0)
      if (item.seat.state !== SeatState.WAITING) continue
      flow.queue.offer(item, 0)
      left--
    }
  }

  /** Decides what a group waits for: its turn, a slot, a moment, or nothing. */
  #reconsider(group: Group<T>, nowMs: number): void {
    const { rate, waiting, released } = group
    if (waiting === 0) {
      if (released > 0) return
      if (rate === undefined || rate.idleAtMs <= nowMs) this.#idle(group)
      else this.#wake(group, rate.idleAtMs)
      return
    }
    const atMs = this.#allowedAtMs(group, nowMs)
    const isReady = atMs <= nowMs
    if (!isReady && atMs < Number.POSITIVE_INFINITY) this.#wake(group, atMs)
    this.#turn(group, isReady)
    if (group.others !== undefined) for (const flow of group.others) this.#turn(flow, isReady)
  }

  #turn(flow: Flow<T>, isReady: boolean): void {
    const ring = this.#rings[flow.place]!
    if (!isReady) ring.remove(flow)
    else if (flow.live > 0 && flow.next === undefined) ring.add(flow)
  }

  #idle(group: Group<T>): void {
    if (group.isIdle) return
    group.isIdle = true
    if (group.rate !== undefined) this.#wakes.remove(group)
    if (this.isOpen || this.#idleCount >= IDLE_MAX) {
      this.#groups.delete(group.name)
      return
    }
    group.hasRested = false
    this.#idleCount++
    if (this.#sweepAtMs === Number.POSITIVE_INFINITY) this.#sweepAtMs = 0
  }

  /** Forgets groups that have been idle since the last sweep. */
  #sweep(nowMs: number): void {
    if (this.#sweepAtMs > 0) {
      for (const group of this.#groups.values()) {
        if (group.isIdle && group.hasRested) {
          this.#groups.delete(group.name)
          this.#idleCount--
        }
        group.hasRested = true
      }
    }
    this.#sweepAtMs = this.#idleCount === 0 ? Number.POSITIVE_INFINITY : nowMs + IDLE_MS
  }

  #wake(group: Group<T>, atMs: number): void {
    // A look that is too early leads to another.
    if (group.inHeap!.place >= 0 && group.wakeAtMs <= atMs) return
    group.wakeAtMs = atMs
    this.#wakes.put(group)
  }
}

function isSame(a: GroupPlan['rate'], b: GroupPlan['rate']): boolean {
  return a?.limit === b?.limit && a?.windowMs === b?.windowMs && a?.isSliding === b?.isSliding
}
