// Elastic: how many partitions have a thread, by load, memory and idleness.
// Owns: since when each partition has been idle.
// Must not: start or end a thread itself (supervisor), or choose what runs where.

import { freemem } from 'node:os'
import { Alarm } from '../../base/alarm.ts'
import { nowMs } from '../../base/clock.ts'
import type { ManagerEvents } from '../manager-events.ts'
import type { ElasticPlan } from '../options.ts'
import type { PartitionHandle } from './partition-handle.ts'
import type { Supervisor } from './supervisor.ts'

/** With less free memory no thread is added to those that there are. */
const FREE_BYTES_MIN = 2 ** 27

/** So often it is looked whether memory is free, calls have ended, or a thread is still wanted. */
const LOOK_MS = 100

/** Free memory of the machine or of the container, in bytes. */
function freeBytes(): number {
  // Node.js 20.13 and newer know of containers.
  const { availableMemory } = process as { availableMemory?: () => number }
  return availableMemory?.() ?? freemem()
}

/** Starts threads when there is work for them, and ends those that have none. */
export class Elastic {
  readonly #partitions: readonly PartitionHandle[]
  readonly #supervisor: Pick<Supervisor, 'spawn' | 'retire'>
  readonly #plan: ElasticPlan
  readonly #events: Pick<ManagerEvents, 'demand' | 'acted'>
  readonly #freeBytes: () => number
  // By way of the manager: it knows when no thread may come or go.
  readonly #idleness = new Alarm(() => this.#events.acted())
  readonly #shortage = new Alarm(() => this.#events.acted())

  /**
   * @param partitions - The manager's, as many as there may be threads.
   * @param supervisor - Starts and ends threads.
   * @param plan - The bounds.
   * @param free - Free memory in bytes.
   */
  constructor(
    partitions: readonly PartitionHandle[],
    supervisor: Pick<Supervisor, 'spawn' | 'retire'>,
    plan: ElasticPlan,
    events: Pick<ManagerEvents, 'demand' | 'acted'>,
    free: () => number = freeBytes,
  ) {
    this.#partitions = partitions
    this.#supervisor = supervisor
    this.#plan = plan
    this.#events = events
    this.#freeBytes = free
  }

  /** Starts the threads that present commands need. */
  grow(): void {
    let count = this.#count
    if (count === this.#partitions.length) return
    const wanted = Math.max(this.#plan.min, this.#events.demand())
    // Threads that end again and again would not get better by being more.
    if (count >= wanted || this.#hasFailed) return
    for (const partition of this.#partitions) {
      if (count >= wanted) return
      // Until its last thread has ended, the partition is of no use to another.
      if (partition.state !== 'dormant' || partition.retiring.size > 0) continue
      if (count > 0 && this.#freeBytes() < FREE_BYTES_MIN) {
        this.#shortage.set(nowMs() + LOOK_MS)
        return
      }
      this.#supervisor.spawn(partition)
      count++
    }
  }

  /** Results were taken, or time has passed: ends threads that are idle for long. */
  progressed(now: number): void {
    this.grow()
    const { min, idleTimeoutMs } = this.#plan
    // One that was given up counts as well, and those that can run something may be the last.
    const least = this.#hasFailed ? this.#partitions.length : min
    let count = this.#count
    let dueMs = Number.POSITIVE_INFINITY
    for (const partition of this.#partitions) {
      if (!isIdle(partition)) {
        partition.idleSinceMs = undefined
        if (partition.incarnation?.calls) dueMs = Math.min(dueMs, now + LOOK_MS)
        continue
      }
      partition.idleSinceMs ??= now
      if (count <= least) continue
      const atMs = partition.idleSinceMs + idleTimeoutMs
      if (atMs > now) {
        dueMs = Math.min(dueMs, atMs)
        continue
      }
      // Something waits that it may run yet, held up by a limit or by a pool.
      if (count <= this.#events.demand()) {
        dueMs = Math.min(dueMs, now + LOOK_MS)
        continue
      }
      partition.idleSinceMs = undefined
      count--
      void this.#supervisor.retire(partition)
    }
    this.#idleness.set(dueMs)
  }

  /** Nothing is looked at any more. */
  stop(): void {
    this.#idleness.stop()
    this.#shortage.stop()
  }

  get #hasFailed(): boolean {
    return this.#partitions.some(({ state }) => state === 'failed')
  }

  get #count(): number {
    let count = 0
    for (const { state } of this.#partitions) if (state !== 'dormant') count++
    return count
  }
}

/** Whether nothing is bound to a thread that has loaded, and none is about to take over from it. */
function isIdle({ window, incarnation, successor }: PartitionHandle): boolean {
  if (window === undefined || successor !== undefined) return false
  if (!incarnation!.isLoaded || incarnation!.calls > 0) return false
  return window.load.count + window.load.restingCount + window.watch.detachedCount === 0
}
