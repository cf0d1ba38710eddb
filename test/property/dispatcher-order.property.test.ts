// Goal: what a partition starts next is the first of all commands that have not started, in the
// order of (rank at this moment, age), wherever they wait: in the backlog, in the window, or taken
// back. Method: a dispatcher and one partition, step by step, on a clock that the test moves,
// beside a list that is judged and searched anew for every start.

import fc from 'fast-check'
import { expect, vi } from 'vitest'
import type { Command } from '../../src/coordinator/command.ts'
import { Backlog } from '../../src/coordinator/dispatch/backlog.ts'
import { Dispatcher } from '../../src/coordinator/dispatch/dispatcher.ts'
import { CoordinatorCommons } from '../../src/memory/commons.ts'
import { PriorityBoostConfig } from '../../src/model/boost.ts'
import { laneNeeds, rankOf } from '../../src/model/lane.ts'
import { judge } from '../../src/schedule/urgency.ts'
import { deed, lawOf } from '../support/law.ts'
import { command, laneTable, Rig } from '../unit/coordinator/support/rig.ts'

const law = lawOf(500)

const world = vi.hoisted(() => ({ now: 0 }))

vi.mock('../../src/base/clock.ts', async (original) => ({
  ...(await original<typeof import('../../src/base/clock.ts')>()),
  nowMs: () => world.now,
}))

const LANES = {
  top: { priority: 0 },
  stepped: { priority: 5, priorityBoost: { steps: [{ afterMs: 100, by: 5 }] } },
  boosted: { priority: 4, priorityBoost: PriorityBoostConfig.aggressive(500) },
  late: { priority: 5, priorityBoost: { deadlineMs: 150 } },
  low: { priority: 9 },
  limited: { priority: 4, rateLimit: { limit: 20 } },
}

const submit = fc.record({
  kind: fc.constant('submit' as const),
  laneIndex: fc.nat(Object.keys(LANES).length - 1),
  priority: fc.constantFrom(0, 128, 128, 255),
  deadlineMs: fc.constantFrom(undefined, undefined, 50, 400),
  // From many in a window to two.
  estimateUs: fc.constantFrom(20, 1_000, 20_000),
  count: fc.constantFrom(1, 1, 5, 60, 1_100),
})
const operation = fc.oneof(
  { weight: 3, arbitrary: submit },
  deed(4, 'run', { count: fc.nat(70) }),
  deed(2, 'wait', { ms: fc.constantFrom(1, 60, 150) }),
)
const operations = fc.array(operation, { maxLength: 30 })

const ONE = {
  kind: 'submit',
  priority: 0,
  deadlineMs: undefined,
  estimateUs: 20,
  count: 1,
} as const

/** Revoked commands hold most slots when a more urgent one of a limited lane comes. */
const FULL_OF_REVOKED: (typeof operation extends fc.Arbitrary<infer T> ? T : never)[] = [
  { ...ONE, laneIndex: 3, count: 1_100 },
  { ...ONE, laneIndex: 0, estimateUs: 20_000 },
  { kind: 'run', count: 2 },
  { ...ONE, laneIndex: 5 },
  { kind: 'run', count: 1 },
]

const name = 'a partition starts the most urgent of all that waits, the oldest among equals'
const examples: [typeof FULL_OF_REVOKED][] = [[FULL_OF_REVOKED]]

const run = (operations: typeof FULL_OF_REVOKED) => {
  world.now = 1_000
  const { all } = laneTable(LANES)
  const plans = all.map(({ plan }) => plan)
  const rig = new Rig(0, 2 ** 20, plans)
  const needs = plans.map((plan) => laneNeeds(plan, 1))
  const commons = new CoordinatorCommons(1, needs)
  const dispatcher = new Dispatcher(new Backlog(plans, 1), [rig.handle], all, commons, true, 1)
  let waiting: Command[] = []
  let running: number | undefined
  let sequence = 0
  const rankAt = (one: Command): number => {
    const answer = { rank: 0, untilMs: 0 }
    judge(one.lane.plan, one, world.now, answer)
    return answer.rank
  }
  const first = (): Command | undefined => {
    let best: Command | undefined
    for (const one of waiting) {
      const difference = best === undefined ? -1 : rankAt(one) - rankAt(best)
      if (difference < 0 || (difference === 0 && one.sequence < best!.sequence)) best = one
    }
    return best
  }
  const coordinate = (): void => {
    while (rig.bound.drain() > 0);
    dispatcher.refill()
    dispatcher.flush()
  }
  for (const step of operations) {
    if (step.kind === 'wait') world.now += step.ms
    else if (step.kind === 'submit') {
      const lane = all[step.laneIndex]!
      for (let i = 0; i < step.count; i++) {
        const one = command({
          lane,
          rank: rankOf(lane.plan.priority, step.priority),
          sequence: sequence++,
          submittedAtMs: world.now,
          ...(step.deadlineMs === undefined ? {} : { deadlineMs: step.deadlineMs }),
          estimateUs: step.estimateUs,
        })
        waiting.push(one)
        dispatcher.place(one)
      }
    } else {
      for (let i = 0; i < step.count && waiting.length > 0; i++) {
        if (running !== undefined) rig.finish(running, 0)
        let entry = rig.start(world.now)
        // Its window has run dry: the coordinator has to look first.
        if (entry === undefined) {
          coordinate()
          entry = rig.start(world.now)
        }
        const expected = first()!
        if (entry?.sequence !== expected.sequence) expect(entry).toBe(expected)
        waiting = waiting.filter((one) => one !== expected)
        running = entry!.id
        coordinate()
      }
    }
    coordinate()
  }
}

law(name, [operations], run, { examples })
