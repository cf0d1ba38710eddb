// Backpressure: what fits, who waits, and in which order those who wait are let in. Method: lanes
// whose tallies the test keeps by hand.

import { beforeEach, expect, test } from 'vitest'
import { Backpressure } from '../../../../src/coordinator/admission/backpressure.ts'
import type { Lane } from '../../../../src/coordinator/lane-table.ts'
import type { PendingBounds } from '../../../../src/coordinator/options.ts'
import type { LaneOptions } from '../../../../src/model/lane.ts'
import { range } from '../../../support/range.ts'
import { laneTable } from '../support/rig.ts'

const NONE: PendingBounds = { maxPending: Infinity, maxPendingBytes: Infinity, waitsWhenFull: true }
let accepted: string[] = []
let refused: unknown[] = []

beforeEach(() => {
  accepted = []
  refused = []
})

function roomOf(lanes: Record<string, LaneOptions>, bounds: Partial<PendingBounds> = {}) {
  const table = laneTable(lanes)
  const room = new Backpressure(table, { ...NONE, ...bounds })
  const wait = (lane: Lane, name: string, bytes = 0) =>
    room.wait(lane, {
      bytes,
      accept: () => {
        accepted.push(name)
        lane.submitted++
        lane.pendingBytes += bytes
      },
      refuse: (reason) => refused.push(reason),
    })
  return { room, wait, lane: (name: string) => table.get(name) }
}

test('without bounds everything fits and no bytes are counted', () => {
  const { room, lane } = roomOf({ a: {} })
  lane('a').submitted = 1e9
  expect([room.isBounded, room.countsBytes, room.isFull(lane('a'))]).toEqual([false, false, false])
  expect(room.admits(lane('a'), 1e12)).toBe(true)
  expect(room.bytesOf('a long text')).toBe(0)
})

test('a lane takes as many as its bound, and one more for each that is settled', () => {
  const { room, lane, wait } = roomOf({ a: { maxPending: 2 } })
  const a = lane('a')
  a.submitted = 2
  expect([room.isBounded, room.isFull(a), room.admits(a, 0)]).toEqual([true, true, false])
  wait(a, 'third')
  wait(a, 'fourth')
  room.release()
  expect([accepted, room.waitingIn(a)]).toEqual([[], 2])
  a.completed = 1
  room.release()
  expect([accepted, room.waitingIn(a)]).toEqual([['third'], 1])
  a.failed = 2
  room.release()
  expect(accepted).toEqual(['third', 'fourth'])
})

test('nobody goes past those who wait, though there is room by now', () => {
  const { room, lane, wait } = roomOf({ a: { maxPending: 1 } })
  const a = lane('a')
  a.submitted = 1
  wait(a, 'first')
  a.completed = 1
  expect([room.admits(a, 0), room.isFull(a)]).toEqual([false, true])
  room.release()
  expect(accepted).toEqual(['first'])
})

test('the refusal of a lane tells its numbers, that of the manager those of all lanes', () => {
  const { room, lane } = roomOf(
    { a: { maxPending: 2, maxPendingBytes: 500, overflow: 'reject' }, b: {} },
    { maxPending: 5, maxPendingBytes: 1000, waitsWhenFull: false },
  )
  Object.assign(lane('a'), { submitted: 2, pendingBytes: 100 })
  expect(() => room.admits(lane('a'), 10)).toThrow('Lane "a" is full: 2 of 2 commands are pending')
  Object.assign(lane('a'), { submitted: 1, pendingBytes: 495 })
  expect(() => room.admits(lane('a'), 10)).toThrow(
    'Lane "a" is full: 495 of 500 bytes are pending, and this command has 10',
  )
  Object.assign(lane('a'), { submitted: 2, pendingBytes: 100 })
  Object.assign(lane('b'), { submitted: 3, pendingBytes: 700 })
  expect(() => room.admits(lane('b'), 10)).toThrow(
    'The queue manager is full: 5 of 5 commands are pending',
  )
})

