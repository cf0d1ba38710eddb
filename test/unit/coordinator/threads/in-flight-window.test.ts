import { expect, test, vi } from 'vitest'
import type { Command } from '../../../../src/coordinator/command.ts'
import type { Lane } from '../../../../src/coordinator/lane-table.ts'
import type { InFlightWindow } from '../../../../src/coordinator/threads/in-flight-window.ts'
import { SLOT_COUNT } from '../../../../src/memory/layout.ts'
import { range } from '../../../support/range.ts'
import { command, laneTable, Rig } from '../support/rig.ts'

const RESERVED = 64

/** Binds a command that is as urgent as when it was submitted. */
function bind(window: InFlightWindow, pending: Command): boolean {
  return window.bind(pending, pending.rank)
}

function accepts(window: InFlightWindow, pending: Command): boolean {
  return window.limits.accepts(pending, pending.rank)
}

/** A partition of lanes. */
const rigOf = (lanes: readonly Lane[]) => {
  const plans = lanes.map(({ plan }) => plan)
  return new Rig(0, 65_536, plans)
}

test('a bound command shows to the partition once it is flushed, and its result settles it', () => {
  const rig = new Rig()
  const settled = vi.fn()
  expect(bind(rig.bound, command({ payload: { a: [1] } }, settled))).toBe(true)
  expect(rig.start()).toBeUndefined()
  rig.bound.flush()
  const entry = rig.start()!
  expect(entry.payload).toEqual({ a: [1] })
  rig.finish(entry.id, 'result')
  expect(rig.bound.drain()).toBe(1)
  expect(settled.mock.calls).toEqual([['result']])
  expect([rig.bound.load.count, rig.bound.load.workUs, rig.bound.completed]).toEqual([0, 0, 1])
})

test('a failure rejects its command and no other', async () => {
  const rig = new Rig()
  const settled = [vi.fn(), vi.fn()]
  for (const each of settled) bind(rig.bound, command({}, each))
  rig.bound.flush()
  rig.fail(rig.start()!.id, new RangeError('mine'))
  rig.finish(rig.start()!.id, 'fine')
  rig.bound.drain()
  await expect(settled[0]!.mock.calls[0]![0]).rejects.toMatchObject({
    name: 'RangeError',
    message: 'mine',
  })
  expect(settled[1]!.mock.calls).toEqual([['fine']])
})

test('commands that were bound are flushed by themselves after 64', () => {
  const rig = new Rig()
  for (let i = 0; i < 63; i++) bind(rig.bound, command())
  expect(rig.end.commands.isEmpty).toBe(true)
  bind(rig.bound, command())
  expect(rig.end.commands.isEmpty).toBe(false)
  expect(rig.runAll()).toHaveLength(64)
})

test('large payloads are flushed by themselves after 128 KiB', () => {
  const rig = new Rig(0, 2 ** 20)
  const payload = 'x'.repeat(50_000)
  for (let i = 0; i < 2; i++) bind(rig.bound, command({ payload }))
  expect(rig.end.commands.isEmpty).toBe(true)
  bind(rig.bound, command({ payload }))
  expect(rig.runAll()).toHaveLength(3)
  bind(rig.bound, command({ payload }))
  expect(rig.end.commands.isEmpty, 'the count begins anew').toBe(true)
  rig.bound.flush()
  rig.runAll()
  // One that takes the side port counts as well.
  bind(rig.bound, command({ payload: 'x'.repeat(2 ** 20) }))
  expect(rig.end.commands.isEmpty).toBe(false)
})

test('large results are taken a few at a time, so that callers submit the next', () => {
  const rig = new Rig(0, 2 ** 20)
  for (let i = 0; i < 7; i++) bind(rig.bound, command({ payload: 'x'.repeat(64 * 1024) }))
  rig.bound.flush()
  rig.runAll()
  const drains = [1, 2, 3, 4].map(() => rig.bound.drain())
  expect(drains).toEqual([3, 3, 1, 0])
})

test('what is bound of one lane is found among others, though slots have had other lanes', () => {
  const { all } = laneTable({ a: {}, b: {}, c: {} })
  const rig = rigOf(all)
  const { bound } = rig
  for (const index of [0, 1, 0, 1, 2]) bound.bind(command({ lane: all[index]! }), 0)
  bound.flush()
  for (let ended = 0; ended < 3; ended++) rig.finish(rig.start()!.id, 0)
  bound.drain()
  bound.bind(command({ lane: all[1]! }), 0)
  bound.flush()
  rig.start()
  const of = (index: number) =>
    [...bound.snapshot()].filter(({ command }) => command.laneIndex === index)
  for (const index of [0, 1, 2]) expect([...bound.snapshotOf(index)]).toEqual(of(index))
  expect(of(1).map(({ started }) => started)).toContain(true)
})

