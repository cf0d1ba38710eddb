// Recovery: every way in which a command that failed may end, and that it ends one way only.

import { expect, test, vi } from 'vitest'
import { laneError } from '../../../../src/base/errors.ts'
import { checkOptions } from '../../../../src/base/options.ts'
import type { Command } from '../../../../src/coordinator/command.ts'
import type { DeadLetter } from '../../../../src/coordinator/results/dead-letter-queue.ts'
import { EventHub } from '../../../../src/coordinator/results/event-hub.ts'
import type { StreamReader } from '../../../../src/coordinator/results/stream-reader.ts'
import {
  RETRY_RULES,
  type RetryOptions,
  type RetryPlan,
  RetryPolicy,
} from '../../../../src/model/retry.ts'
import { type CommandTraits, command, laneTable, services } from '../support/rig.ts'

const TIMEOUT = laneError('CORELANE_TIMEOUT', { type: 't', lane: 'a', timeoutMs: 5 })
const LOST = laneError('CORELANE_PARTITION_LOST', { partition: 0 })
const stream = {} as StreamReader

/** A lane whose recovery the test watches. */
function world(retry: RetryOptions = {}) {
  const delays: number[] = []
  const letters: DeadLetter[] = []
  const state = { isClosing: false }
  const hub = new EventHub(() => {})
  const events: string[] = []
  hub.subscribe({ capacity: 100 }).offer = ({ event }) => {
    if (event !== 'queue.command.submitted') events.push(event.slice('queue.command.'.length))
  }
  const given = services(hub, {
    get state() {
      return state.isClosing ? 'closed' : 'running'
    },
    delay: (_, delayMs) => delays.push(delayMs),
    add: (letter) => letters.push(letter),
  })
  const lane = laneTable({ a: { retry } }).all[0]!
  const settled = vi.fn((value: unknown) => {
    if (value instanceof Promise) value.catch(() => {})
  })
  const make = (traits: CommandTraits = {}) => command({ lane, ...traits }, settled, given)
  const { recovery } = given
  const fail = (one: Command, error: unknown) => recovery.failed(one, error, 0, 5, 1)
  const reasons = () =>
    Promise.all(settled.mock.calls.map(([value]) => Promise.resolve(value).catch((error) => error)))
  return { delays, letters, state, events, lane, settled, make, recovery, fail, reasons }
}

test('without a policy a failure rejects, and there is no letter', async () => {
  const { make, fail, reasons, letters, delays, lane, events } = world()
  const error = new Error('no')
  fail(make(), error)
  expect(await reasons()).toEqual([error])
  expect([letters, delays, lane.failed, lane.retried]).toEqual([[], [], 1, 0])
  expect(events).toEqual(['failed'])
})

test('a failure is retried with growing delays until the retries are used up', async () => {
  const { make, fail, reasons, letters, delays, lane, events } = world(RetryPolicy.exponential(2))
  const one = make({ payload: 'load', sequence: 44 })
  const errors = [1, 2, 3].map((number) => new Error(`no ${number}`))
  for (const [failures, error] of errors.entries()) {
    expect([one.attempt, one.isSettled]).toEqual([failures + 1, false])
    fail(one, error)
  }
  expect(await reasons()).toEqual([errors[2]])
  expect([delays, lane.retried, lane.failed, lane.deadLettered]).toEqual([[100, 200], 2, 1, 1])
  expect(events).toEqual(['retry', 'retry', 'dead_lettered', 'failed'])
  expect(letters).toMatchObject([
    { id: '44', lane: 'a', type: 'type', payload: 'load', error: errors[2], attempts: 3 },
  ])
  expect(letters[0]!.firstFailedAtMs).toBeLessThanOrEqual(letters[0]!.failedAtMs)
})

test('chance in the delay differs between commands and attempts, and not between programs', () => {
  const delaysOf = (sequence: number) => {
    const { make, fail, delays } = world({ retries: 3, backoff: 'fixed', jitter: 0.5 })
    const one = make({ sequence })
    for (let i = 0; i < 3; i++) fail(one, new Error('no'))
    return delays
  }
  const all = [1, 2, 3].map(delaysOf)
  expect([1, 2, 3].map(delaysOf)).toEqual(all)
  expect(new Set(all.flat()).size).toBe(9)
  for (const delayMs of all.flat()) {
    expect(delayMs).toBeGreaterThan(50)
    expect(delayMs).toBeLessThanOrEqual(100)
  }
})

