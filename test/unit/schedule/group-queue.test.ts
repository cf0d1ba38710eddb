// Group queue. Goal: groups that were seen once cost nothing afterwards, however many, and
// where none is limited not even while their commands run. Method: a million groups, a thousand at
// a time, and counts of what is known of them.

import { expect, test } from 'vitest'
import { type LaneOptions, planLane, rankOf } from '../../../src/model/lane.ts'
import { GroupQueue } from '../../../src/schedule/group-queue.ts'
import { GroupSeat, SeatState } from '../../../src/schedule/group-ring.ts'

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
      const goesBy = n < AT_A_TIME / 2 && queue.passes(item, 0)
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

test('a command that goes by keeps its sequence, and none that is older follows it', () => {
  const queue = queueOf({}, true)
  const [older, younger, urgent] = [1, 2, 3].map((sequence) => new Item('a', sequence))
  expect(queue.passes(younger!, 0)).toBe(true)
  expect(younger!.seat).toMatchObject({ isReleased: true, number: undefined })
  expect(queue.passes(older!, 0)).toBe(false)
  urgent!.rank--
  expect(queue.passes(urgent!, 0)).toBe(false)
  queue.offer(older!, 0, 0)
  expect(queue.passes(new Item('b', 4), 0)).toBe(false)
  expect(queue.next(0, 0)).toBe(older)
  // It stays behind the one that went before it, and gets its own back if it comes again.
  expect(older).toMatchObject({ sequence: 2, seat: { number: 1 } })
  queue.giveBack(older!, 0, 1)
  expect(older!.sequence).toBe(1)
  expect(queue.passes(new Item('b', 4), 0)).toBe(true)
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