test('two commands are accepted however long they run, more only for 10 ms of work', () => {
  const rig = new Rig()
  const long = command({ estimateUs: 1e6 })
  expect(accepts(rig.bound, long)).toBe(true)
  bind(rig.bound, long)
  expect(accepts(rig.bound, long)).toBe(true)
  bind(rig.bound, command({ estimateUs: 1e6 }))
  expect(accepts(rig.bound, command({ estimateUs: 1 }))).toBe(false)
})

test('short commands are accepted until they make 10 ms', () => {
  const rig = new Rig()
  for (let i = 0; i < 100; i++) {
    const next = command({ estimateUs: 100 })
    expect(accepts(rig.bound, next)).toBe(true)
    bind(rig.bound, next)
  }
  expect(rig.bound.load.workUs).toBeCloseTo(10_000)
  expect(accepts(rig.bound, command({ estimateUs: 100 }))).toBe(false)
})

test('a full window accepts one that is more urgent than something bound, while little is ahead', () => {
  const rig = new Rig()
  for (let i = 0; i < 100; i++) bind(rig.bound, command({ rank: 5, estimateUs: 100 }))
  expect(accepts(rig.bound, command({ rank: 5 }))).toBe(false)
  expect(accepts(rig.bound, command({ rank: 4 }))).toBe(true)
  for (let i = 0; i < 100; i++) bind(rig.bound, command({ rank: 4, estimateUs: 100 }))
  expect(accepts(rig.bound, command({ rank: 4 }))).toBe(false)
  expect(accepts(rig.bound, command({ rank: 3 }))).toBe(true)
})

test('a full window accepts one that is older than something as urgent that is bound', () => {
  const rig = new Rig()
  for (let sequence = 11; sequence <= 110; sequence++) {
    bind(rig.bound, command({ sequence, rank: 5, estimateUs: 100 }))
  }
  expect(accepts(rig.bound, command({ sequence: 111, rank: 5, estimateUs: 100 }))).toBe(false)
  expect(accepts(rig.bound, command({ sequence: 10, rank: 5, estimateUs: 100 }))).toBe(true)
})

test('the last slots are for what is more urgent, and none is given twice', () => {
  const rig = new Rig(0, 2 ** 20)
  let bound = 0
  for (; ; bound++) {
    const next = command({ rank: 5, estimateUs: 1 })
    if (!accepts(rig.bound, next)) break
    bind(rig.bound, next)
  }
  expect(bound).toBe(SLOT_COUNT - RESERVED)
  for (let i = 0; i < RESERVED; i++) {
    const urgent = command({ rank: 1, estimateUs: 1 })
    expect(accepts(rig.bound, urgent)).toBe(true)
    bind(rig.bound, urgent)
  }
  expect(accepts(rig.bound, command({ rank: 0, estimateUs: 1 }))).toBe(false)
  rig.bound.flush()
  expect(rig.runAll()).toHaveLength(SLOT_COUNT)
})

test('at most half the ring is filled with commands that are not settled', () => {
  const rig = new Rig(0, 16_384)
  let bound = 0
  for (; ; bound++) {
    const next = command({ payload: 'x'.repeat(1000), estimateUs: 1 })
    if (!accepts(rig.bound, next)) break
    expect(bind(rig.bound, next)).toBe(true)
  }
  expect(bound).toBeGreaterThan(6)
  expect(bound).toBeLessThan(10)
})

test('a full ring refuses without a trace, and later takes the same command', () => {
  const rig = new Rig(0, 16_384)
  const payload = { text: 'y'.repeat(1500) }
  let bound = 0
  while (bind(rig.bound, command({ payload }))) bound++
  expect(rig.bound.load.count).toBe(bound)
  const refused = command({ payload })
  rig.bound.flush()
  expect(rig.runAll()).toHaveLength(bound)
  rig.bound.drain()
  expect(bind(rig.bound, refused)).toBe(true)
  rig.bound.flush()
  expect(rig.start()!.payload).toEqual(payload)
})

