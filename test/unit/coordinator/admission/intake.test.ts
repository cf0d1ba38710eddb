// Intake: from a submit to a command that is admitted, waits for room or is refused.

import { expect, test } from 'vitest'
import { type LaneError, laneError } from '../../../../src/base/errors.ts'
import { Backpressure } from '../../../../src/coordinator/admission/backpressure.ts'
import { Intake } from '../../../../src/coordinator/admission/intake.ts'
import { type Command, CommandState } from '../../../../src/coordinator/command.ts'
import { LaneTable } from '../../../../src/coordinator/lane-table.ts'
import { planManager, type QueueManagerOptions } from '../../../../src/coordinator/options.ts'
import type { CommandOptions } from '../../../../src/model/command.ts'
import { laneNeeds, rankOf } from '../../../../src/model/lane.ts'
import { services } from '../support/rig.ts'

function intakeOf(options: QueueManagerOptions = {}) {
  const plan = planManager({
    handlers: 'file:///none.js',
    partitions: { strategy: 'hash', count: 4 },
    ...options,
  })
  const needs = plan.lanes.map((lane) => laneNeeds(lane, 4))
  const accepted: Command[] = []
  const given = services(undefined, undefined, (command) => accepted.push(command))
  const lanes = new LaneTable(plan.lanes, needs)
  const room = new Backpressure(lanes, plan.bounds)
  const state: { stops?: Error; failed?: LaneError } = {}
  const dispatcher = {
    place: (command: Command) => void accepted.push(command),
    refusal: () => state.failed,
  }
  const life = {
    refuseUnlessRunning: () => {
      if (state.stops) throw state.stops
    },
  }
  const { timers, signals } = given
  const intake = new Intake(plan, given, life, lanes, room, dispatcher, timers, signals, {
    whenStarted: () => undefined,
    onceStarted: (call) => call(0),
    define: (url, name) => ({ id: 0, url, name }),
    admitted: () => {},
  })
  intake.types.update(['one', 'two'], ['one', 'two'])
  const submit = (lane: string, type: string, given?: CommandOptions) =>
    intake.submit(lane, type, undefined, given, false)
  return { intake, submit, accepted, lanes, room, state, timers }
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'accepted',
    (error) => error.code ?? error.message,
  )

test('a command gets its rank from its lane and its priority, and its number in turn', () => {
  const { submit, accepted } = intakeOf({ lanes: { a: { priority: 3 }, b: { priority: 9 } } })
  void submit('a', 'one')
  void submit('b', 'two', { priority: 0 })
  expect(accepted.map((command) => [command.rank, command.sequence, command.attempt])).toEqual([
    [rankOf(3, 128), 0, 1],
    [rankOf(9, 0), 1, 1],
  ])
  expect(accepted.map((command) => command.extras?.deadlineMs)).toEqual([undefined, undefined])
})

test('a command without anything special keeps no extras: a million of them may wait', () => {
  const { submit, accepted, timers } = intakeOf({
    lanes: { a: {}, timed: { priorityBoost: { deadlineMs: 5 } } },
  })
  void submit('a', 'one')
  void submit('a', 'one', { priority: 1, group: 'g' })
  void submit('timed', 'one')
  void submit('a', 'one', { deadlineMs: 10 })
  void submit('a', 'one', { delayMs: 10 })
  const [plain, ranked, ...others] = accepted.map((command) => command.extras)
  expect([plain, ranked, accepted[1]!.group]).toEqual([undefined, undefined, 'g'])
  expect(others.map((extras) => extras!.submittedAtMs > 0)).toEqual([true, true])
  const [delayed] = timers.takeAll()
  expect([delayed!.state, delayed!.extras!.delayMs]).toEqual([CommandState.DELAYED, 10])
})

test('the same key and the same type without one always get the same home', () => {
  const { submit, accepted } = intakeOf({ lanes: { a: {} } })
  for (let i = 0; i < 3; i++) {
    void submit('a', 'one', { key: 'k' })
    void submit('a', 'two')
  }
  const homes = accepted.map((command) => command.home)
  expect(new Set([homes[0], homes[2], homes[4]]).size).toBe(1)
  expect(new Set([homes[1], homes[3], homes[5]]).size).toBe(1)
})

test('whatever is wrong with a submit rejects it, and no number is spent', async () => {
  const { submit, accepted, state } = intakeOf({ lanes: { a: {} } })
  const wrong: [string, string, CommandOptions | undefined, string][] = [
    ['b', 'one', undefined, 'CORELANE_UNKNOWN_LANE'],
    ['a', 'three', undefined, 'CORELANE_UNKNOWN_TYPE'],
    ['a', 'one', { priority: 256 }, 'CORELANE_INVALID_OPTION'],
    ['a', 'one', { deadlineMs: 0 }, 'CORELANE_INVALID_OPTION'],
    ['a', 'one', { delayMs: -1 }, 'CORELANE_INVALID_OPTION'],
    ['a', 'one', { key: '' }, 'CORELANE_INVALID_OPTION'],
    ['a', 'one', { late: 1 } as never, 'CORELANE_INVALID_OPTION'],
  ]
  for (const [lane, type, given, code] of wrong) {
    expect(await codeOf(submit(lane, type, given))).toBe(code)
  }
  state.stops = new Error('stopped')
  expect(await codeOf(submit('a', 'one'))).toBe('stopped')
  state.stops = undefined as never
  void submit('a', 'one')
  expect(accepted.map((command) => command.sequence)).toEqual([0])
})

test('the age and the deadline of a submit that waits count from the call', async () => {
  const { submit, accepted, lanes, room } = intakeOf({ lanes: { a: { maxPending: 1 }, b: {} } })
  void submit('a', 'one')
  const before = performance.now()
  void submit('a', 'one', { deadlineMs: 1000 })
  const after = performance.now()
  void submit('b', 'one')
  expect(accepted).toHaveLength(2)
  await new Promise((resolve) => setTimeout(resolve, 5))
  lanes.get('a').completed = 1
  room.release()
  const { sequence, submittedAtMs } = accepted[2]!
  expect(sequence).toBe(1)
  expect(submittedAtMs).toBeGreaterThanOrEqual(before)
  expect(submittedAtMs).toBeLessThanOrEqual(after)
})

test('a submit that waits is refused if its partition was given up meanwhile', async () => {
  const { submit, accepted, lanes, room, state } = intakeOf({ lanes: { a: { maxPending: 1 } } })
  void submit('a', 'one')
  const waiting = codeOf(submit('a', 'one'))
  state.failed = laneError('CORELANE_PARTITION_LOST', { partition: 0 })
  lanes.get('a').completed = 1
  room.release()
  expect(await waiting).toBe('CORELANE_PARTITION_LOST')
  expect([accepted.length, room.waitingIn(lanes.get('a'))]).toEqual([1, 0])
})

test('a submit that waits is late at its latest start, and leaves the room', async () => {
  const { submit, accepted, lanes, room } = intakeOf({ lanes: { a: { maxPending: 1 } } })
  void submit('a', 'one')
  const waiting = codeOf(submit('a', 'one', { startWithinMs: 5 }))
  expect(room.waitingIn(lanes.get('a'))).toBe(1)
  expect(await waiting).toBe('CORELANE_DEADLINE_EXCEEDED')
  expect([room.waitingIn(lanes.get('a')), lanes.get('a').failed]).toEqual([0, 0])
  lanes.get('a').completed = 1
  room.release()
  expect(accepted).toHaveLength(1)
})
