// Held: the deliveries of a worker, from the moment it has them until the queue has their ends.
// Thread: main.   Owns: which deliveries are this worker's, and the order within each key.
//
// ```
//  waiting ──────► submitted ──────► ended ──────► forgotten
//  (for its key,   (the manager      (its end is   (the queue has answered)
//   a permit, a     has it)           on its way)
//   place, or the
//   report of its   each of the three ── the lease is given up or taken away ──► lost
//   start)
// ```
//
// A command that is given back, or whose lease was given up, must run before what was enqueued
// behind it. The queue sees to that once it has the command back. Until then an answer may bring a
// younger one: it was given before the other was back. So a key stays closed until everything of it
// that left has been answered for, and until the answer that was on its way at that moment is in.

import type { PortCommand } from '../../coordinator/queue-manager.ts'
import type { Delivery } from '../contract/distributed-queue.ts'
import type { CommandEnvelope } from '../contract/envelope.ts'
import type { WorkerLane } from './lanes.ts'

/** Where a held command is. */
export type HeldStage =
  /** It waits here for its turn, a permit or a place. */
  | 'waiting'
  /** The manager has it. */
  | 'submitted'
  /** How it ended is on its way to the queue. */
  | 'ended'

/** One delivery. */
export class HeldCommand {
  readonly delivery: Delivery
  readonly lane: WorkerLane
  stage: HeldStage = 'waiting'
  /** Whether it waits for another of its key. */
  isChained = false
  /** Whether it is among the ready ones of its lane. */
  isReady = false
  /** Whether its lease was given up: nothing about it counts any more. */
  isLost = false
  /** Whether it is leaving and keeps its place in the order of its key. */
  isLeaving = false
  /** Whether its start counts towards `maxDeliveries`, or need not. */
  isCounted: boolean
  /** Until when it is this worker's, monotonic milliseconds. */
  leasedUntilMs: number
  /** Its place among those of its lane that run anywhere, if it has one. */
  place: string | undefined
  /** Until when it may start by its permit, monotonic milliseconds; 0 if it needs none. */
  permitUntilMs = 0
  /** Whether its run was aborted. */
  isAborted = false
  /** The manager's command, once it has been submitted. */
  command: PortCommand | undefined

  /**
   * @param delivery - As it was given out.
   * @param lane - Its lane.
   */
  constructor(delivery: Delivery, lane: WorkerLane) {
    this.delivery = delivery
    this.lane = lane
    this.isCounted = !delivery.countsAtStart
    this.leasedUntilMs = delivery.leasedUntilMs
  }

  get envelope(): CommandEnvelope {
    return this.delivery.envelope
  }

  /**
   * Ends it in the manager, wherever it is.
   *
   * @param reason - Why.
   */
  abort(reason: unknown): void {
    this.isAborted = true
    this.command?.abort(reason)
  }
}

/** Commands by key. */
export class KeyChains<Command> {
  /** By key: the one whose turn it is, then those that wait. */
  readonly #chains = new Map<string, Command[]>()
  #waiting = 0

  /** Commands that wait for another of their key. */
  get waiting(): number {
    return this.#waiting
  }

  /**
   * Puts a command behind the others of its key.
   *
   * @param key - Its key.
   * @param command - The command.
   * @returns Whether it is its turn at once.
   */
  enter(key: string, command: Command): boolean {
    const chain = this.#chains.get(key)
    if (chain === undefined) {
      this.#chains.set(key, [command])
      return true
    }
    chain.push(command)
    this.#waiting++
    return false
  }

  /**
   * Ends the turn of a command.
   *
   * @param key - Its key.
   * @param command - The command; nothing happens if it is not its turn.
   * @returns The next, whose turn it is now.
   */
  leave(key: string, command: Command): Command | undefined {
    const chain = this.#chains.get(key)
    if (chain?.[0] !== command) return undefined
    chain.shift()
    if (chain.length === 0) this.#chains.delete(key)
    else this.#waiting--
    return chain[0]
  }

  /**
   * Takes a command out, and all behind it.
   *
   * @param key - Their key.
   * @param command - The first of them; nothing happens if it has left.
   * @returns Those behind it, in their order.
   */
  cut(key: string, command: Command): Command[] {
    const chain = this.#chains.get(key)
    const start = chain === undefined ? -1 : chain.indexOf(command)
    if (chain === undefined || start === -1) return []
    const taken = chain.splice(start)
    // The one whose turn it is does not wait.
    this.#waiting -= start === 0 ? taken.length - 1 : taken.length
    if (start === 0) this.#chains.delete(key)
    return taken.slice(1)
  }
}

/** Keys that are closed. */
export class ClosedKeys {
  /** By key: how many of its commands have left and are not answered for, or may be overtaken. */
  readonly #gone = new Map<string, number>()
  /** Keys of those that were answered for while the queue was being asked. */
  #back: string[] = []
  #isAsking = false

  /**
   * Whether a command of a key must not start.
   *
   * @param key - The key.
   */
  has(key: string): boolean {
    return this.#gone.has(key)
  }

  /**
   * A command leaves.
   *
   * @param key - Its key.
   */
  close(key: string): void {
    this.#gone.set(key, (this.#gone.get(key) ?? 0) + 1)
  }