test('a command keeps its policy over that of its lane', () => {
  const { make, fail, delays, letters } = world(RetryPolicy.exponential(5))
  const own = checkOptions<RetryPlan>('retry', RetryPolicy.fixed(1, 7), RETRY_RULES)
  const one = make({ options: { retry: own } })
  for (let i = 0; i < 2; i++) fail(one, new Error('no'))
  expect([delays, letters.length]).toEqual([[7], 1])
  const none = make({ options: { retry: checkOptions<RetryPlan>('r', {}, RETRY_RULES) } })
  fail(none, new Error('no'))
  expect([none.isSettled, delays.length, letters.length]).toEqual([true, 1, 1])
})

test('what the package calls final is not retried, what may pass is', () => {
  const { make, fail, delays, letters } = world(RetryPolicy.fixed(3, 0))
  const final = [
    laneError('CORELANE_UNSERIALIZABLE', {}),
    laneError('CORELANE_NO_STREAM', {}),
    { code: 'CORELANE_UNKNOWN_LANE' },
  ]
  for (const error of final) fail(make(), error)
  expect([delays.length, letters.length]).toEqual([0, 3])
  const passing = [
    laneError('CORELANE_QUEUE_FULL', {}),
    { code: 'ECONNRESET' },
    { code: 'constructor' },
    { code: 5 },
    'text',
    null,
    undefined,
  ]
  for (const error of passing) fail(make(), error)
  expect([delays.length, letters.length]).toEqual([passing.length, 3])
})

test('a predicate decides about all other errors, and one that throws says no', () => {
  const asked: unknown[] = []
  const retryable = (error: unknown) => {
    asked.push(error)
    if (error === 'throw') throw new Error('mine')
    return error === 'yes'
  }
  const { make, fail, delays, letters } = world(RetryPolicy.fixed(1, 0).withRetryable(retryable))
  for (const error of ['yes', 'no', 'throw']) fail(make(), error)
  fail(make(), laneError('CORELANE_UNSERIALIZABLE', {}))
  expect([delays.length, letters.map(({ error }) => error).slice(0, 2)]).toEqual([
    1,
    ['no', 'throw'],
  ])
  expect(asked).toEqual(['yes', 'no', 'throw'])
})

test('nothing is run again once the manager ends', () => {
  const { make, fail, state, delays, letters } = world(RetryPolicy.fixed(3, 0))
  state.isClosing = true
  const one = make()
  fail(one, new Error('no'))
  expect([one.isSettled, delays, letters.length]).toEqual([true, [], 1])
})

test('a stream is neither retried nor kept, even by the policy of its lane', () => {
  const { make, fail, recovery, delays, letters, lane } = world(
    RetryPolicy.fixed(3, 0).withTimeouts().withLost(),
  )
  fail(make({ options: { stream } }), new Error('no'))
  recovery.timedOut(make({ options: { stream } }), TIMEOUT, 0, 5)
  expect(recovery.lost(make({ options: { stream } }), LOST, 0, 'none')).toBe(false)
  expect([delays, letters, lane.failed, lane.deadLettered]).toEqual([[], [], 3, 0])
})

test('a time-out is final unless the policy counts it as a failure', async () => {
  const without = world(RetryPolicy.fixed(1, 9))
  without.recovery.timedOut(without.make(), TIMEOUT, 0, 5)
  expect([without.delays, without.letters.length, without.lane.timedOut]).toEqual([[], 1, 1])
  expect(without.events).toEqual(['timeout', 'dead_lettered', 'failed'])
  expect(await without.reasons()).toEqual([TIMEOUT])

  const counting = world(RetryPolicy.fixed(1, 9).withTimeouts())
  const one = counting.make()
  counting.recovery.timedOut(one, TIMEOUT, 0, 5)
  expect([counting.delays, one.isSettled, one.attempt]).toEqual([[9], false, 2])
  counting.recovery.timedOut(one, TIMEOUT, 0, 5)
  expect([one.isSettled, counting.letters.length, counting.lane.timedOut]).toEqual([true, 1, 2])
})

