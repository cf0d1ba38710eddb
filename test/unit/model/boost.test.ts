// Boost: the three ready-made forms and the rules of the plain form.

import { expect, test } from 'vitest'
import { PriorityBoostConfig } from '../../../src/model/boost.ts'
import { planLane } from '../../../src/model/lane.ts'

test('the standard boost steps at 25, 50, 75 and 90 % of the deadline by one each', () => {
  expect(PriorityBoostConfig.standard(60_000)).toEqual({
    deadlineMs: 60_000,
    steps: [
      { afterMs: 15_000, by: 1 },
      { afterMs: 30_000, by: 2 },
      { afterMs: 45_000, by: 3 },
      { afterMs: 54_000, by: 4 },
    ],
  })
})

test('the aggressive boost steps at 20, 40, 60 and 80 % of the deadline by two each', () => {
  expect(PriorityBoostConfig.aggressive(30_000)).toEqual({
    deadlineMs: 30_000,
    steps: [
      { afterMs: 6_000, by: 2 },
      { afterMs: 12_000, by: 4 },
      { afterMs: 18_000, by: 6 },
      { afterMs: 24_000, by: 8 },
    ],
  })
})

test('a custom boost steps by one at each point, in order of time whatever the order given', () => {
  const points = [90_000, 30_000, 60_000]
  expect(PriorityBoostConfig.custom(120_000, points).steps).toEqual([
    { afterMs: 30_000, by: 1 },
    { afterMs: 60_000, by: 2 },
    { afterMs: 90_000, by: 3 },
  ])
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
      /PriorityBoostConfig.custom points/,
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
  [
    'that descend in time',
    [
      { afterMs: 2, by: 1 },
      { afterMs: 1, by: 2 },
    ],
  ],
  [
    'that descend in strength',
    [
      { afterMs: 1, by: 2 },
      { afterMs: 2, by: 1 },
    ],
  ],
  ['that weaken', [{ afterMs: 1, by: -1 }]],
  ['by fractions', [{ afterMs: 1, by: 0.5 }]],
  ['that are none', [undefined]],
  ['of more than 64', Array.from({ length: 65 }, (_, i) => ({ afterMs: i, by: i }))],
  ['in no array', {}],
])('steps %s are refused', (_what, steps) => {
  expect(() => planLane('l', { priorityBoost: { steps: steps as never } })).toThrow(
    /lanes\.l\.priorityBoost\.steps/,
  )
})

test('an unknown member of a boost is refused', () => {
  expect(() => planLane('l', { priorityBoost: { deadline: 5 } as never })).toThrow(
    /lanes\.l\.priorityBoost\.deadline is not an option/,
  )
})
