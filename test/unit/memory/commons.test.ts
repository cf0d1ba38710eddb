import { expect, test, vi } from 'vitest'
import { InvariantError } from '../../../src/base/errors.ts'
import { attachCommons, CoordinatorCommons } from '../../../src/memory/commons.ts'
import { Bell, BellRinger, BellSleeper } from '../../../src/memory/doorbell.ts'
import { LaneGate, toNs } from '../../../src/memory/lane-gate.ts'
import {
  BELLS_PER_PARTITION,
  bellWord,
  CommonsWord,
  LAYOUT_VERSION,
  type LaneCells,
} from '../../../src/memory/layout.ts'
import { range } from '../../support/range.ts'

const RATE = { limit: 8, windowMs: 1000, isSliding: false, isPerPartition: false }
const FREE: LaneCells = { owners: 0, minConcurrency: 0, rate: undefined }
const SLOTS: LaneCells = { ...FREE, owners: 2 }
const RATED: LaneCells = { ...FREE, rate: RATE }

function commonsOf(partitions: number, lanes: readonly LaneCells[]) {
  const coordinator = new CoordinatorCommons(partitions, lanes)
  const attached = attachCommons(coordinator.memory, partitions, lanes)
  const gate = (partition: number, incarnation = 1) =>
    new LaneGate(attached, lanes, partition, incarnation, bellWord(partition, incarnation - 1))
  return { coordinator, attached, gate }
}

test('fresh commons are zero but for their version, and as long as their layout says', () => {
  const { attached } = commonsOf(3, [SLOTS, RATED])
  const { words, stamps } = attached.views
  expect(words).toHaveLength(attached.layout.words)
  expect(stamps).toHaveLength(attached.layout.words / 2)
  expect(words[CommonsWord.VERSION]).toBe(LAYOUT_VERSION)
  expect(words.subarray(1).every((word) => word === 0)).toBe(true)
})

test('commons of another layout are refused', () => {
  const { coordinator, attached } = commonsOf(1, [])
  attached.views.words[CommonsWord.VERSION] = LAYOUT_VERSION + 1
  expect(() => attachCommons(coordinator.memory, 1, [])).toThrow(
    expect.objectContaining({ code: 'CORELANE_LAYOUT_MISMATCH' }),
  )
})

test('every partition rings the one bell of the coordinator', async () => {
  const { coordinator, attached } = commonsOf(2, [])
  const woken = vi.fn()
  const sleeper = coordinator.sleeper(woken)
  sleeper.announce(Bell.ASLEEP)
  sleeper.wait()
  const ringers = [1, 2].map(() => new BellRinger(attached.views, CommonsWord.BELL))
  expect(ringers.map((ringer) => ringer.ring(true))).toEqual([true, false])
  await vi.waitFor(() => expect(woken).toHaveBeenCalledTimes(1))
})

test('threads of a partition that live at a time have different bells, eight at most', () => {
  const { coordinator } = commonsOf(2, [])
  const bells = range(BELLS_PER_PARTITION).map(() => coordinator.openBell(0))
  const words = new Set(bells.map(({ word }) => word)).add(coordinator.openBell(1).word)
  expect(words.size).toBe(BELLS_PER_PARTITION + 1)
  expect(() => coordinator.openBell(0)).toThrow(InvariantError)
  coordinator.closeBell(bells[3]!)
  expect(coordinator.openBell(0).word).toBe(bells[3]!.word)
  expect(() => coordinator.openBell(0)).toThrow(InvariantError)
})

test('a bell is awake when it is opened, whatever its last thread left', () => {
  const { coordinator, attached } = commonsOf(1, [])
  const first = coordinator.openBell(0)
  new BellSleeper(attached.views, first.word, () => {}).announce(Bell.ASLEEP)
  coordinator.closeBell(first)
  const again = coordinator.openBell(0)
  expect(again.word).toBe(first.word)
  expect(again.isAwake).toBe(true)
})

test('partitions see whether somebody listens', () => {
  const { coordinator, gate } = commonsOf(1, [])
  expect(gate(0).hasListeners).toBe(false)
  coordinator.listen(true)
  expect(gate(0).hasListeners).toBe(true)
  coordinator.listen(false)
  expect(gate(0).hasListeners).toBe(false)
})

test('a lane without slots has no end of free ones, one with slots those that nobody holds', () => {
  const { coordinator, gate } = commonsOf(2, [FREE, SLOTS])
  expect([0, 1].map((lane) => coordinator.freeSlots(lane))).toEqual([Number.POSITIVE_INFINITY, 2])
  expect([0, 1].map((lane) => coordinator.startsAhead(lane, 0n, 10))).toEqual([
    Number.POSITIVE_INFINITY,
    Number.POSITIVE_INFINITY,
  ])
  gate(0).enter(1)
  expect(coordinator.freeSlots(1)).toBe(1)
  const second = gate(1)
  second.enter(1)
  expect(coordinator.freeSlots(1)).toBe(0)
  second.leave(1, second.slot)
  expect(coordinator.freeSlots(1)).toBe(1)
})

