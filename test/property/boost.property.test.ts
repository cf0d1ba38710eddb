// Goal: a waiting command only ever becomes more urgent, at the moments its lane's boost and its
// own deadline say, and `untilMs` names the next of them. Method: the rank is written down a second
// time, as the documents have it, and compared over arbitrary boosts, deadlines and moments.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PriorityBoostConfig, type PriorityBoostOptions } from '../../src/model/boost.ts'
import { planLane, rankOf } from '../../src/model/lane.ts'
import { judge, OVERDUE_RANK, type Urgency } from '../../src/schedule/urgency.ts'

const RUNS = Number(process.env.CORELANE_PROPERTY_RUNS ?? 500)

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

function rankAt(
  { boost, lanePriority, priority, submittedAtMs, ownDeadlineMs }: SettingOf<typeof setting>,
  nowMs: number,
): number {
  const deadlineMs = ownDeadlineMs ?? boost.deadlineMs
  if (deadlineMs !== undefined && nowMs - submittedAtMs >= deadlineMs) return OVERDUE_RANK
  const stretch =
    ownDeadlineMs !== undefined && boost.deadlineMs !== undefined
      ? ownDeadlineMs / boost.deadlineMs
      : 1
  const reached = (boost.steps ?? []).filter(
    ({ afterMs }) => submittedAtMs + afterMs * stretch <= nowMs,
  )
  const by = Math.max(0, ...reached.map((step) => step.by))
  return Math.max(0, lanePriority - by) * 256 + priority
}
type SettingOf<A> = A extends fc.Arbitrary<infer S> ? S : never

function judged(given: SettingOf<typeof setting>, nowMs: number): Urgency {
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

test('the rank at any moment is that of the lane priority less the boost, or less than any past the deadline', () => {
  const property = fc.property(setting, times, (given, waits) => {
    for (const wait of waits) {
      const now = given.submittedAtMs + wait
      expect(judged(given, now).rank).toBe(rankAt(given, now))
    }
  })
  fc.assert(property, { numRuns: RUNS })
})

test('the rank never grows while a command waits', () => {
  const property = fc.property(setting, times, (given, waits) => {
    let last = Number.POSITIVE_INFINITY
    for (const wait of waits.toSorted((a, b) => a - b)) {
      const { rank } = judged(given, given.submittedAtMs + wait)
      expect(rank).toBeLessThanOrEqual(last)
      last = rank
    }
  })
  fc.assert(property, { numRuns: RUNS })
})

test('a rank holds until the moment it names, which lies ahead, and for good if it names none', () => {
  const property = fc.property(setting, times, (given, waits) => {
    for (const wait of waits) {
      const now = given.submittedAtMs + wait
      const { rank, untilMs } = judged(given, now)
      expect(untilMs).toBeGreaterThan(now)
      const last = Math.min(untilMs, given.submittedAtMs + 1e9)
      expect(judged(given, last - 1e-3).rank).toBe(now < last - 1e-3 ? rank : rankAt(given, now))
      if (untilMs !== Number.POSITIVE_INFINITY) {
        expect(judged(given, untilMs).rank).toBeLessThanOrEqual(rank)
      }
    }
  })
  fc.assert(property, { numRuns: RUNS })
})

test('past its deadline a command is more urgent than the most urgent one that is not', () => {
  const property = fc.property(setting, (given) => {
    fc.pre(given.ownDeadlineMs !== undefined || given.boost.deadlineMs !== undefined)
    const now = given.submittedAtMs + (given.ownDeadlineMs ?? given.boost.deadlineMs!)
    expect(OVERDUE_RANK).toBeLessThan(rankOf(0, 0))
    expect(judged(given, now)).toEqual({ rank: OVERDUE_RANK, untilMs: Number.POSITIVE_INFINITY })
  })
  fc.assert(property, { numRuns: RUNS })
})
