// Waiters: which partitions wait for a lane, and how a wake goes from one to the next.
// Thread: any.   Owns: the waiters' bits of every lane.
// The protocol and its lost wake-ups are in README.md beside this file.

import { BellRinger } from './doorbell.ts'
import { bitWords, type CommonsLayout, type LanePlace, OWNER_PARTITIONS } from './layout.ts'
import type { CommonsViews } from './views.ts'

/**
 * What a thread writes into words that it owns: unique among the threads of a manager, never 0.
 *
 * @param partition - Index of its partition.
 * @param incarnation - Its number.
 */
export function ownerOf(partition: number, incarnation: number): number {
  return (incarnation * OWNER_PARTITIONS + partition + 1) | 0
}

/**
 * Joins the waiters of a lane. Look once more for what is awaited after it.
 *
 * @param words - Of the commons.
 * @param lane - Where the lane's cells are.
 * @param partition - The partition that waits.
 */
export function joinWaiters(words: Int32Array, lane: LanePlace, partition: number): void {
  // PUBLISH(lane-waiter): set before the last look; pairs with handOn, which looks after a slot was
  // freed or a timer given up. One of the two sees the other.
  Atomics.or(words, lane.waiters + (partition >> 5), 1 << (partition & 31))
}

/**
 * Whether a partition is among the waiters of a lane. If it joined and is not, it was woken.
 *
 * @param words - Of the commons.
 * @param lane - Where the lane's cells are.
 * @param partition - The partition.
 */
export function isWaiting(words: Int32Array, lane: LanePlace, partition: number): boolean {
  // OBSERVE(lane-waiter): cleared by whoever woke it.
  return (Atomics.load(words, lane.waiters + (partition >> 5)) & (1 << (partition & 31))) !== 0
}

/**
 * Whether any partition is among the waiters of a lane.
 *
 * @param words - Of the commons.
 * @param lane - Where the lane's cells are.
 * @param partitions - How many there are.
 */
export function hasWaiters(words: Int32Array, lane: LanePlace, partitions: number): boolean {
  for (let i = 0; i < bitWords(partitions); i++) {
    // OBSERVE(lane-waiter): loaded after what is awaited was given back.
    if (Atomics.load(words, lane.waiters + i) !== 0) return true
  }
  return false
}

/**
 * Leaves the waiters of a lane.
 *
 * @param words - Of the commons.
 * @param lane - Where the lane's cells are.
 * @param partition - The partition that waited.
 * @returns Whether it was still among them. False: a wake is on its way to it, which it must pass
 * on unless it takes what it was woken for.
 */
export function leaveWaiters(words: Int32Array, lane: LanePlace, partition: number): boolean {
  const bit = 1 << (partition & 31)
  // OBSERVE(lane-waiter): whoever clears the bit owns the wake.
  return (Atomics.and(words, lane.waiters + (partition >> 5), ~bit) & bit) !== 0
}

/**
 * Wakes the next partition after one that waits for a lane, in a circle, so that none is left out.
 *
 * @param views - The commons.
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
    if (!leaveWaiters(words, lane, partition)) continue
    // OBSERVE(bell-choice): a replacement's bell is chosen before its thread starts.
    const bell = Atomics.load(words, layout.bellChoice + partition)
    new BellRinger(views, bell).ring(true)
    return
  }
}

/**
 * Wakes every partition that waits for a lane. For the death of a thread, which may have been given
 * a wake that it did not pass on.
 *
 * @param views - The commons.
 * @param layout - Of the commons.
 * @param lane - Where the lane's cells are.
 */
export function wakeAll(views: CommonsViews, layout: CommonsLayout, lane: LanePlace): void {
  for (let partition = 0; partition < layout.partitions; partition++) {
    if (!leaveWaiters(views.words, lane, partition)) continue
    // OBSERVE(bell-choice): a replacement's bell is chosen before its thread can join.
    const bell = Atomics.load(views.words, layout.bellChoice + partition)
    new BellRinger(views, bell).ring(true)
  }
}
