// Goal: a lane's queue gives its commands in the order of their urgency at that moment, each judged
// by its own age, priority and deadline, not only the one at the head. Method: a list that is
// judged and sorted anew for every question, beside the queue, with a clock that stands still,
// creeps and jumps.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PriorityBoostConfig, type PriorityBoostOptions } from '../../src/model/boost.ts'
import { type LanePlan, planLane, rankOf } from '../../src/model/lane.ts'
import { IndexedHeap } from '../../src/schedule/indexed-heap.ts'
import { LaneQueue, type Queueable } from '../../src/schedule/lane-queue.ts'
import { judge, OVERDUE_RANK, type Urgency } from '../../src/schedule/urgency.ts'
import { deed, lawOf } from '../support/law.ts'

const law = lawOf(300)

const boosts: fc.Arbitrary<PriorityBoostOptions> = fc.constantFrom(
  PriorityBoostConfig.standard(1000),
  PriorityBoostConfig.aggressive(400),
  PriorityBoostConfig.custom(600, [0, 100, 100, 350, 900]),
  PriorityBoostConfig.disabled(),
  { steps: [{ afterMs: 50, by: 3 }] },
  { deadlineMs: 300 },
)

const operation = fc.oneof(
  deed(3, 'offer', {
    priority: fc.constantFrom(0, 100, 128, 128, 255),
    deadlineMs: fc.constantFrom(undefined, undefined, 50, 200, 900, 900),
    /** How long it was delayed: it comes to the queue older than others. */
    delayMs: fc.constantFrom(0, 0, 0, 30, 500),
  }),
  deed(2, 'take'),
  deed(1, 'put back'),
  deed(2, 'wait', {
    ms: fc.constantFrom(0, 1, 10, 60, 140, 1000, 100_000),
  }),
)

interface Command extends Queueable {
  readonly delayMs: number
}

function judgedAt(lane: LanePlan, command: Command, nowMs: number): Urgency {
  const answer = { rank: 0, untilMs: 0 }
  judge(lane, command, nowMs, answer)
  return answer
}

const operations = fc.array(operation, { maxLength: 100 })

law(
  'the front is the most urgent command at that moment, whatever waits, ages, leaves and returns',
  [boosts, fc.constantFrom(0, 3, 9), operations],
  (priorityBoost, priority, operations) => {
    const lane = planLane('l', { priority, priorityBoost })
    const queue = new LaneQueue<Command>(lane)
    let waiting: Command[] = []
    const delayed: Command[] = []
    let taken: Command | undefined
    let now = 1_000
    let sequence = 0
    const rankAt = (command: Command) => judgedAt(lane, command, now).rank
    const front = (): Command | undefined =>
      waiting.toSorted((a, b) => rankAt(a) - rankAt(b) || a.sequence - b.sequence)[0]
    const offer = (command: Command): void => {
      waiting.push(command)
      queue.offer(command, now)
    }
    for (const step of operations) {
      if (step.kind === 'wait') {
        now += step.ms
        while (delayed.some((command) => command.submittedAtMs + command.delayMs <= now)) {
          const due = delayed.findIndex(
            ({ submittedAtMs, delayMs }) => submittedAtMs + delayMs <= now,
          )
          offer(delayed.splice(due, 1)[0]!)
        }
      } else if (step.kind === 'offer') {
        const { deadlineMs, delayMs } = step
        const rank = rankOf(priority, step.priority)
        const command = { rank, sequence: sequence++, submittedAtMs: now, deadlineMs, delayMs }
        if (delayMs === 0) offer(command)
        else delayed.push(command)
      } else if (step.kind === 'put back') {
        if (taken !== undefined) offer(taken)
        taken = undefined
      } else if (waiting.length > 0) {
        queue.front(now)
        const expected = front()
        taken = queue.take(now)
        expect(taken).toBe(expected)
        waiting = waiting.filter((command) => command !== taken)
      }
      expect(queue.size).toBe(waiting.length)
      const expected = front()
      const actual = queue.front(now)
      expect(queue.peek()).toBe(expected)
      expect(actual?.sequence).toBe(expected?.sequence)
      if (expected !== undefined) expect(queue.rank).toBe(rankAt(expected))
      // Of those with one priority and deadline the first stays the first.
      const isFirst = ({ rank, deadlineMs, sequence }: Command) =>
        !waiting.some(
          (other) =>
            other.rank === rank && other.deadlineMs === deadlineMs && other.sequence < sequence,
        )
      const changes = waiting.filter(isFirst).map((one) => judgedAt(lane, one, now).untilMs)
      expect(queue.changesAtMs).toBe(Math.min(Infinity, ...changes))
    }
  },
)

test('a look with an earlier clock than the last one gives a command and spoils no later look', () => {
  const lane = planLane('l', { priority: 5, priorityBoost: PriorityBoostConfig.standard(100) })
  const queue = new LaneQueue<Queueable>(lane)
  const rank = rankOf(5, 128)
  for (let sequence = 0; sequence < 3; sequence++) {
    queue.offer({ rank, sequence, submittedAtMs: 0, deadlineMs: undefined }, 80)
  }
  expect(queue.front(80)?.rank).toBe(rankOf(2, 128))
  expect(queue.take(20).sequence).toBe(0)
  expect(queue.front(30)?.rank).toBe(rankOf(4, 128))
  expect(queue.front(100)?.rank).toBe(OVERDUE_RANK)
})

/** Heap places written while `run` runs: what a decision costs, as no clock could tell. */
function stepsOf(run: () => void): number {
  let steps = 0
  const { put, remove } = IndexedHeap.prototype
  IndexedHeap.prototype.put = function counted(this: IndexedHeap<unknown>, item: unknown) {
    steps++
    put.call(this, item)
  }
  IndexedHeap.prototype.remove = function counted(this: IndexedHeap<unknown>, item: unknown) {
    steps++
    remove.call(this, item)
  }
  try {
    run()
  } finally {
    Object.assign(IndexedHeap.prototype, { put, remove })
  }
  return steps
}

test.each([100, 10_000, 200_000])(
  '%i commands that pass a boost point cost as few steps as one',
  (count) => {
    const lane = planLane('l', { priority: 9, priorityBoost: PriorityBoostConfig.standard(1000) })
    const queue = new LaneQueue<Queueable>(lane)
    const rank = rankOf(9, 128)
    for (let sequence = 0; sequence < count; sequence++) {
      queue.offer({ rank, sequence, submittedAtMs: 0, deadlineMs: undefined }, 0)
    }
    for (const [now, expected] of [
      [250, rankOf(8, 128)],
      [500, rankOf(7, 128)],
      [1000, OVERDUE_RANK],
    ] as const) {
      const steps = stepsOf(() => expect(queue.front(now)?.rank).toBe(expected))
      expect(steps).toBeLessThanOrEqual(2)
    }
    expect(stepsOf(() => queue.take(1000))).toBeLessThanOrEqual(4)
  },
)

test('commands with a thousand different deadlines cost one step each when theirs has come', () => {
  const lane = planLane('l', { priority: 9 })
  const queue = new LaneQueue<Queueable>(lane)
  const rank = rankOf(9, 128)
  for (let sequence = 0; sequence < 1000; sequence++) {
    queue.offer({ rank, sequence, submittedAtMs: 0, deadlineMs: 2000 - sequence }, 0)
  }
  let steps = 0
  for (let now = 1000; now <= 2000; now++) steps += stepsOf(() => queue.front(now))
  expect(steps).toBeLessThanOrEqual(2 * 1000)
  expect(queue.peek()?.sequence).toBe(0)
})
