// Wait graph: whether handlers that wait for commands could wait for ever.
// Thread: main.   Owns: which handlers wait for what.
//
// A handler holds a run of its partition and a slot of its lane while it waits. The command it waits
// for needs a run of its home, or of any partition, a slot of its own lane, and its key, until it
// has started: from then on it ends unless its own handler waits in vain. Something is stuck if
// handlers hold all of it and each of those waits for something stuck: the greatest such set is
// what remains when everything that can still move is taken away step by step.

import type { ManagerPlan } from './options.ts'

/** One handler that waits for one command. */
export interface Wait {
  /** Partition and lane that it holds, by index. */
  readonly holdsPartition: number
  readonly holdsLane: number
  /** Tells apart handlers: one that waits for several commands holds one run. */
  readonly holder: unknown
  /** Tells apart commands that handlers wait for. */
  readonly command: unknown
  /** The same for the handler's own command, if a handler waits for that. */
  readonly holderCommand: unknown
  /** Whether the handler has ended, without waiting for its command. */
  readonly isOver: () => boolean
  /** Partition that the command needs; -1: any. */
  readonly needsPartition: number
  readonly needsLane: number
  /** Keys of which one command runs at a time, with their partition; undefined where none is. */
  readonly holdsKey: string | undefined
  readonly needsKey: string | undefined
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
    this.purge()
    this.#waits.add(wait)
    if (!this.#isStuck(wait)) return true
    this.#waits.delete(wait)
    return false
  }

  /**
   * Forgets handlers that have ended without waiting for their commands.
   *
   * @returns The partitions that they held.
   */
  purge(): number[] {
    if (this.#waits.size === 0) return []
    const over = [...this.#waits].filter((wait) => wait.isOver())
    for (const wait of over) this.#waits.delete(wait)
    return over.map(({ holdsPartition }) => holdsPartition)
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
    return this.holdersAt(partition) >= this.#capacity.runs
  }

  /**
   * How many handlers of a partition wait.
   *
   * @param partition - Its index.
   */
  holdersAt(partition: number): number {
    return this.#holders((wait) => wait.holdsPartition === partition).size
  }

  #isStuck(wait: Wait): boolean {
    const { partitions, runs, laneSlots } = this.#capacity
    const stuckPartitions = new Set<number>()
    const stuckLanes = new Set<number>()
    for (let i = 0; i < partitions; i++) if (this.isHeld(i)) stuckPartitions.add(i)
    for (const [i, slots] of laneSlots.entries()) {
      if (this.#holders(({ holdsLane }) => holdsLane === i).size >= slots) stuckLanes.add(i)
    }
    /** Commands that have started and wait themselves, and who they are as holders. */
    const started = new Map<unknown, unknown>()
    for (const { holder, holderCommand } of this.#waits) {
      if (holderCommand !== undefined) started.set(holderCommand, holder)
    }
    let blocked = this.#holders(() => true)
    const isKeyStuck = (key: string) =>
      [...this.#waits].some(({ holdsKey, holder }) => holdsKey === key && blocked.has(holder))
    const cannotRun = ({ command, needsPartition, needsLane, needsKey }: Wait) => {
      const runsAs = started.get(command)
      if (runsAs !== undefined) return blocked.has(runsAs)
      if (stuckLanes.has(needsLane)) return true
      if (needsKey !== undefined && isKeyStuck(needsKey)) return true
      if (needsPartition < 0) return stuckPartitions.size === partitions
      return stuckPartitions.has(needsPartition)
    }
    // A holder goes on once all it waits for can run, and gives back what it holds.
    const size = () => stuckPartitions.size + stuckLanes.size + blocked.size
    for (let before = -1; before !== size(); ) {
      before = size()
      blocked = this.#holders(cannotRun)
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
