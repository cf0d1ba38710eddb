// Wait graph: whether handlers that wait for commands could wait for ever.
// Thread: main.   Owns: which handlers wait for what.
//
// A handler holds a run of its partition and a slot of its lane while it waits. The command it
// waits for needs a run of its home, or of any partition, and a slot of its own lane. Something is
// stuck if handlers hold all of it and each of those waits for something stuck: the greatest such
// set is what remains when everything that can still move is taken away step by step.

import type { ManagerPlan } from './options.ts'

/** One handler that waits for one command. */
export interface Wait {
  /** Partition and lane that it holds, by index. */
  readonly holdsPartition: number
  readonly holdsLane: number
  /** Tells apart handlers: one that waits for several commands holds one run. */
  readonly holder: unknown
  /** Whether the handler has ended, without waiting for its command. */
  readonly isOver: () => boolean
  /** Partition that the command needs; -1: any. */
  readonly needsPartition: number
  readonly needsLane: number
}

/** What there is to hold. */
export interface WaitCapacity {
  readonly partitions: number
  /** Handlers that may run at once in a partition. */
  readonly runs: number
  /** Commands of each lane that may run at once; Infinity where there is no bound. */
  readonly laneSlots: readonly number[]
}

/**
 * What there is to hold in a manager.
 *
 * @param plan - Its options.
 */
export function waitCapacity({ partitionCount, concurrency, lanes }: ManagerPlan): WaitCapacity {
  const laneSlots = lanes.map(({ maxConcurrency }) => maxConcurrency ?? Number.POSITIVE_INFINITY)
  return { partitions: partitionCount, runs: concurrency, laneSlots }
}

/** Keeps handlers from waiting for each other in a circle. */
export class WaitGraph {
  readonly #capacity: WaitCapacity
  readonly #waits = new Set<Wait>()

  /**
   * @param capacity - What there is to hold.
   */
  constructor(capacity: WaitCapacity) {
    this.#capacity = capacity
  }

  /**
   * Lets a handler wait, unless its command could never run.
   *
   * @param wait - Who waits for what.
   * @returns Whether it waits now; false if it would wait for ever.
   */
  add(wait: Wait): boolean {
    for (const other of this.#waits) if (other.isOver()) this.#waits.delete(other)
    this.#waits.add(wait)
    if (!this.#isStuck(wait)) return true
    this.#waits.delete(wait)
    return false
  }

  /**
   * A handler waits no more.
   *
   * @param wait - Added before.
   */
  remove(wait: Wait): void {
    this.#waits.delete(wait)
  }

  /**
   * Whether every run of a partition is held by a handler that waits.
   *
   * @param partition - Its index.
   */
  isHeld(partition: number): boolean {
    return this.#holders((wait) => wait.holdsPartition === partition).size >= this.#capacity.runs
  }

  #isStuck(wait: Wait): boolean {
    const { partitions, runs, laneSlots } = this.#capacity
    const stuckPartitions = new Set<number>()
    const stuckLanes = new Set<number>()
    for (let i = 0; i < partitions; i++) if (this.isHeld(i)) stuckPartitions.add(i)
    for (const [i, slots] of laneSlots.entries()) {
      if (this.#holders(({ holdsLane }) => holdsLane === i).size >= slots) stuckLanes.add(i)
    }
    const cannotRun = ({ needsPartition, needsLane }: Wait) =>
      stuckLanes.has(needsLane) ||
      (needsPartition < 0
        ? stuckPartitions.size === partitions
        : stuckPartitions.has(needsPartition))
    // A holder goes on once all it waits for can run, and gives back what it holds.
    for (let before = -1; before !== stuckPartitions.size + stuckLanes.size; ) {
      before = stuckPartitions.size + stuckLanes.size
      const blocked = new Set([...this.#waits].filter(cannotRun).map(({ holder }) => holder))
      for (const i of stuckPartitions) {
        const holders = this.#holders(({ holdsPartition }) => holdsPartition === i)
        if (countIn(holders, blocked) < runs) stuckPartitions.delete(i)
      }
      for (const i of stuckLanes) {
        const holders = this.#holders(({ holdsLane }) => holdsLane === i)
        if (countIn(holders, blocked) < laneSlots[i]!) stuckLanes.delete(i)
      }
    }
    return cannotRun(wait)
  }

  /** The handlers among those that wait which a test picks. */
  #holders(isMeant: (wait: Wait) => boolean): Set<unknown> {
    return new Set([...this.#waits].filter(isMeant).map(({ holder }) => holder))
  }
}

function countIn(holders: ReadonlySet<unknown>, others: ReadonlySet<unknown>): number {
  return [...holders].filter((holder) => others.has(holder)).length
}
