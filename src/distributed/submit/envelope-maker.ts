// Envelope maker: makes envelopes of submitted commands, and finds their partitions.
// Owns: whose turn it is among the partitions.

import { epochMs } from '../../base/clock.ts'
import { laneError, show } from '../../base/errors.ts'
import { checkGiven, invalidOption } from '../../base/options.ts'
import { uniqueName } from '../../base/random.ts'
import { KEYED_STRATEGIES, takesKeys } from '../../model/partition-config.ts'
import { checkRetry, QUEUED_RETRY_RULES, type QueuedRetry } from '../../model/retry.ts'
import { stableHash } from '../../schedule/hash.ts'
import type { LeasedQueue } from '../contract/distributed-queue.ts'
import { degraded } from '../contract/engine-checks.ts'
import {
  type CommandEnvelope,
  checkName,
  ENVELOPE_VERSION,
  type EnvelopeOptions,
  groupPartition,
  sealEnvelope,
} from '../contract/envelope.ts'
import {
  keepsResult,
  SUBMIT_RULES,
  type SubmitOptions,
  type SubmitterPlan,
} from './submitter-options.ts'

/** So many commands of a balanced queue go to one partition before the next has its turn. */
const RUN = 32

const KEPT_NOT: EnvelopeOptions = Object.freeze({ keepResult: false })

const NO_OPTIONS: SubmitOptions = Object.freeze({})

export class EnvelopeMaker {
  readonly #queue: LeasedQueue
  readonly #submitter: string
  readonly #plan: SubmitterPlan
  /** The first half of ids, followed by a number. */
  readonly #prefix = `${uniqueName()}.`
  #last: number
  /** Commands that have gone by turn. */
  #count = 0
  #ids = 0
  /** The names that were checked last, at first two that are valid: most commands have the same. */
  #lane = 'lane'
  #type = 'type'

  constructor(queue: LeasedQueue, submitter: string, plan: SubmitterPlan) {
    this.#queue = queue
    this.#submitter = submitter
    this.#plan = plan
    // Submitters begin at different partitions.
    this.#last = stableHash(submitter) % queue.numPartitions
  }

  /**
   * @param wantsResult - Whether the submitter gets its result.
   * @throws ConfigError `CORELANE_INVALID_OPTION`, `CORELANE_INVALID_ENVELOPE`,
   * `CORELANE_DEGRADED`.
   */
  make(
    lane: string,
    type: string,
    payload: unknown,
    options: SubmitOptions | undefined,
    wantsResult: boolean,
  ): CommandEnvelope {
    if (lane !== this.#lane) checkName('laneId', lane)
    if (type !== this.#type) checkName('commandType', type)
    this.#lane = lane
    this.#type = type
    if (options !== undefined) checkGiven('submit', options, SUBMIT_RULES)
    const { id, key, priority, deadlineMs } = options ?? NO_OPTIONS
    const { capabilities } = this.#queue
    const { groups, commandPriority } = capabilities
    const group = this.#accepted(groups, 'group', options?.group, 'commands without groups')
    if (wantsResult && !capabilities.results) {
      const received = 'a command whose result is waited for'
      throw degraded('submit', received, 'enqueue, which waits for none')
    }
    const createdAt = epochMs()
    return sealEnvelope({
      id: id ?? `${this.#prefix}${this.#ids++}`,
      commandType: type,
      laneId: lane,
      partitionId: this.#place(id, group, key, type),
      payload,
      retryCount: 0,
      createdAt,
      key: key === undefined ? undefined : this.#keyOf(key),
      group,
      priority: this.#accepted(commandPriority, 'priority', priority, 'the priority of its lane'),
      deadline: deadlineMs === undefined ? undefined : createdAt + deadlineMs,
      submitter: wantsResult ? this.#submitter : undefined,
      options: this.#optionsOf(options, wantsResult),
      version: ENVELOPE_VERSION,
    })
  }

  #place(
    id: string | undefined,
    group: string | undefined,
    key: string | undefined,
    type: string,
  ): number {
    const { strategy, numPartitions } = this.#queue
    if (group !== undefined) return groupPartition(group, numPartitions)
    if (strategy === 'hash') return stableHash(key ?? type) % numPartitions
    if (strategy === 'single') return 0
    strategy satisfies 'balanced' | 'roundRobin' | 'custom'
    // An engine may know ids per partition only, so an id that may come again has one of its own.
    if (id !== undefined) return stableHash(id) % numPartitions
    // A call that carries several costs a fraction of several calls, at both ends and in between.
    if (strategy === 'balanced' && this.#count++ % RUN > 0) return this.#last
    this.#last = this.#last + 1 >= numPartitions ? 0 : this.#last + 1
    return this.#last
  }

  #optionsOf(given: SubmitOptions | undefined, wantsResult: boolean): EnvelopeOptions | undefined {
    const keeps = keepsResult(this.#plan, given?.id !== undefined)
    // The submitter itself has results forgotten that come to it.
    const common = keeps || wantsResult ? undefined : KEPT_NOT
    if (given === undefined) return common
    const { timeoutMs, retry, keepResult } = given
    const delayMs = given.delayMs === 0 ? undefined : given.delayMs
    const progress = given.onProgress === undefined ? undefined : true
    const isPlain = delayMs === undefined && timeoutMs === undefined && retry === undefined
    if (isPlain && keepResult === undefined && progress === undefined) return common
    if (progress && !wantsResult) {
      const allowed = 'none: submit and execute wait for a command, and hear of its progress'
      throw invalidOption('enqueue.onProgress', 'a function', allowed)
    }
    const { delay, commands } = this.#queue.capabilities
    return Object.freeze({
      delayMs: this.#accepted(delay, 'delayMs', delayMs, 'no delay'),
      timeoutMs,
      retry: retry && checkRetry<QueuedRetry>('submit.retry', retry, QUEUED_RETRY_RULES),
      keepResult: keepResult ?? common?.keepResult,
      progress: this.#accepted(commands, 'onProgress', progress, 'no progress'),
    })
  }

  #keyOf(key: string): string | undefined {
    const { strategy, capabilities } = this.#queue
    if (!takesKeys(strategy)) {
      throw laneError('CORELANE_INVALID_ENVELOPE', {
        field: 'key',
        received: `given to a queue of the strategy "${strategy}"`,
        allowed: `a key under ${KEYED_STRATEGIES}, which keep its commands together`,
      })
    }
    return this.#accepted(capabilities.keyOrder, 'key', key, 'commands without keys')
  }

  #accepted<T>(isKept: boolean, option: string, value: T, allowed: string): T | undefined {
    if (isKept || value === undefined) return value
    if (this.#plan.allowDegraded) return undefined
    throw degraded(option, show(value), allowed)
  }
}
