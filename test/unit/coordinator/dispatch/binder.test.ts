import { expect, test, vi } from 'vitest'
import type { Command } from '../../../../src/coordinator/command.ts'
import { Backlog } from '../../../../src/coordinator/dispatch/backlog.ts'
import { Binder } from '../../../../src/coordinator/dispatch/binder.ts'
import { LaneTable } from '../../../../src/coordinator/lane-table.ts'
import type { BoundWindow } from '../../../../src/coordinator/threads/bound-window.ts'
import { CoordinatorCommons } from '../../../../src/memory/commons.ts'
import { type LaneOptions, laneNeeds } from '../../../../src/model/lane.ts'
import { command, LANES, laneTable, Rig } from '../support/rig.ts'

/** A binder over partitions; shared means that commands may go to any of them. */
function binderOver(count: number, isShared: boolean, lanes = LANES) {
  const rigs = Array.from({ length: count }, (_, index) => new Rig(index, 65_536, lanes))
  const backlog = new Backlog(lanes, isShared ? 1 : count)
  const needs = lanes.map((plan) => laneNeeds(plan, count))
  const partitions = rigs.map(({ handle }) => handle)
  const { all } = new LaneTable(lanes, needs)
  const commons = new CoordinatorCommons(count, needs)
  const binder = new Binder(backlog, partitions, all, commons, isShared, 1)
  return { rigs, backlog, binder }
}

/** The same over lanes with options. */
function binderOfLanes(count: number, options: Readonly<Record<string, LaneOptions>>) {
  const { all } = laneTable(options, count)
  const plans = all.map(({ plan }) => plan)
  return { lanes: all, ...binderOver(count, true, plans) }
}

/** Fills two partitions with commands of a lane of which one may run at a time. */
function fillOneAtATime(estimateUs: number) {
  const made = binderOfLanes(2, { limited: { maxConcurrency: 1 } })
  for (let i = 0; i < 50; i++) made.binder.place(command({ lane: made.lanes[0]!, estimateUs }))
  return made
}

function bind(window: BoundWindow, pending: Command): boolean {
  return window.bind(pending, pending.rank)
}

const LONG = { estimateUs: 20_000 }

test('a command is bound at once while a window has room, and shown by flush', () => {
  const { rigs, backlog, binder } = binderOver(1, true)
  binder.place(command({ sequence: 1 }))
  expect(backlog.size).toBe(0)
  expect(rigs[0]!.end.commands.isEmpty).toBe(true)
  binder.flush()
  expect(rigs[0]!.runAll()).toEqual([1])
})

test('what finds no room waits, and is bound when results make some', () => {
  const { rigs, backlog, binder } = binderOver(1, true)
  for (let sequence = 1; sequence <= 4; sequence++) binder.place(command({ sequence, ...LONG }))
  expect([rigs[0]!.bound.load.count, backlog.size]).toEqual([2, 2])
  binder.flush()
  rigs[0]!.finish(rigs[0]!.start()!.id, 0)
  rigs[0]!.bound.drain()
  binder.refill()
  expect([rigs[0]!.bound.load.count, backlog.size]).toEqual([2, 1])
})

test('a command never passes one before it that waits for the same place', () => {
  const { rigs, backlog, binder } = binderOver(1, true)
  for (let sequence = 1; sequence <= 3; sequence++) binder.place(command({ sequence, ...LONG }))
  binder.place(command({ sequence: 4, estimateUs: 1 }))
  expect(rigs[0]!.bound.load.count).toBe(2)
  expect(backlog.takeAll(0).map(({ sequence }) => sequence)).toEqual([3, 4])
})

test('a payload whose getter places more urgent commands costs none of them its place', () => {
  const { rigs, backlog, binder } = binderOver(1, true)
  const rig = rigs[0]!
  for (const sequence of [1, 2]) binder.place(command({ sequence, ...LONG }))
  let wasRead = false
  const payload = {
    get read() {
      if (!wasRead) {
        wasRead = true
        for (const sequence of [4, 5]) binder.place(command({ sequence, rank: -1, ...LONG }))
      }
      return true
    },
  }
  binder.place(command({ sequence: 3, payload, ...LONG }))
  expect([wasRead, backlog.size]).toEqual([false, 1])
  const ran: number[] = []
  for (let turn = 0; turn < 10; turn++) {
    binder.flush()
    const entry = rig.start()
    if (entry !== undefined) {
      ran.push(entry.sequence)
      rig.finish(entry.id, 0)
    }
    rig.bound.drain()
    binder.refill()
  }
  expect(ran).toEqual([1, 4, 5, 2, 3])
  expect([rig.bound.load.count, backlog.size]).toEqual([0, 0])
})

