import { expect, test, vi } from 'vitest'
import type { Command } from '../../../src/coordinator/command.ts'
import { EventHub } from '../../../src/coordinator/results/event-hub.ts'
import { LEFT } from '../../../src/coordinator/results/stream-reader.ts'
import { commandInfo } from '../../../src/model/command.ts'
import { command, lane, laneTable, services, typesOf } from './support/rig.ts'

function detailed(
  isDetailed: boolean,
  settled: (value: unknown) => void,
  manager = services(),
): Command {
  const type = typesOf('add', 'burn').get('burn')
  const traits = { rank: 3, sequence: 17, type, lane: lane(2), payload: { a: 1 }, home: 1 }
  return command({ ...traits, key: 'k', isDetailed }, settled, manager)
}

const INFO = { id: '17', lane: 'lane2', type: 'burn', key: 'k', attempt: 1, partition: 4 }

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

test('settling gives back what it held: its bytes, its timer and its signal', () => {
  const into = lane()
  const manager = services()
  const { signal } = new AbortController()
  const pending = command({ lane: into, bytes: 30, options: { signal } }, () => {}, manager)
  manager.signals.add(signal, pending)
  manager.timers.delay(pending, 1e9)
  into.pendingBytes += 10
  expect([into.pendingBytes, manager.signals.size]).toEqual([40, 1])
  pending.complete('over', -1, 0, 0)
  expect([into.pendingBytes, manager.signals.size]).toEqual([10, 0])
  expect(pending.isSettled).toBe(true)
  expect(manager.timers.takeAll()).toEqual([])
})

test('subscribers learn of its start and its end', () => {
  const hub = new EventHub(() => {})
  const { all } = laneTable({ a: {} })
  const events = hub.subscribe({ capacity: 10 })
  const seen: unknown[] = []
  events.offer = ({ event, id, partition }) => {
    seen.push([event, id, partition])
  }
  const pending = command({ sequence: 4, lane: all[0]! }, () => {}, services(hub))
  pending.started(2, 10)
  pending.complete(0, 2, 10, 1)
  expect(seen).toEqual([
    ['queue.command.submitted', '4', undefined],
    ['queue.command.started', '4', 2],
    ['queue.command.completed', '4', 2],
  ])
})

test('a settled command stays as it is, whichever way it was settled', () => {
  for (const settle of [
    (pending: Command) => pending.complete('value', 4, 10, 2),
    (pending: Command) => pending.fail('reason', 4),
  ]) {
    const settled = vi.fn()
    const manager = { ...services(), abort: vi.fn() }
    const pending = detailed(true, settled, manager)
    settle(pending)
    pending.abort(LEFT)
    pending.complete('other', 1, 2, 3)
    pending.fail('other', 1)
    expect(manager.abort).not.toHaveBeenCalled()
    expect(settled).toHaveBeenCalledTimes(1)
    const { completed, failed } = pending.lane
    expect(completed + failed).toBe(1)
  }
})

test('no transition skips a state', () => {
  const holder = { revoke: () => true, detach: () => {}, grant: () => {}, startOf: () => 0 }
  const queued = command()
  expect(() => queued.admit()).toThrow('admitted once')
  expect(() => queued.unbind()).toThrow('only a bound command')
  expect(() => queued.enqueue()).toThrow('only a delayed command')
  queued.bind(holder, 7)
  expect([queued.holder, queued.slot]).toEqual([holder, 7])
  expect(() => queued.bind(holder, 8)).toThrow('only a queued command')
  expect(() => queued.delay()).toThrow('neither bound nor settled')
  expect(() => queued.complete(0, 0, 0, 0)).toThrow('lets go of a command before it settles')
  queued.unbind()
  queued.complete(0, 0, 0, 0)
  expect(() => queued.bind(holder, 7)).toThrow('only a queued command')
  expect(() => queued.delay()).toThrow('neither bound nor settled')
})
