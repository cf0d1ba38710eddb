// Manager health: whether the manager's threads can run commands, and news of changes.
// Owns: the listeners.
// Must not: act on it. Its listeners decide, such as a worker pool.

import { type LaneError, laneError } from '../base/errors.ts'
import type { LifeCycle } from './life-cycle.ts'
import { isShared, type ManagerPlan } from './options.ts'
import type { PartitionHandle } from './threads/partition-handle.ts'

/** Threads in a row that died young or did not load, from which on another is not expected soon. */
const SETBACKS = 2

/** Knows how fit a manager is. */
export class ManagerHealth {
  readonly #partitions: readonly PartitionHandle[]
  readonly #life: Pick<LifeCycle, 'state'>
  /** Whether any partition may run any command. */
  readonly #isShared: boolean
  /** Threads of one partition that may be given up and not ended when another is started. */
  readonly #terminatingMax: number
  readonly #listeners = new Set<() => void>()
  readonly #quietWaiters = new Set<() => void>()

  /** @param partitions - Its partitions. */
  constructor(
    plan: Pick<ManagerPlan, 'strategy' | 'partitionCount' | 'terminatingMax'>,
    partitions: readonly PartitionHandle[],
    life: Pick<LifeCycle, 'state'>,
  ) {
    this.#partitions = partitions
    this.#life = life
    this.#isShared = isShared(plan)
    this.#terminatingMax = plan.terminatingMax
  }

  /** How many partitions have a thread, or will soon. */
  get working(): number {
    return this.#partitions.filter((partition) => !this.#isDown(partition)).length
  }

  /**
   * Why commands cannot run; undefined if they can. Where each has a partition of its own, one
   * partition that is down is enough, since the commands that it would get are unknown.
   */
  get trouble(): LaneError | undefined {
    const { state } = this.#life
    if (state === 'shutdown' || state === 'closed') {
      return laneError('CORELANE_CLOSED', { state: 'closed' })
    }
    const down = this.#partitions.find((partition) => this.#isDown(partition))
    if (down === undefined || (this.#isShared && this.working > 0)) return undefined
    if (down.failure !== undefined) return down.failure
    return down.terminating.size > this.#terminatingMax ? down.hindrance : down.setback
  }

  /**
   * Listens.
   *
   * @param listener - Called whenever the answers above may have changed.
   * @returns Ends it.
   */
  watch(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** A thread was lost, replaced or given up, or the manager ends. */
  changed(): void {
    for (const listener of this.#listeners) listener()
    this.progressed()
  }

  /**
   * Waits until it is quiet.
   *
   * @param onQuiet - Called once, later.
   * @returns Ends the waiting.
   */
  whenQuiet(onQuiet: () => void): () => void {
    this.#quietWaiters.add(onQuiet)
    return () => void this.#quietWaiters.delete(onQuiet)
  }

  /** Results were taken, or a thread has ended. Cheap. */
  progressed(): void {
    if (this.#quietWaiters.size === 0 || !this.isQuiet) return
    const waiters = [...this.#quietWaiters]
    this.#quietWaiters.clear()
    for (const onQuiet of waiters) onQuiet()
  }

  /**
   * Whether no thread runs anything on that was given up: after a time-out, an abort or a lost
   * lease, until the run has ended or its thread has.
   */
  get isQuiet(): boolean {
    return this.#partitions.every(
      ({ terminating, incarnation }) =>
        terminating.size === 0 && (incarnation?.window.watch.detachedCount ?? 0) === 0,
    )
  }

  #isDown(partition: PartitionHandle): boolean {
    const { state, failures, incarnation, terminating } = partition
    if (state === 'failed') return true
    if (incarnation?.isLoaded) return false
    return failures >= SETBACKS || terminating.size > this.#terminatingMax
  }
}
