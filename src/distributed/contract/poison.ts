// Poison: the results of commands, also of those whose workers keep dying.

import { epochMs } from '../../base/clock.ts'
import { type LaneError, laneError } from '../../base/errors.ts'
import type { CommandEnvelope, CommandResult, PortableError } from './envelope.ts'

/** Why a command is dead that was given out `maxDeliveries` times. */
export const DELIVERIES_SPENT = 'deliveries spent'

/**
 * Whether the first delivery of a command counts only once its start was reported. Where three or
 * more are allowed it counts at once, which spares a call for every command: even if it had not
 * started, the next is not its last.
 */
export function countsFirstAtStart(maxDeliveries: number): boolean {
  return maxDeliveries < 3
}

/**
 * The result of a run that succeeded.
 *
 * @param durationMs - How long it ran.
 * @param completedAt - When it ended, milliseconds since 1970.
 */
export function successfulResult(
  { id: commandId, partitionId, retryCount }: CommandEnvelope,
  workerId: string,
  value: unknown,
  durationMs: number,
  completedAt: number,
): CommandResult {
  return {
    commandId,
    partitionId,
    workerId,
    success: true,
    value,
    retryCount,
    durationMs,
    completedAt,
  }
}

type ResultHead = Pick<CommandEnvelope, 'id' | 'partitionId' | 'retryCount'>

/**
 * The result of a command that failed.
 *
 * @param durationMs - How long it ran; 0 if it never did.
 */
export function failedResult(
  { id: commandId, partitionId, retryCount }: ResultHead,
  workerId: string,
  error: PortableError,
  durationMs = 0,
): CommandResult {
  const completedAt = epochMs()
  const rest = { success: false, error, retryCount, durationMs, completedAt }
  return { commandId, partitionId, workerId, ...rest }
}

/** The result of a command that an engine ends by itself, with an error of its own. */
function endedResult(command: ResultHead, workerId: string, error: LaneError): CommandResult {
  const { name, message, code, retryable, details } = error
  return failedResult(command, workerId, { name, message, code, own: { retryable, details } })
}

export function cancelledResult(
  command: ResultHead,
  workerId: string,
  stage: 'waiting' | 'running',
): CommandResult {
  return endedResult(command, workerId, laneError('CORELANE_ABORTED', { stage }))
}

/** The result of a command that an engine dead-letters by itself. */
export function poisonedResult(
  envelope: CommandEnvelope,
  deliveries: number,
  workerId: string,
): CommandResult {
  const { id } = envelope
  return endedResult(envelope, workerId, laneError('CORELANE_POISONED', { id, deliveries }))
}
