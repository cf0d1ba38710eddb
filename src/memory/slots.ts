// Slots: one word per bound command that alone decides who owns it.
// Thread: the coordinator holds one end, the partition the other.
// Owns: the slot words of a region.
//
// ```
//  QUEUED ──partition, just before the handler──► RUNNING
//    └──coordinator──► REVOKED                        └──coordinator──► RUNNING + ABORT
// ```
//
// The record in the result ring ends either state. There is no word for "done": a store after the
// result's tail would race with the coordinator, which may have given the slot to a new command.
// A word holds the slot's generation and the state, so a late step of an earlier command in the
// same slot fails. An id is generation << 10 | slot.

import { SLOT_BITS, SLOT_COUNT, Word } from './layout.ts'
import type { Views } from './views.ts'

/** States of a slot word, in its low bits. */
export const SlotState = Object.freeze({ FREE: 0, QUEUED: 1, RUNNING: 2, REVOKED: 3 })

/** State of a slot word. */
export type SlotStateValue = (typeof SlotState)[keyof typeof SlotState]

const STATE_BITS = 4
const STATE_MASK = 3
/** Beside RUNNING: the command has settled; its result is dropped. */
const ABORT = 4
const GENERATION_MASK = (1 << (32 - SLOT_BITS)) - 1

/**
 * The slot that an id names.
 *
 * @param id - A command id.
 */
export function slotOf(id: number): number {
  return id & (SLOT_COUNT - 1)
}

function wordOf(id: number, state: number): number {
  return ((id >>> SLOT_BITS) << STATE_BITS) | state
}

/** Whole milliseconds as an Int32 that is not negative: 24 days at most. */
function wholeMs(ms: number): number {
  return Math.min(Math.max(0, ms), 2 ** 31 - 2)
}

/** The coordinator's end: hands out ids, queues, revokes. */
export class CoordinatorSlots {
  readonly #words: Int32Array<SharedArrayBuffer>
  readonly #floats: Float64Array<SharedArrayBuffer>
  readonly #free: Uint16Array
  readonly #generations: Uint32Array
  #freeCount = SLOT_COUNT

  constructor(views: Views) {
    this.#words = views.words
    this.#floats = views.floats
    this.#free = Uint16Array.from({ length: SLOT_COUNT }, (_, index) => SLOT_COUNT - 1 - index)
    this.#generations = new Uint32Array(SLOT_COUNT)
  }

  /** Slots that can still be opened. */
  get freeCount(): number {
    return this.#freeCount
  }

