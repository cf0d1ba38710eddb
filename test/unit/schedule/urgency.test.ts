// Urgency: the rank of one command at the moments that matter. Arbitrary ones are in
// test/property/boost.property.test.ts.

import { expect, test } from 'vitest'
import { PriorityBoostConfig } from '../../../src/model/boost.ts'
import { type LaneOptions, planLane, rankOf } from '../../../src/model/lane.ts'
import { judge, OVERDUE_RANK } from '../../../src/schedule/urgency.ts'

function urgencyOf(lane: LaneOptions, nowMs: number, deadlineMs?: number) {
  const plan = planLane('l', lane)
  const answer = { rank: -1, untilMs: -1 }
  judge(plan, { rank: rankOf(plan.priority, 7), submittedAtMs: 1000, deadlineMs }, nowMs, answer)
  return [answer.rank, answer.untilMs]
}

const standard = { priority: 6, priorityBoost: PriorityBoostConfig.standard(1000) }

test('without a boost and a deadline the rank holds for good, whatever the clock says', () => {
  expect(urgencyOf({ priority: 6 }, 0)).toEqual([rankOf(6, 7), Infinity])
  expect(urgencyOf({ priority: 6 }, 1e9)).toEqual([rankOf(6, 7), Infinity])
})

test('each step comes at its moment and not before', () => {
  expect(urgencyOf(standard, 1000)).toEqual([rankOf(6, 7), 1250])
  expect(urgencyOf(standard, 1249.999)).toEqual([rankOf(6, 7), 1250])
  expect(urgencyOf(standard, 1250)).toEqual([rankOf(5, 7), 1500])
  expect(urgencyOf(standard, 1500)).toEqual([rankOf(4, 7), 1750])
  expect(urgencyOf(standard, 1750)).toEqual([rankOf(3, 7), 1900])
  expect(urgencyOf(standard, 1999.999)).toEqual([rankOf(2, 7), 2000])
  expect(urgencyOf(standard, 2000)).toEqual([OVERDUE_RANK, Infinity])
})

test('a boost never goes below the most urgent lane, and keeps the priority within it', () => {
  const lane = { priority: 3, priorityBoost: PriorityBoostConfig.aggressive(1000) }
  expect(urgencyOf(lane, 1400)).toEqual([rankOf(0, 7), 1600])
})

test('a deadline of its own shrinks and stretches the steps', () => {
  expect(urgencyOf(standard, 1025, 100)).toEqual([rankOf(5, 7), 1050])
  expect(urgencyOf(standard, 1100, 100)).toEqual([OVERDUE_RANK, Infinity])
  expect(urgencyOf(standard, 3499, 10_000)).toEqual([rankOf(6, 7), 3500])
})

test('a deadline without steps makes a command most urgent at once when it has passed', () => {
  expect(urgencyOf({ priority: 6 }, 1099, 100)).toEqual([rankOf(6, 7), 1100])
  expect(urgencyOf({ priority: 6 }, 1100, 100)).toEqual([OVERDUE_RANK, Infinity])
})

test('steps without a deadline are not scaled and the last holds for good', () => {
  const lane = { priority: 6, priorityBoost: { steps: [{ afterMs: 50, by: 2 }] } }
  expect(urgencyOf(lane, 1049)).toEqual([rankOf(6, 7), 1050])
  expect(urgencyOf(lane, 1050)).toEqual([rankOf(4, 7), Infinity])
  expect(urgencyOf(lane, 1050, 100)).toEqual([rankOf(4, 7), 1100])
})

test('steps after the deadline never come', () => {
  const lane = { priority: 6, priorityBoost: { deadlineMs: 40, steps: [{ afterMs: 50, by: 2 }] } }
  expect(urgencyOf(lane, 1030)).toEqual([rankOf(6, 7), 1040])
  expect(urgencyOf(lane, 1045)).toEqual([OVERDUE_RANK, Infinity])
})
