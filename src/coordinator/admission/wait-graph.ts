// Wait graph: whether handlers that wait for commands could wait for ever.
// Owns: which handlers wait for what.
//
// While it waits a handler holds a run of its partition, slots of its lane and group, and its key.
// The command it waits for needs the same of its own home, or of any partition. A handler is
// blocked if something that it waits for is: a command that cannot start, since blocked handlers
// hold all that there is of something it needs, or a handler that has started and is blocked
// itself. The greatest such set is what remains when every handler that can still go on is taken
// away step by step.
//
// A stream that rests keeps its slots and its key, and needs a run of its partition to go on.

import type { ManagerPlan } from '../options.ts'
import type { PartitionHandle } from '../threads/partition-handle.ts'

/** One handler that waits for one command. */
export interface Wait {
  /** Partition and lane that it holds, by index. */
  readonly holdsPartition: number
  readonly holdsLane: number
  /** Whether it holds one of its partition's runs. Default: it does. */
  readonly holdsRun?: () => boolean
  /** Key that it holds in that partition; undefined if it has none. */
  readonly holdsKey: string | undefined
  /** Group of its command in its lane. */
  readonly holdsGroup?: string | undefined
  /** Tells apart handlers: one that waits for several commands holds one run. */
  readonly holder: unknown
  /** What it waits for, which is a holder too once it has started and waits. */
  readonly awaited: () => unknown
  /** Whether that has started, so that it needs nothing more. Default: it has not. */
  readonly hasStarted?: () => boolean
  /** Whether the handler has ended, without waiting for its command. */
  readonly isOver: () => boolean
  /** Partition that the command needs; -1: any. */
  readonly needsPartition: number
  readonly needsLane: number
  readonly needsKey: string | undefined
  readonly needsGroup?: string | undefined
}

/** What there is to hold. */
export interface WaitCapacity {
  readonly partitions: number
  /** Handlers that may run at once in a partition. */
  readonly runs: number
  /** Commands of each lane that may run at once; Infinity where there is no bound. */
  readonly laneSlots: number[]
  /** The same of each of its groups. */
  readonly groupSlots: readonly number[]
  /** Whether a partition has no thread and gets none. Default: each has one, or gets one. */
  readonly isGivenUp?: (partition: number) => boolean
}

/**
 * The partitions, runs and slots that the handlers of a manager can hold.
 *
 * @param partitions - Once one of them was given up, no thread is added where there is none.
 */
export function waitCapacity(
  { partitionCount, concurrency, lanes }: ManagerPlan,
  partitions: readonly Pick<PartitionHandle, 'state'>[],
): WaitCapacity {
  const isGivenUp = (index: number) => {
    const { state } = partitions[index]!
    const isAnyFailed = () => partitions.some((partition) => partition.state === 'failed')
    return state === 'failed' || (state === 'dormant' && isAnyFailed())
  }
  const laneSlots = lanes.map(({ maxConcurrency }) => maxConcurrency ?? Number.POSITIVE_INFINITY)
  const groupSlots = lanes.map(({ groups }) => groups.concurrency)
  return { partitions: partitionCount, runs: concurrency, laneSlots, groupSlots, isGivenUp }
}

/** Keeps handlers from waiting for each other in a circle. */
export class WaitGraph<W extends Wait = Wait> {
  readonly #capacity: WaitCapacity
  readonly #waits = new Set<W>()

  /**
   * @param capacity - What there is to hold.
   */
  constructor(capacity: WaitCapacity) {
    this.#capacity = capacity
  }

