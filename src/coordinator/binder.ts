// Binder: moves commands from the backlog into the windows of the partitions.
// Thread: main.   Owns: which partition a command without a home goes to.
// Must not: start threads, settle results.

import type { Backlog } from './backlog.ts'
import type { BoundWindow } from './bound-window.ts'
import type { PartitionHandle } from './partition-handle.ts'
import { ANY_PARTITION, type PendingCommand } from './pending-command.ts'

/** Waking a sleeping partition costs about as much as so much work on one that is awake. */
const WAKE_COST_US = 200

/** A partition that is stuck comes last. */
const STUCK_COST_US = 1e9

/** An idle partition is not worth waking for less than this. */
const RECALL_WORK_US = 200

/** A partition that settled nothing for so long may be held up by one long command. */
const STUCK_MS = 1

/** The same where others have enough to do: moving commands between them has a price. */
const LATE_MS = 5

/** Binds what can be bound. */
export class Binder {
  readonly #backlog: Backlog
  readonly #partitions: readonly PartitionHandle[]
  readonly #isShared: boolean
  /** Windows with commands that their partition was not shown yet. */
  readonly #dirty = new Set<BoundWindow>()

  /**
   * @param backlog - What waits.
   * @param partitions - By index.
   * @param isShared - Whether commands may go to any partition.
   */
  constructor(backlog: Backlog, partitions: readonly PartitionHandle[], isShared: boolean) {
    this.#backlog = backlog
    this.#partitions = partitions
    this.#isShared = isShared
  }

  /**
   * Binds a new command at once if nothing is before it and a window has room, else it waits.
   *
   * @param command - Just submitted, or back from a thread that died.
   */
  place(command: PendingCommand): void {
    const { home } = command
    if (this.#backlog.isEmptyAt(home)) {
      if (this.#bind(command)) return
      this.#backlog.offer(command)
      this.#makeWay(command)
      return
    }
    this.#backlog.offer(command)
    const place = home === ANY_PARTITION ? 0 : home
    // Only a new front can be bound now; anything else waits behind one that could not be.
    if (this.#backlog.peek(place) === command) this.#refill(place)
  }

  /** Binds from the backlog whatever the windows have room for. */
  refill(): void {
    for (let place = 0; place < this.#backlog.places; place++) this.#refill(place)
  }

  /** Shows the partitions what was bound. */
  flush(): void {
    for (const window of this.#dirty) window.flush()
    this.#dirty.clear()
  }

  /**
   * Gives partitions that have nothing to do commands that others have not started.
   *
   * @param nowMs - Monotonic milliseconds.
   * @returns Whether it is worth looking again in a moment.
   */
  rebalance(nowMs: number): boolean {
    if (!this.#isShared) return false
    const stuckMs = this.#backlog.size > 0 ? LATE_MS : STUCK_MS
    let idle = 0
    let moving = 0
    for (const partition of this.#partitions) {
      const window = partition.window
      if (window === undefined) continue
      if (window.count === 0) idle++
      else if (!partition.observe(nowMs, stuckMs)) moving++
    }
    if (moving > 0) this.#rescue()
    if (idle === 0 || this.#backlog.size > 0) return false
    let isWaiting = false
    for (const partition of this.#partitions) {
      const window = partition.window
      if (window === undefined || window.count < 2) continue
      isWaiting = true
      if (partition.isStuck) this.#spread(window, window.workUs)
      else if (window.workUs > RECALL_WORK_US)
        this.#spread(window, (window.workUs * idle) / (idle + 1))
    }
    return isWaiting
  }

  /** Takes back what is bound behind a long command though it is more urgent than what waits. */
  #rescue(): void {
    for (const { isStuck, window } of this.#partitions) {
      const head = this.#backlog.peek(0)
      if (head === undefined) return
      if (!isStuck || window === undefined) continue
      const urgent = window.recall(Number.POSITIVE_INFINITY, 0, head.rank - 1)
      for (const command of urgent) this.#backlog.offer(command)
      if (urgent.length > 0) this.#refill(0)
    }
  }

  #spread(window: BoundWindow, workUs: number): void {
    for (const command of window.recall(workUs)) this.#backlog.offer(command)
    this.refill()
    this.flush()
  }

  #refill(place: number): void {
    for (;;) {
      const command = this.#backlog.peek(place)
      if (command === undefined) return
      if (!this.#bind(command)) {
        this.#makeWay(command)
        return
      }
      this.#backlog.next(place)
    }
  }

  /** Takes back what is bound and less urgent than a command that found no room, lest it run first. */
  #makeWay({ home, rank }: PendingCommand): void {
    for (const { index, window } of this.#partitions) {
      if (window === undefined || window.lastRank <= rank) continue
      if (home !== ANY_PARTITION && home !== index) continue
      for (const command of window.recall(Number.POSITIVE_INFINITY, rank + 1)) {
        this.#backlog.offer(command)
      }
    }
  }

  /** Binds a command; false if no window has room. One that cannot cross threads is settled here. */
  #bind(command: PendingCommand): boolean {
    const partition = this.#choose(command)
    if (partition === undefined) return false
    const window = partition.window!
    try {
      if (!window.bind(command)) return false
    } catch (error) {
      command.fail(error, partition.index)
      return true
    }
    partition.touch()
    this.#dirty.add(window)
    return true
  }

  #choose(command: PendingCommand): PartitionHandle | undefined {
    if (command.home !== ANY_PARTITION) {
      const home = this.#partitions[command.home]!
      return home.window?.accepts(command) ? home : undefined
    }
    let best: PartitionHandle | undefined
    let bestCost = Number.POSITIVE_INFINITY
    for (const partition of this.#partitions) {
      const window = partition.window
      if (window === undefined) continue
      const cost =
        window.workUs +
        (window.end.bell.isAwake ? 0 : WAKE_COST_US) +
        (partition.isStuck ? STUCK_COST_US : 0)
      if (cost > bestCost || (cost === bestCost && partition.touched < best!.touched)) continue
      if (!window.accepts(command)) continue
      best = partition
      bestCost = cost
    }
    return best
  }
}