test('at the manager bound those of all lanes go in the order in which they came', () => {
  const { room, lane, wait } = roomOf({ a: {}, b: {}, c: {} }, { maxPending: 1 })
  lane('a').submitted = 1
  for (const name of ['c1', 'b1', 'a1', 'c2', 'b2']) wait(lane(name[0]!), name)
  for (let i = 0; i < 5; i++) {
    for (const one of ['a', 'b', 'c']) lane(one).completed = lane(one).submitted
    room.release()
  }
  expect(accepted).toEqual(['c1', 'b1', 'a1', 'c2', 'b2'])
})

test('a lane at its own bound lets others go before it', () => {
  const { room, lane, wait } = roomOf({ a: { maxPending: 1 }, b: {} }, { maxPending: 3 })
  lane('a').submitted = 1
  lane('b').submitted = 2
  wait(lane('a'), 'a1')
  wait(lane('b'), 'b1')
  lane('b').completed = 1
  room.release()
  expect(accepted).toEqual(['b1'])
})

test('a first command fits however large, also where other lanes hold bytes below their bound', () => {
  const { room, lane } = roomOf({ a: { maxPendingBytes: 100 }, b: { maxPendingBytes: 100 } })
  expect(room.admits(lane('a'), 1e9)).toBe(true)
  lane('a').submitted = 1
  lane('a').pendingBytes = 1e9
  expect([room.admits(lane('a'), 1), room.admits(lane('b'), 1e9)]).toEqual([false, true])
})

test('bytes are those of texts and of binary data, and what cannot cross counts for nothing', () => {
  const { room } = roomOf({ a: { maxPendingBytes: 100 } })
  expect(room.countsBytes).toBe(true)
  expect(room.bytesOf('four')).toBe(4)
  expect(room.bytesOf(5)).toBe(8)
  expect(room.bytesOf(undefined)).toBe(8)
  expect(room.bytesOf(new Uint8Array(5000))).toBeGreaterThanOrEqual(5000)
  expect(room.bytesOf({ text: 'x'.repeat(300) })).toBeGreaterThanOrEqual(300)
  expect(room.bytesOf({ broken: () => {} })).toBe(0)
})

test('all who wait are refused at the end, each with a reason of its own', () => {
  const { room, lane, wait } = roomOf({ a: { maxPending: 1 }, b: { maxPending: 1 } })
  for (const name of ['a', 'b']) lane(name).submitted = 1
  for (const name of ['a', 'a', 'b']) wait(lane(name), name)
  room.refuseAll(() => new Error('closed'))
  expect(refused).toHaveLength(3)
  expect(new Set(refused).size).toBe(3)
  for (const name of ['a', 'b']) lane(name).completed = 1
  room.release()
  expect([accepted, room.waitingIn(lane('a'))]).toEqual([[], 0])
})

test('of those that wait some leave: the others are let in in their order', () => {
  const { room, lane, wait } = roomOf({ a: { maxPending: 1 } })
  const a = lane('a')
  a.submitted = 1
  const leaves = range(1000).map((i) => wait(a, String(i)))
  for (const [i, leave] of leaves.entries()) if (i % 10 !== 3) leave()
  expect(room.waitingIn(a)).toBe(100)
  leaves[3]!()
  leaves[3]!()
  expect(room.waitingIn(a)).toBe(99)
  for (; room.waitingIn(a) > 0; a.completed++) room.release()
  room.release()
  expect(accepted).toEqual(range(99).map((i) => String(i * 10 + 13)))
  leaves[13]!()
  expect([room.waitingIn(a), refused]).toEqual([0, []])
})

test('two hundred thousand that wait are let in, or leave in any order, in a moment', () => {
  const { room, lane, wait } = roomOf({ a: { maxPending: 1 } })
  const a = lane('a')
  a.submitted = 1
  // One by one through an array this takes more than half a minute.
  for (let i = 0; i < 200_000; i++) wait(a, '')
  for (; room.waitingIn(a) > 0; a.completed++) room.release()
  expect(accepted).toHaveLength(200_000)
  const leaves = range(200_000).map(() => wait(a, ''))
  for (const leave of leaves.slice(0, 100_000)) leave()
  for (const leave of leaves.reverse()) leave()
  expect(room.waitingIn(a)).toBe(0)
}, 10_000)