test('a payload that cannot cross throws, and nothing is bound', () => {
  const rig = new Rig()
  const bad = command({ payload: { f: () => 1 } })
  expect(() => bind(rig.bound, bad)).toThrow(
    expect.objectContaining({ code: 'CORELANE_UNSERIALIZABLE' }),
  )
  expect(rig.bound.load.count).toBe(0)
  bind(rig.bound, command({ sequence: 77 }))
  rig.bound.flush()
  expect(rig.runAll()).toEqual([77])
})

test('what is to be moved goes by the side port, and is gone here', () => {
  const rig = new Rig()
  const bytes = new Uint8Array([1, 2, 3])
  bind(rig.bound, command({ payload: bytes, transferList: [bytes.buffer] }))
  expect(bytes.byteLength).toBe(0)
  rig.bound.flush()
  const entry = rig.start()!
  expect(entry.payload).toEqual(new Uint8Array([1, 2, 3]))
})

test('an unsendable transfer list throws, and the slot is free again', () => {
  const rig = new Rig()
  const free = rig.bound.end.slots.freeCount
  const payload = { f: () => 1 }
  const list = [new ArrayBuffer(1)]
  expect(() => bind(rig.bound, command({ payload, transferList: list }))).toThrow()
  expect(rig.bound.end.slots.freeCount).toBe(free)
  bind(rig.bound, command({ sequence: 5 }))
  rig.bound.flush()
  expect(rig.runAll()).toEqual([5])
})

test('a payload too long for a record goes by the side port, in order with the rest', () => {
  const rig = new Rig(0, 16_384)
  const long = 'z'.repeat(10_000)
  for (const payload of [long, 'short', long]) bind(rig.bound, command({ payload }))
  rig.bound.flush()
  const payloads = [1, 2, 3].map(() => rig.start()!.payload)
  expect(payloads).toEqual([long, 'short', long])
})

test('what has not started can be recalled, the last to run first, up to an amount of work', () => {
  const rig = new Rig()
  for (let sequence = 1; sequence <= 5; sequence++) {
    bind(rig.bound, command({ sequence, rank: sequence === 5 ? 0 : 1, estimateUs: 100 }))
  }
  rig.bound.flush()
  const running = rig.start()!
  expect(running.sequence).toBe(5)
  expect(rig.bound.recall({ workUs: 150 }).map(({ sequence }) => sequence)).toEqual([4, 3])
  expect([rig.bound.load.count, rig.bound.load.workUs]).toEqual([3, 300])
  rig.finish(running.id, 0)
  expect(rig.runAll()).toEqual([1, 2])
})

test('a recalled command keeps its slot until the partition has dropped it', () => {
  const rig = new Rig()
  const free = rig.bound.end.slots.freeCount
  bind(rig.bound, command())
  rig.bound.flush()
  rig.bound.recall({ workUs: 1 })
  expect(rig.bound.end.slots.freeCount).toBe(free - 1)
  expect(rig.start()).toBeUndefined()
  expect(rig.bound.drain()).toBe(1)
  expect(rig.bound.end.slots.freeCount).toBe(free)
  expect(rig.bound.completed).toBe(0)
})

test('a recalled command can be bound again, here or elsewhere, and runs once', () => {
  const [here, there] = [new Rig(), new Rig()]
  const settled = vi.fn()
  bind(here.bound, command({ sequence: 9, payload: { a: 1 } }, settled))
  here.bound.flush()
  const [recalled] = here.bound.recall({ workUs: 1 })
  bind(there.bound, recalled!)
  there.bound.flush()
  expect(here.runAll()).toEqual([])
  expect(there.runAll()).toEqual([9])
  here.bound.drain()
  there.bound.drain()
  expect(settled.mock.calls).toEqual([[{ a: 1 }]])
})

test('it says how much work is ahead of a rank', () => {
  const rig = new Rig()
  bind(rig.bound, command({ rank: 1, estimateUs: 10 }))
  bind(rig.bound, command({ rank: 2, estimateUs: 200 }))
  bind(rig.bound, command({ rank: 3, estimateUs: 3000 }))
  expect([0, 1, 2, 3].map((rank) => rig.bound.load.aheadUs(rank, 9e9))).toEqual([0, 10, 210, 3210])
})

test('after a death finished results are delivered, and what is left is told apart by its start', () => {
  const rig = new Rig()
  const settled = range(4).map(() => vi.fn())
  for (const [i, each] of settled.entries()) bind(rig.bound, command({ sequence: i }, each))
  rig.bound.flush()
  rig.finish(rig.start()!.id, 'finished')
  rig.start()
  bind(rig.bound, command({ sequence: 4 }))
  const left = rig.bound.takeOrphans()
  expect(left.map(({ command: { sequence }, started }) => [sequence, started])).toEqual([
    [1, true],
    [2, false],
    [3, false],
    [4, false],
  ])
  expect(settled.map((each) => each.mock.calls.length)).toEqual([1, 0, 0, 0])
  expect([rig.bound.load.count, rig.bound.load.workUs]).toEqual([0, 0])
})

