// Group queue. Goal: groups that were seen once cost nothing afterwards, however many, and
// where none is limited not even while their commands run. Method: a million groups, a thousand at
// a time, and counts of what is known of them.

import { expect, test } from 'vitest'
import { type LaneOptions, planLane, rankOf } from '../../../src/model/lane.ts'
import { GroupQueue } from '../../../src/schedule/group-queue.ts'
import { Flows, GroupSeat, NONE, SeatState } from '../../../src/schedule/group-ring.ts'
import { range } from '../../support/range.ts'

const LANE_PRIORITY = 5
const AT_A_TIME = 1000

/** As many are kept for a moment, since groups mostly come again. */
const IDLE_MAX = 16_384

class Item {
  rank = rankOf(LANE_PRIORITY, 128)
  sequence: number
  readonly seat: GroupSeat
  readonly submittedAtMs = 0
  readonly deadlineMs = undefined

  constructor(group: string, sequence: number) {
    this.seat = new GroupSeat(group)
    this.sequence = sequence
  }
}

function queueOf(options: LaneOptions, isFixed: boolean): GroupQueue<Item> {
  const plan = planLane('lane', { priority: LANE_PRIORITY, ...options })
  return new GroupQueue<Item>(
    plan,
    plan.groups,
    1,
    () => 1,
    () => 0,
    isFixed,
  )
}

const rate = { limit: 10, windowMs: 10 }

test.each<[string, LaneOptions, boolean, number, number]>([
  ['without limits', {}, true, 1_000_000, 0],
  ['under terms that may change', {}, false, 1_000_000, IDLE_MAX],
  ['with a maximum', { groupConcurrency: 2 }, true, 200_000, IDLE_MAX],
  // A start counts for a millisecond, or for ten.
  ['with a token bucket', { groupRateLimit: rate }, true, 100_000, IDLE_MAX + 2 * AT_A_TIME],
  [
    'with a sliding window',
    { groupRateLimit: { ...rate, algorithm: 'sliding-window' } },
    true,
    100_000,
    IDLE_MAX + 12 * AT_A_TIME,
  ],
])('groups that were seen once are forgotten: %s', (_, options, isFixed, count, keptMax) => {
  const queue = queueOf(options, isFixed)
  let now = 1000
  let sequence = 0
  let most = 0
  while (sequence < count) {
    for (let n = 0; n < AT_A_TIME; n++, sequence++) {
      const item = new Item(`tenant ${sequence}`, sequence)
      // Half of them go by, where they may.
      const goesBy = n < AT_A_TIME / 2 && queue.passes(item, 0, now)
      if (goesBy) item.seat.leave(now)
      else queue.offer(item, 0, now)
    }
    const released: Item[] = []
    for (let item = queue.next(0, now); item !== undefined; item = queue.next(0, now)) {
      released.push(item)
    }
    if (queue.isOpen) expect(queue.groupCount).toBe(0)
    for (const { seat } of released) seat.leave(now)
    queue.advance(++now)
    most = Math.max(most, queue.groupCount)
  }
  expect(most).toBeLessThanOrEqual(keptMax)
  for (let i = 1; i <= 4; i++) queue.advance(now + i * 2000)
  expect([queue.size, queue.groupCount, queue.changesAtMs]).toEqual([0, 0, Infinity])
})

test('groups that are gone take no room: at once if all are, else as others come and go', () => {
  const flows = new Flows<Item>()
  const add = (_: unknown, i: number) => flows.add(`tenant ${i}`, i % 3)
  const many = 100_000
  const stays = flows.add('stays', 0)
  const elsewhere = flows.at(stays, 1)
  flows.waiting[stays] = 7
  flows.live[elsewhere] = 8
  const all = Array.from({ length: many }, add)
  expect(new Set([NONE, stays, elsewhere, ...all]).size).toBe(many + 3)
  const most = flows.group.length
  for (const group of all) flows.remove(group)
  for (let i = 0; i < many; i++) flows.remove(add(0, i))
  const least = flows.group.length
  expect(least).toBeLessThan(most / 50)
  expect([flows.at(stays, 0), flows.at(stays, 1)]).toEqual([stays, elsewhere])
  expect([flows.waiting[stays], flows.live[elsewhere], flows.name[stays]]).toEqual([7, 8, 'stays'])
  for (const group of Array.from({ length: many }, add)) flows.remove(group)
  flows.remove(stays)
  expect(flows.group.length).toBe(least)
})

