import { expect, test } from 'vitest'
import type { Command } from '../../../../src/coordinator/command.ts'
import { Backlog } from '../../../../src/coordinator/dispatch/backlog.ts'
import { ADMIT_ALL } from '../../../../src/schedule/scheduler.ts'
import { range } from '../../../support/range.ts'
import { command, LANES, lane } from '../support/rig.ts'

function sequences(commands: readonly Command[]): number[] {
  return commands.map(({ sequence }) => sequence)
}

test('commands for any partition wait in one place, most urgent first, then oldest', () => {
  const backlog = new Backlog(LANES, 1)
  expect(backlog.places).toBe(1)
  backlog.offer(command({ sequence: 1, rank: 5 }), 0)
  backlog.offer(command({ sequence: 2, rank: 1, lane: lane(1) }), 0)
  backlog.offer(command({ sequence: 3, rank: 5, lane: lane(1) }), 0)
  expect(backlog.size).toBe(3)
  expect(backlog.frontRank(0, 0)).toBe(1)
  expect([1, 2, 3].map(() => backlog.next(0, ADMIT_ALL, 0)!.sequence)).toEqual([2, 1, 3])
  expect(backlog.size).toBe(0)
  expect(backlog.frontRank(0, 0)).toBeUndefined()
  expect(backlog.next(0, ADMIT_ALL, 0)).toBeUndefined()
})

test('commands with a home wait at its place and nowhere else', () => {
  const backlog = new Backlog(LANES, 3)
  backlog.offer(command({ sequence: 1, home: 2 }), 0)
  backlog.offer(command({ sequence: 2, home: 0 }), 0)
  expect([0, 1, 2].map((home) => backlog.isEmptyAt(home))).toEqual([false, true, false])
  expect(backlog.frontRank(1, 0)).toBeUndefined()
  expect(backlog.next(2, ADMIT_ALL, 0)!.sequence).toBe(1)
  expect(backlog.isEmptyAt(2)).toBe(true)
  expect(backlog.size).toBe(1)
})

test('a command that comes back takes its old place in the order', () => {
  const backlog = new Backlog(LANES, 1)
  const [first, second] = [command({ sequence: 1 }), command({ sequence: 2 })]
  backlog.offer(second, 0)
  backlog.offer(first, 0)
  expect(sequences(backlog.takeAll(0))).toEqual([1, 2])
})

test('it tells whether a command is the front of its lane at its place', () => {
  const backlog = new Backlog(LANES, 2)
  const [first, second] = [command({ home: 1 }), command({ home: 1 })]
  const other = command({ home: 1, lane: lane(1) })
  for (const each of [second, first, other]) backlog.offer(each, 0)
  expect([first, second, other].map((each) => backlog.isFront(each, 0))).toEqual([
    true,
    false,
    true,
  ])
})

test('commands that may not go stay, and the next that may is taken', () => {
  const backlog = new Backlog(LANES, 1)
  backlog.offer(command({ sequence: 1, lane: lane(0) }), 0)
  backlog.offer(command({ sequence: 2, lane: lane(1) }), 0)
  const others = {
    isUnderMin: () => false,
    admits: ({ laneIndex }: Command) => laneIndex > 0,
  }
  expect(backlog.next(0, others, 0)!.sequence).toBe(2)
  expect(backlog.next(0, others, 0)).toBeUndefined()
  expect(backlog.size).toBe(1)
})

test('commands that were settled while they waited are not taken, and no longer counted', () => {
  const backlog = new Backlog(LANES, 1)
  const late = command({ deadlineMs: 1 })
  backlog.offer(late, 0)
  backlog.offer(command({ sequence: 1e6 }), 0)
  late.complete('settled', -1, 0, 0)
  expect(sequences(backlog.takeAll(0))).toEqual([1e6])
  expect(backlog.size).toBe(0)
})

test('it tells when the order may change by itself, at whichever place', () => {
  const backlog = new Backlog(LANES, 2)
  expect(backlog.changesAtMs).toBe(Number.POSITIVE_INFINITY)
  backlog.offer(command({ home: 0, rank: 9 }), 0)
  expect(backlog.changesAtMs).toBe(Number.POSITIVE_INFINITY)
  backlog.offer(command({ home: 0, rank: 9, deadlineMs: 30 }), 0)
  backlog.offer(command({ home: 1, rank: 9, deadlineMs: 20 }), 0)
  expect(backlog.changesAtMs).toBe(20)
  backlog.takeFrom(1, 0)
  expect(backlog.changesAtMs).toBe(30)
})

test('all commands can be taken, of one place or of all, in their order', () => {
  const backlog = new Backlog(LANES, 2)
  for (const [sequence, home] of [
    [1, 1],
    [2, 0],
    [3, 1],
    [4, 0],
  ] as const) {
    backlog.offer(command({ sequence, home }), 0)
  }
  expect(sequences(backlog.takeFrom(1, 0))).toEqual([1, 3])
  expect(backlog.size).toBe(2)
  expect(sequences(backlog.takeAll(0))).toEqual([2, 4])
  expect(backlog.size).toBe(0)
  expect(backlog.takeAll(0)).toEqual([])
})