test('with a home a command waits for its partition though another is free', () => {
  const { rigs, backlog, binder } = binderOver(2, false)
  for (let i = 0; i < 3; i++) binder.place(command({ home: 0, ...LONG }))
  expect(rigs.map(({ bound }) => bound.load.count)).toEqual([2, 0])
  expect(backlog.size).toBe(1)
  binder.place(command({ home: 1 }))
  expect(rigs[1]!.bound.load.count).toBe(1)
})

test('without a home a command goes where least work is bound', () => {
  const { rigs, binder } = binderOver(2, true)
  bind(rigs[0]!.bound, command({ estimateUs: 5000 }))
  for (let i = 0; i < 3; i++) binder.place(command({ estimateUs: 1000 }))
  expect(rigs.map(({ bound }) => bound.load.count)).toEqual([1, 3])
})

test('a lone command goes to the partition that was last active', () => {
  const { rigs, binder } = binderOver(3, true)
  rigs[1]!.handle.touched = 1e9
  binder.place(command())
  expect(rigs.map(({ bound }) => bound.load.count)).toEqual([0, 1, 0])
})

test('a sleeping partition is woken only if the others have more to do than a wake costs', () => {
  const { rigs, binder } = binderOver(2, true)
  rigs[1]!.end.bell.announce(2)
  bind(rigs[0]!.bound, command({ estimateUs: 50 }))
  binder.place(command({ estimateUs: 50 }))
  expect(rigs.map(({ bound }) => bound.load.count)).toEqual([2, 0])
  bind(rigs[0]!.bound, command({ estimateUs: 5000 }))
  binder.place(command({ estimateUs: 50 }))
  expect(rigs.map(({ bound }) => bound.load.count)).toEqual([3, 1])
})

test('a partition without a thread gets nothing', () => {
  const { rigs, backlog, binder } = binderOver(2, true)
  rigs[0]!.handle.incarnation = undefined
  binder.place(command())
  expect(rigs.map(({ bound }) => bound.load.count)).toEqual([0, 1])
  rigs[1]!.handle.incarnation = undefined
  binder.place(command())
  expect(backlog.size).toBe(1)
})

test('a payload that cannot cross fails its command alone', async () => {
  const { rigs, backlog, binder } = binderOver(1, true)
  const settled = vi.fn()
  binder.place(command({ payload: () => 1 }, settled))
  await expect(settled.mock.calls[0]![0]).rejects.toMatchObject({ code: 'CORELANE_UNSERIALIZABLE' })
  binder.place(command({ sequence: 8 }))
  binder.flush()
  expect(backlog.size).toBe(0)
  expect(rigs[0]!.runAll()).toEqual([8])
})

test('a payload that cannot cross does not stop those that wait behind it', async () => {
  const { rigs, backlog, binder } = binderOver(1, true)
  const settled = vi.fn()
  backlog.offer(command({ sequence: 1, payload: () => 1 }, settled), 0)
  backlog.offer(command({ sequence: 2 }), 0)
  binder.refill()
  binder.flush()
  await expect(settled.mock.calls[0]![0]).rejects.toThrow()
  expect(rigs[0]!.runAll()).toEqual([2])
})

test('an urgent command overtakes what is bound', () => {
  const { rigs, binder } = binderOver(1, true)
  for (let sequence = 1; sequence <= 2; sequence++) {
    binder.place(command({ sequence, rank: 9, ...LONG }))
  }
  binder.flush()
  const running = rigs[0]!.start()!
  binder.place(command({ sequence: 3, rank: 0, estimateUs: 10 }))
  binder.flush()
  rigs[0]!.finish(running.id, 0)
  expect(rigs[0]!.runAll()).toEqual([3, 2])
})

