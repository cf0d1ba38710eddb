// Engine checks: what the calls of an engine may be given, and the bounds of those calls.
// Must not: rely on the types of arguments, which JavaScript does not check.

import { TIMER_MS_MAX } from '../../base/bounds.ts'
import { type LaneError, laneError, show } from '../../base/errors.ts'
import { checkOptions, invalidOption, isTexts } from '../../base/options.ts'
import { PRIORITY_MAX } from '../../model/command.ts'
import { CONCURRENCY_MAX } from '../../model/lane.ts'
import { takesKeys } from '../../model/partition-config.ts'
import { standingOf } from '../../model/queue-standing.ts'
import { RATE_RULES } from '../../model/rate-limit.ts'
import type {
  CommandReference,
  Delivery,
  DistributedQueue,
  LaneDemand,
  LeasedQueue,
  LeaseRequest,
  NameRegistry,
  ReleaseOptions,
  ReleaseReason,
} from './distributed-queue.ts'
import {
  type CommandEnvelope,
  checkEnvelope,
  checkName,
  groupPartition,
  isSealed,
} from './envelope.ts'
import { checkConcurrency, checkLiveRate, type SharedRate } from './live-limits.ts'
import type { QueuePartitions } from './queue-partitions.ts'

/** Most commands of a lane that one look lists. */
const PEEK_MAX = 1000

/** Most tokens that are asked for at once, and most slots of a lane. */
export const SHARED_MAX = 1_000_000

/** Most commands, reports or names of one call of a queue. */
export const CALL_MAX = 4096

/** How long a name is remembered after its last worker has gone: a week. */
export const REMEMBERED_MS = 7 * 24 * 60 * 60 * 1000

/** Most names that an answer lists. */
export const NAMES_MAX = 20

const RELEASE_REASONS: readonly ReleaseReason[] = ['retry', 'unstarted', 'crash']

/** A list may have any length. */
const ANY = Number.POSITIVE_INFINITY

/** The parts of a queue. */
export type QueueParts = { readonly [Name in Part]: NonNullable<LeasedQueue[Name]> }
type Part = 'dead' | 'ownership' | 'limits' | 'commands' | 'lanes' | 'handlers' | 'workers'

/** Calls of the queue itself, but for those that take commands one by one. */
export type QueueCalls = Required<Omit<LeasedQueue, keyof DistributedQueue | Part | Fact | 'close'>>
type Fact = 'strategy' | 'capabilities' | 'leaseMs' | 'maxDeliveries' | 'resultTtlMs' | 'isClosed'

type Names = readonly string[]
type Commands = readonly (CommandReference | string)[]

function refuse(option: string, received: unknown, allowed: string): never {
  throw invalidOption(option, show(received), allowed)
}

/**
 * Checks that a number is whole and within bounds.
 *
 * @throws ConfigError `CORELANE_INVALID_OPTION`.
 */
export function checkWhole(option: string, value: unknown, min: number, max: number): void {
  if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max) return
  refuse(option, value, `an integer from ${min} to ${max}`)
}

export function checkObject(option: string, value: unknown): void {
  if (typeof value !== 'object' || value === null) refuse(option, value, 'an object')
}

function checkListener(value: unknown): void {
  if (typeof value !== 'function') refuse('listener', value, 'a function')
}

function checkList(option: string, list: unknown, least = 0, most = CALL_MAX): void {
  if (!Array.isArray(list)) refuse(option, list, 'an array')
  checkWhole(option, list.length, least, most)
}

/** The error `CORELANE_DEGRADED` of something that a queue cannot do. */
export function degraded(option: string, received: string, allowed: string): LaneError {
  return laneError('CORELANE_DEGRADED', { option, received, allowed })
}