test('held commands wait beside the order, and are released the most urgent first', () => {
  const backlog = new Backlog(LANES, 2)
  const [late, early, urgent] = [
    command({ home: 1, key: 'a', sequence: 7, rank: 5 }),
    command({ home: 1, key: 'a', sequence: 3, rank: 5 }),
    command({ home: 1, key: 'a', sequence: 9, rank: 1 }),
  ]
  for (const one of [late, early, urgent]) backlog.hold(one, 0)
  expect([backlog.size, backlog.holdsAny, backlog.holdsLike(late)]).toEqual([0, true, true])
  expect(backlog.isEmptyAt(1)).toBe(true)
  expect(backlog.holdsLike(command({ home: 0, key: 'a' }))).toBe(false)
  early.complete('over', 1, 0, 0)
  for (const one of [urgent, late]) {
    expect([...backlog.heldAt(1, 0)]).toEqual([one])
    backlog.release(one, 0)
  }
  expect([...backlog.heldAt(1, 0)]).toEqual([])
  expect(backlog.holdsAny).toBe(false)
  expect(backlog.takeFrom(1, 0)).toEqual([urgent, late])
})

test('a key with a detached run releases nothing until the run has ended', () => {
  const backlog = new Backlog(LANES, 1)
  const one = command({ home: 0, key: 'a' })
  backlog.detach(0, 'a')
  backlog.detach(0, 'a')
  expect([backlog.isDetached(one), backlog.isDetached(command({ home: 0, key: 'b' }))]).toEqual([
    true,
    false,
  ])
  backlog.hold(one, 0)
  backlog.reattach(0, 'a')
  expect([...backlog.heldAt(0, 0)]).toEqual([])
  backlog.reattach(0, 'a')
  expect([...backlog.heldAt(0, 0)]).toHaveLength(1)
  expect(backlog.isDetached(one)).toBe(false)
})

test('taking all of a place takes what is held there, too', () => {
  const backlog = new Backlog(LANES, 1)
  const [held, waiting] = [command({ home: 0, key: 'a' }), command({ home: 0 })]
  backlog.hold(held, 0)
  backlog.offer(waiting, 0)
  expect(backlog.takeAll(0)).toEqual([waiting, held])
  expect([backlog.size, backlog.holdsAny]).toEqual([0, false])
})

test('a held command is known to run before younger ones of its key and lane, and no others', () => {
  const backlog = new Backlog(LANES, 1)
  const older = command({ home: 0, key: 'a', sequence: 3, rank: 5 })
  const younger = command({ home: 0, key: 'a', sequence: 7, rank: 5 })
  expect(backlog.holdsBefore(younger, 5, 0)).toBe(false)
  backlog.hold(older, 0)
  expect(backlog.holdsBefore(younger, 5, 0)).toBe(true)
  expect(backlog.holdsBefore(younger, 4, 0)).toBe(false)
  expect(backlog.holdsBefore(command({ home: 0, key: 'b', sequence: 9 }), 5, 0)).toBe(false)
  expect(backlog.holdsBefore(command({ home: 0, key: 'a', sequence: 1 }), 5, 0)).toBe(false)
})

test('one whose turn has come is as urgent as it is now, beside others of its key', () => {
  const backlog = new Backlog(LANES, 1)
  const older = command({ home: 0, key: 'a', group: 'g', sequence: 3, rank: 5 })
  const late = command({ home: 0, key: 'a', group: 'h', sequence: 7, rank: 5, deadlineMs: 10 })
  backlog.hold(older, 100)
  expect(backlog.holdsBefore(late, late.rank, 5)).toBe(true)
  expect(backlog.holdsBefore(late, late.rank, 100)).toBe(false)
  // Its turn gave it the place of another.
  late.seat.number = 7
  late.seat.rank = 5
  late.sequence = 1
  late.rank = 9
  expect(backlog.holdsBefore(late, late.rank, 5)).toBe(true)
  expect(backlog.holdsBefore(late, late.rank, 100)).toBe(false)
})

test('settled commands are let go of once most that wait are such, and the others stay', () => {
  const backlog = new Backlog(LANES, 1)
  const own = lane()
  const ordered = range(2_000).map(() => command({ home: 0, lane: own }))
  const held = range(2_000).map(() => command({ home: 0, lane: own, key: 'a' }))
  for (const each of ordered) backlog.offer(each, 0)
  for (const each of held) backlog.hold(each, 0)
  const settle = (all: readonly Command[]) => {
    for (const each of all) each.fail(new Error('late'), 0)
  }
  settle(ordered.slice(1, 1_500))
  backlog.prune([own], 0)
  expect(backlog.size).toBe(2_000)
  settle(held.slice(2))
  backlog.prune([own], 0)
  expect(backlog.size).toBe(501)
  expect(backlog.takeAll(0)).toEqual([ordered[0], ...ordered.slice(1_500), held[0], held[1]])
  expect(backlog.holdsAny).toBe(false)
})

test('a key of which all held commands are settled is held no more', () => {
  const backlog = new Backlog(LANES, 1)
  const own = lane()
  for (let i = 0; i < 1_100; i++) {
    const each = command({ home: 0, lane: own, key: 'a' })
    backlog.hold(each, 0)
    each.fail(new Error('late'), 0)
  }
  backlog.prune([own], 0)
  expect(backlog.holdsAny).toBe(false)
})
