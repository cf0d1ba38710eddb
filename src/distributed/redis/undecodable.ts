// Undecodable: how an entry ends that is no envelope.

import { isPortableName } from '../../base/portable-name.ts'
import { type CommandEnvelope, type CommandResult, ENVELOPE_VERSION } from '../contract/envelope.ts'
import { failedResult } from '../contract/poison.ts'

/**
 * Stands in for the envelope that could not be read.
 *
 * @param id - The id, if that at least could be read.
 */
export function unreadEnvelope(
  id: string | undefined,
  entry: string,
  partitionId: number,
  laneId: string,
): CommandEnvelope {
  return {
    id: isPortableName(id) ? id : `undecodable-${entry}`,
    commandType: 'undecodable',
    laneId,
    partitionId,
    retryCount: 0,
    createdAt: Number(entry.split('-')[0]) || 0,
    version: ENVELOPE_VERSION,
  }
}

/** The failure that is recorded for it. */
export function undecodableResult(
  { id, partitionId }: Pick<CommandEnvelope, 'id' | 'partitionId'>,
  workerId: string,
): CommandResult {
  return failedResult({ id, partitionId, retryCount: 0 }, workerId, {
    name: 'ConfigError',
    message: 'What lay in the queue under this id is no envelope',
    code: 'CORELANE_INVALID_ENVELOPE',
  })
}