test('what is less urgent makes way for one that finds no room at all', () => {
  const { rigs, backlog, binder } = binderOver(1, true)
  // Its own rank has more ahead than a window takes; something less urgent is bound too.
  for (let sequence = 1; sequence <= 2; sequence++) {
    bind(rigs[0]!.bound, command({ sequence, rank: 1, ...LONG }))
  }
  bind(rigs[0]!.bound, command({ sequence: 3, rank: 9 }))
  rigs[0]!.bound.flush()
  binder.place(command({ sequence: 4, rank: 1 }))
  expect(rigs[0]!.runAll()).toEqual([1, 2])
  expect(backlog.takeAll(0).map(({ sequence }) => sequence)).toEqual([4, 3])
})

test('an idle partition is given what another has not started', () => {
  const { rigs, binder } = binderOver(2, true)
  for (let sequence = 1; sequence <= 10; sequence++) {
    bind(rigs[0]!.bound, command({ sequence, estimateUs: 500 }))
  }
  rigs[0]!.bound.flush()
  rigs[0]!.start()
  expect(binder.rebalance(0)).toBe(true)
  expect(rigs[0]!.bound.load.count).toBe(5)
  expect(rigs[1]!.bound.load.count).toBe(5)
  expect(rigs[1]!.runAll()).toEqual([6, 7, 8, 9, 10])
})

test('a little work is not worth waking an idle partition for', () => {
  const { rigs, binder } = binderOver(2, true)
  for (let i = 0; i < 3; i++) bind(rigs[0]!.bound, command({ estimateUs: 50 }))
  expect(binder.rebalance(0)).toBe(true)
  expect(rigs.map(({ bound }) => bound.load.count)).toEqual([3, 0])
})

test('all that waits behind a command that does not end is given to an idle partition', () => {
  const { rigs, binder } = binderOver(2, true)
  for (let sequence = 1; sequence <= 3; sequence++) {
    bind(rigs[0]!.bound, command({ sequence, estimateUs: 10 }))
  }
  rigs[0]!.bound.flush()
  rigs[0]!.start()
  binder.rebalance(100)
  expect(rigs[1]!.bound.load.count).toBe(0)
  binder.rebalance(101)
  expect(rigs.map(({ bound }) => bound.load.count)).toEqual([1, 2])
})

test('commands with a home stay with it though another partition is idle', () => {
  const { rigs, binder } = binderOver(2, false)
  for (let i = 0; i < 10; i++) binder.place(command({ home: 0, estimateUs: 500 }))
  expect(binder.rebalance(1000)).toBe(false)
  expect(rigs.map(({ bound }) => bound.load.count)).toEqual([10, 0])
})

test('nothing is moved while something waits that any partition may take', () => {
  const { rigs, backlog, binder } = binderOver(2, true)
  for (let i = 0; i < 4; i++) bind(rigs[0]!.bound, command({ estimateUs: 500 }))
  backlog.offer(command(), 0)
  expect(binder.rebalance(0)).toBe(false)
  expect(rigs.map(({ bound }) => bound.load.count)).toEqual([4, 0])
})

test('a limited lane has no more bound than could start in a moment, on every partition', () => {
  const { lanes, rigs, backlog, binder } = binderOfLanes(2, {
    limited: { rateLimit: { limit: 4, windowMs: 60_000 } },
  })
  for (let i = 0; i < 20; i++) binder.place(command({ lane: lanes[0]! }))
  // Two of the four tokens for each, one that comes within 10 ms at the latest, one at the gate.
  expect(rigs.map(({ bound }) => bound.load.count)).toEqual([4, 4])
  expect(backlog.size).toBe(12)
})

test('of long commands as many as slots are free are bound, and one that waits at the gate', () => {
  const { lanes, rigs } = fillOneAtATime(20_000)
  expect(lanes[0]!.slots).toBe(1)
  expect(rigs.map(({ bound }) => bound.load.count)).toEqual([2, 2])
})

test('of short commands as many are bound as slots let run in a moment, and one', () => {
  const { rigs } = fillOneAtATime(1000)
  expect(rigs.map(({ bound }) => bound.load.count)).toEqual([11, 11])
})

