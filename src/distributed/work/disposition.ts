// Disposition: the options under which a manager runs a command of a queue, and the way a command
// goes when that run does not succeed.
// Owns: nothing; decisions from data.

import { TIMER_MS_MAX } from '../../base/bounds.ts'
import { nowMs } from '../../base/clock.ts'
import { codeOf, type ErrorCode, type LaneError, laneError } from '../../base/errors.ts'
import { checkOptions } from '../../base/options.ts'
import { ATTEMPT_MAX, type CommandInfo, type CommandOptions } from '../../model/command.ts'
import type { LanePlan } from '../../model/lane.ts'
import {
  isWorthRetrying,
  type QueuedRetry,
  RETRY_RULES,
  type RetryPlan,
  RetryPolicy,
  retryDelayMs,
} from '../../model/retry.ts'
import { stableHash } from '../../schedule/hash.ts'
import type { CommandEnvelope } from '../contract/envelope.ts'
import type { HeldCommand } from './held.ts'

/** Its failures are retried by the queue, on whatever worker. */
const NO_RETRY = RetryPolicy.none()

/**
 * How long after its acceptance a command should have started; undefined if neither it nor its lane
 * has a deadline. Both moments of the envelope are by the clock of its submitter, and only their
 * difference counts: no two machines' clocks are compared.
 */
function patienceMsOf({ envelope, lane }: HeldCommand): number | undefined {
  const { deadline, createdAt } = envelope
  return deadline === undefined ? lane.plan.deadlineMs : Math.max(0, deadline - createdAt)
}

type Writable<T> = { -readonly [K in keyof T]: T[K] }

/**
 * The options for the manager.
 *
 * @param passesKeys - Whether the manager takes keys.
 * @returns Options that others of its lane share if it asks for none of its own; `late` if it may
 * not start any more, `token` if its token is over, `turn` if that of its group is.
 */
export function termsOf(
  held: HeldCommand,
  leftMs: number,
  now: number,
  passesKeys: boolean,
): Writable<CommandOptions> | 'late' | 'token' | 'turn' {
  const { envelope, tokenUntilMs, startByMs, lane } = held
  const { plan } = lane
  const { key, group, priority, options: own } = envelope
  const attempt = Math.min(envelope.retryCount + 1, ATTEMPT_MAX)
  // However long this process stands still: afterwards it may be another worker's. Whole
  // milliseconds, so that those that were given out together have the same.
  const startWithinMs = Math.floor(Math.min(leftMs, TIMER_MS_MAX))
  const patienceMs = patienceMsOf(held)
  const isFree = tokenUntilMs === 0 && startByMs === Number.POSITIVE_INFINITY
  const isPlain = key === undefined && group === undefined && priority === undefined
  if (isPlain && own === undefined && isFree && patienceMs === undefined) {
    const { terms } = lane
    if (terms?.startWithinMs === startWithinMs && terms.attempt === attempt) return terms
    lane.terms = { attempt, kill: true, retry: NO_RETRY, startWithinMs }
    return lane.terms
  }
  const options: Writable<CommandOptions> = { attempt, kill: true, retry: NO_RETRY, startWithinMs }
  const timeoutMs = own?.timeoutMs
  if (timeoutMs !== undefined) options.timeoutMs = timeoutMs
  if (key !== undefined && passesKeys) options.key = key
  if (group !== undefined) options.group = group
  if (priority !== undefined) options.priority = priority
  if (patienceMs !== undefined) {
    const untilDueMs = held.delivery.acceptedAtMs + patienceMs - now
    if (untilDueMs <= 0 && plan.rejectsLate) return 'late'
    options.deadlineMs = Math.min(Math.max(untilDueMs, 1), TIMER_MS_MAX)
  }
  if (isFree) return options
  if (isTurnOver(held, now)) return 'turn'
  const tokenMs = (tokenUntilMs === 0 ? startByMs : Math.min(tokenUntilMs, startByMs)) - now
  if (tokenMs < 1) return 'token'
  options.startWithinMs = Math.floor(Math.min(leftMs, tokenMs, TIMER_MS_MAX))
  return options
}

