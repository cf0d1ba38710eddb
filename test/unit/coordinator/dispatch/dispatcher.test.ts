import { expect, test, vi } from 'vitest'
import { nowMs } from '../../../../src/base/clock.ts'
import { laneError } from '../../../../src/base/errors.ts'
import type { Command } from '../../../../src/coordinator/command.ts'
import { Backlog } from '../../../../src/coordinator/dispatch/backlog.ts'
import { Dispatcher } from '../../../../src/coordinator/dispatch/dispatcher.ts'
import { Rebalancer } from '../../../../src/coordinator/dispatch/rebalancer.ts'
import { LaneTable } from '../../../../src/coordinator/lane-table.ts'
import type { InFlightWindow } from '../../../../src/coordinator/threads/in-flight-window.ts'
import { CoordinatorCommons } from '../../../../src/memory/commons.ts'
import { PriorityBoostConfig } from '../../../../src/model/boost.ts'
import { type LaneOptions, laneNeeds, rankOf } from '../../../../src/model/lane.ts'
import { SeatState } from '../../../../src/schedule/group-ring.ts'
import { range } from '../../../support/range.ts'
import { command, LANES, laneTable, Rig } from '../support/rig.ts'

/** A dispatcher over partitions; shared means that commands may go to any of them. */
function dispatcherOver(count: number, isShared: boolean, lanes = LANES, concurrency = 1) {
  const rigs = range(count).map((i) => new Rig(i, 65_536, lanes, concurrency))
  const backlog = new Backlog(lanes, isShared ? 1 : count)
  const needs = lanes.map((plan) => laneNeeds(plan, count))
  const partitions = rigs.map(({ handle }) => handle)
  const { all } = new LaneTable(lanes, needs)
  const commons = new CoordinatorCommons(count, needs)
  const dispatcher = new Dispatcher(backlog, partitions, all, commons, isShared, concurrency)
  const rebalancer = new Rebalancer(dispatcher, backlog, partitions, all, isShared)
  return { rigs, backlog, dispatcher, rebalancer }
}

/** The same over lanes with options. */
function dispatcherOfLanes(count: number, options: Readonly<Record<string, LaneOptions>>) {
  const { all } = laneTable(options, count)
  const plans = all.map(({ plan }) => plan)
  return { lanes: all, ...dispatcherOver(count, true, plans) }
}

/** Fills two partitions with commands of a lane of which one may run at a time. */
function fillOneAtATime(estimateUs: number) {
  const made = dispatcherOfLanes(2, { limited: { maxConcurrency: 1 } })
  for (let i = 0; i < 50; i++) made.dispatcher.place(command({ lane: made.lanes[0]!, estimateUs }))
  return made
}

function bind(window: InFlightWindow, pending: Command): boolean {
  return window.bind(pending, pending.rank)
}

/** Runs the next bound command of a partition, which has room for another then. */
function runNext(rig: Rig, dispatcher: Dispatcher): Command | undefined {
  dispatcher.flush()
  const next = rig.start()
  if (next === undefined) return undefined
  const ran = rig.bound.commandOf(next.id)
  rig.finish(next.id, 0)
  rig.bound.drain()
  dispatcher.refill()
  return ran
}

const LONG = { estimateUs: 20_000 }

test('a command is bound at once while a window has room, and shown by flush', () => {
  const { rigs, backlog, dispatcher } = dispatcherOver(1, true)
  dispatcher.place(command({ sequence: 1 }))
  expect(backlog.size).toBe(0)
  expect(rigs[0]!.end.commands.isEmpty).toBe(true)
  dispatcher.flush()
  expect(rigs[0]!.runAll()).toEqual([1])
})

test('what finds no room waits, and is bound when results make some', () => {
  const { rigs, backlog, dispatcher } = dispatcherOver(1, true)
  for (let sequence = 1; sequence <= 4; sequence++) dispatcher.place(command({ sequence, ...LONG }))
  expect([rigs[0]!.bound.load.count, backlog.size]).toEqual([2, 2])
  dispatcher.flush()
  rigs[0]!.finish(rigs[0]!.start()!.id, 0)
  rigs[0]!.bound.drain()
  dispatcher.refill()
  expect([rigs[0]!.bound.load.count, backlog.size]).toEqual([2, 1])
})

