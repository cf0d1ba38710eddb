// Punctuality: when commands are placed, and which are too late. Method: a clock that stands still
// until the test moves it.

import { beforeEach, expect, test, vi } from 'vitest'
import type { Lane } from '../../../src/coordinator/lane-table.ts'
import { PendingCommand } from '../../../src/coordinator/pending-command.ts'
import { Punctuality } from '../../../src/coordinator/punctuality.ts'
import type { LaneOptions } from '../../../src/model/lane.ts'
import { extras, laneTable, services, typesOf } from './support/rig.ts'

const world = vi.hoisted(() => ({
  now: 1000,
  timer: undefined as { run: () => void; atMs: number } | undefined,
}))

vi.mock('../../../src/base/clock.ts', () => ({
  nowMs: () => world.now,
  timers: {
    setTimeout: (run: () => void, ms: number) => {
      const timer = { run, atMs: world.now + ms, unref: () => timer }
      world.timer = timer
      return timer
    },
    clearTimeout: (timer: unknown) => {
      if (timer === world.timer) world.timer = undefined
    },
  },
}))

let placed: number[] = []
let failed: unknown[] = []
let acted = 0
let punctuality: Punctuality

beforeEach(() => {
  Object.assign(world, { now: 1000, timer: undefined })
  placed = []
  failed = []
  acted = 0
  punctuality = new Punctuality({
    refusal: () => undefined,
    place: ({ sequence }) => placed.push(sequence),
    acted: () => acted++,
  })
})

function moveTo(ms: number): void {
  while (world.timer !== undefined && world.timer.atMs <= ms) {
    const { run, atMs } = world.timer
    world.timer = undefined
    world.now = Math.max(world.now, atMs)
    run()
  }
  world.now = ms
}

function laneOf(options: LaneOptions): Lane {
  const { timetable } = punctuality
  return laneTable({ a: options }, 1, { ...services(), timetable }).all[0]!
}

/** A command submitted now. */
function command(lane: Lane, deadlineMs?: number, sequence = 7): PendingCommand {
  const more = extras({ submittedAtMs: world.now, deadlineMs })
  const settled = (value: unknown) => {
    if (value instanceof Promise) value.catch((error) => failed.push(error.code))
    else failed.push(value)
  }
  return new PendingCommand(0, sequence, typesOf('t').get('t'), lane, 0, -1, more, settled)
}

const REJECTS: LaneOptions = { onDeadline: 'reject' }

test('a delayed command is placed when its delay is over, not before', () => {
  const delayed = command(laneOf({}))
  punctuality.delay(delayed, 50)
  expect(delayed.extras!.isPlaced).toBe(false)
  moveTo(1049)
  expect([placed, acted]).toEqual([[], 0])
  moveTo(1050)
  expect([placed, acted, delayed.extras!.isPlaced]).toEqual([[7], 1, true])
})

test('a command whose lane rejects nothing has no moment, deadline or not', () => {
  for (const deadlineMs of [undefined, 10]) punctuality.place(command(laneOf({}), deadlineMs))
  expect([placed, world.timer]).toEqual([[7, 7], undefined])
})

test('a command that waits at its deadline is rejected then, with what it waited', async () => {
  const late = command(laneOf(REJECTS), 30)
  punctuality.place(late)
  moveTo(1029)
  expect([placed, late.isSettled]).toEqual([[7], false])
  moveTo(1030)
  await Promise.resolve()
  expect([late.isSettled, failed, acted]).toEqual([true, ['CORELANE_DEADLINE_EXCEEDED'], 1])
})

test('a command without a deadline has that of its lane', () => {
  const late = command(laneOf({ ...REJECTS, priorityBoost: { deadlineMs: 20 } }))
  punctuality.place(late)
  moveTo(1019)
  expect(late.isSettled).toBe(false)
  moveTo(1020)
  expect(late.isSettled).toBe(true)
})

test('a command that is late already is rejected and never placed', () => {
  const late = command(laneOf(REJECTS), 30)
  world.now = 1030
  punctuality.place(late)
  expect([placed, late.isSettled]).toEqual([[], true])
})

test('a delay that is longer than the deadline ends at the deadline, with a rejection', () => {
  const late = command(laneOf(REJECTS), 30)
  punctuality.delay(late, 500)
  moveTo(1030)
  expect([placed, late.isSettled, world.timer]).toEqual([[], true, undefined])
})

test('a bound command is late only if it can be kept from starting', () => {
  const lane = laneOf(REJECTS)
  const [running, bound] = [command(lane, 30, 1), command(lane, 30, 2)]
  for (const each of [running, bound]) punctuality.place(each)
  const asked: number[] = []
  for (const [slot, each] of [running, bound].entries()) {
    const revoke = (of: number) => {
      asked.push(of)
      return of === 1
    }
    Object.assign(each.extras!, { slot, holder: { revoke } })
  }
  moveTo(1030)
  expect(asked).toEqual([0, 1])
  expect([running.isSettled, bound.isSettled]).toEqual([false, true])
})

test('a command that ends leaves no moment behind', () => {
  const lane = laneOf(REJECTS)
  const [delayed, waiting] = [command(lane, 30, 1), command(lane, 30, 2)]
  punctuality.delay(delayed, 10)
  punctuality.place(waiting)
  for (const each of [delayed, waiting]) each.complete(0, 0, 0, 0)
  expect(punctuality.timetable.takeAll()).toEqual([])
})

test('a command that runs again has one moment at a time, and none once it has ended', () => {
  const again = command(laneOf(REJECTS), 500)
  punctuality.place(again)
  // It ran and failed: it waits for another run.
  punctuality.delay(again, 50)
  moveTo(1050)
  expect(placed).toEqual([7, 7])
  again.complete('done', 0, 0, 0)
  moveTo(2000)
  expect([failed, again.lane.completed, again.lane.failed]).toEqual([['done'], 1, 0])
})

test('a command that runs again and is late is rejected once', async () => {
  const again = command(laneOf(REJECTS), 500)
  punctuality.place(again)
  punctuality.delay(again, 50)
  moveTo(2000)
  await Promise.resolve()
  expect([failed, again.lane.failed]).toEqual([['CORELANE_DEADLINE_EXCEEDED'], 1])
})
