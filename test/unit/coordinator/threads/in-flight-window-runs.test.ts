// Bound window, while its commands run: what they report, streams, and runs that nobody waits for.

import { expect, test, vi } from 'vitest'
import { laneError } from '../../../../src/base/errors.ts'
import type { Command } from '../../../../src/coordinator/command.ts'
import type { StreamReader } from '../../../../src/coordinator/results/stream-reader.ts'
import { RunTally } from '../../../../src/coordinator/tally-book.ts'
import { ResultStatus } from '../../../../src/wire/record-kind.ts'
import { uncaughtBy } from '../../../support/uncaught.ts'
import { command, Rig, services } from '../support/rig.ts'

const ABORTED = laneError('CORELANE_ABORTED', { stage: 'running' })

/** A partition that has started some commands. */
function running(...commands: Command[]) {
  const rig = new Rig()
  for (const each of commands) rig.bound.bind(each, each.rank)
  rig.bound.flush()
  const ids = commands.map(() => rig.start()!.id)
  return { rig, bound: rig.bound, ids }
}

function reporting() {
  const reports: unknown[] = []
  const settled = vi.fn()
  const options = { onProgress: (value: unknown) => reports.push(value) }
  return { reports, settled, made: command({ options }, settled) }
}

test('reports reach the caller in order, before the result', () => {
  const { reports, settled, made } = reporting()
  const { rig, bound, ids } = running(made)
  for (const report of [{ done: 1 }, { done: 2 }]) rig.outbox.sendProgress(ids[0]!, report)
  rig.finish(ids[0]!, 'result')
  bound.drain()
  expect([reports, settled.mock.calls]).toEqual([[{ done: 1 }, { done: 2 }], [['result']]])
})

test('a report that comes after the end of its command reaches nobody and harms nothing', () => {
  const { reports, made } = reporting()
  const { rig, bound, ids } = running(made)
  rig.finish(ids[0]!, 0)
  rig.outbox.sendProgress(ids[0]!, 'late')
  expect(bound.drain()).toBe(2)
  // The same again when the slot has another command, which reports itself.
  const next = reporting()
  bound.bind(next.made, 0)
  bound.flush()
  const { id } = rig.start()!
  rig.outbox.sendProgress(ids[0]!, { late: 2 })
  rig.outbox.sendProgress(id, { early: 1 })
  rig.finish(id, 'fine')
  expect(bound.drain()).toBe(3)
  expect([reports, next.reports]).toEqual([[], [{ early: 1 }]])
  expect(next.settled.mock.calls).toEqual([['fine']])
})

test('what a listener of reports throws is its own and stops no other result', async () => {
  const error = new Error('mine')
  const settled = vi.fn()
  const onProgress = () => {
    throw error
  }
  const { rig, bound, ids } = running(command({ options: { onProgress } }, settled))
  rig.outbox.sendProgress(ids[0]!, 1)
  rig.finish(ids[0]!, 'result')
  const thrown = await uncaughtBy(() => bound.drain())
  expect([settled.mock.calls, thrown]).toEqual([[['result']], [error]])
})

test('values of a stream come with what they take of its credit', () => {
  const pushed: [unknown, number][] = []
  const push = (value: unknown, weight: number) => pushed.push([value, weight])
  const { rig, bound, ids } = running(
    command({ options: { stream: { push } as never as StreamReader } }),
  )
  expect(rig.outbox.sendChunk(ids[0]!, 'small')).toBe(1)
  const large = 'x'.repeat(5000)
  const weight = rig.outbox.sendChunk(ids[0]!, large)
  expect(weight).toBe(1 + Math.floor(large.length / 1024))
  bound.drain()
  expect(pushed).toEqual([
    ['small', 1],
    [large, weight],
  ])
})

test('credit reaches the partition, which is woken for it', () => {
  const { rig, bound, ids } = running(command({ options: { stream: {} as StreamReader } }))
  rig.end.bell.announce(2)
  bound.grant(ids[0]! & 1023, 512)
  expect([rig.end.slots.creditOf(ids[0]!), bound.end.bell.isAwake]).toEqual([512, true])
})

test('the partition is told that a command is a stream', () => {
  const rig = new Rig()
  rig.bound.bind(command({ options: { stream: {} as StreamReader } }), 0)
  rig.bound.bind(command(), 1)
  rig.bound.flush()
  expect([rig.start()!.isStream, rig.start()!.isStream]).toEqual([true, false])
})