test('a payload whose getter places more urgent commands costs none of them its place', () => {
  const { rigs, backlog, dispatcher } = dispatcherOver(1, true)
  const rig = rigs[0]!
  for (const sequence of [1, 2]) dispatcher.place(command({ sequence, ...LONG }))
  let wasRead = false
  const payload = {
    get read() {
      if (!wasRead) {
        wasRead = true
        for (const sequence of [4, 5]) dispatcher.place(command({ sequence, rank: -1, ...LONG }))
      }
      return true
    },
  }
  dispatcher.place(command({ sequence: 3, payload, ...LONG }))
  expect([wasRead, backlog.size]).toEqual([false, 1])
  const ran: number[] = []
  for (let turn = 0; turn < 10; turn++) {
    dispatcher.flush()
    const entry = rig.start()
    if (entry !== undefined) {
      ran.push(entry.sequence)
      rig.finish(entry.id, 0)
    }
    rig.bound.drain()
    dispatcher.refill()
  }
  expect(ran).toEqual([1, 4, 5, 2, 3])
  expect([rig.bound.load.count, backlog.size]).toEqual([0, 0])
})

test('with a home a command waits for its partition though another is free', () => {
  const { rigs, backlog, dispatcher } = dispatcherOver(2, false)
  for (let i = 0; i < 3; i++) dispatcher.place(command({ home: 0, ...LONG }))
  expect(rigs.map(({ bound }) => bound.load.count)).toEqual([2, 0])
  expect(backlog.size).toBe(1)
  dispatcher.place(command({ home: 1 }))
  expect(rigs[1]!.bound.load.count).toBe(1)
})

test('without a home a command goes where least work is bound', () => {
  const { rigs, dispatcher } = dispatcherOver(2, true)
  bind(rigs[0]!.bound, command({ estimateUs: 5000 }))
  for (let i = 0; i < 3; i++) dispatcher.place(command({ estimateUs: 1000 }))
  expect(rigs.map(({ bound }) => bound.load.count)).toEqual([1, 3])
})

test('a lone command goes to the partition that was last active', () => {
  const { rigs, dispatcher } = dispatcherOver(3, true)
  rigs[1]!.handle.touched = 1e9
  dispatcher.place(command())
  expect(rigs.map(({ bound }) => bound.load.count)).toEqual([0, 1, 0])
})

test('a sleeping partition is woken only if the others have more to do than a wake costs', () => {
  const { rigs, dispatcher } = dispatcherOver(2, true)
  rigs[1]!.end.bell.announce(2)
  bind(rigs[0]!.bound, command({ estimateUs: 50 }))
  dispatcher.place(command({ estimateUs: 50 }))
  expect(rigs.map(({ bound }) => bound.load.count)).toEqual([2, 0])
  bind(rigs[0]!.bound, command({ estimateUs: 5000 }))
  dispatcher.place(command({ estimateUs: 50 }))
  expect(rigs.map(({ bound }) => bound.load.count)).toEqual([3, 1])
})

test('a partition without a thread gets nothing', () => {
  const { rigs, backlog, dispatcher } = dispatcherOver(2, true)
  rigs[0]!.handle.vacate('waiting')
  dispatcher.place(command())
  expect(rigs.map(({ bound }) => bound.load.count)).toEqual([0, 1])
  rigs[1]!.handle.vacate('waiting')
  dispatcher.place(command())
  expect(backlog.size).toBe(1)
})

test('a payload that cannot cross fails its command alone', async () => {
  const { rigs, backlog, dispatcher } = dispatcherOver(1, true)
  const settled = vi.fn()
  dispatcher.place(command({ payload: () => 1 }, settled))
  await expect(settled.mock.calls[0]![0]).rejects.toMatchObject({ code: 'CORELANE_UNSERIALIZABLE' })
  dispatcher.place(command({ sequence: 8 }))
  dispatcher.flush()
  expect(backlog.size).toBe(0)
  expect(rigs[0]!.runAll()).toEqual([8])
})

