// Verdict: what becomes of a command whose run did not succeed on this worker.
// Thread: main.   Owns: nothing; a decision from data.

import { epochMs } from '../base/clock.ts'
import { ERRORS, type ErrorCode, type LaneError } from '../base/errors.ts'
import type { CommandInfo } from '../model/command.ts'
import type { LanePlan } from '../model/lane.ts'
import { isWorthRetrying, retryDelayMs } from '../model/retry.ts'
import { stableHash } from '../schedule/hash.ts'
import type { CommandEnvelope, CommandResult, PortableError } from './envelope.ts'

/** How a command goes on. */
export type Verdict =
  /** It goes back to the queue. */
  | {
      readonly end: 'release'
      readonly reason: 'retry' | 'unstarted' | 'crash'
      readonly delayMs: number
    }
  /** It failed for good, and is kept among the dead. */
  | { readonly end: 'bury'; readonly reason: string }

const UNSTARTED: Verdict = { end: 'release', reason: 'unstarted', delayMs: 0 }
const CRASHED: Verdict = { end: 'release', reason: 'crash', delayMs: 0 }

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

/**
 * The code of an error of corelane's.
 *
 * @param error - Anything.
 */
export function codeOf(error: unknown): ErrorCode | undefined {
  const code = (error as { readonly code?: unknown } | null | undefined)?.code
  return typeof code === 'string' && Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : undefined
}

/**
 * Judges a failure.
 *
 * @param envelope - The command.
 * @param lane - Its lane.
 * @param error - What the manager says it ended with.
 * @param info - Where and when.
 */
export function judge(
  envelope: CommandEnvelope,
  lane: LanePlan,
  error: unknown,
  info: CommandInfo,
): Verdict {
  if (info.startedAtMs === undefined) {
    // The manager speaks, not the handler: that could at most hand on another command's failure.
    const code = codeOf(error)
    if (code === 'CORELANE_UNKNOWN_TYPE') return { end: 'bury', reason: 'unknown handler' }
    if (code === 'CORELANE_PARTITION_LOST' && isGuilty(error as LaneError)) return CRASHED
    if (code !== undefined && !COMMAND_ERRORS.has(code)) return UNSTARTED
  }
  const { retry } = lane
  if (isOwnTimeout(envelope, error) && !retry.retryTimeouts) {
    return { end: 'bury', reason: 'timed out' }
  }
  if (retry.retries === 0) return { end: 'bury', reason: 'failed' }
  if (!isWorthRetrying(error, retry.retryable)) return { end: 'bury', reason: 'not retryable' }
  if (envelope.retryCount >= retry.retries) return { end: 'bury', reason: 'retries spent' }
  const failures = envelope.retryCount + 1
  // Chance that is the same on every worker: a hash of the command and its attempt.
  const chance = stableHash(`${envelope.id}/${failures}`) / 2 ** 32
  return { end: 'release', reason: 'retry', delayMs: retryDelayMs(retry, failures, chance) }
}

/** Whether it ran when its thread died, and nobody had the thread ended because of another. */
function isGuilty({ details, cause }: LaneError): boolean {
  const why = codeOf(cause)
  return details.started === true && why !== 'CORELANE_TIMEOUT' && why !== 'CORELANE_ABORTED'
}

/** Whether it is this command that timed out, and not one that its handler waited for. */
function isOwnTimeout({ commandType, laneId }: CommandEnvelope, error: unknown): boolean {
  if (codeOf(error) !== 'CORELANE_TIMEOUT') return false
  const { details } = error as LaneError
  return details.type === commandType && details.lane === laneId
}

/**
 * The result of a run.
 *
 * @param envelope - The command.
 * @param workerId - Who ran it.
 * @param durationMs - How long it ran.
 * @param outcome - What its handler gave, or what it failed with.
 */
export function resultOf(
  envelope: CommandEnvelope,
  workerId: string,
  durationMs: number,
  outcome: { readonly value: unknown } | { readonly error: PortableError },
): CommandResult {
  return {
    commandId: envelope.id,
    partitionId: envelope.partitionId,
    workerId,
    success: 'value' in outcome,
    ...outcome,
    retryCount: envelope.retryCount,
    durationMs,
    completedAt: epochMs(),
  }
}

/**
 * Whether a run may go on for a moment after a failure.
 *
 * @param error - The failure.
 */
export function mayRunOn(error: unknown): boolean {
  const code = codeOf(error)
  const cause = codeOf((error as { readonly cause?: unknown } | null | undefined)?.cause)
  const isEnded = code === 'CORELANE_PARTITION_LOST' && cause !== undefined
  return code === 'CORELANE_TIMEOUT' || isEnded
}
