// Waiters: which partitions wait for a lane, and how a wake goes from one to the next.
// Owns: the waiters' bits of every lane, a set for idle and one for busy partitions.
// The protocol and its lost wake-ups are in README.md beside this file.

import { BellRinger } from './doorbell.ts'
import { bitWords, type CommonsLayout, type LanePlace, OWNER_PARTITIONS } from './layout.ts'
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
 * @param partition - The partition that waits.
 */
export function joinWaiters(words: Int32Array, waiters: number, partition: number): void {
  // PUBLISH(lane-waiter): set before the last look; pairs with handOn, which looks after a slot was
  // freed or a timer given up. One of the two sees the other.
  Atomics.or(words, waiters + (partition >> 5), 1 << (partition & 31))
}

/**
 * Whether a partition is in a set of waiters. If it joined and is not, it was woken.
 *
 * @param words - Of the commons.
 * @param waiters - Where the bits of the set are.
 */
export function isWaiting(words: Int32Array, waiters: number, partition: number): boolean {
  // OBSERVE(lane-waiter): cleared by the thread that woke it.
  return (Atomics.load(words, waiters + (partition >> 5)) & (1 << (partition & 31))) !== 0
}

/**
 * Leaves a set of waiters.
 *
 * @param words - Of the commons.
 * @param waiters - Where the bits of the set are.
 * @param partition - The partition that waited.
 * @returns Whether it was still in the set. False: a wake is on its way to it, which it must pass
 * on unless it takes what it was woken for.
 */
export function leaveWaiters(words: Int32Array, waiters: number, partition: number): boolean {
  const bit = 1 << (partition & 31)
  // OBSERVE(lane-waiter): the thread that clears the bit owns the wake.
  return (Atomics.and(words, waiters + (partition >> 5), ~bit) & bit) !== 0
}

/**
 * Whether any partition waits for a lane.
 *
 * @param words - Of the commons.
 * @param lane - Where the lane's cells are.
 * @param partitions - How many there are.
 */
export function hasWaiters(words: Int32Array, lane: LanePlace, partitions: number): boolean {
  for (let i = 0; i < bitWords(partitions); i++) {
    // OBSERVE(lane-waiter): loaded after what is awaited was given back.
    if (Atomics.load(words, lane.waiters + i) !== 0) return true
    if (Atomics.load(words, lane.busyWaiters + i) !== 0) return true
  }
  return false
}

/**
 * Wakes partitions that wait for a lane: those after the one that hands on, in a circle, up to and
 * with the first idle one. A busy one may not look for long.
 *
 * @param layout - Of the commons.
 * @param lane - Where the lane's cells are.
 * @param after - Index of the partition that hands on; it is never woken itself.
 */
export function handOn(
  views: CommonsViews,
  layout: CommonsLayout,
  lane: LanePlace,
  after: number,
): void {
  const { words } = views
  const { partitions } = layout
  if (!hasWaiters(words, lane, partitions)) return
  for (let step = 1; step < partitions; step++) {
    const partition = (after + step) % partitions
    const isIdle = leaveWaiters(words, lane.waiters, partition)
    if (isIdle || leaveWaiters(words, lane.busyWaiters, partition)) ring(views, layout, partition)
    if (isIdle) return
  }
}

/**
 * Wakes every partition that waits for a lane. For the death of a thread, which may have been given
 * a wake that it did not pass on.
 *
 * @param layout - Of the commons.
 * @param lane - Where the lane's cells are.
 */
export function wakeAll(views: CommonsViews, layout: CommonsLayout, lane: LanePlace): void {
  for (let partition = 0; partition < layout.partitions; partition++) {
    const isIdle = leaveWaiters(views.words, lane.waiters, partition)
    const isBusy = leaveWaiters(views.words, lane.busyWaiters, partition)
    if (isIdle || isBusy) ring(views, layout, partition)
  }
}

function ring(views: CommonsViews, layout: CommonsLayout, partition: number): void {
  // OBSERVE(bell-choice): a replacement's bell is chosen before its thread can join.
  const bell = Atomics.load(views.words, layout.bellChoice + partition)
  new BellRinger(views, bell).ring(true)
}