test('a lost command rejects unless its policy runs it again', async () => {
  const { make, recovery, reasons, letters } = world()
  expect(recovery.lost(make(), LOST, 0, 'sole')).toBe(false)
  expect([await reasons(), letters]).toEqual([[LOST], []])
  const retrying = world(RetryPolicy.fixed(3, 0))
  expect(retrying.recovery.lost(retrying.make(), LOST, 0, 'sole')).toBe(false)
  expect(retrying.letters).toMatchObject([{ attempts: 1, crashes: 1 }])
})

test('a lost command runs again at once, without using up a retry', () => {
  const { make, recovery, fail, delays, lane } = world(RetryPolicy.fixed(1, 7).withLost())
  const one = make()
  for (let i = 0; i < 3; i++) expect(recovery.lost(one, LOST, 0, 'none')).toBe(true)
  expect([one.attempt, one.isSuspect, delays, lane.retried]).toEqual([4, false, [], 3])
  fail(one, new Error('no'))
  expect([one.isSettled, delays]).toEqual([false, [7]])
})

test('a command that was alone in two threads that died is given up', async () => {
  const { make, recovery, letters, reasons, lane } = world(RetryPolicy.none().withLost())
  const one = make()
  expect(recovery.lost(one, LOST, 0, 'sole')).toBe(true)
  expect(one.isSuspect).toBe(false)
  expect(recovery.lost(one, LOST, 0, 'sole')).toBe(false)
  expect(letters).toMatchObject([{ attempts: 2, crashes: 2, error: LOST }])
  expect([await reasons(), lane.retried, lane.deadLettered]).toEqual([[LOST], 1, 1])
})

test('one of several that died together is suspected, and from then on its deaths count', () => {
  const { make, recovery, letters } = world(RetryPolicy.none().withLost())
  const one = make()
  expect(recovery.lost(one, LOST, 0, 'suspect')).toBe(true)
  expect(one.isSuspect).toBe(true)
  // It ran by itself but for what its handler waited for.
  expect(recovery.lost(one, LOST, 0, 'suspect')).toBe(true)
  expect(recovery.lost(one, LOST, 0, 'sole')).toBe(false)
  expect(letters).toMatchObject([{ attempts: 3, crashes: 3 }])
})

test('a command that is late before its first run rejects, and there is no letter', async () => {
  const { make, recovery, letters, reasons } = world(RetryPolicy.fixed(3, 10))
  recovery.late(make())
  expect(await reasons()).toMatchObject([{ code: 'CORELANE_DEADLINE_EXCEEDED' }])
  expect(letters).toEqual([])
})

test('one that is late after a run that failed has failed for good, for the reason of that run', async () => {
  const { make, fail, recovery, letters, reasons } = world(RetryPolicy.fixed(3, 10))
  const one = make()
  const why = new RangeError('first')
  fail(one, why)
  recovery.late(one)
  const late = { code: 'CORELANE_DEADLINE_EXCEEDED', cause: why }
  expect(await reasons()).toMatchObject([late])
  expect(letters).toMatchObject([{ attempts: 1, error: late }])
})

test('what was moved cannot run again', () => {
  const { make, recovery } = world(RetryPolicy.none().withLost())
  const moved = make({ transferList: [new ArrayBuffer(1)] })
  expect(recovery.lost(moved, LOST, 0, 'none')).toBe(false)
  expect(moved.isSettled).toBe(true)
})

test('a letter has the options with which a command like it is submitted', () => {
  const { make, fail, letters } = world()
  const retry = checkOptions<RetryPlan>('r', RetryPolicy.fixed(1, 0), RETRY_RULES)
  const traits = { key: 'k', rank: 5 * 256 + 9, deadlineMs: 50 }
  const one = make({ ...traits, options: { retry, timeoutMs: 40 } })
  for (let i = 0; i < 2; i++) fail(one, new Error('no'))
  expect(letters[0]!.options).toEqual({
    key: 'k',
    priority: 9,
    deadlineMs: 50,
    timeoutMs: 40,
    retry,
  })
})
