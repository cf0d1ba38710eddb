// Region: the shared memory of one partition incarnation, and the two ends made from it.
// Thread: the coordinator creates it, the partition attaches.
// Owns: nothing after construction.
// A replacement thread gets a new region, so nothing a dying thread writes can reach its successor.

import { laneError } from '../base/errors.ts'
import type { AwakeThreads } from './awake-threads.ts'
import { BellRinger, BellSleeper } from './doorbell.ts'
import { CommonsWord, LAYOUT_VERSION, RINGS_OFFSET, regionBytes, Word } from './layout.ts'
import { type RingPlace, RingReader, RingWriter } from './ring.ts'
import { CoordinatorSlots, PartitionSlots } from './slots.ts'
import { type CommonsViews, type SharedMemory, type Views, viewsOf } from './views.ts'

function commandPlace(views: Views): RingPlace {
  return {
    offset: RINGS_OFFSET,
    bytes: views.words[Word.COMMAND_RING_BYTES]!,
    tailWord: Word.COMMAND_TAIL,
    headWord: Word.COMMAND_HEAD,
  }
}

function resultPlace(views: Views): RingPlace {
  return {
    offset: RINGS_OFFSET + views.words[Word.COMMAND_RING_BYTES]!,
    bytes: views.words[Word.RESULT_RING_BYTES]!,
    tailWord: Word.RESULT_TAIL,
    headWord: Word.RESULT_HEAD,
  }
}

function attach(memory: SharedMemory): Views {
  const views = viewsOf(memory)
  const version = views.words[0]
  if (version !== LAYOUT_VERSION) {
    throw laneError('CORELANE_LAYOUT_MISMATCH', { received: version, expected: LAYOUT_VERSION })
  }
  return views
}

/**
 * Allocates a region.
 *
 * @param commandRingBytes - A power of two.
 * @param resultRingBytes - A power of two.
 */
export function createRegion(commandRingBytes: number, resultRingBytes: number): SharedMemory {
  const memory = new SharedArrayBuffer(regionBytes(commandRingBytes, resultRingBytes))
  const { words } = viewsOf(memory)
  words[Word.VERSION] = LAYOUT_VERSION
  words[Word.COMMAND_RING_BYTES] = commandRingBytes
  words[Word.RESULT_RING_BYTES] = resultRingBytes
  return memory
}

/** What the coordinator does with a region. */
export class CoordinatorEnd {
  readonly views: Views
  readonly commands: RingWriter
  readonly results: RingReader
  readonly slots: CoordinatorSlots
  readonly bell: BellRinger
  readonly #resultBytes: number

  /**
   * @param region - Made by {@link createRegion}.
   * @param bell - Of the partition's thread.
   */
  constructor(region: SharedMemory, bell: BellRinger) {
    this.views = attach(region)
    const results = resultPlace(this.views)
    this.commands = new RingWriter(this.views, commandPlace(this.views))
    this.results = new RingReader(this.views, results)
    this.slots = new CoordinatorSlots(this.views)
    this.bell = bell
    this.#resultBytes = results.bytes
  }

  /** Share of the command ring that is in use, 0 to 1. */
  get commandRingFill(): number {
    return 1 - this.commands.freeBytes() / this.views.words[Word.COMMAND_RING_BYTES]!
  }

  /** Share of the result ring that is in use, 0 to 1. */
  get resultRingFill(): number {
    return this.results.waitingBytes / this.#resultBytes
  }

  /**
   * Wakes a partition that waits for room for its results, once half the ring is free.
   *
   * @returns Whether it waited and there is room now.
   */
  grantSpace(): boolean {
    // OBSERVE(space-wanted): loaded after the head was stored, so either this sees the wish or the
    // partition's re-check sees the room.
    if (Atomics.load(this.views.words, Word.SPACE_WANTED) === 0) return false
    if (this.results.waitingBytes > this.#resultBytes / 2) return false
    // PUBLISH(space-granted): cleared before the ring, so that a new wish is not wiped out.
    Atomics.store(this.views.words, Word.SPACE_WANTED, 0)
    this.bell.ring(true)
    return true
  }
}

/** What the partition does with a region and its manager's commons. */
export class PartitionEnd {
  readonly views: Views
  readonly commands: RingReader
  readonly results: RingWriter
  readonly slots: PartitionSlots
  readonly coordinatorBell: BellRinger
  readonly bell: BellSleeper

  /**
   * @param region - Made by {@link createRegion}.
   * @param bell - Int32 index of this thread's bell in the commons.
   * @param onWake - Called when the coordinator rings.
   * @param awake - Counts this thread while it is awake.
   * @throws LaneError `CORELANE_LAYOUT_MISMATCH` if another version made the memory.
   */
  constructor(
    region: SharedMemory,
    commons: CommonsViews,
    bell: number,
    onWake: () => void,
    awake?: AwakeThreads,
  ) {
    this.views = attach(region)
    this.commands = new RingReader(this.views, commandPlace(this.views))
    this.results = new RingWriter(this.views, resultPlace(this.views))
    this.slots = new PartitionSlots(this.views)
    this.coordinatorBell = new BellRinger(commons, CommonsWord.BELL)
    this.bell = new BellSleeper(commons, bell, onWake, awake)
  }

  /** Asks the coordinator to ring once half the result ring is free; re-check for room after it. */
  wantSpace(): void {
    // PUBLISH(space-wanted): stored before the re-check for room; pairs with grantSpace.
    // OBSERVE(space-granted): the coordinator clears it before it rings.
    Atomics.store(this.views.words, Word.SPACE_WANTED, 1)
  }
}