test('of a lane with a rate a partition may start its share of what is ready and what is to come', () => {
  const { coordinator, gate } = commonsOf(2, [RATED])
  const now = toNs(performance.now())
  // 8 are ready, 4 for each partition; 250 ms bring 2 more.
  expect(coordinator.startsAhead(0, now, 250)).toBe(4 + 2)
  expect(coordinator.freeSlots(0)).toBe(Number.POSITIVE_INFINITY)
  const entering = gate(0)
  for (let i = 0; i < 8; i++) expect(entering.enter(0)).toBe(true)
  expect(coordinator.startsAhead(0, toNs(performance.now()), 250)).toBeLessThanOrEqual(1 + 2)
})

test('where each partition has a rate of its own it may start all of it', () => {
  const { coordinator } = commonsOf(2, [{ ...FREE, rate: { ...RATE, isPerPartition: true } }])
  expect(coordinator.startsAhead(0, toNs(performance.now()), 250)).toBe(8 + 2)
})

const KINDS = [false, true].flatMap((isSliding) =>
  [false, true].map((isPerPartition) => ({ isSliding, isPerPartition })),
)

test.each(KINDS)('starts by a higher limit count when it is back: %o', (kind) => {
  const rate = { ...kind, limit: 50, windowMs: 3_600_000 }
  const { coordinator, gate } = commonsOf(2, [{ ...FREE, rate }])
  const gates = [gate(0), gate(1)]
  const starts = (): number[] =>
    gates.map((entering) => range(60).filter(() => entering.enter(0)).length)
  const change = (limit: number, windowMs = rate.windowMs) =>
    coordinator.setLimits(0, { slots: 0, limit, windowMs }, toNs(performance.now()))
  expect(starts()).toEqual(kind.isPerPartition ? [50, 50] : [50, 0])
  for (const [limit, windowMs] of [[5], [20], [50, 7_200_000], [4, 7_200_000], [50]] as const) {
    change(limit, windowMs)
    expect([limit, ...starts()]).toEqual([limit, 0, 0])
  }
})

test('what a dead thread held is given back once, and nothing of its successor', () => {
  const { coordinator, attached, gate } = commonsOf(2, [SLOTS])
  const { owners } = attached.layout.lanes[0]!
  const { words } = attached.views
  gate(0, 1).enter(0)
  coordinator.reclaim(0, 1)
  expect([words[owners], words[owners + 1]]).toEqual([0, 0])
  gate(0, 2).enter(0)
  gate(1, 1).enter(0)
  coordinator.reclaim(0, 1)
  expect(words[owners]).not.toBe(0)
  expect(words[owners + 1]).not.toBe(0)
  expect(gate(0, 3).enter(0)).toBe(false)
  coordinator.reclaim(0, 2)
  expect(gate(0, 3).enter(0)).toBe(true)
})

test('the slot of a dead thread goes to who waits for it', () => {
  const { coordinator, attached, gate } = commonsOf(2, [{ ...SLOTS, owners: 1 }])
  const bells = [0, 1].map((partition) => coordinator.openBell(partition))
  gate(0).enter(0)
  const waiter = gate(1)
  const sleeper = new BellSleeper(attached.views, bells[1]!.word, () => {})
  waiter.beginLook()
  expect(waiter.enter(0)).toBe(false)
  sleeper.announce(Bell.ASLEEP)
  waiter.joinWaiters(false)
  coordinator.reclaim(0, 1)
  expect(bells[1]!.isAwake).toBe(true)
  waiter.beginLook()
  expect(waiter.enter(0)).toBe(true)
})

test('a death wakes all who wait, since the dead one may have kept the wake of any of them', () => {
  const { coordinator, attached, gate } = commonsOf(4, [{ ...SLOTS, owners: 1 }])
  const bells = [0, 1, 2, 3].map((partition) => coordinator.openBell(partition))
  gate(0).enter(0)
  for (const bell of bells) {
    new BellSleeper(attached.views, bell.word, () => {}).announce(Bell.ASLEEP)
  }
  for (const partition of [1, 3]) {
    const waiter = gate(partition)
    waiter.beginLook()
    expect(waiter.enter(0)).toBe(false)
    waiter.joinWaiters(false)
  }
  coordinator.reclaim(0, 1)
  expect(bells.map(({ isAwake }) => isAwake)).toEqual([false, true, false, true])
})

test('threads of one partition wake each other, and none leaves for the other', () => {
  const lanes = [{ ...SLOTS, owners: 1 }]
  const { coordinator, attached, gate } = commonsOf(1, lanes)
  const bells = [coordinator.openBell(0), coordinator.openBell(0)]
  const [old, next] = [gate(0, 1), gate(0, 2)]
  const waits = (one: LaneGate, bell: number) => {
    one.beginLook()
    expect(one.enter(0)).toBe(false)
    new BellSleeper(attached.views, bells[bell]!.word, () => {}).announce(Bell.ASLEEP)
    one.joinWaiters(true)
  }
  old.enter(0)
  const { slot } = old
  waits(old, 0)
  waits(next, 1)
  // It was taken over from, ends its run and has nothing to start.
  old.leaveWaiters()
  expect(bells[1]!.isAwake).toBe(false)
  old.leave(0, slot)
  old.leaveWaiters()
  expect(bells[1]!.isAwake).toBe(true)
  next.beginLook()
  expect(next.enter(0)).toBe(true)
})