  /**
   * Takes a free slot and marks its command queued. At least one must be free.
   *
   * @returns The command's id.
   */
  open(): number {
    const slot = this.#free[--this.#freeCount]!
    const generation = (this.#generations[slot]! + 1) & GENERATION_MASK
    this.#generations[slot] = generation
    const id = (generation << SLOT_BITS) | slot
    // Plain stores: the tail of the command ring is published after them and carries them across.
    this.#words[Word.SLOTS + slot] = wordOf(id, SlotState.QUEUED)
    this.#words[Word.CREDITS + slot] = 0
    this.#words[Word.PAUSES + slot] = 0
    return id
  }

  /**
   * Whether an id is that of its slot's present command.
   *
   * @param id - Read from a result record.
   */
  isCurrent(id: number): boolean {
    return this.#generations[slotOf(id)] === id >>> SLOT_BITS
  }

  /**
   * Takes a command back that has not started.
   *
   * @param id - A command that is open.
   * @returns Whether it will never start. False: it runs or has ended.
   */
  revoke(id: number): boolean {
    const queued = wordOf(id, SlotState.QUEUED)
    const word = Word.SLOTS + slotOf(id)
    // PUBLISH(slot-state): races with PartitionSlots.start; exactly one of the two swaps succeeds.
    return (
      Atomics.compareExchange(this.#words, word, queued, wordOf(id, SlotState.REVOKED)) === queued
    )
  }

  /**
   * The state of a command. Stale at once, but RUNNING and REVOKED never go back to QUEUED.
   *
   * @param id - A command that is open.
   */
  stateOf(id: number): SlotStateValue {
    // OBSERVE(slot-state): final once the partition's thread has exited.
    return (Atomics.load(this.#words, Word.SLOTS + slotOf(id)) & STATE_MASK) as SlotStateValue
  }

  /**
   * When a command was started. Only for one whose state is RUNNING.
   *
   * @param id - A command that is open.
   * @returns Monotonic milliseconds.
   */
  startedAtMs(id: number): number {
    return this.#floats[Word.STARTS / 2 + slotOf(id)]!
  }

  /**
   * When a run would have started had it never paused. Only for one whose state is RUNNING.
   *
   * @param id - A command that is open.
   * @param nowMs - Monotonic milliseconds; the time of a run that is paused stands still.
   */
  runsSinceMs(id: number, nowMs: number): number {
    const pauses = this.#pausesOf(id)
    return pauses < 0 ? nowMs + 1 + pauses : this.startedAtMs(id) + pauses
  }

  /**
   * Whether a stream waits for its reader or for room. Stale at once.
   *
   * @param id - A command that is open.
   */
  isPaused(id: number): boolean {
    return this.#pausesOf(id) < 0
  }

  #pausesOf(id: number): number {
    // OBSERVE(run-pause): of the present run, since the slot was cleared when it was opened.
    return Atomics.load(this.#words, Word.PAUSES + slotOf(id))
  }

  /**
   * Aborts the signal of a running command's handler.
   *
   * @param id - A command that is open.
   * @returns Whether it had been started.
   */
  abort(id: number): boolean {
    const running = wordOf(id, SlotState.RUNNING)
    const word = Word.SLOTS + slotOf(id)
    // PUBLISH(slot-abort): a partition that started the command never writes its word again.
    return Atomics.compareExchange(this.#words, word, running, running | ABORT) === running
  }

  /**
   * Lets the producer of a stream go on. Ring its bell after it.
   *
   * @param id - A command that is open.
   * @param credit - Units consumed so far, modulo 2^32.
   */
  grant(id: number, credit: number): void {
    // PUBLISH(stream-credit): stored before the bell is looked at; pairs with creditOf.
    Atomics.store(this.#words, Word.CREDITS + slotOf(id), credit | 0)
  }

  /**
   * Gives a slot back once the partition has no trace of its command.
   *
   * @param id - A command whose record came back.
   */
  close(id: number): void {
    this.#free[this.#freeCount++] = slotOf(id)
  }
}

/** The partition's end: starts commands. */
export class PartitionSlots {
  readonly #words: Int32Array<SharedArrayBuffer>
  readonly #floats: Float64Array<SharedArrayBuffer>

  constructor(views: Views) {
    this.#words = views.words
    this.#floats = views.floats
  }

  /**
   * Whether the coordinator took a command back. False may be stale at once; true is final.
   *
   * @param id - A command that was bound.
   */
  isRevoked(id: number): boolean {
    // OBSERVE(slot-state): a revocation after this is found by start.
    return Atomics.load(this.#words, Word.SLOTS + slotOf(id)) === wordOf(id, SlotState.REVOKED)
  }

  /**
   * Takes a command just before its handler is entered.
   *
   * @param id - A queued command.
   * @param startedAtMs - The moment, for the coordinator to measure its time-out from.
   * @returns Whether it may run. False: the coordinator took it back.
   */
  start(id: number, startedAtMs: number): boolean {
    // A plain store: the swap below carries it across.
    this.#floats[Word.STARTS / 2 + slotOf(id)] = startedAtMs
    const queued = wordOf(id, SlotState.QUEUED)
    const word = Word.SLOTS + slotOf(id)
    // OBSERVE(slot-state): races with CoordinatorSlots.revoke; exactly one of the two swaps
    // succeeds.
    return (
      Atomics.compareExchange(this.#words, word, queued, wordOf(id, SlotState.RUNNING)) === queued
    )
  }

  /**
   * Whether a running command has settled, so that its result is dropped.
   *
   * @param id - A command that was started.
   */
  isAborted(id: number): boolean {
    const aborted = wordOf(id, SlotState.RUNNING) | ABORT
    // OBSERVE(slot-abort): final once it is true.
    return Atomics.load(this.#words, Word.SLOTS + slotOf(id)) === aborted
  }

  /**
   * Units of a stream that were consumed, modulo 2^32.
   *
   * @param id - A command that was started.
   */
  creditOf(id: number): number {
    // OBSERVE(stream-credit): looked at again after the partition announced that it sleeps.
    return Atomics.load(this.#words, Word.CREDITS + slotOf(id))
  }

  /**
   * Notes that a stream waits from now on, so that its time stands still.
   *
   * @param id - A command that was started.
   * @param ranMs - How long it has run, its pauses not counted.
   */
  pause(id: number, ranMs: number): void {
    // PUBLISH(run-pause): a negative word says how long a paused run has run. Rounded so that no
    // run looks longer than it is.
    Atomics.store(this.#words, Word.PAUSES + slotOf(id), -1 - wholeMs(Math.floor(ranMs)))
  }

  /**
   * Notes that a stream goes on.
   *
   * @param id - A command that was paused.
   * @param pausedMs - How long it has paused, in all.
   */
  resume(id: number, pausedMs: number): void {
    // PUBLISH(run-pause): stored before its generator is entered again.
    Atomics.store(this.#words, Word.PAUSES + slotOf(id), wholeMs(Math.ceil(pausedMs)))
  }
}
