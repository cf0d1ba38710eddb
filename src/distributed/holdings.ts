// Holdings: the deliveries of a worker, counted by lane and by partition, and in line by key.
// Thread: main.   Owns: which deliveries are this worker's.

import { ClosedKeys } from './closed-keys.ts'
import type { Delivery } from './distributed-queue.ts'
import { HeldCommand } from './held-command.ts'
import { KeyChains } from './key-chains.ts'
import type { WorkerLane } from './worker-lane.ts'

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
