// Command timers: when commands are placed, and which are late. Method: a clock that stands still
// until the test moves it.

import { beforeEach, expect, test, vi } from 'vitest'
import { type Command, CommandState } from '../../../src/coordinator/command.ts'
import { CommandTimers } from '../../../src/coordinator/command-timers.ts'
import type { Lane } from '../../../src/coordinator/lane-table.ts'
import type { LaneOptions } from '../../../src/model/lane.ts'
import { fire, moveTo, restart, world } from '../../support/still-clock.ts'
import { command as commandOf, laneTable, services } from './support/rig.ts'

vi.mock('../../../src/base/clock.ts', () => import('../../support/still-clock.ts'))

let placed: number[] = []
let failed: unknown[] = []
let acted = 0
let timers: CommandTimers

beforeEach(() => {
  restart()
  placed = []
  failed = []
  acted = 0
  timers = timersThat(() => {})
})

/** Timers that place commands, and do this afterwards. */
function timersThat(act: () => void): CommandTimers {
  const place = ({ sequence }: Command) => {
    placed.push(sequence)
    act()
  }
  return new CommandTimers({ refusal: () => undefined, place, acted: () => acted++ })
}

function laneOf(options: LaneOptions = {}): Lane {
  return laneTable({ a: options }).all[0]!
}

/** A command submitted now. */
function command(lane: Lane, deadlineMs?: number, sequence = 7): Command {
  const settled = (value: unknown) => {
    Promise.resolve(value).then(
      (result) => failed.push(result),
      (error) => failed.push(error.code),
    )
  }
  const traits = { lane, sequence, submittedAtMs: world.now, deadlineMs: deadlineMs as number }
  return commandOf(traits, settled, { ...services(), timers })
}

const REJECTS: LaneOptions = { onDeadline: 'reject' }

test('a delayed command is placed when its delay is over, not before', () => {
  const delayed = command(laneOf())
  timers.delay(delayed, 50)
  expect(delayed.state).toBe(CommandState.DELAYED)
  moveTo(1049)
  expect([placed, acted]).toEqual([[], 0])
  moveTo(1050)
  expect([placed, acted, delayed.state]).toEqual([[7], 1, CommandState.QUEUED])
})

test('commands come due in the order of their moments, none before its own', () => {
  for (const sequence of [3, 1, 2]) {
    timers.delay(command(laneOf(), undefined, sequence), 100 * sequence)
  }
  moveTo(1099)
  expect(placed).toEqual([])
  moveTo(1100)
  expect(placed).toEqual([1])
  moveTo(5000)
  expect(placed).toEqual([1, 2, 3])
  expect(world.timer).toBeUndefined()
})

test('ten thousand commands of one moment cost one timer and all come due at it', () => {
  for (let i = 0; i < 10_000; i++) timers.delay(command(laneOf()), 100)
  expect(world.timersSet).toBe(1)
  moveTo(1100)
  expect(placed).toHaveLength(10_000)
})

test('commands that are due together let the event loop turn in between', () => {
  const slow = timersThat(() => {
    world.now += 2
  })
  for (let i = 0; i < 10; i++) slow.delay(command(laneOf(), undefined, i), 100)
  world.now = 1100
  fire()
  expect([placed, acted, world.timer !== undefined]).toEqual([[0, 1, 2], 1, true])
  moveTo(1200)
  expect(placed).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
})

test('what is added while others come due is kept for its moment', () => {
  const lane = laneOf()
  timers = timersThat(() => {
    if (placed.length > 1) return
    timers.delay(command(lane, undefined, 2), 0)
    timers.delay(command(lane, undefined, 3), 300)
  })
  timers.delay(command(lane, undefined, 1), 100)
  moveTo(1101)
  expect(placed).toEqual([1, 2])
  moveTo(1400)
  expect(placed).toEqual([1, 2, 3])
})

test('taking all gives every command in the order of its moment and stops the timer', () => {
  for (const ms of [300, 100, 200]) timers.delay(command(laneOf(), undefined, ms), ms)
  expect(timers.takeAll().map(({ sequence }) => sequence)).toEqual([100, 200, 300])
  expect(world.timer).toBeUndefined()
  expect(timers.takeAll()).toEqual([])
  timers.delay(command(laneOf()), 500)
  moveTo(1500)
  expect(placed).toEqual([7])
})