  /**
   * Lets a handler wait, unless its command could never run. Purge before: handlers that have ended
   * count until then.
   *
   * @param wait - Who waits for what.
   * @param streams - Those that have started, as if each waited for a run.
   * @returns Whether it waits now; false if it would wait for ever.
   */
  add(wait: W, streams: Iterable<Wait> = []): boolean {
    this.#waits.add(wait)
    if (!this.#judge(streams).cannotStart(wait)) return true
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
  remove(wait: W): void {
    this.#waits.delete(wait)
  }

  /** A wait for a command that can never start, since there is less to hold than there was. */
  findStuck(streams: Iterable<Wait> = []): W | undefined {
    const { blocked, cannotStart } = this.#judge(streams)
    return [...this.#waits].find((wait) => {
      const isBlocked = blocked.has(wait.holder) && !blocked.has(wait.awaited())
      return isBlocked && wait.hasStarted?.() !== true && cannotStart(wait)
    })
  }

  /** Whether every run of a partition is held by a handler that waits. */
  isHeld(partition: number): boolean {
    return this.holdersAt(partition) >= this.#capacity.runs
  }

  /** How many handlers of a partition wait. */
  holdersAt(partition: number): number {
    const holdsRun = (wait: Wait) => wait.holdsPartition === partition && hasRun(wait)
    return holdersOf(this.#waits, holdsRun).size
  }

  /** The handlers that wait for ever, and which commands cannot start beside them. */
  #judge(streams: Iterable<Wait>): {
    blocked: ReadonlySet<unknown>
    cannotStart: (wait: Wait) => boolean
  } {
    const { partitions, isGivenUp } = this.#capacity
    const waiting = holdersOf(this.#waits)
    // One whose handler waits itself holds a run.
    const waits = [...this.#waits, ...[...streams].filter(({ holder }) => !waiting.has(holder))]
    const things = this.#things(waits)
    const holders = holdersOf(waits)
    const blocked = new Set(holders)
    let stuck: ReadonlySet<string> = new Set()
    const isFree = (partition: number) =>
      !stuck.has(runOf(partition)) && isGivenUp?.(partition) !== true
    const cannotStart = ({ needsPartition, needsLane, needsKey, needsGroup }: Wait) =>
      stuck.has(slotOf(needsLane)) ||
      (needsGroup !== undefined && stuck.has(groupOf(needsLane, needsGroup))) ||
      (needsKey !== undefined && stuck.has(keyOf(needsPartition, needsKey))) ||
      !(needsPartition < 0 ? upTo(partitions).some(isFree) : isFree(needsPartition))
    const cannotEnd = (other: Wait) => {
      const awaited = other.awaited()
      if (holders.has(awaited)) return blocked.has(awaited)
      return other.hasStarted?.() !== true && cannotStart(other)
    }
    for (let before = -1; before !== blocked.size; ) {
      before = blocked.size
      stuck = stuckAmong(things, blocked)
      // A handler goes on once all it waits for has ended, and gives back what it holds.
      const still = holdersOf(waits, cannotEnd)
      for (const holder of holders) if (!still.has(holder)) blocked.delete(holder)
    }
    return { blocked, cannotStart }
  }

  /** What handlers that wait hold, by name. */
  #things(waits: readonly Wait[]): Map<string, Thing> {
    const { runs, laneSlots, groupSlots } = this.#capacity
    const things = new Map<string, Thing>()
    const hold = (name: string, count: number, holder: unknown) => {
      const thing = things.get(name) ?? { count, holders: new Set() }
      thing.holders.add(holder)
      things.set(name, thing)
    }
    for (const wait of waits) {
      const { holder, holdsPartition, holdsLane, holdsKey, holdsGroup } = wait
      if (hasRun(wait)) hold(runOf(holdsPartition), runs, holder)
      hold(slotOf(holdsLane), laneSlots[holdsLane]!, holder)
      if (holdsGroup !== undefined) {
        hold(groupOf(holdsLane, holdsGroup), groupSlots[holdsLane]!, holder)
      }
      if (holdsKey !== undefined) hold(keyOf(holdsPartition, holdsKey), 1, holder)
    }
    return things
  }
}

/** The handlers among those that wait which a test picks. */
function holdersOf(waits: Iterable<Wait>, isMeant = (_: Wait) => true): Set<unknown> {
  return new Set([...waits].filter(isMeant).map(({ holder }) => holder))
}

/** Something of which there is a number, and the handlers that each hold one. */
interface Thing {
  readonly count: number
  readonly holders: Set<unknown>
}

function hasRun({ holdsRun }: Wait): boolean {
  return holdsRun?.() !== false
}

/** Names of the things of which blocked handlers hold all. */
function stuckAmong(
  things: ReadonlyMap<string, Thing>,
  blocked: ReadonlySet<unknown>,
): ReadonlySet<string> {
  const stuck = new Set<string>()
  for (const [name, { count, holders }] of things) {
    if ([...holders].filter((holder) => blocked.has(holder)).length >= count) stuck.add(name)
  }
  return stuck
}

function runOf(partition: number): string {
  return `run ${partition}`
}

function slotOf(lane: number): string {
  return `slot ${lane}`
}

function groupOf(lane: number, group: string): string {
  return `group ${lane} ${group}`
}

/** A command with a key that may go anywhere has one partition to go to. */
function keyOf(partition: number, key: string): string {
  return `key ${Math.max(partition, 0)} ${key}`
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i)
}