test('a run that is given up is told so, holds its place until it ends, and settles nothing', () => {
  const settled = vi.fn()
  const made = command({ deadlineMs: 1e9 }, settled)
  const { rig, bound, ids } = running(made)
  const { slot } = made
  bound.detach(slot, ABORTED, 50)
  expect(rig.end.slots.isAborted(ids[0]!)).toBe(true)
  expect(bound.orders).toEqual([
    { id: ids[0], code: 'CORELANE_ABORTED', details: { stage: 'running' } },
  ])
  expect([bound.load.count, bound.watch.detachedCount, made.holder]).toEqual([1, 1, undefined])
  expect([bound.commandOf(ids[0]!), bound.isOpen(ids[0]!)]).toEqual([undefined, true])
  rig.outbox.sendProgress(ids[0]!, 'still here')
  rig.finish(ids[0]!, 'too late')
  bound.drain()
  expect([bound.load.count, bound.load.workUs, bound.watch.detachedCount]).toEqual([0, 0, 0])
  expect([bound.isOpen(ids[0]!), settled.mock.calls, bound.completed]).toEqual([false, [], 1])
})

test('a stream that is left is forgotten at once, and one that ends when it does', () => {
  const stream = {} as StreamReader
  const [left, read] = [command({ options: { stream } }), command({ options: { stream } })]
  const { rig, bound, ids } = running(left, read)
  expect([...bound.streams]).toEqual([left, read])
  bound.detach(left.slot, ABORTED, Number.POSITIVE_INFINITY)
  expect([...bound.streams]).toEqual([read])
  for (const id of ids) rig.finish(id, 0)
  bound.drain()
  expect([...bound.streams]).toEqual([])
})

test('a detached run is no longer among what a dead thread leaves', () => {
  const [first, second] = [command({ deadlineMs: 1e9 }), command()]
  const { bound } = running(first, second)
  bound.detach(first.slot, ABORTED, 50)
  expect(bound.takeOrphans().map((left) => left.command)).toEqual([second])
})

test('runs are counted as their results are taken; those without one are adrift', () => {
  const make = () => command({}, () => {}, { ...services(), atMs: 0 })
  const [done, failed, late, lost] = [make(), make(), make(), make()]
  const { rig, bound, ids } = running(done, failed, late, lost)
  const tally = new RunTally()
  bound.tallies = [tally]
  const counts = () => [tally.run.count, tally.failed, tally.adrift]
  rig.finish(ids[0]!, 'result', 8)
  expect(counts()).toEqual([0, 0, 0])
  bound.drain()
  expect(counts()).toEqual([1, 0, 0])
  // What cannot cross threads is a failure, whatever its handler has given.
  rig.finish(ids[1]!, () => 'a function')
  bound.detach(late.slot, ABORTED, 50)
  bound.drain()
  expect(counts()).toEqual([2, 1, 1])
  rig.finish(ids[2]!, 'too late', 16)
  bound.drain()
  expect(counts()).toEqual([3, 1, 0])
  expect(bound.takeOrphans().map(({ command: left }) => left)).toEqual([lost])
  expect(counts()).toEqual([3, 1, 1])
  // All of them were started at 5, and could have been at 0.
  expect([tally.run.max, tally.wait.min, tally.wait.max]).toEqual([16, 5, 5])
})

test('all running handlers can be told that nobody waits, those that wait are not', () => {
  const rig = new Rig()
  for (let i = 0; i < 2; i++) rig.bound.bind(command(), 0)
  rig.bound.flush()
  const { id } = rig.start()!
  rig.bound.abortAll()
  expect(rig.end.slots.isAborted(id)).toBe(true)
  const next = rig.start()!
  expect(rig.end.slots.isAborted(next.id)).toBe(false)
})

test('a window finds what runs too long by the start that the partition stored', () => {
  const made = command({ options: { timeoutMs: 100 } })
  const { bound } = running(made)
  expect(bound.overdue(104)).toEqual([])
  expect(bound.watch.checkAtMs).toBe(105)
  expect(bound.overdue(105)).toMatchObject([{ command: made, startedAtMs: 5, limitMs: 100 }])
})

test('a window is reserved no longer than its command is bound', () => {
  const made = command()
  const { rig, bound, ids } = running(made)
  bound.reservedFor = made
  rig.outbox.send(ids[0]!, ResultStatus.DONE, 0, 5, 1)
  bound.drain()
  expect(bound.reservedFor).toBeUndefined()
})
