// Pool options: options of a worker pool and their rules.
// Owns: nothing; data only.

import { TIMER_MS_MAX } from '../../base/bounds.ts'
import {
  anything,
  boolean,
  type Complete,
  integer,
  isRecord,
  isTexts,
  milliseconds,
  type OptionRules,
} from '../../base/options.ts'
import { CONCURRENCY_MAX } from '../../model/lane.ts'
import { CALL_MAX } from '../contract/engine-checks.ts'
import type { IncidentListener } from '../incident.ts'

/** Options of a worker pool. All have defaults. */
export interface WorkerPoolOptions {
  /**
   * Start even if the queue lacks a capability that a lane needs. Default false.
   */
  readonly allowDegraded?: boolean | undefined
  /**
   * So much work is held beyond what runs, 0 to 10,000 ms by the measured rate, and as much more as
   * bridges the time that the queue takes to answer. Default 35.
   */
  readonly prefetchMs?: number | undefined
  /** Most commands that are held, but for a few that are more urgent. 1 to 4,096. Default 4,096. */
  readonly prefetchMax?: number | undefined
  /**
   * So long a completion waits for others at most, while more commands run whose own will come
   * within that time: one call for several. 0 to 1,000 ms; 0: none waits. Default: a twentieth of
   * the time since the queue accepted the command, from 4 to 25.
   */
  readonly gatherMs?: number | undefined
  /** Names of the lanes to take commands of. Default: all lanes of the manager. */
  readonly lanes?: readonly string[] | undefined
  /** How many commands of a lane may run at once over all workers, by lane. Default: no bound. */
  readonly globalConcurrency?: Readonly<Record<string, number>> | undefined
  /**
   * So long after its acceptance a command that names no handler of the manager is handed on to
   * other workers, which may have it: 0 to 2^31 - 1 ms. After that, or in a queue without delays at
   * once, it is dead. Default 60,000.
   */
  readonly unknownHandlerMs?: number | undefined
  /** How long `drain` waits by default, 0 to 2^31 - 1 ms. Default 30,000. */
  readonly drainTimeoutMs?: number | undefined
  /**
   * How long `close` waits for threads to end that run something, and for the queue, 0 to 2^31 - 1
   * ms. Default 2,000.
   */
  readonly closeTimeoutMs?: number | undefined
  /** Called with each fault that was dealt with. Default: none. */
  readonly onIncident?: IncidentListener | undefined
}

function isNames(value: unknown): boolean {
  return isTexts(value) && value.length > 0 && new Set(value).size === value.length
}

function isCount(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= CONCURRENCY_MAX
}

/** The rules of {@link WorkerPoolOptions}. */
export const WORKER_POOL_RULES = Object.freeze({
  allowDegraded: boolean(false),
  prefetchMs: milliseconds(35, 0, 10_000),
  prefetchMax: integer(CALL_MAX, 1, CALL_MAX),
  gatherMs: milliseconds(undefined, 0, 1_000),
  lanes: anything(undefined, 'an array of different lane names', isNames),
  globalConcurrency: anything(
    Object.freeze({}),
    'an object of integers from 1 to 65536 by lane name',
    (value) => isRecord(value, isCount),
  ),
  unknownHandlerMs: milliseconds(60_000, 0, TIMER_MS_MAX),
  drainTimeoutMs: milliseconds(30_000, 0, TIMER_MS_MAX),
  closeTimeoutMs: milliseconds(2_000, 0, TIMER_MS_MAX),
  onIncident: anything(undefined, 'a function', (value) => typeof value === 'function'),
}) satisfies OptionRules

/** Options of a worker pool, checked and complete. */
export type WorkerPlan = Complete<WorkerPoolOptions, 'gatherMs' | 'lanes' | 'onIncident'>
