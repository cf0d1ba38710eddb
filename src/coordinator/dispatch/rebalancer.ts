// Rebalancer: moves commands that have not started from partitions that are held up to idle ones.
// Must not: bind or choose (dispatcher): it takes back, and lets the dispatcher refill.

import type { Lane } from '../lane-table.ts'
import type { InFlightWindow } from '../threads/in-flight-window.ts'
import type { PartitionHandle } from '../threads/partition-handle.ts'
import type { Backlog } from './backlog.ts'
import type { Dispatcher } from './dispatcher.ts'

/** An idle partition is not worth waking for less than this. */
const RECALL_WORK_US = 200

/** A partition that settled nothing for so long may be held up by one long command. */
const STUCK_MS = 1

/** The same where others have enough to do: moving commands between them has a price. */
const LATE_MS = 5

/**
 * So many commands move from a partition at a time: taking one back costs both threads more than a
 * short command does, and a thread that only lost its core for a moment looks stuck.
 */
const MOVE_COUNT_MAX = 64

export class Rebalancer {
  readonly #dispatcher: Dispatcher
  readonly #backlog: Backlog
  readonly #partitions: readonly PartitionHandle[]
  readonly #lanes: readonly Lane[]
  readonly #isShared: boolean

  /** @param isShared - Whether commands may go to any partition; if not, none is moved. */
  constructor(
    dispatcher: Dispatcher,
    backlog: Backlog,
    partitions: readonly PartitionHandle[],
    lanes: readonly Lane[],
    isShared: boolean,
  ) {
    this.#dispatcher = dispatcher
    this.#backlog = backlog
    this.#partitions = partitions
    this.#lanes = lanes
    this.#isShared = isShared
  }

  /**
   * Gives partitions that have nothing to do commands that others have not started.
   *
   * @returns Whether it is worth looking again in a moment.
   */
  rebalance(now: number): boolean {
    const backlog = this.#backlog
    const partitions = this.#partitions
    if (!this.#isShared || partitions.length === 1) return false
    const stuckMs = backlog.size > 0 ? LATE_MS : STUCK_MS
    let idle = 0
    let moving = 0
    for (const partition of partitions) {
      const window = partition.window
      if (window === undefined) continue
      const isStuck = partition.observe(now, stuckMs)
      const isFree = !isStuck && (window.load.openCount === 0 || window.hasFreeHandler)
      // One that is kept free for a command is no place for others.
      if (isFree && window.reservedFor === undefined) idle++
      else if (!isStuck) moving++
    }
    if (moving > 0) this.#reclaim(now)
    if (idle === 0) return false
    // Commands that wait and are not held by a limit go first.
    for (const { isLimited, isPaused, index } of this.#lanes) {
      if (!isLimited && !isPaused && backlog.sizeOf(index) > 0) return false
    }
    let isWaiting = false
    for (const partition of partitions) {
      const window = partition.window
      if (window === undefined || window.load.count < 2 || window.hasFreeHandler) continue
      const workUs = partition.isStuck ? Number.POSITIVE_INFINITY : window.load.openWorkUs
      if (workUs > RECALL_WORK_US && now >= partition.keepsUntilMs) {
        this.#moveWork(window, (workUs * idle) / (idle + 1), now)
      }
      isWaiting ||= window.hasWaiting(this.#dispatcher.mayStart)
    }
    return isWaiting
  }

  /** Takes back what is bound behind a long command though it is more urgent than what waits. */
  #reclaim(now: number): void {
    const backlog = this.#backlog
    for (const { isStuck, window } of this.#partitions) {
      const rank = backlog.frontRank(0, now)
      if (rank === undefined) return
      if (!isStuck || window === undefined) continue
      const urgent = window.recall({ rankMax: rank - 1 })
      this.#dispatcher.takeBack(urgent)
      if (urgent.length > 0) this.#dispatcher.refill()
    }
  }

  #moveWork(window: InFlightWindow, workUs: number, now: number): void {
    const recalled = window.recall({ workUs, countMax: MOVE_COUNT_MAX })
    if (recalled.length === 0) return
    const before = this.#partitions.map(({ touched }) => touched)
    this.#dispatcher.takeBack(recalled)
    this.#dispatcher.refill()
    this.#dispatcher.flush()
    for (const [i, to] of this.#partitions.entries()) {
      if (to.touched !== before[i]) to.keepsUntilMs = now + LATE_MS
    }
  }
}
