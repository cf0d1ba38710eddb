// Holdings: the deliveries of a worker, counted by lane and by partition, and in line by key.
// Thread: main.   Owns: which deliveries are this worker's.

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
  /** By key: the first command of it whose lease was given up, and is not seen again yet. */
  readonly #missing = new Map<string, { readonly id: string; readonly untilMs: number }>()

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

  /**
   * The lease of one was given up. The queue may not know yet, and give out what is behind it.
   *
   * @param held - The delivery.
   * @param untilMs - When it is another worker's at the latest, monotonic milliseconds.
   */
  miss(held: HeldCommand, untilMs: number): void {
    const { key, id } = held.envelope
    if (this.#isKeyed(key) && !this.#missing.has(key)) this.#missing.set(key, { id, untilMs })
  }

  /**
   * Whether a command must not run here before one of its key that was given up.
   *
   * @param held - One that was just added.
   * @param now - Monotonic milliseconds.
   */
  isAhead(held: HeldCommand, now: number): boolean {
    const { key, id } = held.envelope
    const missing = key === undefined ? undefined : this.#missing.get(key)
    if (missing === undefined) return false
    if (missing.id !== id && now < missing.untilMs) return true
    this.#missing.delete(key!)
    return false
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