test('a payload that cannot cross does not stop those that wait behind it', async () => {
  const { rigs, backlog, dispatcher } = dispatcherOver(1, true)
  const settled = vi.fn()
  backlog.offer(command({ sequence: 1, payload: () => 1 }, settled), 0)
  backlog.offer(command({ sequence: 2 }), 0)
  dispatcher.refill()
  dispatcher.flush()
  await expect(settled.mock.calls[0]![0]).rejects.toThrow()
  expect(rigs[0]!.runAll()).toEqual([2])
})

test('an idle partition is given what another has not started', () => {
  const { rigs, rebalancer } = dispatcherOver(2, true)
  for (let sequence = 1; sequence <= 10; sequence++) {
    bind(rigs[0]!.bound, command({ sequence, estimateUs: 500 }))
  }
  rigs[0]!.bound.flush()
  rigs[0]!.start()
  expect(rebalancer.rebalance(0)).toBe(true)
  expect(rigs[0]!.bound.load.count).toBe(5)
  expect(rigs[1]!.bound.load.count).toBe(5)
  expect(rigs[1]!.runAll()).toEqual([6, 7, 8, 9, 10])
})

test('a little work is not worth waking an idle partition for', () => {
  const { rigs, rebalancer } = dispatcherOver(2, true)
  for (let i = 0; i < 3; i++) bind(rigs[0]!.bound, command({ estimateUs: 50 }))
  expect(rebalancer.rebalance(0)).toBe(true)
  expect(rigs.map(({ bound }) => bound.load.count)).toEqual([3, 0])
})

test('all that waits behind a command that does not end is given to an idle partition', () => {
  const { rigs, rebalancer } = dispatcherOver(2, true)
  for (let sequence = 1; sequence <= 3; sequence++) {
    bind(rigs[0]!.bound, command({ sequence, estimateUs: 10 }))
  }
  rigs[0]!.bound.flush()
  rigs[0]!.start()
  rebalancer.rebalance(100)
  expect(rigs[1]!.bound.load.count).toBe(0)
  rebalancer.rebalance(101)
  expect(rigs.map(({ bound }) => bound.load.count)).toEqual([1, 2])
})

test('commands that were moved have time to start, even if where they were is idle by now', () => {
  const { rigs, dispatcher, rebalancer } = dispatcherOver(2, true)
  for (let sequence = 1; sequence <= 3; sequence++) {
    bind(rigs[0]!.bound, command({ sequence, estimateUs: 500 }))
  }
  rigs[0]!.bound.flush()
  const long = rigs[0]!.start()!
  rebalancer.rebalance(100)
  rebalancer.rebalance(102)
  const count = () => rigs.map(({ bound }) => bound.load.count)
  expect(count()).toEqual([1, 2])
  rigs[0]!.finish(long.id, 0)
  rigs[0]!.bound.drain()
  expect([rebalancer.rebalance(104), count()]).toEqual([true, [0, 2]])
  dispatcher.flush()
  expect([rigs[1]!.start()?.sequence, rigs[1]!.start()?.sequence]).toEqual([2, 3])
})

test.each([
  ['a maximum', { maxConcurrency: 3 }],
  ['a rate', { rateLimit: { limit: 1000, windowMs: 1000 } }],
])(
  'what lies behind a long command of a lane with %s is looked at until it has moved',
  (_, options) => {
    const { lanes, rigs, rebalancer } = dispatcherOfLanes(2, { limited: options })
    for (let sequence = 1; sequence <= 3; sequence++) {
      bind(rigs[0]!.bound, command({ lane: lanes[0]!, sequence, estimateUs: 10 }))
    }
    rigs[0]!.bound.flush()
    rigs[0]!.start()
    const count = () => rigs.map(({ bound }) => bound.load.count)
    // No result comes that would let the manager look again.
    expect([rebalancer.rebalance(100), count()]).toEqual([true, [3, 0]])
    rebalancer.rebalance(102)
    expect(count()).toEqual([1, 2])
    // It sleeps once nothing of the lane may start.
    rigs[1]!.end.bell.announce(2)
    expect(rebalancer.rebalance(104)).toBe(false)
  },
)