test('a limited lane that has all it may have bound gives up its last for a more urgent command', () => {
  const { rigs, backlog, binder, lanes } = binderOfLanes(1, {
    limited: { rateLimit: { limit: 20 } },
  })
  const place = (sequence: number, rank: number) =>
    binder.place(command({ lane: lanes[0]!, sequence, rank }))
  for (let sequence = 1; sequence <= 60; sequence++) place(sequence, 9)
  const { load } = rigs[0]!.bound
  const bound = load.count
  expect(bound).toBeLessThan(60)
  place(61, 9)
  place(62, 3)
  place(63, 5)
  expect(load.count).toBe(bound)
  binder.flush()
  expect(rigs[0]!.runAll()).toEqual([62, 63, ...Array.from({ length: bound - 2 }, (_, i) => i + 1)])
  const rest = backlog.takeAll(0).map(({ sequence }) => sequence)
  expect(rest).toEqual(Array.from({ length: 63 - bound }, (_, i) => bound - 1 + i))
})

test('when nothing changes by itself there is no moment to look again, else there is', () => {
  const { lanes, rigs, binder } = binderOfLanes(1, {
    plain: {},
    boosted: { priorityBoost: { deadlineMs: 9 } },
  })
  for (let i = 0; i < 2; i++) bind(rigs[0]!.bound, command({ rank: 0, ...LONG }))
  binder.place(command({ lane: lanes[0]!, rank: 5 * 256 }))
  expect(binder.changesAtMs).toBe(Number.POSITIVE_INFINITY)
  binder.place(command({ lane: lanes[1]!, rank: 5 * 256, deadlineMs: 1e9 }))
  expect(binder.changesAtMs).toBe(1e9)
})

test('a lane that cannot start keeps nothing back from another', () => {
  const { lanes, rigs, binder } = binderOfLanes(1, {
    limited: { rateLimit: { limit: 1, windowMs: 60_000 } },
    open: {},
  })
  for (let i = 0; i < 10; i++) binder.place(command({ lane: lanes[0]!, rank: 0 }))
  const bound = rigs[0]!.bound.load.count
  binder.place(command({ lane: lanes[1]!, rank: 9 }))
  expect(rigs[0]!.bound.load.count).toBe(bound + 1)
})

test('a command that was settled while it waited is dropped, not bound', () => {
  const { rigs, backlog, binder } = binderOver(1, true)
  const late = command({ deadlineMs: 1 })
  late.complete('settled', -1, 0, 0)
  backlog.offer(late, 0)
  backlog.offer(command({ sequence: 1e6 }), 0)
  binder.refill()
  binder.flush()
  expect(backlog.size).toBe(0)
  expect(rigs[0]!.runAll()).toEqual([1e6])
})

test('what is bound behind a command that does not end goes to a partition that moves', () => {
  const { rigs, backlog, binder } = binderOver(2, true)
  bind(rigs[0]!.bound, command({ rank: 3, ...LONG }))
  const urgent = command({ rank: 3, ...LONG })
  bind(rigs[0]!.bound, urgent)
  rigs[0]!.bound.flush()
  rigs[0]!.start()
  for (let i = 0; i < 50; i++) backlog.offer(command({ rank: 8, ...LONG }), 0)
  const free = rigs[0]!.bound.end.slots.freeCount
  const ran: number[] = []
  // As the manager does after each turn that found results.
  for (let now = 0; now < 20 && !ran.includes(urgent.sequence); now++) {
    const entry = rigs[1]!.start()
    if (entry !== undefined) {
      ran.push(entry.sequence)
      rigs[1]!.finish(entry.id, 0)
    }
    rigs[1]!.bound.drain()
    binder.refill()
    binder.rebalance(now)
    binder.flush()
  }
  expect(ran).toContain(urgent.sequence)
  expect(rigs[0]!.bound.end.slots.freeCount).toBe(free)
})

test('runs of a thread that is being terminated count for a maximum that cannot bind otherwise', () => {
  const { lanes, rigs, binder, backlog } = binderOfLanes(2, {
    few: { maxConcurrency: 2 },
    other: {},
  })
  const [few, other] = lanes
  for (let i = 0; i < 2; i++) binder.place(command({ lane: few!, ...LONG }))
  const bound = () => rigs.reduce((sum, rig) => sum + rig.bound.load.inLane(0), 0)
  expect([bound(), backlog.size]).toEqual([2, 0])
  const runs = [{ lane: few!, key: undefined }]
  binder.detach(0, runs)
  // Neither had started, so both were taken back; one may go at once.
  binder.refill()
  expect([bound(), backlog.size]).toEqual([1, 1])
  binder.place(command({ lane: other! }))
  expect(backlog.size).toBe(1)
  binder.reattach(0, runs)
  binder.refill()
  expect([bound(), backlog.size]).toEqual([2, 0])
})
