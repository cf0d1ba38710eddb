// Run watch: what is late, what runs on for nobody, and when to look next. That nothing is noticed
// late is in test/property.

import { expect, test } from 'vitest'
import type { Command } from '../../../../src/coordinator/command.ts'
import { type DetachedRun, RunWatch } from '../../../../src/coordinator/threads/run-watch.ts'
import { RINGS_OFFSET, SLOT_COUNT } from '../../../../src/memory/layout.ts'
import { CoordinatorSlots, PartitionSlots, slotOf } from '../../../../src/memory/slots.ts'
import { viewsOf } from '../../../../src/memory/views.ts'

/** A watch and the window that it looks at. */
function world() {
  const views = viewsOf(new SharedArrayBuffer(RINGS_OFFSET))
  const [slots, partition] = [new CoordinatorSlots(views), new PartitionSlots(views)]
  const commands = new Array<Command | undefined>(SLOT_COUNT).fill(undefined)
  const ids = new Int32Array(SLOT_COUNT)
  const watch = new RunWatch()
  const bind = (timeoutMs: number | undefined, now: number) => {
    const id = slots.open()
    commands[slotOf(id)] = { timeoutMs } as Command
    ids[slotOf(id)] = id
    if (timeoutMs !== undefined && watch.isTighter(timeoutMs)) watch.tighten(timeoutMs, now)
    return id
  }
  const end = (id: number) => {
    commands[slotOf(id)] = undefined
  }
  const overdue = (now: number) => watch.overdue(now, commands, ids, slots)
  const start = (id: number, now: number) => partition.start(id, now)
  return { watch, slots, bind, start, end, overdue }
}

function run(graceEndsMs: number): DetachedRun {
  return { graceEndsMs } as DetachedRun
}

test('without time-outs there is never a reason to look', () => {
  const { watch, bind, overdue } = world()
  bind(undefined, 0)
  expect(watch.checkAtMs).toBe(Infinity)
  expect([overdue(1e9), watch.checkAtMs]).toEqual([[], Infinity])
})

test('the first look is when the first command could be late, had it started at once', () => {
  const { watch, bind } = world()
  bind(100, 10)
  expect(watch.checkAtMs).toBe(110)
  bind(100, 50)
  bind(200, 60)
  expect(watch.checkAtMs).toBe(110)
  bind(30, 70)
  expect(watch.checkAtMs).toBe(100)
})

test('what has not started is late a full limit from now at the earliest', () => {
  const { watch, bind, overdue } = world()
  bind(100, 0)
  expect([overdue(250), watch.checkAtMs]).toEqual([[], 350])
})

test('what has ended or was taken back is not late', () => {
  const { slots, bind, start, end, overdue } = world()
  const [ended, revoked] = [bind(10, 0), bind(10, 0)]
  start(ended, 0)
  end(ended)
  slots.revoke(revoked)
  expect(overdue(1000)).toEqual([])
})

test('a run that was given up is stuck when its grace is over, and not once it has ended', () => {
  const { watch } = world()
  watch.detach(3, run(80))
  watch.detach(4, run(50))
  watch.detach(5, run(Infinity))
  expect([watch.detachedCount, watch.checkAtMs, watch.isDetached(3)]).toEqual([3, 50, true])
  expect(watch.stuckRun(49)).toBeUndefined()
  expect(watch.stuckRun(50)).toEqual(run(50))
  expect(watch.ended(4)).toEqual(run(50))
  expect([watch.ended(4), watch.stuckRun(79), watch.stuckRun(80)]).toEqual([
    undefined,
    undefined,
    run(80),
  ])
  expect([watch.ended(3), watch.stuckRun(1e9), watch.detachedCount]).toEqual([
    run(80),
    undefined,
    1,
  ])
})

test('the end of a grace is not forgotten by a look', () => {
  const { watch, bind, start, overdue } = world()
  start(bind(100, 0), 0)
  watch.detach(900, run(40))
  expect([overdue(20), watch.checkAtMs]).toEqual([[], 40])
})
