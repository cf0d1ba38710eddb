// Submitter options: options of a submitter and of its commands, and the rules of both.
// Owns: nothing; data only.

import { TIMER_MS_MAX } from '../../base/bounds.ts'
import {
  anything,
  boolean,
  type Complete,
  integer,
  milliseconds,
  type OptionRules,
  oneOf,
} from '../../base/options.ts'
import { portableName } from '../../base/portable-name.ts'
import { COMMAND_RULES } from '../../model/command.ts'
import type { QueuedRetry } from '../../model/retry.ts'
import type { IncidentListener } from '../incident.ts'

/** Options of a submitter. All have defaults. */
export interface SubmitterOptions {
  /** Its name; results are announced under it. Default: a random one. */
  readonly name?: string | undefined
  /**
   * Whether it does without what the queue cannot do of that which commands ask for, instead of
   * refusing them. Default false.
   */
  readonly allowDegraded?: boolean | undefined
  /**
   * Commands that may be unanswered at once, 1 to 10^7; a submit beyond waits. Default 100,000.
   */
  readonly maxPending?: number | undefined
  /**
   * Age at which a command is looked up that no result was announced of, 10 to 2^31 - 1 ms. It is
   * looked up again after two such spans, four, and so on up to 32. Default 1,000.
   */
  readonly sweepMs?: number | undefined
  /**
   * How long the queue may take to accept a command before it rejects, 1 to 2^31 - 1 ms from the
   * call, also while it waits for room. Default: as long as it takes.
   */
  readonly timeoutMs?: number | undefined
  /**
   * Which results the queue keeps once they have come: `all` until they expire, those of commands
   * that were `named` by an id of the caller's, or `none`. Of commands that are only enqueued, the
   * others leave nothing at their end. An id whose result is gone is new: the same command
   * submitted again runs again. Default `all`.
   */
  readonly keepResults?: 'all' | 'named' | 'none' | undefined
  /**
   * What becomes of a command whose lane or handler no worker has ever announced, though workers
   * have announced others: `reject` refuses it, `wait` puts it into the queue all the same. Names
   * that a worker had once, and all names in a queue that had no worker yet, wait in any case, and
   * an incident says so. Default `reject`.
   */
  readonly unknown?: 'reject' | 'wait' | undefined
  /** Called with each fault that was dealt with. Default: none. */
  readonly onIncident?: IncidentListener | undefined
}

/** The rules of {@link SubmitterOptions}. */
export const SUBMITTER_RULES = Object.freeze({
  name: portableName(undefined),
  allowDegraded: boolean(false),
  maxPending: integer(100_000, 1, 10_000_000),
  sweepMs: milliseconds(1_000, 10, TIMER_MS_MAX),
  timeoutMs: milliseconds(undefined, 1, TIMER_MS_MAX),
  keepResults: oneOf('all', ['all', 'named', 'none']),
  unknown: oneOf('reject', ['reject', 'wait']),
  onIncident: anything(undefined, 'a function', (value) => typeof value === 'function'),
}) satisfies OptionRules

/** Options of a submitter, checked and complete. */
export type SubmitterPlan = Complete<SubmitterOptions, 'name' | 'timeoutMs' | 'onIncident'>

/** Whether the queue keeps a result that has come, where its command does not say so itself. */
export function keepsResult({ keepResults }: SubmitterPlan, isNamed: boolean): boolean {
  return keepResults === 'all' || (keepResults === 'named' && isNamed)
}

/** Options of one command for a queue. */
export interface SubmitOptions {
  /** Names the command: the same id is the same command. Default: a random one. */
  readonly id?: string | undefined
  /**
   * Commands with the same key, of 1 to 1,024 characters, run one at a time, in the order they were
   * enqueued. Needs a queue whose strategy is `hash` or `single`. Default: none.
   */
  readonly key?: string | undefined
  /**
   * Its tenant, user or job, 1 to 1,024 characters: groups of a lane take fair turns, over all
   * workers. All commands of a group go through one partition of the queue, whatever its strategy,
   * so an id that you give must come with the same group. Default: none.
   */
  readonly group?: string | undefined
  /** Urgency within the lane, or within its group: 0 (the most urgent) to 255. Default 128. */
  readonly priority?: number | undefined
  /**
   * When it should have started, 1 to 2^31 - 1 ms from now. The queue measures it from acceptance;
   * what the command waits here before that is taken off. Default: the deadline of its lane.
   */
  readonly deadlineMs?: number | undefined
  /** Keeps it in the queue for so long after its acceptance, 0 to 2^31 - 1 ms. Default 0. */
  readonly delayMs?: number | undefined
  /** How long a run may take, 1 to 2^31 - 1 ms. Default: the `timeoutMs` of its lane. */
  readonly timeoutMs?: number | undefined
  /**
   * When it runs again after a failure: `retries`, `backoff`, `delayMs`, `maxDelayMs`, `jitter` and
   * `retryTimeouts` of a RetryPolicy. The lane's `retryable` judges the error. Default: the `retry`
   * of its lane.
   */
  readonly retry?: QueuedRetry | undefined
  /** Whether the queue keeps its result. Default: as `keepResults` of its submitter says. */
  readonly keepResult?: boolean | undefined
  /**
   * Called with how far its handler says it has come, every 50 ms at most: the latest value counts,
   * values can be lost, and the result may overtake the last. Not with `enqueue`. Default none.
   */
  readonly onProgress?: ((value: unknown) => void) | undefined
  /**
   * Rejects it with an AbortError, and cancels it in the queue, unless others wait for the same id.
   * Where a queue cannot cancel, it runs all the same. Default none.
   */
  readonly signal?: AbortSignal | undefined
}

/** The rules of {@link SubmitOptions}. */
export const SUBMIT_RULES = Object.freeze({
  id: portableName(undefined),
  key: COMMAND_RULES.key,
  group: COMMAND_RULES.group,
  priority: COMMAND_RULES.priority,
  deadlineMs: COMMAND_RULES.deadlineMs,
  delayMs: COMMAND_RULES.delayMs,
  timeoutMs: COMMAND_RULES.timeoutMs,
  retry: COMMAND_RULES.retry,
  keepResult: anything(undefined, 'true or false', (value) => typeof value === 'boolean'),
  onProgress: COMMAND_RULES.onProgress,
  signal: COMMAND_RULES.signal,
}) satisfies OptionRules

/** A command for `enqueueMany`. */
export interface NewCommand extends Omit<SubmitOptions, 'signal' | 'onProgress'> {
  readonly lane: string
  readonly type: string
  /** What its handler gets. Default: undefined. */
  readonly payload?: unknown
}