test('a death leaves nothing behind of what was recalled before it', () => {
  const rig = new Rig()
  bind(rig.bound, command({ sequence: 1 }))
  bind(rig.bound, command({ sequence: 2 }))
  rig.bound.flush()
  rig.bound.recall({ workUs: 1 })
  expect(rig.bound.takeOrphans().map(({ command: { sequence } }) => sequence)).toEqual([1])
})

test('slots and generations come round without mixing commands up', () => {
  const rig = new Rig()
  let settled = 0
  for (let round = 0; round < 3000; round++) {
    const payload = round
    bind(
      rig.bound,
      command({ payload }, (value) => {
        if (value === payload) settled++
      }),
    )
    if (round % 3 !== 0) continue
    rig.bound.flush()
    rig.runAll()
    rig.bound.drain()
  }
  rig.bound.flush()
  rig.runAll()
  while (rig.bound.drain() > 0);
  expect(settled).toBe(3000)
  expect(rig.bound.end.slots.freeCount).toBe(SLOT_COUNT)
})

test('a boosted command is bound by its present rank', () => {
  const rig = new Rig()
  rig.bound.bind(command({ rank: 9 }), 2)
  expect([1, 2].map((rank) => rig.bound.load.hasAfter(rank, 9e9))).toEqual([true, false])
  expect(rig.bound.load.aheadUs(1, 9e9)).toBe(0)
})

test('commands of limited lanes do not count as open work, since they may wait at the gate', () => {
  const { all } = laneTable({ limited: { rateLimit: { limit: 1 } }, open: {} })
  const rig = rigOf(all)
  for (let i = 0; i < 3; i++) bind(rig.bound, command({ lane: all[0]!, estimateUs: 9000 }))
  expect([rig.bound.load.count, rig.bound.load.openCount, rig.bound.load.openWorkUs]).toEqual([
    3, 0, 0,
  ])
  expect([rig.bound.load.inLane(0), rig.bound.load.inLane(1)]).toEqual([3, 0])
  const open = command({ lane: all[1]!, estimateUs: 9000 })
  expect(accepts(rig.bound, open)).toBe(true)
  bind(rig.bound, open)
  expect([rig.bound.load.openCount, rig.bound.load.openWorkUs, rig.bound.load.inLane(1)]).toEqual([
    1, 9000, 1,
  ])
})

test('a single command can be taken back by its slot until it starts', () => {
  const rig = new Rig()
  const pending = [1, 2].map((sequence) => command({ sequence, deadlineMs: 5 }))
  for (const each of pending) bind(rig.bound, each)
  const [running, waiting] = pending
  expect([running!.holder, waiting!.holder]).toEqual([rig.bound, rig.bound])
  rig.bound.flush()
  expect(rig.start()!.sequence).toBe(1)
  expect(rig.bound.revoke(running!.slot)).toBe(false)
  expect(rig.bound.revoke(waiting!.slot)).toBe(true)
  expect([running!.holder, waiting!.holder]).toEqual([rig.bound, undefined])
})

test('it knows whether a handler runs', () => {
  const rig = new Rig()
  bind(rig.bound, command())
  rig.bound.flush()
  expect(rig.bound.runningCount).toBe(0)
  const { id } = rig.start()!
  expect(rig.bound.runningCount).toBe(1)
  rig.finish(id, 0)
  rig.bound.drain()
  expect(rig.bound.runningCount).toBe(0)
})

test('after many revocations the partition is asked to drop what was revoked', () => {
  const rig = new Rig()
  const { bound } = rig
  const kept = command({ rank: 1 })
  bind(bound, kept)
  const revoked = range(150).map(() => command({ rank: 9 }))
  for (const one of revoked) bind(bound, one)
  bound.flush()
  for (const one of revoked) expect(one.revoke()).toBe(true)
  const free = bound.end.slots.freeCount
  // The most urgent one runs and nothing else is looked at.
  expect(rig.start()!.sequence).toBe(kept.sequence)
  rig.sweep()
  while (bound.drain() > 0);
  expect(bound.end.slots.freeCount - free).toBe(150)
  expect(bound.load.count).toBe(1)
})
