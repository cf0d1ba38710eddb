// Timetable: moments of commands, one timer for all. Time stands still until the test moves it.

import { beforeEach, expect, test, vi } from 'vitest'
import type { PendingCommand } from '../../../src/coordinator/pending-command.ts'
import { Timetable } from '../../../src/coordinator/timetable.ts'

const world = vi.hoisted(() => ({
  now: 1000,
  timer: undefined as { run: () => void; atMs: number } | undefined,
  timersSet: 0,
}))

vi.mock('../../../src/base/clock.ts', () => ({
  nowMs: () => world.now,
  timers: {
    setTimeout: (run: () => void, ms: number) => {
      const timer = { run, atMs: world.now + ms, unref: () => timer }
      world.timer = timer
      world.timersSet++
      return timer
    },
    clearTimeout: (timer: unknown) => {
      if (timer === world.timer) world.timer = undefined
    },
  },
}))

let due: string[] = []
let timetable: Timetable
const command = (name: string) => name as unknown as PendingCommand

beforeEach(() => {
  Object.assign(world, { now: 1000, timer: undefined, timersSet: 0 })
  due = []
  timetable = new Timetable((one) => due.push(one as unknown as string))
})

/** Lets the timer fire as often as it is set up to a moment. */
function moveTo(ms: number): void {
  while (world.timer !== undefined && world.timer.atMs <= ms) {
    const { run, atMs } = world.timer
    world.timer = undefined
    world.now = Math.max(world.now, atMs)
    run()
  }
  world.now = ms
}

test('commands come due in the order of their moments, none before its own', () => {
  for (const [name, ms] of [
    ['c', 1300],
    ['a', 1100],
    ['b', 1200],
  ] as const) {
    timetable.add(command(name), ms)
  }
  moveTo(1099)
  expect(due).toEqual([])
  moveTo(1100)
  expect(due).toEqual(['a'])
  moveTo(5000)
  expect(due).toEqual(['a', 'b', 'c'])
  expect(world.timer).toBeUndefined()
})

test('one that is cancelled does not come, and cancelling twice or late does nothing', () => {
  const a = timetable.add(command('a'), 1100)
  const b = timetable.add(command('b'), 1200)
  timetable.cancel(a)
  timetable.cancel(a)
  moveTo(2000)
  timetable.cancel(b)
  expect(due).toEqual(['b'])
})

test('an earlier moment takes the timer over, a later one leaves it alone', () => {
  timetable.add(command('b'), 1500)
  timetable.add(command('c'), 1600)
  expect([world.timersSet, world.timer?.atMs]).toEqual([1, 1500])
  timetable.add(command('a'), 1200)
  expect([world.timersSet, world.timer?.atMs]).toEqual([2, 1200])
})

test('ten thousand commands of one moment cost one timer and all come due in one go', () => {
  for (let i = 0; i < 10_000; i++) timetable.add(command(`c${i}`), 1100)
  expect(world.timersSet).toBe(1)
  moveTo(1100)
  expect(due).toHaveLength(10_000)
  expect(world.timersSet).toBe(1)
})

test('a timer that fires early waits on, and nothing comes due before its moment', () => {
  timetable.add(command('a'), 1100.9)
  world.now = 1100
  const { run } = world.timer!
  world.timer = undefined
  run()
  expect(due).toEqual([])
  expect(world.timer).toBeDefined()
  moveTo(1102)
  expect(due).toEqual(['a'])
})

test('what is added while others come due is kept for its moment, and what is due comes at once', () => {
  timetable = new Timetable((one) => {
    due.push(one as unknown as string)
    if (due.length === 1) {
      timetable.add(command('now'), 1050)
      timetable.add(command('later'), 1400)
    }
  })
  timetable.add(command('first'), 1100)
  moveTo(1100)
  expect(due).toEqual(['first', 'now'])
  moveTo(1400)
  expect(due).toEqual(['first', 'now', 'later'])
})

test('taking all gives every command in the order of its moment and stops the timer', () => {
  for (const ms of [1300, 1100, 1200]) timetable.add(command(`at ${ms}`), ms)
  expect(timetable.takeAll()).toEqual(['at 1100', 'at 1200', 'at 1300'])
  expect(world.timer).toBeUndefined()
  expect(timetable.takeAll()).toEqual([])
  timetable.add(command('again'), 1500)
  moveTo(1500)
  expect(due).toEqual(['again'])
})
