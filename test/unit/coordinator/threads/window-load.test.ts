// Window load: what fills a window; what is bound and cannot start soon, and a stream without
// credit, fill nothing.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { WindowLoad } from '../../../../src/coordinator/threads/window-load.ts'
import { CREDIT_MAX } from '../../../../src/wire/result-record.ts'
import { laneTable } from '../support/rig.ts'

const { all } = laneTable({ open: {}, other: {}, limited: { maxConcurrency: 1 } }, 4)
const [open, other, limited] = all

test('of one key the first fills the window, those behind it do not', () => {
  const load = new WindowLoad(3, true)
  for (let slot = 0; slot < 4; slot++) load.add(slot, open!, 5, slot, 100, 8, 'a')
  load.add(4, open!, 5, 4, 100, 8, 'b')
  load.add(5, open!, 5, 5, 100, 8, undefined)
  expect([load.count, load.openCount, load.readyCount]).toEqual([6, 6, 3])
  expect([load.openWorkUs, load.readyWorkUs]).toEqual([600, 300])
  expect([load.ofKey(0, 'a'), load.workOfKey(0, 'a'), load.behindKeys]).toEqual([4, 400, 3])
  load.remove(0, open!)
  expect([load.readyCount, load.behindKeys]).toEqual([3, 2])
})

test('where one command runs at a time keys are not counted', () => {
  const load = new WindowLoad(3, false)
  for (let slot = 0; slot < 4; slot++) load.add(slot, open!, 5, slot, 100, 8, 'a')
  expect([load.readyCount, load.ofKey(0, 'a'), load.behindKeys]).toEqual([4, 0, 0])
})

test('lanes count apart: one may wait at its gate while another could run', () => {
  const load = new WindowLoad(3, true)
  for (let slot = 0; slot < 2; slot++) load.add(slot, limited!, 5, slot, 100, 8, 'a')
  expect([load.ofKey(2, 'a'), load.ofKey(0, 'a')]).toEqual([2, 0])
  expect([load.limitedCount, load.readyCount, load.bytesIn(2), load.openBytes]).toEqual([
    2, 0, 16, 0,
  ])
  load.add(2, open!, 5, 2, 100, 8, 'a')
  // It may have to wait for one of the limited lane.
  expect([load.openCount, load.readyCount]).toEqual([1, 0])
})

test('the last of a lane and of a key is known, until it is lowered', () => {
  const load = new WindowLoad(3, true)
  load.add(0, open!, 5, 10, 100, 8, 'a')
  load.add(1, open!, 9, 11, 100, 8, 'b')
  expect([load.hasAfterInLane(0, 8, 50), load.hasAfterInLane(0, 9, 11)]).toEqual([true, false])
  expect([load.hasAfterOfKey(0, 'a', 5, 9), load.hasAfterOfKey(0, 'a', 5, 10)]).toEqual([
    true,
    false,
  ])
  expect(load.hasAfterOfKey(0, 'none', 0, 0)).toBe(false)
  load.lowerLastInLane(0, 5, 10)
  load.lowerLastOfKey(0, 'a', 1, 1)
  expect([load.hasAfterInLane(0, 5, 9), load.hasAfterInLane(0, 8, 50)]).toEqual([true, false])
  expect(load.hasAfterOfKey(0, 'a', 5, 9)).toBe(false)
})

test('whatever is added and removed, the tallies are those of what is there', () => {
  const command = fc.record({
    lane: fc.constantFrom(open!, other!, limited!),
    key: fc.constantFrom(undefined, 'a', 'b', 'c'),
    workUs: fc.integer({ min: 1, max: 1000 }),
  })
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(15), command), { maxLength: 60 }), (steps) => {
      const load = new WindowLoad(3, true)
      const bound = new Map<number, (typeof steps)[number][1]>()
      for (const [slot, one] of steps) {
        const there = bound.get(slot)
        if (there === undefined) {
          load.add(slot, one.lane, 0, slot, one.workUs, 8, one.key)
          bound.set(slot, one)
        } else {
          load.remove(slot, there.lane)
          bound.delete(slot)
        }
        const present = [...bound.values()]
        const opens = present.filter(({ lane }) => !lane.isLimited)
        let behind = 0
        for (const key of ['a', 'b', 'c']) {
          const own = opens.filter((each) => each.key === key).length
          const hasLimited = present.some((each) => each.key === key && each.lane.isLimited)
          behind += hasLimited ? own : Math.max(0, own - 1)
        }
        expect([load.count, load.openCount]).toEqual([present.length, opens.length])
        expect(load.readyCount).toBe(opens.length - behind)
        const workUs = opens.reduce((sum, each) => sum + each.workUs, 0)
        expect(load.openWorkUs).toBeCloseTo(workUs)
        if (behind === 0) expect(load.readyWorkUs).toBeCloseTo(workUs)
        expect(load.readyWorkUs).toBeGreaterThan(-1e-6)
      }
    }),
  )
})

function tallies(load: WindowLoad) {
  const { count, workUs, openCount, openWorkUs, openBytes, restingCount } = load
  const lanes = [load.inLane(0), load.inLane(2), load.bytesIn(2)]
  return { count, workUs, openCount, openWorkUs, openBytes, restingCount, lanes }
}

const EMPTY = tallies(new WindowLoad(3, true))

test.each([
  ['open', open!],
  ['limited', limited!],
])('a stream rests from its last credit to its next, in a lane that is %s', (_, of) => {
  const load = new WindowLoad(3, true)
  load.add(7, of, 40, 1, 500, 64, undefined)
  const whole = tallies(load)
  load.received(7, of, CREDIT_MAX - 1)
  expect(tallies(load)).toEqual(whole)
  load.received(7, of, 1)
  expect(tallies(load)).toEqual({ ...EMPTY, restingCount: 1 })
  expect(load.aheadUs(40, 2)).toBe(0)
  // The value that exceeded the credit is not given back yet.
  load.received(7, of, 200)
  load.granted(7, 200)
  expect(load.restingCount).toBe(1)
  load.granted(7, 201)
  expect(tallies(load)).toEqual(whole)
  expect([load.hasAfter(40, 0), load.aheadUs(40, 2)]).toEqual([true, 500])
  load.remove(7, of)
  expect(tallies(load)).toEqual(EMPTY)
})

test('a stream that ends while it rests leaves nothing, and neither does the next in its slot', () => {
  const load = new WindowLoad(3, true)
  load.add(3, open!, 1, 1, 100, 8, undefined)
  load.add(4, open!, 1, 1, 100, 8, undefined)
  load.received(3, open!, 5 * CREDIT_MAX)
  expect(load.restingCount).toBe(1)
  load.remove(3, open!)
  load.remove(4, open!)
  expect(tallies(load)).toEqual(EMPTY)
  load.add(3, open!, 1, 1, 100, 8, undefined)
  load.received(3, open!, 1)
  expect(load.restingCount).toBe(0)
})

test('units are counted modulo 2^32', () => {
  const load = new WindowLoad(3, true)
  load.add(3, open!, 1, 1, 100, 8, undefined)
  for (const total of [2 ** 31 - 1, 2 ** 32 - 1, 2 ** 32 + 500]) {
    const before = total === 2 ** 31 - 1 ? 0 : total === 2 ** 32 - 1 ? 2 ** 31 - 1 : 2 ** 32 - 1
    load.received(3, open!, total - before)
    load.granted(3, total | 0)
    expect(load.restingCount).toBe(0)
  }
  load.received(3, open!, CREDIT_MAX)
  expect(load.restingCount).toBe(1)
})
