// Goal: a command that its partition finds too late ends once, whoever else ends it meanwhile.
// Method: both sides of a partition on one thread, step by step.

import { expect, test, vi } from 'vitest'
import type { Command } from '../../../../src/coordinator/command.ts'
import { command, Rig } from '../support/rig.ts'

function bind(rig: Rig, pending: Command): void {
  expect(rig.bound.bind(pending, pending.rank)).toBe(true)
}

test('what the partition finds too late rejects, and its slot is free', async () => {
  const rig = new Rig()
  const free = rig.bound.end.slots.freeCount
  const settled = vi.fn()
  bind(rig, command({ sequence: 1, deadlineMs: 5 }, settled))
  bind(rig, command({ sequence: 2 }))
  rig.bound.flush()
  expect(rig.findLate().sequence).toBe(1)
  expect(rig.bound.drain()).toBe(1)
  await expect(settled.mock.calls[0]![0]).rejects.toMatchObject({
    code: 'CORELANE_DEADLINE_EXCEEDED',
  })
  expect([rig.bound.load.count, rig.bound.completed]).toEqual([1, 0])
  expect(rig.bound.end.slots.freeCount).toBe(free - 1)
  expect(rig.runAll()).toEqual([2])
})

test('what was taken back before the partition found it too late is dropped once', () => {
  const rig = new Rig()
  const free = rig.bound.end.slots.freeCount
  const late = command({ sequence: 1, deadlineMs: 5 })
  bind(rig, late)
  rig.bound.flush()
  rig.findLate()
  // The record is under way: the word still says that it waits.
  expect(rig.bound.revoke(late.slot)).toBe(true)
  expect(rig.bound.end.slots.freeCount).toBe(free - 1)
  expect(rig.bound.drain()).toBe(1)
  expect(rig.bound.end.slots.freeCount).toBe(free)
  expect(late.isSettled).toBe(false)
})

test('a thread that dies before it could say what was too late leaves it as not started', () => {
  const rig = new Rig()
  const late = command({ sequence: 1, deadlineMs: 5 })
  bind(rig, late)
  rig.bound.flush()
  // It was read, and the record lies past the tail.
  expect(rig.bound.takeOrphans()).toEqual([{ command: late, started: false }])
})
