// Lease request: checks what a worker asks an engine for, and the bounds of its calls.

import { TIMER_MS_MAX } from '../../base/bounds.ts'
import { type LaneError, laneError, show } from '../../base/errors.ts'
import { checkOptions, invalidOption } from '../../base/options.ts'
import { PRIORITY_MAX } from '../../model/command.ts'
import { CONCURRENCY_MAX } from '../../model/lane.ts'
import { takesKeys } from '../../model/partition-config.ts'
import { standingOf, type WorkerStanding } from '../../model/queue-standing.ts'
import { RATE_RULES } from '../../model/rate-limit.ts'
import type {
  CommandReference,
  LeaseRequest,
  ReleaseOptions,
  ReleaseReason,
} from './distributed-queue.ts'
import { type CommandEnvelope, checkEnvelope, checkName, groupPartition } from './envelope.ts'
import type { SharedRate } from './live-limits.ts'
import type { QueuePartitions } from './queue-partitions.ts'

/** Most commands of a lane that one look lists. */
export const PEEK_MAX = 1000

/** Most tokens that are asked for at once, and most slots of a lane. */
export const SHARED_MAX = 1_000_000

/** Most commands, reports or names of one call of a queue. */
export const CALL_MAX = 4096

/** How long a name is remembered after its last worker has gone: a week. */
export const REMEMBERED_MS = 7 * 24 * 60 * 60 * 1000

/** Most names that an answer lists. */
export const NAMES_MAX = 20

const RELEASE_REASONS: readonly ReleaseReason[] = ['retry', 'unstarted', 'crash']

/**
 * Checks that a number is whole and within bounds.
 *
 * @throws ConfigError `CORELANE_INVALID_OPTION`.
 */
export function checkWhole(option: string, value: unknown, min: number, max: number): void {
  if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max) return
  refuse(option, value, `an integer from ${min} to ${max}`)
}

function refuse(option: string, received: unknown, allowed: string): never {
  throw invalidOption(option, show(received), allowed)
}

/**
 * Checks names that are announced or looked up.
 *
 * @throws ConfigError `CORELANE_INVALID_OPTION`, or `CORELANE_INVALID_ENVELOPE` for a name.
 */
export function checkNames(names: readonly string[], least: number): void {
  checkWhole('names', names.length, least, CALL_MAX)
  for (const name of names) checkName('name', name)
}

/**
 * Checks commands that are enqueued, with groups in the partitions of these.
 *
 * @throws ConfigError `CORELANE_INVALID_OPTION`, `CORELANE_INVALID_ENVELOPE`.
 */
export function checkEnvelopes(
  envelopes: readonly CommandEnvelope[],
  { numPartitions, strategy }: QueuePartitions,
): CommandEnvelope[] {
  checkWhole('envelopes', envelopes.length, 1, CALL_MAX)
  return envelopes.map((given) => {
    const envelope = checkEnvelope(given, numPartitions, takesKeys(strategy))
    const { group, partitionId } = envelope
    const home = group === undefined ? partitionId : groupPartition(group, numPartitions)
    if (partitionId === home) return envelope
    const [field, received] = ['partitionId', show(partitionId)]
    const allowed = `${home}, the partition of its group`
    throw laneError('CORELANE_INVALID_ENVELOPE', { field, received, allowed })
  })
}

/** The error `CORELANE_DEGRADED` of something that a queue cannot do. */
export function degraded(option: string, received: string, allowed: string): LaneError {
  return laneError('CORELANE_DEGRADED', { option, received, allowed })
}

/**
 * Checks how a command is named from outside.
 *
 * @throws ConfigError `CORELANE_INVALID_OPTION`, or `CORELANE_INVALID_ENVELOPE` for its id.
 */
export function checkCommand(command: CommandReference | string, numPartitions: number): void {
  checkName('commandId', idOf(command))
  if (typeof command === 'string') return
  checkWhole('partitionId', command.partitionId, 0, numPartitions - 1)
}