test('what finds every handler busy moves to a partition that has one free', () => {
  const { rigs, rebalancer } = dispatcherOver(2, true, LANES, 2)
  bind(rigs[1]!.bound, command())
  for (let i = 0; i < 3; i++) bind(rigs[0]!.bound, command())
  for (const { bound } of rigs) bound.flush()
  rigs[1]!.start()
  for (let i = 0; i < 2; i++) rigs[0]!.start()
  const count = () => rigs.map(({ bound }) => bound.load.count)
  // As long as it is awake its one handler may keep its thread busy.
  for (const now of [100, 102]) rebalancer.rebalance(now)
  expect(count()).toEqual([3, 1])
  rigs[1]!.end.bell.announce(2)
  rebalancer.rebalance(104)
  expect(count()).toEqual([2, 2])
})

test('where all that is bound runs there is nothing to look for', () => {
  const { rigs, rebalancer } = dispatcherOver(2, true, LANES, 2)
  for (let i = 0; i < 2; i++) bind(rigs[0]!.bound, command())
  rigs[0]!.bound.flush()
  for (let i = 0; i < 2; i++) rigs[0]!.start()
  for (const now of [100, 102]) expect(rebalancer.rebalance(now)).toBe(false)
})

test('commands with a home stay with it though another partition is idle', () => {
  const { rigs, dispatcher, rebalancer } = dispatcherOver(2, false)
  for (let i = 0; i < 10; i++) dispatcher.place(command({ home: 0, estimateUs: 500 }))
  expect(rebalancer.rebalance(1000)).toBe(false)
  expect(rigs.map(({ bound }) => bound.load.count)).toEqual([10, 0])
})

test('nothing is moved while something waits that any partition may take', () => {
  const { rigs, backlog, rebalancer } = dispatcherOver(2, true)
  for (let i = 0; i < 4; i++) bind(rigs[0]!.bound, command({ estimateUs: 500 }))
  backlog.offer(command(), 0)
  expect(rebalancer.rebalance(0)).toBe(false)
  expect(rigs.map(({ bound }) => bound.load.count)).toEqual([4, 0])
})

