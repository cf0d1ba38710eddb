// Poison: how a command ends whose workers keep dying.
// Thread: main.   Owns: nothing.

import { epochMs } from '../../base/clock.ts'
import { laneError } from '../../base/errors.ts'
import type { CommandEnvelope, CommandResult } from './envelope.ts'

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

/** The result of a command that an engine buries by itself. */
export function poisonedResult(
  envelope: CommandEnvelope,
  deliveries: number,
  workerId: string,
): CommandResult {
  const { id, partitionId, retryCount } = envelope
  const { name, message, code } = laneError('CORELANE_POISONED', { id, deliveries })
  return {
    commandId: id,
    partitionId,
    workerId,
    success: false,
    error: { name, message, code, own: { retryable: false, details: { id, deliveries } } },
    retryCount,
    durationMs: 0,
    completedAt: epochMs(),
  }
}
