// Waiters: which threads wait for a lane, and how a wake goes from one to the next.
// Owns: the waiters' bits of every lane, a set for idle and one for busy threads. A thread is known
// by the number of its bell: that which takes over from another has a bit of its own.
// The protocol and its lost wake-ups are in README.md beside this file.

import { BellRinger } from './doorbell.ts'
import {
  bellWord,
  bitWords,
  type CommonsLayout,
  type LanePlace,
  OWNER_PARTITIONS,
} from './layout.ts'
import type { CommonsViews } from './views.ts'

/**
 * What a thread writes into words that it owns: unique among the threads of a manager, never 0.
 *
 * @param partition - Index of its partition.
 */
export function ownerOf(partition: number, incarnation: number): number {
  return (incarnation * OWNER_PARTITIONS + partition + 1) | 0
}

/**
 * Joins a set of waiters. Look once more for what is awaited after it.
 *
 * @param words - Of the commons.
 * @param waiters - Where the bits of the set are.
 * @param bell - Number of the bell of the thread that waits.
 */
export function joinWaiters(words: Int32Array, waiters: number, bell: number): void {
  // PUBLISH(lane-waiter): set before the last look; pairs with handOn, which looks after a slot was
  // freed or a timer given up. One of the two sees the other.
  Atomics.or(words, waiters + (bell >> 5), 1 << (bell & 31))
}

/**
 * Whether a thread is in a set of waiters. If it joined and is not, it was woken.
 *
 * @param words - Of the commons.
 * @param waiters - Where the bits of the set are.
 * @param bell - Number of its bell.
 */
export function isWaiting(words: Int32Array, waiters: number, bell: number): boolean {
  // OBSERVE(lane-waiter): cleared by the thread that woke it.
  return (Atomics.load(words, waiters + (bell >> 5)) & (1 << (bell & 31))) !== 0
}

/**
 * Leaves a set of waiters.
 *
 * @param words - Of the commons.
 * @param waiters - Where the bits of the set are.
 * @param bell - Number of the bell of the thread that waited.
 * @returns Whether it was still in the set. False: a wake is on its way to it, which it must pass
 * on unless it takes what it was woken for.
 */
export function leaveWaiters(words: Int32Array, waiters: number, bell: number): boolean {
  const bit = 1 << (bell & 31)
  // OBSERVE(lane-waiter): the thread that clears the bit owns the wake.
  return (Atomics.and(words, waiters + (bell >> 5), ~bit) & bit) !== 0
}

/**
 * Whether any thread waits for a lane.
 *
 * @param words - Of the commons.
 * @param lane - Where the lane's cells are.
 * @param partitions - How many there are.
 */
export function hasWaiters(words: Int32Array, lane: LanePlace, partitions: number): boolean {
  for (let i = 0; i < bitWords(partitions); i++) if (waitingIn(words, lane, i) !== 0) return true
  return false
}

/** The bits of the threads that wait for a lane, of one word of them. */
function waitingIn(words: Int32Array, lane: LanePlace, word: number): number {
  // OBSERVE(lane-waiter): loaded after what is awaited was given back.
  return Atomics.load(words, lane.waiters + word) | Atomics.load(words, lane.busyWaiters + word)
}

/**
 * Wakes threads that wait for a lane: those after the one that hands on, in a circle, up to and
 * with the first idle one. A busy one may not look for long.
 *
 * @param layout - Of the commons.
 * @param lane - Where the lane's cells are.
 * @param after - Number of the bell of the thread that hands on; it is never woken itself.
 */
export function handOn(
  views: CommonsViews,
  layout: CommonsLayout,
  lane: LanePlace,
  after: number,
): void {
  const { words } = views
  const count = bitWords(layout.partitions)
  const own = 1 << (after & 31)
  for (let step = 0; step <= count; step++) {
    const word = ((after >> 5) + step) % count
    // Of its own word those behind it come first, and those before it last.
    const among = step === 0 ? -own << 1 : step === count ? own - 1 : -1
    for (let left = waitingIn(words, lane, word) & among; left !== 0; left &= left - 1) {
      const bell = word * 32 + lowestBit(left)
      const isIdle = leaveWaiters(words, lane.waiters, bell)
      if (isIdle || leaveWaiters(words, lane.busyWaiters, bell)) ring(views, bell)
      if (isIdle) return
    }
  }
}

/**
 * Wakes every thread that waits for a lane. For the death of a thread, which may have been given a
 * wake that it did not pass on.
 *
 * @param layout - Of the commons.
 * @param lane - Where the lane's cells are.
 */
export function wakeAll(views: CommonsViews, layout: CommonsLayout, lane: LanePlace): void {
  const { words } = views
  for (let word = 0; word < bitWords(layout.partitions); word++) {
    // OBSERVE(lane-waiter): the thread that clears a bit owns the wake.
    const idle = Atomics.exchange(words, lane.waiters + word, 0)
    const busy = Atomics.exchange(words, lane.busyWaiters + word, 0)
    for (let left = idle | busy; left !== 0; left &= left - 1) {
      ring(views, word * 32 + lowestBit(left))
    }
  }
}

function ring(views: CommonsViews, bell: number): void {
  new BellRinger(views, bellWord(0, bell)).ring(true)
}

function lowestBit(bits: number): number {
  return 31 - Math.clz32(bits & -bits)
}
