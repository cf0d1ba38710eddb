import { expect, test, vi } from 'vitest'
import { EventHub } from '../../../src/coordinator/event-hub.ts'
import { PendingCommand } from '../../../src/coordinator/pending-command.ts'
import { LEFT } from '../../../src/coordinator/stream-reader.ts'
import { commandInfo } from '../../../src/model/command.ts'
import { command, extras, lane, laneTable, services, typesOf } from './support/rig.ts'

function detailed(isDetailed: boolean, settled: (value: unknown) => void): PendingCommand {
  const more = extras({ key: 'k', isDetailed })
  const type = typesOf('add', 'burn').get('burn')
  return new PendingCommand(3, 17, type, lane(2), { a: 1 }, 1, more, settled)
}

const INFO = { id: '17', lane: 'lane2', type: 'burn', key: 'k', attempt: 1, partition: 4 }

test('it shows the fields that a record needs', () => {
  const pending = detailed(false, () => {})
  const { rank, sequence, laneIndex, typeIndex, attempt, key, transferList, home } = pending
  expect({ rank, sequence, laneIndex, typeIndex, attempt, key, transferList, home }).toEqual({
    rank: 3,
    sequence: 17,
    laneIndex: 2,
    typeIndex: 1,
    attempt: 1,
    key: 'k',
    transferList: undefined,
    home: 1,
  })
})

test('most commands have neither a key nor anything to move', () => {
  const pending = command()
  expect([pending.extras, pending.key, pending.transferList]).toEqual([
    undefined,
    undefined,
    undefined,
  ])
})

test('completing settles with the bare result and counts for the lane', () => {
  const settled = vi.fn()
  const pending = detailed(false, settled)
  pending.complete('value', 4, 10, 2)
  expect(settled.mock.calls).toEqual([['value']])
  expect(pending.lane).toMatchObject({ completed: 1, failed: 0 })
})

test('failing settles with a rejection that carries the command under the symbol', async () => {
  const settled = vi.fn()
  const pending = detailed(false, settled)
  const error = new Error('no')
  pending.fail(error, 4, 10, 2)
  await expect(settled.mock.calls[0]![0]).rejects.toBe(error)
  expect((error as { [commandInfo]?: unknown })[commandInfo]).toEqual({
    ...INFO,
    startedAtMs: 10,
    durationMs: 2,
  })
  expect(Object.keys(error)).toEqual([])
  expect(pending.lane).toMatchObject({ completed: 0, failed: 1 })
})

test('one that never started has no start', async () => {
  const settled = vi.fn()
  const error = new Error('no')
  detailed(false, settled).fail(error, -1)
  await expect(settled.mock.calls[0]![0]).rejects.toBe(error)
  expect(error).toMatchObject({
    [commandInfo]: { partition: -1, startedAtMs: undefined, durationMs: 0 },
  })
})

test('reasons that cannot carry anything are passed on as they are', async () => {
  for (const reason of ['text', 5, null, undefined, Object.freeze(new Error('frozen'))]) {
    const settled = vi.fn()
    detailed(false, settled).fail(reason, 0)
    await expect(settled.mock.calls[0]![0]).rejects.toBe(reason)
  }
})

test('an error that fails a second command tells of the second', async () => {
  const error = new Error('shared')
  for (const partition of [1, 2]) {
    const settled = vi.fn()
    detailed(false, settled).fail(error, partition)
    await expect(settled.mock.calls[0]![0]).rejects.toBe(error)
  }
  expect(error).toMatchObject({ [commandInfo]: { partition: 2 } })
})

test('a detailed command settles with an outcome either way, and never rejects', () => {
  const settled = vi.fn()
  detailed(true, settled).complete('value', 4, 10, 2)
  const error = Object.freeze(new Error('no'))
  detailed(true, settled).fail(error, 4)
  expect(settled.mock.calls).toEqual([
    [{ ok: true, value: 'value', info: { ...INFO, startedAtMs: 10, durationMs: 2 } }],
    [{ ok: false, error, info: { ...INFO, startedAtMs: undefined, durationMs: 0 } }],
  ])
})

test('it is timed if it or its lane has a deadline or a boost', () => {
  const { all } = laneTable({ plain: {}, boosted: { priorityBoost: { deadlineMs: 9 } } })
  expect(command({ lane: all[0]! }).isTimed).toBe(false)
  expect(command({ lane: all[0]!, deadlineMs: 5 }).isTimed).toBe(true)
  expect(command({ lane: all[1]! }).isTimed).toBe(true)
})

test('settling gives back what it held: its bytes and its appointment', () => {
  const into = lane()
  const more = extras({ bytes: 30 })
  const type = typesOf('add').get('add')
  const pending = new PendingCommand(0, 1, type, into, 0, -1, more, () => {})
  into.pendingBytes = 40
  more.appointment = into.timetable.add(pending, 1e9)
  pending.complete(0, 0, 0, 0)
  expect(into.pendingBytes).toBe(10)
  expect(pending.isSettled).toBe(true)
  expect(into.timetable.takeAll()).toEqual([])
})

test('subscribers learn of its start and its end', () => {
  const hub = new EventHub(() => {})
  const { all } = laneTable({ a: {} }, 1, services(hub))
  const events = hub.subscribe({ capacity: 10 })
  const seen: unknown[] = []
  events.offer = ({ event, id, partition }) => {
    seen.push([event, id, partition])
  }
  const pending = command({ sequence: 4, lane: all[0]! })
  pending.started(2, 10)
  pending.complete(0, 2, 10, 1)
  expect(seen).toEqual([
    ['queue.command.started', '4', 2],
    ['queue.command.completed', '4', 2],
  ])
})

test('aborting a settled command does nothing, whichever way it was settled', () => {
  for (const settle of [
    (pending: PendingCommand) => pending.complete('value', 4, 10, 2),
    (pending: PendingCommand) => pending.fail('reason', 4),
  ]) {
    const pending = detailed(true, () => {})
    const onAbort = vi.spyOn(pending.lane, 'onAbort')
    settle(pending)
    pending.abort(LEFT)
    expect(onAbort).not.toHaveBeenCalled()
    const { completed, failed } = pending.lane
    expect(completed + failed).toBe(1)
    onAbort.mockRestore()
  }
})