/** Checks and copies commands that are enqueued, with groups in the partitions of these. */
function checkEnvelopes(
  { numPartitions, strategy }: QueuePartitions,
  envelopes: readonly CommandEnvelope[],
): CommandEnvelope[] {
  checkList('envelopes', envelopes, 1)
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

export function checkPartition({ numPartitions }: QueuePartitions, partitionId: unknown): void {
  checkWhole('partitionId', partitionId, 0, numPartitions - 1)
}

const checkLane = (_: QueuePartitions, laneId: string): void => checkName('laneId', laneId)

export function idOf(command: CommandReference | string): string {
  return typeof command === 'string' ? command : command?.commandId
}

function checkCommand(queue: QueuePartitions, command: CommandReference | string): void {
  checkName('commandId', idOf(command))
  if (typeof command !== 'string') checkPartition(queue, command.partitionId)
}

function checkCommands(queue: QueuePartitions, commands: Commands): void {
  checkList('commands', commands, 1)
  for (const command of commands) checkCommand(queue, command)
}

function checkDead(queue: QueuePartitions, commands: Commands): void {
  checkList('commands', commands, 0, ANY)
  for (const command of commands) checkCommand(queue, command)
}

function checkReferences(queue: QueuePartitions, all: readonly CommandReference[]): void {
  checkCommands(queue, all)
  for (const reference of all) checkObject('command', reference)
}

/** Checks deliveries that start, go on or end. Whether they are the caller's the engine says. */
function checkDeliveries(queue: QueuePartitions, deliveries: readonly Delivery[]): void {
  checkList('deliveries', deliveries, 0, ANY)
  for (const delivery of deliveries) checkDelivery(queue, delivery)
}

function checkDelivery(queue: QueuePartitions, delivery: Delivery): void {
  const envelope = delivery?.envelope
  checkObject('delivery', envelope)
  checkPartition(queue, envelope.partitionId)
  if (isSealed(envelope)) return
  checkName('commandId', envelope.id)
  checkName('laneId', envelope.laneId)
}

function checkRelease(options: ReleaseOptions): void {
  checkObject('release', options)
  const { reason, delayMs = 0 } = options
  if (!RELEASE_REASONS.includes(reason)) {
    refuse('release reason', reason, RELEASE_REASONS.join(', '))
  }
  checkWhole('release delayMs', Math.ceil(delayMs), 0, TIMER_MS_MAX)
}

function checkLeaseRequest(queue: QueuePartitions, request: LeaseRequest): void {
  checkObject('lease', request)
  const { partitions, lanes, max, waitMs } = request
  checkWhole('lease max', max, 1, CALL_MAX)
  if (!(waitMs >= 0 && waitMs <= TIMER_MS_MAX)) {
    refuse('lease waitMs', waitMs, `milliseconds from 0 to ${TIMER_MS_MAX}`)
  }
  checkList('lease partitions', partitions, 0, ANY)
  for (const partition of partitions) checkPartition(queue, partition)
  checkList('lease lanes', lanes, 0, ANY)
  for (const lane of lanes) checkDemand(lane)
}

function checkDemand(demand: LaneDemand): void {
  checkObject('a lane', demand)
  const { laneId, max, priority, boost, groups } = demand
  checkName('a lane', laneId)
  checkWhole(`max of lane ${laneId}`, max, 0, Number.MAX_SAFE_INTEGER)
  checkWhole(`priority of lane ${laneId}`, priority, 0, PRIORITY_MAX)
  checkList(`boost of lane ${laneId}`, boost, 0, ANY)
  const { concurrency, rate } = groups ?? {}
  if (concurrency !== undefined) {
    checkWhole(`group concurrency of lane ${laneId}`, concurrency, 1, CONCURRENCY_MAX)
  }
  if (rate !== undefined) checkRate(laneId, rate)
}

function checkRate(laneId: string, rate: SharedRate): SharedRate {
  const { limit, windowMs } = rate ?? {}
  return checkOptions(`rate of lane ${laneId}`, { limit, windowMs }, RATE_RULES)
}

function checkSlots(laneId: string, max: number, holders: Names): void {
  checkName('laneId', laneId)
  checkWhole(`slots of lane ${laneId}`, max, 1, SHARED_MAX)
  checkList('holders', holders)
  if (!isTexts(holders)) refuse('holders', holders, 'an array of texts')
}

function checkNames(names: Names, least: number): void {
  checkList('names', names, least)
  for (const name of names) checkName('name', name)
}

function checkNamed(field: string, name: string, listener: unknown): void {
  checkName(field, name)
  checkListener(listener)
}

const ANYTHING = (): void => {}
const checkHeard = (_: QueuePartitions, listener: unknown): void => checkListener(listener)

/**
 * Checks of the calls of a part, by its members. One that copies what it checks gives the arguments
 * with which the engine is to be called instead.
 */
export type Checks<Part> = {
  readonly [Name in keyof Part]-?: (
    queue: QueuePartitions,
    ...given: Parameters<Extract<Part[Name], (...given: never[]) => unknown>>
  ) => unknown
}

export const QUEUE_CHECKS: Checks<QueueCalls> = {
  enqueueMany: (queue, envelopes) => [checkEnvelopes(queue, envelopes)],
  lease: checkLeaseRequest,
  start: checkDeliveries,
  extend: checkDeliveries,
  completeMany: (queue, completions) => {
    checkList('completions', completions, 0, ANY)
    for (const one of completions) {
      checkDelivery(queue, one?.delivery)
      checkObject('result', one.result)
    }
  },
  release: (queue, deliveries, options) => {
    checkDeliveries(queue, deliveries)
    checkRelease(options)
  },
  deadLetter: (queue, delivery, reason, result) => {
    checkDelivery(queue, delivery)
    checkObject('result', result)
    return [delivery, String(reason), result]
  },
  announce: (_, submitter, listener) => checkNamed('submitter', submitter, listener),
  look: checkReferences,
  forget: checkReferences,
  counts: ANYTHING,
}

const NAME_CHECKS: Checks<NameRegistry> = {
  announce: (_, names, others = []) => {
    checkNames(names, 0)
    checkNames(others, 0)
  },
  look: (_, names) => checkNames(names, 1),
}

/** By part of a queue. */
export const PART_CHECKS: { readonly [Name in keyof QueueParts]: Checks<QueueParts[Name]> } = {
  dead: {
    list: (_, max = 1) => checkWhole('max', max, 1, 10_000),
    redrive: checkDead,
    drop: checkDead,
  },
  commands: {
    find: checkCommand,
    peek: (_, laneId, max = 1) => {
      checkWhole('max', max, 1, PEEK_MAX)
      if (laneId !== undefined) checkName('laneId', laneId)
    },
    cancel: checkCommands,
    onCancel: checkHeard,
    report: (_, reports) => {
      checkList('reports', reports, 1)
      for (const report of reports) {
        checkName('commandId', report?.commandId)
        checkName('submitter', report.submitter)
      }
    },
    onProgress: (_, submitter, listener) => checkNamed('submitter', submitter, listener),
  },
  limits: {
    takeTokens: (_, laneId, rate, count) => {
      checkName('laneId', laneId)
      checkWhole('tokens', count, 1, SHARED_MAX)
      return [laneId, checkRate(laneId, rate), count]
    },
    takeSlots: (_, laneId, max, holders) => checkSlots(laneId, max, holders),
    releaseSlots: (_, laneId, holders) => checkSlots(laneId, 1, holders),
    onSlotFree: (_, laneId, listener) => checkNamed('laneId', laneId, listener),
  },
  lanes: {
    ...NAME_CHECKS,
    unserved: ANYTHING,
    pause: checkLane,
    resume: checkLane,
    paused: ANYTHING,
    onPause: checkHeard,
    setConcurrency: (_, laneId, concurrency) => checkConcurrency(laneId, concurrency),
    setRateLimit: (_, laneId, rateLimit) => [laneId, checkLiveRate(laneId, rateLimit)],
    limits: ANYTHING,
    onLimits: checkHeard,
  },
  handlers: NAME_CHECKS,
  workers: {
    announce: (_, given) => [standingOf(given) ?? refuse('standing', given, 'a WorkerStanding')],
    leave: ANYTHING,
    list: ANYTHING,
  },
  ownership: {
    heartbeat: ANYTHING,
    release: checkPartition,
    leave: ANYTHING,
    onChange: checkHeard,
  },
}
