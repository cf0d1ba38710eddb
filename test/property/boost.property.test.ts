// Goal: a waiting command only ever becomes more urgent, at the moments its lane's boost and its
// own deadline say, and `untilMs` names the next of them. Method: the rank is written down a second
// time, as the documents have it, and compared over arbitrary boosts, deadlines and moments.

import fc from 'fast-check'
import { expect } from 'vitest'
import { PriorityBoostConfig, type PriorityBoostOptions } from '../../src/model/boost.ts'
import { planLane, rankOf } from '../../src/model/lane.ts'
import { judge, OVERDUE_RANK, type Urgency } from '../../src/schedule/urgency.ts'
import { lawOf } from '../support/law.ts'

const law = lawOf(500)

const deadline = fc.integer({ min: 1, max: 10_000 })
const boosts: fc.Arbitrary<PriorityBoostOptions> = fc.oneof(
  deadline.map((ms) => PriorityBoostConfig.standard(ms)),
  deadline.map((ms) => PriorityBoostConfig.aggressive(ms)),
  fc
    .tuple(deadline, fc.array(fc.integer({ min: 0, max: 12_000 }), { maxLength: 8 }))
    .map(([ms, points]) => PriorityBoostConfig.custom(ms, points)),
  fc.constant(PriorityBoostConfig.disabled()),
  // Without a deadline the steps go on for ever.
  fc
    .array(fc.tuple(fc.integer({ min: 0, max: 5_000 }), fc.integer({ min: 0, max: 3 })), {
      maxLength: 6,
    })
    .map((steps) => {
      let afterMs = 0
      let by = 0
      return {
        steps: steps.map(([wait, more]) => {
          afterMs += wait
          by += more
          return { afterMs, by }
        }),
      }
    }),
)
const setting = fc.record({
  boost: boosts,
  lanePriority: fc.integer({ min: 0, max: 255 }),
  priority: fc.integer({ min: 0, max: 255 }),
  submittedAtMs: fc.integer({ min: 0, max: 1_000_000 }),
  ownDeadlineMs: fc.option(deadline, { nil: undefined }),
})

type Setting = typeof setting extends fc.Arbitrary<infer S> ? S : never

/** The rank and its next change, as the documents have them. */
function documented(given: Setting, nowMs: number): Urgency {
  const { boost, lanePriority, priority, submittedAtMs, ownDeadlineMs } = given
  const endMs = submittedAtMs + (ownDeadlineMs ?? boost.deadlineMs ?? Infinity)
  if (nowMs >= endMs) return { rank: OVERDUE_RANK, untilMs: Infinity }
  const isStretched = ownDeadlineMs !== undefined && boost.deadlineMs !== undefined
  const stretch = isStretched ? ownDeadlineMs / boost.deadlineMs : 1
  const steps = boost.steps ?? []
  const moments = steps.map(({ afterMs }) => submittedAtMs + afterMs * stretch)
  const by = Math.max(0, ...steps.filter((_, i) => moments[i]! <= nowMs).map((step) => step.by))
  const untilMs = Math.min(endMs, ...moments.filter((ms) => ms > nowMs))
  return { rank: Math.max(0, lanePriority - by) * 256 + priority, untilMs }
}

function judged(given: Setting, nowMs: number): Urgency {
  const lane = planLane('l', { priority: given.lanePriority, priorityBoost: given.boost })
  const command = {
    rank: rankOf(given.lanePriority, given.priority),
    submittedAtMs: given.submittedAtMs,
    deadlineMs: given.ownDeadlineMs,
  }
  const answer = { rank: -1, untilMs: -1 }
  judge(lane, command, nowMs, answer)
  return answer
}

const times = fc.array(fc.integer({ min: 0, max: 15_000 }), { minLength: 1, maxLength: 20 })

law('rank and next change are as documented', [setting, times], (given, waits) => {
  for (const wait of waits) {
    const now = given.submittedAtMs + wait
    const answer = judged(given, now)
    expect(answer).toEqual(documented(given, now))
    // That very moment too: a step, or the deadline.
    const { untilMs } = answer
    if (untilMs < Infinity) expect(judged(given, untilMs)).toEqual(documented(given, untilMs))
  }
})

law('the rank never grows while a command waits', [setting, times], (given, waits) => {
  let last = Number.POSITIVE_INFINITY
  for (const wait of waits.toSorted((a, b) => a - b)) {
    const { rank } = judged(given, given.submittedAtMs + wait)
    expect(rank).toBeLessThanOrEqual(last)
    last = rank
  }
  expect(OVERDUE_RANK).toBeLessThan(rankOf(0, 0))
})
