// Boost: the three ready-made forms and the rules of the plain form.

import { expect, test } from 'vitest'
import { PriorityBoostConfig } from '../../../src/model/boost.ts'
import { planLane } from '../../../src/model/lane.ts'
import { range } from '../../support/range.ts'

const stepsOf = (...steps: [afterMs: number, by: number][]) =>
  steps.map(([afterMs, by]) => ({ afterMs, by }))

test('the standard boost steps at 25, 50, 75 and 90 % of the deadline by one each', () => {
  const steps = stepsOf([15_000, 1], [30_000, 2], [45_000, 3], [54_000, 4])
  expect(PriorityBoostConfig.standard(60_000)).toEqual({ deadlineMs: 60_000, steps })
})

test('the aggressive boost steps at 20, 40, 60 and 80 % of the deadline by two each', () => {
  const steps = stepsOf([6_000, 2], [12_000, 4], [18_000, 6], [24_000, 8])
  expect(PriorityBoostConfig.aggressive(30_000)).toEqual({ deadlineMs: 30_000, steps })
})

test('a custom boost steps by one at each point, in order of time whatever the order given', () => {
  const points = [90_000, 30_000, 60_000]
  const { deadlineMs, steps } = PriorityBoostConfig.custom(120_000, points)
  expect(deadlineMs).toBe(120_000)
  expect(steps).toEqual(stepsOf([30_000, 1], [60_000, 2], [90_000, 3]))
  expect(points).toEqual([90_000, 30_000, 60_000])
  expect(PriorityBoostConfig.custom(1000, []).steps).toEqual([])
})

test('a disabled boost has neither a deadline nor steps', () => {
  const plan = planLane('l', { priorityBoost: PriorityBoostConfig.disabled() })
  expect([plan.deadlineMs, plan.boostSteps]).toEqual([undefined, []])
})

test('a boost cannot be changed', () => {
  const boost = PriorityBoostConfig.standard(1000)
  expect(Object.isFrozen(boost)).toBe(true)
  expect(Object.isFrozen(boost.steps)).toBe(true)
  expect(boost.steps.every((step) => Object.isFrozen(step))).toBe(true)
})

test.each([[[-1]], [[Number.NaN]], [[2 ** 31]], ['soon'], [undefined]])(
  'custom points that are no array of milliseconds are refused: %o',
  (points) => {
    expect(() => PriorityBoostConfig.custom(1000, points as never)).toThrow(
      /PriorityBoostConfig.custom.pointsMs/,
    )
  },
)

test.each([0, 0.5, 2 ** 31, Number.NaN, '1000', -5])(
  'a deadline of %o is refused',
  (deadlineMs) => {
    expect(() => planLane('l', { priorityBoost: { deadlineMs: deadlineMs as number } })).toThrow(
      /lanes\.l\.priorityBoost\.deadlineMs/,
    )
    expect(() =>
      planLane('l', { priorityBoost: PriorityBoostConfig.standard(deadlineMs as number) }),
    ).toThrow(/lanes\.l\.priorityBoost/)
  },
)

test.each([
  ['that descend in time', stepsOf([2, 1], [1, 2])],
  ['that descend in strength', stepsOf([1, 2], [2, 1])],
  ['that weaken', stepsOf([1, -1])],
  ['by fractions', stepsOf([1, 0.5])],
  ['that are none', [undefined]],
  ['of more than 64', range(65).map((i) => ({ afterMs: i, by: i }))],
  ['in no array', {}],
])('steps %s are refused', (_what, steps) => {
  expect(() => planLane('l', { priorityBoost: { steps: steps as never } })).toThrow(
    /lanes\.l\.priorityBoost\.steps/,
  )
})
