// Goal: across lanes the choice is: lanes under their minimum first, and among them as among the
// others (max(0, lane priority - boost), command priority, age), past its deadline before all; a
// lane that may not go is passed over and holds up no other. Method: a list searched anew for every
// choice.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PriorityBoostConfig } from '../../src/model/boost.ts'
import { type LanePlan, planLane, rankOf } from '../../src/model/lane.ts'
import { type Admission, type Schedulable, Scheduler } from '../../src/schedule/scheduler.ts'
import { judge, OVERDUE_RANK, type Urgency } from '../../src/schedule/urgency.ts'
import { deed, lawOf } from '../support/law.ts'

const law = lawOf(300)

const lanes: readonly LanePlan[] = [
  planLane('urgent', { priority: 0 }),
  planLane('boosted', { priority: 4, priorityBoost: PriorityBoostConfig.aggressive(500) }),
  planLane('promised', { priority: 5, minConcurrency: 1 }),
  planLane('late', { priority: 6, minConcurrency: 2, priorityBoost: { deadlineMs: 200 } }),
  planLane('plain', { priority: 9 }),
]

interface Command extends Schedulable {
  readonly rank: number
}

function judgedAt(command: Command, nowMs: number): Urgency {
  const answer = { rank: 0, untilMs: 0 }
  judge(lanes[command.laneIndex]!, command, nowMs, answer)
  return answer
}

/** The order of commands at a moment. */
const orderAt = (now: number) => (a: Command, b: Command) =>
  judgedAt(a, now).rank - judgedAt(b, now).rank || a.sequence - b.sequence

/** Commands that run, by lane, and how many more each lane may start. */
class Gate implements Admission<Command> {
  readonly running = lanes.map(() => 0)
  readonly allowed = lanes.map(() => 0)
  readonly asked: Command[] = []

  isUnderMin(laneIndex: number): boolean {
    return this.running[laneIndex]! < lanes[laneIndex]!.minConcurrency
  }

  admits(command: Command): boolean {
    this.asked.push(command)
    return this.allowed[command.laneIndex]! > 0
  }
}

/** What should go next; undefined if nothing may. */
function choose(waiting: readonly Command[], gate: Gate, now: number): Command | undefined {
  const heads = lanes.flatMap((_, laneIndex) => {
    const own = waiting.filter((command) => command.laneIndex === laneIndex)
    return own.sort(orderAt(now)).slice(0, 1)
  })
  const allowed = heads.filter(({ laneIndex }) => gate.allowed[laneIndex]! > 0)
  const isPromised = ({ laneIndex }: Command) => Number(gate.isUnderMin(laneIndex))
  return allowed.toSorted((a, b) => isPromised(b) - isPromised(a) || orderAt(now)(a, b))[0]
}

const laneIndex = fc.integer({ min: 0, max: lanes.length - 1 })
const operation = fc.oneof(
  deed(4, 'offer', {
    laneIndex,
    priority: fc.constantFrom(0, 128, 128, 255),
    deadlineMs: fc.constantFrom(undefined, undefined, undefined, 40, 400),
  }),
  deed(4, 'next'),
  deed(2, 'end', { laneIndex }),
  deed(2, 'allow', {
    laneIndex,
    count: fc.oneof(fc.integer({ min: 0, max: 3 }), fc.constant(1000)),
  }),
  deed(2, 'wait', {
    ms: fc.constantFrom(1, 20, 100, 700, 1e6),
  }),
)

const lists = fc.array(operation, { maxLength: 120 })

