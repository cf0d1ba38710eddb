// Envelopes: commands of queues, and what they came to.

import type { CommandEnvelope, CommandResult, Delivery } from 'corelane'

/** A command without a payload. */
export function envelopeOf(id: string, members: Partial<CommandEnvelope> = {}): CommandEnvelope {
  const rest = { laneId: 'lane', partitionId: 0, retryCount: 0, createdAt: 1, version: 1 }
  return { id, commandType: 'work', ...rest, ...members }
}

/** A success. */
export function resultOf(commandId: string, members: Partial<CommandResult> = {}): CommandResult {
  const rest = { partitionId: 0, workerId: 'w', retryCount: 0, durationMs: 1, completedAt: 1 }
  return { commandId, success: true, ...rest, ...members }
}

/** A command that is given out, for the first time unless told otherwise. */
export function deliveryOf(
  id: string,
  members: Partial<CommandEnvelope> = {},
  lease: Partial<Delivery> = {},
): Delivery {
  const rest = { deliveries: 1, leasedUntilMs: 1000, countsAtStart: false, acceptedAtMs: 0 }
  return { envelope: envelopeOf(id, members), fence: id, ...rest, ...lease }
}