test('a command that goes by keeps its sequence, and none that is older follows it', () => {
  const queue = queueOf({}, true)
  const [older, younger, urgent] = [1, 2, 3].map((sequence) => new Item('a', sequence))
  expect(queue.passes(younger!, 0, 0)).toBe(true)
  expect(younger!.seat).toMatchObject({ isReleased: true, number: undefined })
  expect(queue.passes(older!, 0, 0)).toBe(false)
  urgent!.rank--
  expect(queue.passes(urgent!, 0, 0)).toBe(false)
  queue.offer(older!, 0, 0)
  expect(queue.passes(new Item('b', 4), 0, 0)).toBe(false)
  expect(queue.next(0, 0)).toBe(older)
  // It stays behind the one that went before it, and gets its own back if it comes again.
  expect(older).toMatchObject({ sequence: 2, seat: { number: 1 } })
  queue.giveBack(older!, 0, 1)
  expect(older!.sequence).toBe(1)
  expect(queue.passes(new Item('b', 4), 0, 0)).toBe(true)
})

test('a command goes by as long as its group is at no limit, and counts for it', () => {
  const options = { groupConcurrency: 2, groupRateLimit: { limit: 3, windowMs: 100 } }
  const queue = queueOf(options, true)
  const items = range(5).map((sequence) => new Item('a', sequence))
  const passes = (at: number, now: number) => queue.passes(items[at]!, 0, now)
  expect([passes(0, 0), passes(1, 0), passes(2, 0)]).toEqual([true, true, false])
  expect(queue.passes(new Item('b', 2), 0, 0)).toBe(true)
  items[0]!.seat.leave(5)
  expect([passes(2, 10), passes(3, 10)]).toEqual([true, false])
  // One at a limit that waits keeps the others of its group from going by.
  queue.offer(items[3]!, 0, 10)
  items[1]!.seat.leave(5)
  items[2]!.seat.leave(10)
  expect([passes(4, 10), queue.next(0, 10)]).toEqual([false, undefined])
  queue.advance(40)
  expect(queue.next(0, 40)).toBe(items[3])
})

test.each(['token-bucket', 'sliding-window'] as const)(
  'a group that holds nothing is known as long as its starts count: %s',
  (algorithm) => {
    const queue = queueOf({ groupRateLimit: { limit: 1, windowMs: 10_000, algorithm } }, true)
    const [first, second, third] = [0, 1, 2].map((sequence) => new Item('a', sequence))
    expect(queue.passes(first!, 0, 5)).toBe(true)
    first!.seat.leave(5)
    for (let now = 1000; now <= 10_000; now += 1000) {
      queue.advance(now)
      expect([queue.groupCount, queue.passes(second!, 0, now)]).toEqual([1, false])
    }
    // Not looked at all the time: from the second sweep on, only when its start counts no more.
    expect(queue.changesAtMs).toBe(10_005)
    for (let now = 10_005; now <= 13_005; now += 1000) queue.advance(now)
    expect([queue.groupCount, queue.changesAtMs]).toEqual([0, Infinity])
    expect(queue.passes(third!, 0, 13_005)).toBe(true)
  },
)

test('a rate that is taken away and comes again starts anew', () => {
  const rated = planLane('lane', {
    groupRateLimit: { limit: 1, windowMs: 100, algorithm: 'sliding-window' },
  })
  const free = planLane('lane', {})
  const queue = queueOf({}, false)
  queue.replan(rated, rated.groups, 0)
  const [first, second] = [0, 1].map((sequence) => new Item('a', sequence))
  queue.offer(first!, 0, 0)
  expect(queue.next(0, 0)).toBe(first)
  queue.replan(free, free.groups, 10)
  // It has not started, and never does.
  first!.seat.leave()
  queue.replan(rated, rated.groups, 20)
  queue.offer(second!, 0, 20)
  queue.advance(20)
  expect(queue.next(0, 20)).toBe(second)
})

test('a group goes on with its turn after a limit has interrupted it', () => {
  const queue = queueOf({ groupConcurrency: 1, groupWeights: { a: 3 } }, true)
  const items = ['a', 'a', 'a', 'b', 'c'].map((group, sequence) => new Item(group, sequence))
  for (const item of items) queue.offer(item, 0, 0)
  const ran: Item[] = []
  // The one before ends after the next has been released.
  for (let last: Item | undefined; ran.length < items.length; last = ran.at(-1)) {
    ran.push(queue.next(0, 0)!)
    last?.seat.leave()
  }
  const [a1, a2, a3, b, c] = items
  expect(ran).toEqual([a1, b, a2, c, a3])
})

test('a seat that only names a group takes no turn and gives nothing back', () => {
  const seat = new GroupSeat('a', SeatState.NAMED)
  expect([seat.takesTurns, seat.isReleased]).toEqual([false, true])
  seat.started(5)
  seat.leave(5)
  const run = seat.split(5)
  for (const one of [seat, run]) {
    one.leave()
    expect([one.takesTurns, one.isReleased]).toEqual([false, true])
  }
})