/** As {@link checkCommand}, for those of one call. */
export function checkCommands(
  commands: readonly (CommandReference | string)[],
  numPartitions: number,
): void {
  checkWhole('commands', commands.length, 1, CALL_MAX)
  for (const command of commands) checkCommand(command, numPartitions)
}

/** Checks how many dead commands are to be listed. */
export function checkListed(max: number): void {
  checkWhole('max', max, 1, 10_000)
}

export function idOf(command: CommandReference | string): string {
  return typeof command === 'string' ? command : command.commandId
}

/**
 * Checks for how many tokens of a lane is asked, and copies its rate.
 *
 * @throws ConfigError `CORELANE_INVALID_OPTION`, or `CORELANE_INVALID_ENVELOPE` for the lane.
 */
export function checkTokens(laneId: string, rate: SharedRate, count: number): SharedRate {
  checkName('laneId', laneId)
  checkWhole('tokens', count, 1, SHARED_MAX)
  return checkRate(laneId, rate)
}

/**
 * Checks who takes slots of a lane, or gives them back.
 *
 * @throws ConfigError `CORELANE_INVALID_OPTION`, or `CORELANE_INVALID_ENVELOPE` for the lane.
 */
export function checkSlots(laneId: string, holders: readonly string[], max = 1): void {
  checkName('laneId', laneId)
  checkWhole(`slots of lane ${laneId}`, max, 1, SHARED_MAX)
  checkWhole('holders', holders.length, 0, CALL_MAX)
}

/**
 * Checks and copies the rate of a lane.
 *
 * @throws ConfigError `CORELANE_INVALID_OPTION`.
 */
export function checkRate(laneId: string, { limit, windowMs }: SharedRate): SharedRate {
  return checkOptions(`rate of lane ${laneId}`, { limit, windowMs }, RATE_RULES)
}

/**
 * Checks and copies what a worker says of itself.
 *
 * @throws ConfigError `CORELANE_INVALID_OPTION`.
 */
export function checkStanding(given: unknown): WorkerStanding {
  return standingOf(given) ?? refuse('standing', given, 'a WorkerStanding')
}

/**
 * Checks how commands are given back.
 *
 * @throws ConfigError `CORELANE_INVALID_OPTION`.
 */
export function checkRelease({ reason, delayMs = 0 }: ReleaseOptions): void {
  if (!RELEASE_REASONS.includes(reason)) {
    refuse('release reason', reason, RELEASE_REASONS.join(', '))
  }
  checkWhole('release delayMs', Math.ceil(delayMs), 0, TIMER_MS_MAX)
}

/**
 * Checks a request.
 *
 * @throws ConfigError `CORELANE_INVALID_OPTION`, or `CORELANE_INVALID_ENVELOPE` for a lane's name.
 */
export function checkLeaseRequest(request: LeaseRequest, numPartitions: number): void {
  const { partitions, lanes, max, waitMs } = request
  checkWhole('lease max', max, 1, CALL_MAX)
  if (!(waitMs >= 0 && waitMs <= TIMER_MS_MAX)) {
    refuse('lease waitMs', waitMs, `milliseconds from 0 to ${TIMER_MS_MAX}`)
  }
  for (const partition of partitions) {
    checkWhole('lease partitions', partition, 0, numPartitions - 1)
  }
  for (const lane of lanes) {
    checkName('a lane', lane.laneId)
    checkWhole(`max of lane ${lane.laneId}`, lane.max, 0, Number.MAX_SAFE_INTEGER)
    checkWhole(`priority of lane ${lane.laneId}`, lane.priority, 0, PRIORITY_MAX)
    const { concurrency, rate } = lane.groups ?? {}
    if (concurrency !== undefined) {
      checkWhole(`group concurrency of lane ${lane.laneId}`, concurrency, 1, CONCURRENCY_MAX)
    }
    if (rate !== undefined) checkRate(lane.laneId, rate)
  }
}
