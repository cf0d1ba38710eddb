// Partition claims: which partitions of a queue a worker takes commands from.
// Thread: main.   Owns: what the queue said last about who owns what.

import { nowMs } from '../base/clock.ts'
import { stableHash } from '../schedule/hash.ts'
import type { LeasedQueue } from './distributed-queue.ts'
import type { Runner } from './runner.ts'

/** Part of a lease after which what is owned is renewed. A look may come a little late. */
const BEAT = 1 / 4

/** What claims work with. */
export interface PartitionClaimsParts {
  readonly queue: LeasedQueue
  readonly runner: () => Runner
  /** Whether commands of a partition may be on their way here. */
  readonly isAskedFor: (partitionId: number) => boolean
  /** Other partitions may be asked for. */
  readonly changed: () => void
  /** A call failed; it is repeated. */
  readonly failed: (error: unknown) => void
}

/** Knows a worker's partitions. */
export class PartitionClaims {
  readonly #parts: PartitionClaimsParts
  /** Present where each partition has one worker at a time. */
  #owned: ReadonlySet<number> | undefined
  #surplus: ReadonlySet<number> = new Set()
  readonly #yielding = new Set<number>()
  #isBeating = false
  /** Whether it has to be renewed again, since something has changed meanwhile. */
  #mustBeatAgain = false
  #beatenAtMs = Number.NEGATIVE_INFINITY
  /** Ends the news of changes. */
  #unwatch: (() => void) | undefined
  /** Whether it wants partitions. */
  #isTaking = true
  #hasLeft = false
  #first: number

  constructor(parts: PartitionClaimsParts) {
    const { queue } = parts
    this.#parts = parts
    this.#owned = queue.ownership === undefined ? undefined : new Set()
    // Workers begin at different partitions, so that they do not all look at the same one first.
    this.#first = stableHash(queue.workerId) % queue.numPartitions
  }

  /** How many partitions are this worker's alone; undefined where partitions have no owners. */
  get ownedCount(): number | undefined {
    return this.#owned?.size
  }

  /** The partitions to ask for now, in the order in which they are to be looked at. */
  next(): number[] {
    const { numPartitions } = this.#parts.queue
    const partitions: number[] = []
    const first = this.#first
    this.#first = first + 1 === numPartitions ? 0 : first + 1
    for (let i = 0; i < numPartitions; i++) {
      const partition = (first + i) % numPartitions
      if (!this.isReturning(partition)) partitions.push(partition)
    }
    return partitions
  }

  /**
   * Whether commands of a partition are given back instead of started.
   *
   * @param partitionId - Which.
   */
  isReturning(partitionId: number): boolean {
    if (this.#owned === undefined) return false
    return !this.#owned.has(partitionId) || this.#surplus.has(partitionId)
  }

  /** Renews what is owned, and learns what is to be given up. */
  async beat(): Promise<void> {
    const { queue, failed } = this.#parts
    const { ownership } = queue
    if (ownership === undefined || this.#hasLeft) return
    this.#mustBeatAgain = this.#isBeating
    if (this.#isBeating) return
    this.#isBeating = true
    this.#unwatch ??= ownership.onChange?.(() => void this.beat())
    do {
      this.#mustBeatAgain = false
      this.#beatenAtMs = nowMs()
      try {
        this.#learn(await ownership.beat(this.#isTaking))
      } catch (error) {
        failed(error)
      }
    } while (this.#mustBeatAgain && !this.#hasLeft)
    this.#isBeating = false
  }

  /** Renews what is owned if it is time; to be called a few times in each lease. */
  look(): void {
    const isTold = this.#unwatch !== undefined
    const everyMs = isTold ? this.#parts.queue.leaseMs * BEAT : 0
    if (nowMs() - this.#beatenAtMs >= everyMs) void this.beat()
  }

  /**
   * Wants partitions from now on, or gives up all that it owns as it becomes free.
   *
   * @param isTaking - Which of both.
   */
  take(isTaking: boolean): void {
    this.#isTaking = isTaking
    void this.beat()
  }

  /** Yields what is to be given up and of which nothing is left here. */
  check(): void {
    const { runner, isAskedFor } = this.#parts
    for (const partition of this.#surplus) {
      const isFree = runner().holdings.countIn(partition) === 0 && !isAskedFor(partition)
      if (isFree && !this.#yielding.has(partition)) void this.#yield(partition)
    }
  }

  /** Gives everything up. */
  async leave(): Promise<void> {
    const { queue, failed } = this.#parts
    if (queue.ownership === undefined || this.#hasLeft) return
    this.#hasLeft = true
    this.#unwatch?.()
    this.#owned = new Set()
    try {
      await queue.ownership.leave()
    } catch (error) {
      // It expires then.
      failed(error)
    }
  }

  #learn({ owned, surplus }: { owned: readonly number[]; surplus: readonly number[] }): void {
    if (this.#hasLeft) return
    const before = this.#owned!
    this.#owned = new Set(owned.filter((partition) => !this.#yielding.has(partition)))
    this.#surplus = new Set(surplus)
    const runner = this.#parts.runner()
    const taken = [...runner.holdings.values()].filter(
      ({ envelope }) => !owned.includes(envelope.partitionId),
    )
    runner.lose(taken, 'taken')
    if (this.#surplus.size > 0) {
      runner.giveBack(({ envelope }) => this.#surplus.has(envelope.partitionId))
    }
    if (this.#surplus.size > 0 || owned.length !== before.size) this.#parts.changed()
    else if (owned.some((partition) => !before.has(partition))) this.#parts.changed()
    this.check()
  }

  async #yield(partition: number): Promise<void> {
    const { queue, failed } = this.#parts
    this.#yielding.add(partition)
    try {
      await queue.ownership!.yield(partition)
      this.#surplus = new Set([...this.#surplus].filter((each) => each !== partition))
      this.#owned = new Set([...this.#owned!].filter((each) => each !== partition))
    } catch (error) {
      failed(error)
    }
    this.#yielding.delete(partition)
  }
}