test('a command whose lane rejects nothing has no moment, deadline or not', () => {
  for (const deadlineMs of [undefined, 10]) timers.place(command(laneOf(), deadlineMs))
  expect([placed, world.timer]).toEqual([[7, 7], undefined])
})

test('a command that waits at its deadline is rejected then, with what it waited', async () => {
  const late = command(laneOf(REJECTS), 30)
  timers.place(late)
  moveTo(1029)
  expect([placed, late.isSettled]).toEqual([[7], false])
  moveTo(1030)
  await vi.waitFor(() => expect(failed).toHaveLength(1))
  expect([late.isSettled, failed, acted]).toEqual([true, ['CORELANE_DEADLINE_EXCEEDED'], 1])
})

test('a command without a deadline has that of its lane', () => {
  const late = command(laneOf({ ...REJECTS, priorityBoost: { deadlineMs: 20 } }))
  timers.place(late)
  moveTo(1019)
  expect(late.isSettled).toBe(false)
  moveTo(1020)
  expect(late.isSettled).toBe(true)
})

test('a command that is late already is rejected and never placed', () => {
  const late = command(laneOf(REJECTS), 30)
  world.now = 1030
  timers.place(late)
  expect([placed, late.isSettled]).toEqual([[], true])
})

test('a delay that is longer than the deadline ends at the deadline, with a rejection', () => {
  const late = command(laneOf(REJECTS), 30)
  timers.delay(late, 500)
  moveTo(1030)
  expect([placed, late.isSettled, world.timer]).toEqual([[], true, undefined])
})

test('a command that a subscriber has ended meanwhile is neither delayed nor watched', () => {
  const ended = command(laneOf(REJECTS), 30)
  ended.fail(new Error('ended'), -1)
  timers.delay(ended, 500)
  expect([timers.watch(ended), ended.isSettled, world.timer]).toEqual([true, true, undefined])
})

test('a bound command is late only if it can be kept from starting', () => {
  const lane = laneOf(REJECTS)
  const [running, bound] = [command(lane, 30, 1), command(lane, 30, 2)]
  for (const each of [running, bound]) timers.place(each)
  const asked: number[] = []
  for (const [slot, each] of [running, bound].entries()) {
    const revoke = (of: number) => {
      asked.push(of)
      if (of === 1) each.unbind()
      return of === 1
    }
    each.bind({ revoke, detach: () => {}, grant: () => {}, startOf: () => 0 }, slot)
  }
  moveTo(1030)
  expect(asked).toEqual([0, 1])
  expect([running.isSettled, bound.isSettled]).toEqual([false, true])
})

test('a command that ends leaves no moment behind', () => {
  const lane = laneOf(REJECTS)
  const [delayed, waiting] = [command(lane, 30, 1), command(lane, 30, 2)]
  timers.delay(delayed, 10)
  timers.place(waiting)
  for (const each of [delayed, waiting]) each.complete(0, 0, 0, 0)
  expect(timers.takeAll()).toEqual([])
})

test('a command that runs again has one moment at a time, and none once it has ended', async () => {
  const again = command(laneOf(REJECTS), 500)
  timers.place(again)
  // It ran and failed: it waits for another run.
  timers.delay(again, 50)
  moveTo(1050)
  expect(placed).toEqual([7, 7])
  again.complete('done', 0, 0, 0)
  moveTo(2000)
  await vi.waitFor(() => expect(failed).toHaveLength(1))
  expect([failed, again.lane.completed, again.lane.failed]).toEqual([['done'], 1, 0])
})

test('a command that runs again and is late is rejected once', async () => {
  const again = command(laneOf(REJECTS), 500)
  timers.place(again)
  timers.delay(again, 50)
  moveTo(2000)
  await vi.waitFor(() => expect(failed).toHaveLength(1))
  expect([failed, again.lane.failed]).toEqual([['CORELANE_DEADLINE_EXCEEDED'], 1])
})
