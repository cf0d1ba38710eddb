// Goal: over all lanes the scheduler gives the most urgent item, the oldest among equals.
// Method: random offers and takes in many lanes against one sorted array.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { planLane } from '../../src/model/lane.ts'
import { type Admission, type Schedulable, Scheduler } from '../../src/schedule/scheduler.ts'

const RUNS = Number(process.env.CORELANE_PROPERTY_RUNS ?? 300)
const TIMEOUT_MS = 30_000 + RUNS * 30

interface Model {
  waiting: Schedulable[]
  sequence: number
}

type Command = fc.Command<Model, Scheduler<Schedulable>>

const ALL: Admission<Schedulable> = { isUnderMin: () => false, admits: () => true }

function compare(a: Schedulable, b: Schedulable): number {
  return a.rank - b.rank || a.sequence - b.sequence
}

function expectSame(model: Model, real: Scheduler<Schedulable>): void {
  model.waiting.sort(compare)
  expect(real.size).toBe(model.waiting.length)
  const front = model.waiting[0]
  expect(real.frontRank(0)).toBe(front?.rank)
  if (front !== undefined) expect(real.isFront(front, 0)).toBe(true)
}

class Offer implements Command {
  readonly laneIndex: number
  readonly rank: number

  constructor(laneIndex: number, rank: number) {
    this.laneIndex = laneIndex
    this.rank = rank
  }

  check(): boolean {
    return true
  }

  run(model: Model, real: Scheduler<Schedulable>): void {
    const { laneIndex, rank } = this
    const sequence = model.sequence++
    const item = { laneIndex, rank, sequence, submittedAtMs: 0, deadlineMs: undefined }
    real.offer(item, 0)
    model.waiting.push(item)
    expectSame(model, real)
  }

  toString(): string {
    return `offer(lane ${this.laneIndex}, rank ${this.rank})`
  }
}

class Next implements Command {
  readonly count: number

  constructor(count: number) {
    this.count = count
  }

  check(): boolean {
    return true
  }

  run(model: Model, real: Scheduler<Schedulable>): void {
    for (let i = 0; i < this.count; i++) expect(real.next(ALL, 0)).toBe(model.waiting.shift())
    expectSame(model, real)
  }

  toString(): string {
    return `next × ${this.count}`
  }
}

test(
  'a scheduler gives the items of all lanes in order of rank, then age',
  () => {
    const cases = fc
      .integer({ min: 1, max: 6 })
      .chain((lanes) =>
        fc.tuple(
          fc.constant(lanes),
          fc.commands(
            [
              fc
                .tuple(fc.nat(lanes - 1), fc.nat(8))
                .map(([laneIndex, rank]) => new Offer(laneIndex, rank)),
              fc.nat(4).map((count) => new Next(count)),
            ],
            { maxCommands: 150 },
          ),
        ),
      )
    fc.assert(
      fc.property(cases, ([lanes, sequence]) => {
        const plans = Array.from({ length: lanes }, (_, i) => planLane(`lane${i}`, {}))
        const real = new Scheduler<Schedulable>(plans)
        const model: Model = { waiting: [], sequence: 0 }
        fc.modelRun(() => ({ model, real }), sequence)
        for (let lane = 0; lane < lanes; lane++) {
          const due = model.waiting.filter(({ laneIndex }) => laneIndex === lane)
          expect(real.sizeOf(lane)).toBe(due.length)
        }
      }),
      { numRuns: RUNS },
    )
  },
  TIMEOUT_MS,
)