test('a limited lane has no more bound than could start in a moment, on every partition', () => {
  const { lanes, rigs, backlog, dispatcher } = dispatcherOfLanes(2, {
    limited: { rateLimit: { limit: 4, windowMs: 60_000 } },
  })
  for (let i = 0; i < 20; i++) dispatcher.place(command({ lane: lanes[0]! }))
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

test('when nothing changes by itself there is no moment to look again, else there is', () => {
  const { lanes, rigs, dispatcher } = dispatcherOfLanes(1, {
    plain: {},
    boosted: { priorityBoost: { deadlineMs: 9 } },
  })
  for (let i = 0; i < 2; i++) bind(rigs[0]!.bound, command({ rank: 0, ...LONG }))
  dispatcher.place(command({ lane: lanes[0]!, rank: 5 * 256 }))
  expect(dispatcher.changesAtMs).toBe(Number.POSITIVE_INFINITY)
  dispatcher.place(command({ lane: lanes[1]!, rank: 5 * 256, deadlineMs: 1e9 }))
  expect(dispatcher.changesAtMs).toBe(1e9)
})

test('a lane that cannot start keeps nothing back from another', () => {
  const { lanes, rigs, dispatcher } = dispatcherOfLanes(1, {
    limited: { rateLimit: { limit: 1, windowMs: 60_000 } },
    open: {},
  })
  for (let i = 0; i < 10; i++) dispatcher.place(command({ lane: lanes[0]!, rank: 0 }))
  const bound = rigs[0]!.bound.load.count
  dispatcher.place(command({ lane: lanes[1]!, rank: 9 }))
  expect(rigs[0]!.bound.load.count).toBe(bound + 1)
})

test.each([1, 2])(
  'a suspect waits for no run that its caller has left (%i partitions)',
  (count) => {
    const { rigs, dispatcher } = dispatcherOver(count, true, LANES, 2)
    const lost = laneError('CORELANE_PARTITION_LOST', { partition: 0 })
    const runs = rigs.map(({ bound }) => {
      const one = command()
      bind(bound, one)
      bound.flush()
      return one
    })
    const entries = rigs.map((rig) => rig.start()!)
    const suspect = command({ isDetailed: true })
    suspect.remember().isSuspect = true
    dispatcher.place(suspect)
    const kept = rigs.findIndex(({ bound }) => bound.reservedFor === suspect)
    // The partition that is kept free for it gets a run that may never end.
    rigs[kept]!.bound.detach(runs[kept]!.slot, lost, Number.POSITIVE_INFINITY)
    dispatcher.refill()
    const other = rigs[1 - kept]
    expect(suspect.holder).toBe(count === 1 ? rigs[0]!.bound : undefined)
    if (other === undefined) return
    other.finish(entries[1 - kept]!.id, 0)
    other.bound.drain()
    dispatcher.refill()
    expect(suspect.holder).toBe(other.bound)
    expect(rigs[kept]!.bound.reservedFor).toBeUndefined()
  },
)

test('what is bound behind a command that does not end goes to a partition that moves', () => {
  const { rigs, backlog, dispatcher, rebalancer } = dispatcherOver(2, true)
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
    dispatcher.refill()
    rebalancer.rebalance(now)
    dispatcher.flush()
  }
  expect(ran).toContain(urgent.sequence)
  expect(rigs[0]!.bound.end.slots.freeCount).toBe(free)
})

test('runs of a thread that is being terminated count for a maximum that cannot bind otherwise', () => {
  const { lanes, rigs, dispatcher, backlog } = dispatcherOfLanes(2, {
    few: { maxConcurrency: 2 },
    other: {},
  })
  const [few, other] = lanes
  for (let i = 0; i < 2; i++) dispatcher.place(command({ lane: few!, ...LONG }))
  const bound = () => rigs.reduce((sum, rig) => sum + rig.bound.load.inLane(0), 0)
  expect([bound(), backlog.size]).toEqual([2, 0])
  const runs = [{ lane: few!, key: undefined, group: undefined }]
  dispatcher.detach(0, runs)
  // Neither had started, so both were taken back; one may go at once.
  dispatcher.refill()
  expect([bound(), backlog.size]).toEqual([1, 1])
  dispatcher.place(command({ lane: other! }))
  expect(backlog.size).toBe(1)
  dispatcher.reattach(0, runs)
  dispatcher.refill()
  expect([bound(), backlog.size]).toEqual([2, 0])
})

test('what comes while nothing waits is bound as it is, and then groups take turns', () => {
  const { lanes, rigs, backlog, dispatcher } = dispatcherOfLanes(1, { api: {} })
  const lane = lanes[0]!
  const rank = rankOf(lane.plan.priority, 128)
  const place = (sequence: number, group: string) =>
    dispatcher.place(command({ lane, rank, sequence, group, ...LONG }))
  // Two are bound, one is next in the order; the flood waits for turns, and so does the other.
  for (let sequence = 1; sequence <= 6; sequence++) place(sequence, 'flood')
  place(7, 'other')
  expect([rigs[0]!.bound.load.count, backlog.size, backlog.turns.groupCount]).toEqual([2, 1, 2])
  const ran = range(7).map(() => runNext(rigs[0]!, dispatcher)!.group)
  expect(ran.indexOf('other')).toBe(4)
  expect(backlog.turns.groupCount).toBe(0)
})

test('a command of a group that grows more urgent by itself is bound as soon as it comes', () => {
  const boosted = { priorityBoost: PriorityBoostConfig.standard(60_000) }
  const { lanes, backlog, dispatcher } = dispatcherOfLanes(2, { plain: {}, boosted })
  const traits = { group: 'a', submittedAtMs: nowMs() }
  dispatcher.place(command({ lane: lanes[0]!, deadlineMs: 60_000, ...traits }))
  expect(backlog.size).toBe(0)
  dispatcher.place(command({ lane: lanes[1]!, ...traits }))
  expect(backlog.size).toBe(0)
})

test('commands without a group do not keep those with one from their turns', () => {
  const { lanes, rigs, dispatcher } = dispatcherOfLanes(1, { api: {} })
  const lane = lanes[0]!
  const rank = rankOf(lane.plan.priority, 128)
  let sequence = 0
  const place = (group?: string) => {
    const own = group === undefined ? {} : { group }
    dispatcher.place(command({ lane, rank, sequence: sequence++, ...own, ...LONG }))
  }
  for (let i = 0; i < 5; i++) place()
  for (const group of ['a', 'a', 'b']) place(group)
  const ran: (string | undefined)[] = []
  for (let i = 0; i < 12; i++) {
    ran.push(runNext(rigs[0]!, dispatcher)!.group)
    // As many come as go.
    place()
  }
  const none = range(5).map(() => undefined)
  expect(ran).toEqual([...none, 'a', 'a', 'b', ...none.slice(1)])
})

test('a command whose group had its turn later does not push out a bound one of its key', () => {
  const { all } = laneTable({ api: { groupConcurrency: 5, groupWeights: { a: 4 } } })
  const lane = all[0]!
  const { rigs, dispatcher } = dispatcherOver(1, false, [lane.plan], 2)
  const rig = rigs[0]!
  const rank = rankOf(lane.plan.priority, 128)
  const place = (group: string, key: string, more = {}) => {
    dispatcher.place(command({ lane, rank, home: 0, group, key, ...more }))
  }
  // While these are bound one more waits in the order, and all others in their groups.
  for (const key of ['x', 'y', 'w']) place('long', key, LONG)
  place('next', 'z')
  for (const [group, key] of ['a1', 'bk', 'a2', 'ak']) place(group!, key!)
  const bind = vi.spyOn(rig.bound, 'bind')
  for (let left = 3; left > 0; left--) runNext(rig, dispatcher)
  // All but the one whose key is busy, each once.
  expect([bind.mock.calls.length, rig.bound.load.count]).toEqual([4, 4])
})

test('what waits at the gate of another lane keeps none of its key from being bound', () => {
  const { all } = laneTable({ narrow: { maxConcurrency: 1 }, api: { groupConcurrency: 1 } })
  const plans = all.map(({ plan }) => plan)
  const { rigs, dispatcher } = dispatcherOver(2, false, plans, 3)
  const [narrow, api] = all
  const place = (lane = api!, more = {}) => {
    const { priority } = lane.plan
    const made = command({ lane, rank: rankOf(priority, 128), home: 0, key: 'k', ...LONG, ...more })
    dispatcher.place(made)
    return made.isBound
  }
  expect(place(narrow)).toBe(true)
  expect([place(api, { group: 'a' }), place()]).toEqual([true, true])
  // Behind those, which start before it, it would keep a slot of its group.
  expect(place(api, { group: 'b' })).toBe(false)
  expect(rigs[0]!.bound.load.count).toBe(3)
})

test('one that leaves the order for its key, and gets its old place back, takes no other along', () => {
  const { all } = laneTable({ api: {} })
  const lane = all[0]!
  const { rigs, backlog, dispatcher } = dispatcherOver(1, false, [lane.plan])
  const rig = rigs[0]!
  const rank = rankOf(lane.plan.priority, 128)
  const made = (sequence: number, key: string) =>
    command({ lane, rank, home: 0, sequence, group: 'g', key, ...LONG })
  const runAll = () => {
    const ran: number[] = []
    dispatcher.refill()
    for (let one = runNext(rig, dispatcher); one !== undefined; one = runNext(rig, dispatcher)) {
      ran.push(one.sequence)
    }
    return ran
  }
  dispatcher.place(made(1, 'a'))
  expect(runAll()).toEqual([1])
  // They had their turns, the first of them before its number, and come back from another thread.
  const back = [made(3, 'busy'), made(9, 'b'), made(5, 'c')]
  for (const { seat } of back) seat.state = SeatState.RELEASED
  back[0]!.seat.number = 7
  back[0]!.seat.rank = rank
  backlog.detach(0, 'busy')
  dispatcher.takeBack(back)
  expect(runAll()).toEqual([5, 9])
  backlog.reattach(0, 'busy')
  expect(runAll()).toEqual([7])
})

test.each([true, false])('each refusal is an error of its own (shared: %s)', (isShared) => {
  const { rigs, dispatcher } = dispatcherOver(2, isShared)
  expect(dispatcher.refusal(0)).toBeUndefined()
  const failure = laneError('CORELANE_PARTITION_LOST', { partition: 0 })
  for (const { handle } of rigs) {
    handle.setback = failure
    handle.vacate('failed')
  }
  const refusals = [failure, dispatcher.refusal(0)!, dispatcher.refusal(0)!]
  expect(new Set(refusals).size).toBe(3)
  for (const { message } of refusals) expect(message).toBe(failure.message)
})
