// Waiters: bits that say who waits for a lane, and the wake that goes round. What may go wrong
// between steps is in lane-gate.test.ts.

import { expect, test } from 'vitest'
import { attachCommons, CoordinatorCommons } from '../../../src/memory/commons.ts'
import { Bell } from '../../../src/memory/doorbell.ts'
import { BELLS_PER_PARTITION, bellNumber } from '../../../src/memory/layout.ts'
import { handOn, joinWaiters, leaveWaiters, ownerOf, wakeAll } from '../../../src/memory/waiters.ts'
import { range } from '../../support/range.ts'

const cells = { owners: 1, minConcurrency: 0, rate: undefined }

function world(partitions: number) {
  const commons = new CoordinatorCommons(partitions, [cells])
  const { views, layout } = attachCommons(commons.memory, partitions, [cells])
  const lane = layout.lanes[0]!
  const bells = range(partitions).map((one) => commons.openBell(one))
  const numberOf = (one: number) => bellNumber(bells[one]!.word)
  const sleep = (...those: number[]) => {
    for (const one of those) Atomics.store(views.words, bells[one]!.word, Bell.ASLEEP)
  }
  const join = (...those: number[]) => {
    for (const one of those) joinWaiters(views.words, lane.waiters, numberOf(one))
    sleep(...those)
  }
  const joinBusy = (...those: number[]) => {
    for (const one of those) joinWaiters(views.words, lane.busyWaiters, numberOf(one))
    sleep(...those)
  }
  const isRung = (partition: number) => bells[partition]!.isAwake
  const pass = (after: number) => handOn(views, layout, lane, numberOf(after))
  const leave = (partition: number) => leaveWaiters(views.words, lane.waiters, numberOf(partition))
  return { sleep, join, joinBusy, isRung, pass, leave, commons, bells, views, layout, lane }
}

test('a wake goes to the next waiter after the one that hands on, in a circle, and to one only', () => {
  const { join, isRung, pass, sleep } = world(5)
  sleep(0, 1, 2, 3, 4)
  join(1, 3)
  const rung = () => [0, 1, 2, 3, 4].filter(isRung)
  pass(1)
  expect(rung()).toEqual([3])
  pass(3)
  expect(rung()).toEqual([1, 3])
  sleep(1, 3)
  pass(4)
  expect(rung()).toEqual([])
})

test('busy waiters are woken with the idle one behind them, since they may not look for long', () => {
  const { joinBusy, join, isRung, pass } = world(6)
  joinBusy(1, 2, 4)
  join(3, 5)
  const rung = () => [0, 1, 2, 3, 4, 5].filter(isRung)
  pass(0)
  expect(rung()).toEqual([0, 1, 2, 3])
  pass(0)
  expect(rung()).toEqual([0, 1, 2, 3, 4, 5])
})

test('where only busy ones wait all of them are woken', () => {
  const { joinBusy, isRung, pass, sleep } = world(5)
  sleep(0, 1, 2, 3, 4)
  joinBusy(0, 2, 4)
  pass(2)
  expect([0, 1, 2, 3, 4].filter(isRung)).toEqual([0, 4])
})

test('who hands on is never woken by it, and stays among the waiters', () => {
  const { join, isRung, pass, leave } = world(3)
  join(2)
  pass(2)
  expect(isRung(2)).toBe(false)
  expect(leave(2)).toBe(true)
})

test('leaving tells whether a wake was given meanwhile', () => {
  const { join, pass, leave } = world(3)
  join(1, 2)
  pass(0)
  expect([leave(1), leave(2), leave(2)]).toEqual([false, true, false])
})

test('bits beyond the first 32 are kept in words of their own', () => {
  const { join, isRung, pass, leave } = world(100)
  join(31, 32, 63, 64, 99)
  pass(64)
  expect(isRung(99)).toBe(true)
  pass(99)
  expect(isRung(31)).toBe(true)
  pass(31)
  expect(isRung(32)).toBe(true)
  expect([31, 32, 63, 64, 99].map(leave)).toEqual([false, false, true, true, false])
})

test('every waiter is woken once as the wake goes round, whoever starts it', () => {
  const { join, isRung, pass } = world(8)
  const waiting = [0, 2, 3, 5, 7]
  join(...waiting)
  let at = 4
  const woken: number[] = []
  for (let i = 0; i < waiting.length; i++) {
    pass(at)
    at = waiting.find((one) => isRung(one) && !woken.includes(one))!
    woken.push(at)
  }
  expect(woken).toEqual([5, 7, 0, 2, 3])
})

test('threads of one partition wait beside each other, up to the last bell of the last one', () => {
  const { join, pass, leave, isRung, commons, bells } = world(4)
  for (let others = 1; others < BELLS_PER_PARTITION; others++) bells.push(commons.openBell(3))
  const last = bells.length - 1
  expect(bellNumber(bells[last]!.word)).toBe(31)
  join(3, 4, last)
  pass(3)
  expect([3, 4, last].filter(isRung)).toEqual([4])
  pass(4)
  expect([3, 4, last].filter(isRung)).toEqual([4, last])
  pass(last)
  expect([3, 4, last].map(leave)).toEqual([false, false, false])
})

test('all who wait can be woken at once, and none who does not', () => {
  const { join, joinBusy, sleep, isRung, leave, views, layout, lane } = world(40)
  sleep(...range(40))
  join(0, 31)
  joinBusy(32, 39)
  wakeAll(views, layout, lane)
  const rung = range(40).filter(isRung)
  expect(rung).toEqual([0, 31, 32, 39])
  expect(rung.map(leave)).toEqual([false, false, false, false])
})

test('owners differ for every thread of every partition, and none is 0', () => {
  const owners = new Set<number>()
  for (let partition = 0; partition < 256; partition++) {
    for (let incarnation = 1; incarnation < 200; incarnation++) {
      owners.add(ownerOf(partition, incarnation))
    }
  }
  expect(owners.size).toBe(256 * 199)
  expect(owners.has(0)).toBe(false)
})