  /**
   * The queue has a command back, or has given it to somebody else.
   *
   * @param key - Its key.
   */
  answered(key: string): void {
    if (this.#isAsking) this.#back.push(key)
    else this.#open(key)
  }

  /** The queue is asked for commands. */
  asking(): void {
    this.#isAsking = true
  }

  /** What it answered was taken on, or it gave no answer. */
  asked(): void {
    this.#isAsking = false
    for (const key of this.#back.splice(0)) this.#open(key)
  }

  #open(key: string): void {
    const left = this.#gone.get(key)! - 1
    if (left === 0) this.#gone.delete(key)
    else this.#gone.set(key, left)
  }
}

/** What a worker holds. */
export class Holdings {
  /** By fence, the oldest first. */
  readonly #held = new Map<string, HeldCommand>()
  readonly #chains = new KeyChains<HeldCommand>()
  readonly #inPartition: number[]
  readonly #keepsKeyOrder: boolean
  readonly #closed = new ClosedKeys()
  #leaving = 0

  /**
   * @param partitions - How many partitions the queue has.
   * @param keepsKeyOrder - Whether commands of one key go one at a time.
   */
  constructor(partitions: number, keepsKeyOrder: boolean) {
    this.#inPartition = new Array<number>(partitions).fill(0)
    this.#keepsKeyOrder = keepsKeyOrder
  }

  get size(): number {
    return this.#held.size
  }

  /** Those that wait for another of their key. */
  get chained(): number {
    return this.#chains.waiting
  }

  /** All of them, the oldest first. What leaves meanwhile is left out. */
  values(): Iterable<HeldCommand> {
    return this.#held.values()
  }

  /**
   * Finds a delivery.
   *
   * @param fence - Its name.
   */
  get(fence: string): HeldCommand | undefined {
    return this.#held.get(fence)
  }

  /**
   * How many it has of a partition of the queue.
   *
   * @param partitionId - Which.
   */
  countIn(partitionId: number): number {
    return this.#inPartition[partitionId]!
  }

  /**
   * Takes a delivery in. Look at `isChained`: it may have to wait for another of its key.
   *
   * @param delivery - Fresh from the queue.
   * @param lane - Its lane.
   */
  add(delivery: Delivery, lane: WorkerLane): HeldCommand {
    const held = new HeldCommand(delivery, lane)
    const { key, partitionId } = delivery.envelope
    this.#held.set(delivery.fence, held)
    this.#inPartition[partitionId]!++
    lane.held++
    if (!this.#isKeyed(key) || this.#chains.enter(key, held)) makeReady(held)
    else held.isChained = true
    return held
  }

  /**
   * Lets one go for good.
   *
   * @param held - The delivery.
   * @returns Whether it was there.
   */
  forget(held: HeldCommand): boolean {
    const { fence, envelope } = held.delivery
    if (this.#held.get(fence) !== held) return false
    this.#held.delete(fence)
    this.#inPartition[envelope.partitionId]!--
    held.lane.held--
    this.ended(held)
    return true
  }

  /** Whether the order of a key waits for the queue to have something back. */
  get isReordering(): boolean {
    return this.#leaving > 0
  }

  /**
   * Whether a command must not start here, since one of its key that is older has left.
   *
   * @param held - One that was just added.
   */
  isClosed({ envelope: { key } }: HeldCommand): boolean {
    return this.#isKeyed(key) && this.#closed.has(key)
  }

  /**
   * One leaves and keeps its place: what is younger of its key must not start here before it.
   *
   * @param held - The delivery.
   */
  leave(held: HeldCommand): void {
    const { key } = held.envelope
    if (held.isLeaving || !this.#isKeyed(key)) return
    held.isLeaving = true
    this.#closed.close(key)
  }

  /**
   * The queue is being told that one leaves.
   *
   * @param held - One that is leaving.
   */
  told(held: HeldCommand): void {
    if (held.isLeaving) this.#leaving++
  }

  /**
   * The queue has one back, or somebody else has it.
   *
   * @param held - The delivery. Nothing happens unless it is leaving.
   */
  left(held: HeldCommand): void {
    if (!held.isLeaving) return
    held.isLeaving = false
    // If it has not ended here, the queue took it away by itself.
    if (held.stage === 'ended') this.#leaving--
    this.#closed.answered(held.envelope.key!)
  }

  /** The queue is asked for commands. */
  asking(): void {
    this.#closed.asking()
  }

  /** What it answered was taken on, or it gave no answer. */
  asked(): void {
    this.#closed.asked()
  }

  /**
   * One needs no thread any more; it is held until the queue knows.
   *
   * @param held - The delivery.
   */
  ended(held: HeldCommand): void {
    if (!held.isReady) return
    held.isReady = false
    held.lane.ready--
  }

  /**
   * One runs no more.
   *
   * @param held - The delivery.
   * @returns The next of its key, whose turn it is.
   */
  passOn(held: HeldCommand): HeldCommand | undefined {
    this.ended(held)
    const { key } = held.envelope
    const next = this.#isKeyed(key) ? this.#chains.leave(key, held) : undefined
    if (next !== undefined) makeReady(next)
    return next
  }

  /**
   * One leaves, and those of its key that wait behind it may not go before it.
   *
   * @param held - The delivery.
   * @returns Those, in their order.
   */
  cut(held: HeldCommand): HeldCommand[] {
    this.ended(held)
    const { key } = held.envelope
    const rest = this.#isKeyed(key) ? this.#chains.cut(key, held) : []
    for (const each of rest) each.isChained = false
    return rest
  }

  #isKeyed(key: string | undefined): key is string {
    return this.#keepsKeyOrder && key !== undefined
  }
}

function makeReady(held: HeldCommand): void {
  held.isChained = false
  held.isReady = true
  held.lane.ready++
}
