// Lane queue: the waiting commands of one lane, the most urgent first as time goes on.
// Owns: their order.
//
// Commands of the same priority and deadline form a class. Within one the oldest is the most urgent
// at any time, since they become more urgent alike; so only the front of each class is judged. One
// heap orders the classes by their fronts, another by when a front's rank changes next: a decision
// costs O(log classes), and a million commands that cross a boost point together cost one step.

import { priorityOf, type SharedLanePlan } from '../model/lane.ts'
import { type HeapPlace, IndexedHeap } from './indexed-heap.ts'
import { PriorityHeap, precedes, type Ranked } from './priority-heap.ts'
import { judge, type Urgency } from './urgency.ts'

/** What a lane queue must know of an item. None of it may change while the item is here. */
export interface Queueable extends Ranked {
  /** When it was submitted; only looked at if the lane or the item has a deadline or a boost. */
  readonly submittedAtMs: number
  /** Deadline of its own, counted from submission. */
  readonly deadlineMs: number | undefined
}

/** Items with the same priority and deadline. */
class CommandClass<T extends Queueable> implements Urgency, Ranked {
  readonly waiting = new PriorityHeap<T>()
  readonly inOrder: HeapPlace = { place: -1 }
  readonly inChanges: HeapPlace = { place: -1 }
  /** Rank and age of the front. */
  rank = 0
  // Doubles from the start: V8 would give the object another shape when the first one comes.
  sequence: number = Number.NaN
  untilMs: number = Number.NaN
}

/** The waiting commands of one lane. */
export class LaneQueue<T extends Queueable> {
  readonly #lane: SharedLanePlan
  readonly #order = new IndexedHeap<CommandClass<T>>(precedes, (one) => one.inOrder)
  readonly #changes = new IndexedHeap<CommandClass<T>>(
    (a, b) => a.untilMs < b.untilMs,
    (one) => one.inChanges,
  )
  /** Classes without a deadline of their own, by priority; at most 256, so they are kept. */
  readonly #plain: (CommandClass<T> | undefined)[] = []
  /** Classes with a deadline of their own, by priority and deadline: dropped when empty. */
  readonly #dated: (Map<number, CommandClass<T>> | undefined)[] = []
  #size = 0

  constructor(lane: SharedLanePlan) {
    this.#lane = lane
  }

  /** How many items wait. */
  get size(): number {
    return this.#size
  }

  /**
   * Adds an item.
   *
   * @param item - New, or back from where it was taken: its sequence puts it where it was.
   */
  offer(item: T, nowMs: number): void {
    const into = this.#classOf(item)
    into.waiting.push(item)
    this.#size++
    if (into.waiting.peek() === item) this.#reconsider(into, nowMs)
  }

  /** The front: its rank and sequence, as an item would have them; undefined if nothing waits. */
  front(nowMs: number): Ranked | undefined {
    for (let due = this.#changes.peek(); due !== undefined && due.untilMs <= nowMs; ) {
      this.#reconsider(due, nowMs)
      due = this.#changes.peek()
    }
    return this.#order.peek()
  }

  /** The item at the front as of the last look; undefined if nothing waits. */
  peek(): T | undefined {
    return this.#order.peek()?.waiting.peek()
  }

  /** The rank of the front as of the last look; only while something waits. */
  get rank(): number {
    return this.#order.peek()!.rank
  }

  /** Takes the item at the front as of the last look. */
  take(nowMs: number): T {
    const from = this.#order.peek()!
    const item = from.waiting.pop()!
    this.#size--
    if (from.waiting.size > 0) {
      this.#reconsider(from, nowMs)
      return item
    }
    this.#order.remove(from)
    this.#changes.remove(from)
    if (item.deadlineMs !== undefined) this.#dated[priorityOf(item.rank)]!.delete(item.deadlineMs)
    return item
  }

  /** The oldest item of each class, in no particular order. */
  *oldest(): Generator<T> {
    for (const one of this.#order.values()) yield one.waiting.peek()!
  }

  /** When the front may change by itself; Infinity if only by offering and taking. */
  get changesAtMs(): number {
    return this.#changes.peek()?.untilMs ?? Number.POSITIVE_INFINITY
  }

  #classOf({ rank, deadlineMs }: T): CommandClass<T> {
    const priority = priorityOf(rank)
    if (deadlineMs === undefined) {
      this.#plain[priority] ??= new CommandClass()
      return this.#plain[priority]
    }
    this.#dated[priority] ??= new Map()
    const dated = this.#dated[priority]
    let one = dated.get(deadlineMs)
    if (one === undefined) {
      one = new CommandClass()
      dated.set(deadlineMs, one)
    }
    return one
  }

  #reconsider(one: CommandClass<T>, nowMs: number): void {
    const front = one.waiting.peek()!
    one.sequence = front.sequence
    judge(this.#lane, front, nowMs, one)
    // Most lanes have one class, which is first wherever it stands in the heap.
    if (this.#order.size > 1 || one.inOrder.place < 0) this.#order.put(one)
    if (one.untilMs === Number.POSITIVE_INFINITY) this.#changes.remove(one)
    else this.#changes.put(one)
  }
}
