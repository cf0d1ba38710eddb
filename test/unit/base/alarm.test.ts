// Alarm: never before its moment, always after it. Time stands still until the test moves it.

import { beforeEach, expect, test, vi } from 'vitest'
import { Alarm } from '../../../src/base/alarm.ts'
import { fire, moveTo, restart, world } from '../../support/still-clock.ts'

vi.mock('../../../src/base/clock.ts', () => import('../../support/still-clock.ts'))

let rung: number[] = []
let alarm: Alarm

beforeEach(() => {
  restart()
  rung = []
  alarm = new Alarm(() => rung.push(world.now))
})

test('it rings once, at its moment, and lets the process end meanwhile', () => {
  alarm.set(1100)
  expect(world.timer?.isRef).toBe(false)
  moveTo(1099)
  expect(rung).toEqual([])
  moveTo(2000)
  expect([rung, world.timer]).toEqual([[1100], undefined])
})

test('a timer that fires early is set again, though its owner sets the same moment', () => {
  alarm.set(1100)
  world.now = 1099.3
  fire()
  alarm.set(1100)
  expect(rung).toEqual([])
  moveTo(1101)
  expect(rung).toHaveLength(1)
})

test('the same moment rings again if it is set again after it has come', () => {
  alarm.set(1100)
  moveTo(1100)
  alarm.set(1100)
  moveTo(1101)
  expect(rung).toEqual([1100, 1101])
})

test('an earlier moment moves the timer, the same or a later one leaves it alone', () => {
  alarm.set(1500)
  alarm.set(1500)
  alarm.set(1200)
  expect([world.timersSet, world.timer?.atMs]).toEqual([2, 1200])
  alarm.set(1800)
  expect(world.timersSet).toBe(2)
  moveTo(1799)
  expect(rung).toEqual([])
  moveTo(1800)
  expect(rung).toEqual([1800])
})

test('a moment further away than a timer can wait takes several', () => {
  const atMs = 1000 + 2 ** 32
  alarm.set(atMs)
  expect(world.timer?.delayMs).toBe(2 ** 31 - 1)
  moveTo(atMs - 1)
  expect(rung).toEqual([])
  moveTo(atMs)
  expect(rung).toEqual([atMs])
})

test('a moment that has passed rings on the next turn of the loop', () => {
  alarm.set(500)
  expect([rung, world.timer?.delayMs]).toEqual([[], 1])
  moveTo(1001)
  expect(rung).toEqual([1001])
})

test('a cleared alarm has no timer and may be set again; Infinity clears it, too', () => {
  alarm.set(1100)
  alarm.clear()
  alarm.clear()
  expect(world.timer).toBeUndefined()
  alarm.set(1200)
  alarm.set(Number.POSITIVE_INFINITY)
  expect(world.timer).toBeUndefined()
  alarm.set(1300)
  moveTo(2000)
  expect(rung).toEqual([1300])
})

test('a stopped alarm never rings, whatever is set', () => {
  alarm.set(1100)
  alarm.stop()
  alarm.set(1200)
  expect(world.timer).toBeUndefined()
})

test('it may be set while it rings', () => {
  alarm = new Alarm(() => {
    rung.push(world.now)
    if (rung.length < 3) alarm.set(world.now + 50)
  })
  alarm.set(1100)
  moveTo(5000)
  expect(rung).toEqual([1100, 1150, 1200])
})
