// Poison: the results of commands, also of those whose workers keep dying.

import { epochMs } from '../../base/clock.ts'
import { laneError } from '../../base/errors.ts'
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

/**
 * The result of a command that failed.
 *
 * @param durationMs - How long it ran; 0 if it never did.
 */
export function failedResult(
  {
    id: commandId,
    partitionId,
    retryCount,
  }: Pick<CommandEnvelope, 'id' | 'partitionId' | 'retryCount'>,
  workerId: string,
  error: PortableError,
  durationMs = 0,
): CommandResult {
  const completedAt = epochMs()
  const rest = { success: false, error, retryCount, durationMs, completedAt }
  return { commandId, partitionId, workerId, ...rest }
}

export function cancelledResult(
  command: Pick<CommandEnvelope, 'id' | 'partitionId' | 'retryCount'>,
  workerId: string,
  stage: 'waiting' | 'running',
): CommandResult {
  const { name, message, code } = laneError('CORELANE_ABORTED', { stage })
  const own = { retryable: false, details: { stage } }
  return failedResult(command, workerId, { name, message, code, own })
}

/** The result of a command that an engine dead-letters by itself. */
export function poisonedResult(
  envelope: CommandEnvelope,
  deliveries: number,
  workerId: string,
): CommandResult {
  const { id } = envelope
  const { name, message, code } = laneError('CORELANE_POISONED', { id, deliveries })
  const own = { retryable: false, details: { id, deliveries } }
  return failedResult(envelope, workerId, { name, message, code, own })
}