law('what goes next is what a search of the whole list finds', [lists], (operations) => {
  const scheduler = new Scheduler<Command>(lanes)
  const gate = new Gate()
  let waiting: Command[] = []
  let now = 500
  let sequence = 0
  for (const step of operations) {
    if (step.kind === 'wait') now += step.ms
    else if (step.kind === 'allow') gate.allowed[step.laneIndex] = step.count
    else if (step.kind === 'end') {
      gate.running[step.laneIndex] = Math.max(0, gate.running[step.laneIndex]! - 1)
    } else if (step.kind === 'offer') {
      const command = {
        laneIndex: step.laneIndex,
        rank: rankOf(lanes[step.laneIndex]!.priority, step.priority),
        sequence: sequence++,
        submittedAtMs: now,
        deadlineMs: step.deadlineMs,
      }
      waiting.push(command)
      scheduler.offer(command, now)
    } else {
      const expected = choose(waiting, gate, now)
      gate.asked.length = 0
      const next = scheduler.next(gate, now)
      expect(next).toBe(expected)
      // No lane is asked twice in one choice: its front does not change by being refused.
      expect(new Set(gate.asked.map((one) => one.laneIndex)).size).toBe(gate.asked.length)
      if (next !== undefined) {
        waiting = waiting.filter((command) => command !== next)
        gate.allowed[next.laneIndex]!--
        gate.running[next.laneIndex]!++
      }
    }
    expect(scheduler.size).toBe(waiting.length)
    for (const index of lanes.keys()) {
      const own = waiting.filter(({ laneIndex }) => laneIndex === index)
      expect(scheduler.sizeOf(index)).toBe(own.length)
      for (const one of own.sort(orderAt(now)).slice(0, 2)) {
        expect(scheduler.isFront(one, now)).toBe(one === own[0])
      }
    }
    // Of those of a lane with one priority and deadline the first stays the first.
    const kinds = new Map<string, Command>()
    for (const one of waiting.toSorted((a, b) => b.sequence - a.sequence)) {
      kinds.set(`${one.laneIndex} ${one.rank} ${one.deadlineMs}`, one)
    }
    const judged = [...kinds.values()].map((command) => judgedAt(command, now))
    const ranks = judged.map(({ rank }) => rank)
    expect(scheduler.frontRank(now)).toBe(ranks.length === 0 ? undefined : Math.min(...ranks))
    expect(scheduler.changesAtMs).toBe(Math.min(Infinity, ...judged.map((one) => one.untilMs)))
  }
  const stays = ({ sequence: of }: Command) => of % 3 > 0
  scheduler.retain(stays, now)
  expect(scheduler.takeAll(now)).toEqual(waiting.filter(stays).sort(orderAt(now)))
  expect(scheduler.size).toBe(0)
})

test('the admission is told how urgent a command is at this moment', () => {
  const scheduler = new Scheduler<Command>(lanes)
  scheduler.offer(
    { laneIndex: 1, rank: rankOf(4, 7), sequence: 0, submittedAtMs: 0, deadlineMs: undefined },
    0,
  )
  const ranks: number[] = []
  const refuse = {
    isUnderMin: () => false,
    admits: (_: Command, rank: number) => ranks.push(rank) < 0,
  }
  for (const now of [0, 99, 100, 200, 499, 500]) scheduler.next(refuse, now)
  expect(ranks).toEqual([
    rankOf(4, 7),
    rankOf(4, 7),
    rankOf(2, 7),
    rankOf(0, 7),
    rankOf(0, 7),
    OVERDUE_RANK,
  ])
})

test('choosing looks at lanes and not at what is queued in them', () => {
  for (const queued of [1, 1_000, 100_000]) {
    const scheduler = new Scheduler<Command>(lanes)
    for (let sequence = 0; sequence < queued; sequence++) {
      const index = sequence % lanes.length
      const rank = rankOf(lanes[index]!.priority, 128)
      scheduler.offer(
        { laneIndex: index, rank, sequence, submittedAtMs: 0, deadlineMs: undefined },
        0,
      )
    }
    let asked = 0
    scheduler.next({ isUnderMin: () => false, admits: () => ++asked < 0 }, 0)
    expect(asked).toBe(Math.min(queued, lanes.length))
  }
})
