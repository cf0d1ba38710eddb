import { expect, test } from 'vitest'
import { type LaneOptions, planLane } from '../../../src/model/lane.ts'
import { type Admission, type Schedulable, Scheduler } from '../../../src/schedule/scheduler.ts'
import { OVERDUE_RANK } from '../../../src/schedule/urgency.ts'

type Item = Schedulable

const ALL: Admission<Item> = { isUnderMin: () => false, admits: () => true }

function schedulerOf(...lanes: LaneOptions[]): Scheduler<Item> {
  return new Scheduler<Item>(lanes.map((options, i) => planLane(`lane${i}`, options)))
}

function item(laneIndex: number, rank: number, sequence: number): Item {
  return { laneIndex, rank, sequence, submittedAtMs: 0, deadlineMs: undefined }
}

function sequences(items: readonly Item[]): number[] {
  return items.map(({ sequence }) => sequence)
}

test('an empty scheduler has nothing to run', () => {
  const scheduler = schedulerOf({}, {})
  expect(scheduler.size).toBe(0)
  expect(scheduler.frontRank(0)).toBeUndefined()
  expect(scheduler.next(ALL, 0)).toBeUndefined()
  expect(scheduler.takeAll(0)).toEqual([])
})

test('the most urgent item runs next whatever its lane, the oldest among equals', () => {
  const scheduler = schedulerOf({}, {}, {})
  for (const [lane, rank, sequence] of [
    [2, 7, 1],
    [0, 7, 2],
    [1, 3, 3],
    [2, 7, 0],
    [0, 9, 4],
  ] as const) {
    scheduler.offer(item(lane, rank, sequence), 0)
  }
  expect(scheduler.frontRank(0)).toBe(3)
  expect(sequences(scheduler.takeAll(0))).toEqual([3, 0, 1, 2, 4])
})

test('it tells whether an item is the front of its lane', () => {
  const scheduler = schedulerOf({}, {})
  const [first, second, other] = [item(0, 5, 1), item(0, 5, 2), item(1, 9, 3)]
  for (const each of [second, first, other]) scheduler.offer(each, 0)
  expect([first, second, other].map((each) => scheduler.isFront(each, 0))).toEqual([
    true,
    false,
    true,
  ])
})

test('it counts what waits, in all and per lane', () => {
  const scheduler = schedulerOf({}, {})
  for (const [lane, sequence] of [
    [0, 1],
    [1, 2],
    [1, 3],
  ] as const) {
    scheduler.offer(item(lane, 1, sequence), 0)
  }
  expect([scheduler.size, scheduler.sizeOf(0), scheduler.sizeOf(1)]).toEqual([3, 1, 2])
  scheduler.next(ALL, 0)
  expect([scheduler.size, scheduler.sizeOf(0), scheduler.sizeOf(1)]).toEqual([2, 0, 2])
})

test('a lane that was emptied takes part again once it holds something', () => {
  const scheduler = schedulerOf({}, {})
  for (let round = 0; round < 3; round++) {
    scheduler.offer(item(0, 2, 10 * round), 0)
    scheduler.offer(item(1, 1, 10 * round + 1), 0)
    expect(sequences(scheduler.takeAll(0))).toEqual([10 * round + 1, 10 * round])
  }
})

test('a lane whose front is not admitted is passed over, once a call, and keeps its order', () => {
  const scheduler = schedulerOf({}, {})
  scheduler.offer(item(0, 1, 1), 0)
  scheduler.offer(item(0, 1, 2), 0)
  scheduler.offer(item(1, 5, 3), 0)
  const asked: number[] = []
  const others: Admission<Item> = {
    isUnderMin: () => false,
    admits: ({ laneIndex, sequence }, rank) => {
      asked.push(sequence, rank)
      return laneIndex !== 0
    },
  }
  expect(scheduler.next(others, 0)!.sequence).toBe(3)
  expect(scheduler.next(others, 0)).toBeUndefined()
  expect(asked).toEqual([1, 1, 3, 5, 1, 1])
  expect(sequences(scheduler.takeAll(0))).toEqual([1, 2])
})

test('lanes under their minimum go before others, among themselves the most urgent first', () => {
  const scheduler = schedulerOf({}, { minConcurrency: 1 }, { minConcurrency: 1 })
  scheduler.offer(item(0, 0, 1), 0)
  scheduler.offer(item(2, 9, 2), 0)
  scheduler.offer(item(1, 3, 3), 0)
  const under = (...lanes: number[]): Admission<Item> => ({
    isUnderMin: (laneIndex) => lanes.includes(laneIndex),
    admits: () => true,
  })
  expect(scheduler.next(under(1, 2), 0)!.sequence).toBe(3)
  expect(scheduler.next(under(1, 2), 0)!.sequence).toBe(2)
  expect(scheduler.next(under(1, 2), 0)!.sequence).toBe(1)
})

test('it tells when the order may change by itself', () => {
  const boost = { deadlineMs: 100, steps: [{ afterMs: 50, by: 4 }] }
  const scheduler = schedulerOf({}, { priority: 5, priorityBoost: boost })
  scheduler.offer(item(0, 5 * 256, 1), 0)
  expect(scheduler.changesAtMs).toBe(Number.POSITIVE_INFINITY)
  scheduler.offer(item(1, 5 * 256, 2), 0)
  expect(scheduler.changesAtMs).toBe(50)
  scheduler.frontRank(50)
  expect(scheduler.changesAtMs).toBe(100)
  scheduler.takeAll(50)
  expect(scheduler.changesAtMs).toBe(Number.POSITIVE_INFINITY)
})

test('as time goes on an item is boosted past others, and past its deadline before all', () => {
  const boost = { deadlineMs: 100, steps: [{ afterMs: 50, by: 4 }] }
  const scheduler = schedulerOf({ priority: 3 }, { priority: 5, priorityBoost: boost })
  const fill = () => {
    scheduler.offer(item(0, 3 * 256, 1), 0)
    scheduler.offer({ ...item(1, 5 * 256, 2), submittedAtMs: 0 }, 0)
  }
  for (const [nowMs, rank, order] of [
    [0, 3 * 256, [1, 2]],
    [49, 3 * 256, [1, 2]],
    [50, 1 * 256, [2, 1]],
    [100, OVERDUE_RANK, [2, 1]],
  ] as const) {
    fill()
    expect(scheduler.frontRank(nowMs)).toBe(rank)
    expect(sequences(scheduler.takeAll(nowMs))).toEqual(order)
  }
})

test('items that are removed leave the others in their places', () => {
  const scheduler = schedulerOf({}, {})
  for (let sequence = 0; sequence < 6; sequence++) {
    scheduler.offer(item(sequence % 2, 5 - (sequence % 3), sequence), 0)
  }
  scheduler.retain(({ sequence }) => sequence !== 2 && sequence !== 3, 0)
  expect(scheduler.size).toBe(4)
  expect(sequences(scheduler.takeAll(0))).toEqual([5, 1, 4, 0])
})
