// Disposition: how each failure goes on.

import { expect, test } from 'vitest'
import { ERRORS, type ErrorCode, laneError } from '../../../src/base/errors.ts'
import { type Disposition, judge } from '../../../src/distributed/work/disposition.ts'
import type { CommandInfo } from '../../../src/model/command.ts'
import { planLane } from '../../../src/model/lane.ts'
import type { QueuedRetry, RetryOptions } from '../../../src/model/retry.ts'
import { envelopeOf } from '../../support/envelopes.ts'

const release = (reason: 'retry' | 'unstarted' | 'crash', delayMs = 0): Disposition => ({
  end: 'release',
  reason,
  delayMs,
})
const dead = (reason: string): Disposition => ({ end: 'dead-letter', reason })

function verdict(
  error: unknown,
  {
    retryCount = 0,
    retry = {} as RetryOptions,
    own = undefined as QueuedRetry | undefined,
    hasStarted = true,
  } = {},
): Disposition {
  const options = own === undefined ? undefined : { retry: own }
  const envelope = envelopeOf('id', { commandType: 'type', retryCount, options })
  const info: CommandInfo = {
    id: 'id',
    lane: 'lane',
    type: 'type',
    key: undefined,
    attempt: 1,
    partition: 0,
    startedAtMs: hasStarted ? 5 : undefined,
    durationMs: 1,
  }
  return judge(envelope, planLane('lane', { retry }), error, info)
}

const said = (code: ErrorCode, details = {}) =>
  verdict(laneError(code, details), { hasStarted: false, retry: { retries: 3 } })

test('what the manager says of a command that has not ended', () => {
  expect(said('CORELANE_PARTITION_LOST', { started: true })).toEqual(release('crash'))
  expect(said('CORELANE_PARTITION_LOST', { started: false })).toEqual(release('unstarted'))
  const others = laneError('CORELANE_TIMEOUT', { type: 'other', lane: 'lane', timeoutMs: 5 })
  const ended = laneError('CORELANE_PARTITION_LOST', { started: true }, others)
  expect(verdict(ended, { hasStarted: false })).toEqual(release('unstarted'))
  expect(said('CORELANE_ABORTED')).toEqual(release('unstarted'))
  expect(said('CORELANE_COMMAND_DROPPED')).toEqual(release('unstarted'))
  expect(said('CORELANE_CLOSED')).toEqual(release('unstarted'))
  expect(said('CORELANE_QUEUE_FULL')).toEqual(release('unstarted'))
  expect(said('CORELANE_UNKNOWN_TYPE')).toEqual(dead('unknown handler'))
  expect(said('CORELANE_UNSERIALIZABLE')).toEqual(dead('not retryable'))
  expect(said('CORELANE_INVALID_COMMAND')).toEqual(dead('not retryable'))
})

test('whatever else the manager says before a start is not about the command', () => {
  const codes = Object.keys(ERRORS) as ErrorCode[]
  const deadLettered = codes.filter((code) => said(code, { started: false }).end === 'dead-letter')
  expect(deadLettered).toEqual([
    'CORELANE_INVALID_COMMAND',
    'CORELANE_INVALID_OPTION',
    'CORELANE_INVALID_PARTITION',
    'CORELANE_UNKNOWN_TYPE',
    'CORELANE_UNSERIALIZABLE',
  ])
})

test('the same errors out of a handler are failures like any other', () => {
  const retry = { retries: 3, delayMs: 8 }
  const lost = laneError('CORELANE_PARTITION_LOST', { started: true })
  expect(verdict(lost, { retry })).toEqual(release('retry', 8))
  expect(verdict(laneError('CORELANE_ABORTED'), { retry })).toEqual(dead('not retryable'))
})

test('failures are retried with growing delays, as often as the lane says', () => {
  const retry = { retries: 3, delayMs: 10, maxDelayMs: 25 }
  const after = (retryCount: number) => verdict(new Error('x'), { retry, retryCount })
  expect([0, 1, 2].map(after)).toEqual([10, 20, 25].map((delayMs) => release('retry', delayMs)))
  expect(after(3)).toEqual(dead('retries spent'))
  expect(verdict(new Error('x'))).toEqual(dead('failed'))
  expect(verdict('a text', { retry })).toEqual(release('retry', 10))
  const picky = { ...retry, retryable: () => false }
  expect(verdict(new Error('x'), { retry: picky })).toEqual(dead('not retryable'))
  const jittery = verdict(new Error('x'), { retry: { ...retry, jitter: 1 } })
  expect(jittery).toEqual(verdict(new Error('x'), { retry: { ...retry, jitter: 1 } }))
  expect((jittery as { delayMs: number }).delayMs).toBeLessThan(10)
})

test('a time-out of its own is final unless the lane says otherwise', () => {
  const own = laneError('CORELANE_TIMEOUT', { type: 'type', lane: 'lane', timeoutMs: 5 })
  const nested = laneError('CORELANE_TIMEOUT', { type: 'other', lane: 'lane', timeoutMs: 5 })
  const retry = { retries: 1, delayMs: 4 }
  expect(verdict(own, { retry })).toEqual(dead('timed out'))
  expect(verdict(nested, { retry })).toEqual(release('retry', 4))
  expect(verdict(own, { retry: { ...retry, retryTimeouts: true } })).toEqual(release('retry', 4))
})

test('a retry policy of the command takes the place of that of its lane, but for its judge', () => {
  const error = new Error('no')
  const lane: RetryOptions = { retries: 0, retryable: () => true }
  const own: QueuedRetry = { retries: 2, backoff: 'fixed', delayMs: 30 }
  expect(verdict(error, { retry: lane, own })).toEqual(release('retry', 30))
  expect(verdict(error, { retry: lane, own, retryCount: 2 })).toEqual(dead('retries spent'))
  expect(verdict(error, { retry: { retries: 5 }, own: {} })).toEqual(dead('failed'))
  const never: RetryOptions = { retries: 5, retryable: () => false }
  expect(verdict(error, { retry: never, own })).toEqual(dead('not retryable'))
  const late = laneError('CORELANE_TIMEOUT', { type: 'type', lane: 'lane', timeoutMs: 5 })
  expect(verdict(late, { own })).toEqual(dead('timed out'))
  expect(verdict(late, { own: { ...own, retryTimeouts: true } })).toEqual(release('retry', 30))
})