/** Whether a command may not start before the queue has given it out again. */
export function isTurnOver({ startByMs }: HeldCommand, now: number): boolean {
  return startByMs - now < 1
}

export function lateError(held: HeldCommand): LaneError {
  const waitedMs = Math.max(0, Math.round(nowMs() - held.delivery.acceptedAtMs))
  const deadlineMs = patienceMsOf(held) ?? 0
  const { laneId: lane } = held.envelope
  return laneError('CORELANE_DEADLINE_EXCEEDED', { lane, waitedMs, deadlineMs })
}

export type Disposition =
  | {
      readonly end: 'release'
      readonly reason: 'retry' | 'unstarted' | 'crash'
      readonly delayMs: number
    }
  | { readonly end: 'dead-letter'; readonly reason: string }

const UNSTARTED: Disposition = { end: 'release', reason: 'unstarted', delayMs: 0 }
const CRASHED: Disposition = { end: 'release', reason: 'crash', delayMs: 0 }

/**
 * What may be wrong with a command before it starts. Everything else that keeps it from starting is
 * its manager's: that says nothing about the command, which goes to another worker.
 */
const COMMAND_ERRORS: ReadonlySet<ErrorCode> = new Set([
  'CORELANE_INVALID_COMMAND',
  'CORELANE_INVALID_OPTION',
  'CORELANE_INVALID_PARTITION',
  'CORELANE_UNSERIALIZABLE',
])

export function judge(
  envelope: CommandEnvelope,
  lane: LanePlan,
  error: unknown,
  { startedAtMs }: Pick<CommandInfo, 'startedAtMs'>,
): Disposition {
  if (startedAtMs === undefined) {
    // The manager speaks, not the handler: that could at most hand on another command's failure.
    const code = codeOf(error)
    if (code === 'CORELANE_UNKNOWN_TYPE') return { end: 'dead-letter', reason: 'unknown handler' }
    if (code === 'CORELANE_PARTITION_LOST' && isToBlame(error as LaneError)) return CRASHED
    if (code !== undefined && !COMMAND_ERRORS.has(code)) return UNSTARTED
  }
  const own = envelope.options?.retry
  const retry = own === undefined ? lane.retry : retryPlanOf(own, lane)
  if (isOwnTimeout(envelope, error) && !retry.retryTimeouts) {
    return { end: 'dead-letter', reason: 'timed out' }
  }
  if (retry.retries === 0) return { end: 'dead-letter', reason: 'failed' }
  if (!isWorthRetrying(error, retry.retryable))
    return { end: 'dead-letter', reason: 'not retryable' }
  if (envelope.retryCount >= retry.retries) return { end: 'dead-letter', reason: 'retries spent' }
  const failures = envelope.retryCount + 1
  // Chance that is the same on every worker: a hash of the command and its attempt.
  const chance = stableHash(`${envelope.id}/${failures}`) / 2 ** 32
  return { end: 'release', reason: 'retry', delayMs: retryDelayMs(retry, failures, chance) }
}

/** A retry policy of a command's own; only its lane's predicate can be here. */
function retryPlanOf(own: QueuedRetry, { retry: { retryable } }: LanePlan): RetryPlan {
  return { ...checkOptions<RetryPlan>('retry', own, RETRY_RULES), retryable }
}

/** Whether it ran when its thread died, and its thread was not ended because of another. */
function isToBlame({ details, cause }: LaneError): boolean {
  const why = codeOf(cause)
  return details.started === true && why !== 'CORELANE_TIMEOUT' && why !== 'CORELANE_ABORTED'
}

/** Whether it is this command that timed out, and not one that its handler waited for. */
function isOwnTimeout({ commandType, laneId }: CommandEnvelope, error: unknown): boolean {
  if (codeOf(error) !== 'CORELANE_TIMEOUT') return false
  const { details } = error as LaneError
  return details.type === commandType && details.lane === laneId
}

/** Whether a run may go on for a moment after a failure. */
export function mayRunOn(error: unknown): boolean {
  const code = codeOf(error)
  const cause = codeOf((error as { readonly cause?: unknown } | null | undefined)?.cause)
  const isEnded = code === 'CORELANE_PARTITION_LOST' && cause !== undefined
  return code === 'CORELANE_TIMEOUT' || isEnded
}
