// Commons: the memory that all threads of a manager share, and what the coordinator does with it.
// Thread: main creates it; partitions attach.   Owns: the coordinator's view on bells and lanes.

import { laneError } from '../base/errors.ts'
import { BellRinger, BellSleeper } from './doorbell.ts'
import {
  bellWord,
  type CommonsLayout,
  CommonsWord,
  CURSOR_WORDS,
  LAYOUT_VERSION,
  type LaneCells,
  layOutCommons,
} from './layout.ts'
import { type RateCells, rateCells } from './rate-cells.ts'
import type { CommonsViews, SharedMemory } from './views.ts'
import { handOn, leaveWaiters, ownerOf } from './waiters.ts'

/** The commons, seen by any thread. */
export interface AttachedCommons {
  readonly views: CommonsViews
  readonly layout: CommonsLayout
}

/**
 * Maps the commons.
 *
 * @param memory - Made by {@link CoordinatorCommons}.
 * @param partitions - How many there are.
 * @param lanes - What each lane needs.
 * @throws LaneError `CORELANE_LAYOUT_MISMATCH` if another version made the memory.
 */
export function attachCommons(
  memory: SharedMemory,
  partitions: number,
  lanes: readonly LaneCells[],
): AttachedCommons {
  const views = { words: new Int32Array(memory), stamps: new BigInt64Array(memory) }
  const received = views.words[CommonsWord.VERSION]
  if (received !== LAYOUT_VERSION) {
    throw laneError('CORELANE_LAYOUT_MISMATCH', { received, expected: LAYOUT_VERSION })
  }
  return { views, layout: layOutCommons(partitions, lanes) }
}

/** What the coordinator does with the commons. */
export class CoordinatorCommons {
  /** To be sent to the threads. */
  readonly memory: SharedMemory
  readonly #views: CommonsViews
  readonly #layout: CommonsLayout
  readonly #lanes: readonly LaneCells[]
  /** Global limits, by lane; undefined where there is none or each partition has its own. */
  readonly #rates: readonly (RateCells | undefined)[]

  /**
   * @param partitions - How many there are.
   * @param lanes - What each lane needs.
   */
  constructor(partitions: number, lanes: readonly LaneCells[]) {
    this.memory = new SharedArrayBuffer(layOutCommons(partitions, lanes).words * 4)
    new Int32Array(this.memory)[CommonsWord.VERSION] = LAYOUT_VERSION
    const { views, layout } = attachCommons(this.memory, partitions, lanes)
    this.#views = views
    this.#layout = layout
    this.#lanes = lanes
    this.#rates = lanes.map(({ rate }, index) =>
      rate === undefined || rate.isPerPartition
        ? undefined
        : rateCells(views, layout.lanes[index]!, rate, 0, CURSOR_WORDS),
    )
  }

  /**
   * The coordinator's own bell.
   *
   * @param onWake - Called when a partition rings.
   */
  sleeper(onWake: () => void): BellSleeper {
    return new BellSleeper(this.#views, CommonsWord.BELL, onWake)
  }

  /**
   * The bell of a thread that is about to start; other partitions ring this one from now on.
   *
   * @param partition - Its partition's index.
   * @param incarnation - Its number.
   */
  openBell(partition: number, incarnation: number): BellRinger {
    const word = bellWord(partition, incarnation)
    // PUBLISH(bell-choice): pairs with handOn; nobody sleeps on this bell yet.
    Atomics.store(this.#views.words, word, 0)
    Atomics.store(this.#views.words, this.#layout.bellChoice + partition, word)
    return new BellRinger(this.#views, word)
  }

  /**
   * Whether handlers' starts are to be reported.
   *
   * @param isListening - Whether anybody wants to know.
   */
  listen(isListening: boolean): void {
    // PUBLISH(start-listeners): partitions look before each start; a start in between goes
    // unreported.
    Atomics.store(this.#views.words, CommonsWord.LISTENERS, isListening ? 1 : 0)
  }

  /**
   * How many slots of a lane are free. Stale at once.
   *
   * @param laneIndex - The lane.
   * @returns Infinity if its slots are not accounted.
   */
  freeSlots(laneIndex: number): number {
    const { owners, ownerCount } = this.#layout.lanes[laneIndex]!
    if (ownerCount === 0) return Number.POSITIVE_INFINITY
    let free = 0
    for (let i = 0; i < ownerCount; i++) {
      // OBSERVE(lane-slot): taken or freed at any moment.
      if (Atomics.load(this.#views.words, owners + i) === 0) free++
    }
    return free
  }

  /**
   * How many commands of a lane one partition could start within a moment, as far as its rate
   * allows.
   *
   * @param laneIndex - The lane.
   * @param nowNs - Monotonic nanoseconds.
   * @param aheadMs - Length of that moment.
   * @returns Infinity if its rate is not limited.
   */
  startsAhead(laneIndex: number, nowNs: bigint, aheadMs: number): number {
    const { rate } = this.#lanes[laneIndex]!
    if (rate === undefined) return Number.POSITIVE_INFINITY
    const refill = Math.ceil((rate.limit * aheadMs) / rate.windowMs)
    const ready = this.#rates[laneIndex]?.available(nowNs)
    // What is ready now is shared by all partitions; what is to come any of them may get.
    const share = ready === undefined ? rate.limit : Math.ceil(ready / this.#layout.partitions)
    return share + refill
  }

  /**
   * Gives back what a thread that has exited held: slots, its place among the waiters, and a wake
   * it was given and can no longer pass on. Each slot is freed once: its word names its owner.
   *
   * @param partition - Its partition's index.
   * @param incarnation - Its number.
   */
  reclaim(partition: number, incarnation: number): void {
    const owner = ownerOf(partition, incarnation)
    const { words } = this.#views
    for (const lane of this.#layout.lanes) {
      for (let i = 0; i < lane.ownerCount; i++) {
        // PUBLISH(lane-slot): frees a slot as its owner would have.
        Atomics.compareExchange(words, lane.owners + i, owner, 0)
      }
      // PUBLISH(lane-running): the dead thread was the only writer.
      Atomics.store(words, lane.running + partition, 0)
      // PUBLISH(lane-timer): nobody waits for the next token any more.
      Atomics.compareExchange(words, lane.timer, owner, 0)
      leaveWaiters(words, lane, partition)
      handOn(this.#views, this.#layout, lane, partition)
    }
  }
}
