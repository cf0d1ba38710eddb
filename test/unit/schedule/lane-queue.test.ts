// Lane queue: its edges. Arbitrary ones are in test/property/lane-queue.property.test.ts.

import { expect, test } from 'vitest'
import { planLane, rankOf } from '../../../src/model/lane.ts'
import { LaneQueue, type Queueable } from '../../../src/schedule/lane-queue.ts'

const lane = planLane('l', { priority: 5 })
const command = (sequence: number, others: Partial<Queueable> = {}): Queueable => ({
  rank: rankOf(5, 128),
  sequence,
  submittedAtMs: 0,
  deadlineMs: undefined,
  ...others,
})

test('an empty queue has no front, and nothing changes by itself', () => {
  const queue = new LaneQueue<Queueable>(lane)
  expect([queue.size, queue.front(0), queue.peek()]).toEqual([0, undefined, undefined])
  expect(queue.changesAtMs).toBe(Infinity)
})

test('the front of a lane without deadlines never changes by itself', () => {
  const queue = new LaneQueue<Queueable>(lane)
  queue.offer(command(0), 0)
  expect(queue.changesAtMs).toBe(Infinity)
  queue.offer(command(1, { deadlineMs: 70 }), 0)
  expect(queue.changesAtMs).toBe(70)
  expect(queue.front(69)?.sequence).toBe(0)
  expect(queue.front(70)?.sequence).toBe(1)
  expect(queue.changesAtMs).toBe(Infinity)
})

test('a command that comes back takes the place of its age', () => {
  const queue = new LaneQueue<Queueable>(lane)
  for (const sequence of [0, 1, 2]) queue.offer(command(sequence), 0)
  queue.front(0)
  const first = queue.take(0)
  expect(queue.peek()?.sequence).toBe(1)
  queue.offer(first, 0)
  expect(queue.peek()).toBe(first)
})

test('commands with many different deadlines leave nothing behind', () => {
  const queue = new LaneQueue<Queueable>(lane)
  for (let sequence = 0; sequence < 20_000; sequence++) {
    queue.offer(command(sequence, { deadlineMs: 1 + sequence / 8 }), 0)
  }
  let taken = 0
  while (queue.front(1e6) !== undefined) {
    expect(queue.take(1e6).sequence).toBe(taken++)
  }
  expect([taken, queue.size, queue.changesAtMs]).toEqual([20_000, 0, Infinity])
})
