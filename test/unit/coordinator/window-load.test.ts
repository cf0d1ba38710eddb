// Window load: what is bound, and that a stream without credit counts for nothing.

import { expect, test } from 'vitest'
import { WindowLoad } from '../../../src/coordinator/window-load.ts'
import { CREDIT_MAX } from '../../../src/wire/result-record.ts'
import { lane } from './support/rig.ts'

const open = lane(0)
const limited = Object.assign(lane(1), { isLimited: true })

function tallies(load: WindowLoad) {
  const { count, workUs, openCount, openWorkUs, bytes, restingCount } = load
  const lanes = [load.inLane(0), load.inLane(1)]
  return { count, workUs, openCount, openWorkUs, bytes, restingCount, lanes }
}

const EMPTY = tallies(new WindowLoad(2))

test.each([
  ['open', open],
  ['limited', limited],
])('a stream rests from its last credit to its next, in a lane that is %s', (_, of) => {
  const load = new WindowLoad(2)
  load.add(7, of, 40, 1, 500, 64)
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
  const load = new WindowLoad(2)
  load.add(3, open, 1, 1, 100, 8)
  load.add(4, open, 1, 1, 100, 8)
  load.received(3, open, 5 * CREDIT_MAX)
  expect(load.restingCount).toBe(1)
  load.remove(3, open)
  load.remove(4, open)
  expect(tallies(load)).toEqual(EMPTY)
  load.add(3, open, 1, 1, 100, 8)
  load.received(3, open, 1)
  expect(load.restingCount).toBe(0)
})

test('units are counted modulo 2^32', () => {
  const load = new WindowLoad(2)
  load.add(3, open, 1, 1, 100, 8)
  for (const total of [2 ** 31 - 1, 2 ** 32 - 1, 2 ** 32 + 500]) {
    const before = total === 2 ** 31 - 1 ? 0 : total === 2 ** 32 - 1 ? 2 ** 31 - 1 : 2 ** 32 - 1
    load.received(3, open, total - before)
    load.granted(3, total | 0)
    expect(load.restingCount).toBe(0)
  }
  load.received(3, open, CREDIT_MAX)
  expect(load.restingCount).toBe(1)
})
