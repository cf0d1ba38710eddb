// Command: the unit of work, as callers and handlers see it.
// Owns: nothing; data only.

import { TIMER_MS_MAX } from '../base/bounds.ts'
import {
  alias,
  anything,
  boolean,
  integer,
  isObject,
  milliseconds,
  modulePath,
  type OptionRule,
  type OptionRules,
  oneOf,
} from '../base/options.ts'
import type { RetryOptions } from './retry.ts'

/** A function of any kind. */
export type AnyFunction = (...args: never[]) => unknown

/** Values that cannot cross threads. */
export type Refused =
  | AnyFunction
  | symbol
  | PromiseLike<unknown>
  | Iterator<unknown, unknown, never>
  | AsyncIterator<unknown, unknown, never>

/** A payload of a handler of which nothing is known: all but functions, symbols and promises. */
export type AnyPayload<P> = unknown extends P ? P : P extends Refused ? never : P

/** A payload of such a handler, and options. Without an optional member, unions are inferred. */
export type AnyArguments<P, O> = [] | [payload: AnyPayload<P>, options?: O | undefined]

/** Command priorities run from 0, the most urgent, to this. */
export const PRIORITY_MAX = 255

/** Longest key, in UTF-16 units. */
export const KEY_LENGTH_MAX = 1024

/** Names that callers give commands: printable ASCII. */
const COMMAND_NAME = /^[!-~]{1,128}$/

/** Runs of a command that are counted. */
export const ATTEMPT_MAX = 127

/** Options of one command. */
export interface CommandOptions {
  /**
   * What its handler, events and outcomes call it: 1 to 128 printable ASCII characters. Need not be
   * unique. Default: its number.
   */
  readonly id?: string | undefined
  /** Number of its first run, 1 to 127, where it has run elsewhere before. Default 1. */
  readonly attempt?: number | undefined
  /**
   * Module whose export the type names, instead of the manager's handlers: a URL, or a path that is
   * resolved from the working directory. Each thread loads it when it first runs it.
   */
  readonly file?: URL | string | undefined
  /**
   * Commands with one key, of 1 to 1,024 characters, go to one partition, in order. Needs `hash`,
   * `single` or `custom`. Default: none.
   */
  readonly key?: string | undefined
  /**
   * Its tenant, user or job: commands of one group of a lane wait together, and groups take fair
   * turns; the lane may limit each. A string of 1 to 1,024 characters. Default: none, no turns.
   */
  readonly group?: string | undefined
  /** Urgency within the lane: 0 (the most urgent) to 255. Default 128. */
  readonly priority?: number | undefined
  /**
   * When it should have started, counted from submission: 1 to 2^31 - 1 ms. `onDeadline` says
   * what happens then. Default: the deadline of its lane's boost, if any.
   */
  readonly deadlineMs?: number | undefined
  /** What happens at its deadline. Default: the `onDeadline` of its lane. */
  readonly onDeadline?: 'boost' | 'reject' | undefined
  /**
   * Rejects it with `CORELANE_DEADLINE_EXCEEDED` if it has not started so long after it was
   * submitted: 1 to 2^31 - 1 ms. Makes nothing more urgent. Default: it may start at any time.
   */
  readonly startWithinMs?: number | undefined
  /** Keeps it from starting for so long, 0 to 2^31 - 1 ms. Default 0. */
  readonly delayMs?: number | undefined
  /** How long a run may take, 1 to 2^31 - 1 ms. Default: the `timeoutMs` of its lane. */
  readonly timeoutMs?: number | undefined
  /** When it runs again after a failure. Default: the `retry` of its lane. */
  readonly retry?: RetryOptions | undefined
  /** Rejects it with an AbortError, and asks its handler to stop. Default none. */
  readonly signal?: AbortSignal | undefined
  /**
   * Whether that signal also ends the thread of a handler that runs, as soon as it runs nothing
   * else, and in a second at most: commands that run there still are lost then. Default false.
   */
  readonly kill?: boolean | undefined
  /** Called with each value that the handler passes to `context.progress`. Default none. */
  readonly onProgress?: ((value: unknown) => void) | undefined
  /** Objects in the payload to move instead of copying, as for `postMessage`. Default none. */
  readonly transferList?: readonly object[] | undefined
}

/** By what it can do: it may come from another realm, or from a package that imitates it. */
function isSignal(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as AbortSignal).aborted === 'boolean' &&
    typeof (value as AbortSignal).addEventListener === 'function'
  )
}

const KEY_RULE: OptionRule = anything(
  undefined,
  `a string of 1 to ${KEY_LENGTH_MAX} characters`,
  (value) => typeof value === 'string' && value.length > 0 && value.length <= KEY_LENGTH_MAX,
)

/** The rules of {@link CommandOptions}. */
export const COMMAND_RULES = Object.freeze({
  id: anything(
    undefined,
    '1 to 128 printable ASCII characters',
    (value) => typeof value === 'string' && COMMAND_NAME.test(value),
  ),
  // `run` takes it out; here for lists of options.
  lane: anything(undefined, 'given to run; other calls have it as an argument', () => false),
  attempt: integer(1, 1, ATTEMPT_MAX),
  file: modulePath(),
  key: KEY_RULE,
  group: alias(KEY_RULE, 'tenant', 'groupId'),
  priority: integer(128, 0, PRIORITY_MAX),
  deadlineMs: milliseconds(undefined, 1, TIMER_MS_MAX),
  onDeadline: oneOf(undefined, ['boost', 'reject']),
  startWithinMs: milliseconds(undefined, 1, TIMER_MS_MAX),
  delayMs: alias(milliseconds(0, 0, TIMER_MS_MAX), 'delay'),
  timeoutMs: alias(milliseconds(undefined, 1, TIMER_MS_MAX), 'timeout', 'ttl'),
  retry: alias(
    anything(undefined, 'a RetryPolicy or its plain form', isObject),
    ...['retries', 'attempts', 'maxAttempts', 'backoff'],
  ),
  signal: alias(anything(undefined, 'an AbortSignal', isSignal), 'abortSignal', 'abort'),
  kill: boolean(false),
  onProgress: anything(undefined, 'a function', (value) => typeof value === 'function'),
  transferList: alias(
    anything(undefined, 'an array of transferable objects', Array.isArray),
    'transfer',
  ),
}) satisfies OptionRules

/**
 * Whether options are all allowed and only name a command, or say where and when it goes: most do.
 * A check by the table and a look for each rare option would cost a submit a third of its time.
 *
 * @param options - What the caller gave.
 */
export function isOrdinary(options: CommandOptions | null): boolean {
  if (options?.constructor !== Object) return false
  for (const name in options) {
    const value = options[name as keyof CommandOptions]
    switch (name) {
      case 'priority':
        if (COMMAND_RULES.priority.accepts(value)) continue
        return false
      case 'group':
      case 'key':
        if (KEY_RULE.accepts(value)) continue
        return false
      case 'deadlineMs':
        if (COMMAND_RULES.deadlineMs.accepts(value)) continue
        return false
      case 'id':
        if (COMMAND_RULES.id.accepts(value)) continue
        return false
      default:
        return false
    }
  }
  return true
}

/** What a handler learns about the command it runs. */
export interface CommandContext {
  /** As it was submitted with; by default a number that is unique in its queue manager. */
  readonly id: string
  /** Name of its lane. */
  readonly lane: string
  /** Name of its handler. */
  readonly type: string
  /** Its key, if it was given one. */
  readonly key: string | undefined
  /** 1 for the first run. */
  readonly attempt: number
  /** When it should have started, in milliseconds on the clock of `startedAt`. */
  readonly deadline: number | undefined
  /**
   * When this run started: monotonic milliseconds, comparable between all threads of the process.
   */
  readonly startedAt: number
  /** Index of the partition that runs it. */
  readonly partition: number
  /**
   * Aborts when the result is not wanted any more: the command timed out, was aborted, or the
   * partition stops. Made when first read. Aborts only while the thread turns its event loop.
   */
  readonly signal: AbortSignal
  /** Whether the result is not wanted any more: true even inside a synchronous loop. */
  readonly aborted: boolean
  /**
   * Reports how far the handler has come.
   *
   * @param value - Copied to the caller. While results cannot be sent, only the latest is kept.
   */
  progress(value: unknown): void
  /**
   * Submits a command from inside a handler.
   *
   * @param lane - Name of its lane.
   * @param type - Name of its handler.
   * @param rest - The payload, copied, and options: as for `submit` of a manager, but functions and
   * a transfer list cannot cross; `wait: false` resolves once it is accepted, and its failure goes
   * unreported. Until it has ended its signal aborts it, as long as this thread lives.
   * @returns Its result.
   * @throws (as a rejection) ConfigError `CORELANE_NESTED_WAIT` if it could never run because
   * everything it needs is held by handlers that wait; else as `submit` of a manager.
   */
  submit<P = unknown>(
    lane: string,
    type: string,
    ...rest: AnyArguments<P, NestedOptions>
  ): Promise<unknown>
}

/** Options of a command that a handler submits. */
export interface NestedOptions
  extends Omit<
    CommandOptions,
    'id' | 'attempt' | 'file' | 'transferList' | 'onProgress' | 'retry' | 'kill'
  > {
  /** Whether the handler waits for its result. Default true. */
  readonly wait?: boolean | undefined
}

/** The rules of {@link NestedOptions}. */
export const NESTED_RULES = Object.freeze({
  key: COMMAND_RULES.key,
  group: COMMAND_RULES.group,
  priority: COMMAND_RULES.priority,
  deadlineMs: COMMAND_RULES.deadlineMs,
  onDeadline: COMMAND_RULES.onDeadline,
  startWithinMs: COMMAND_RULES.startWithinMs,
  delayMs: COMMAND_RULES.delayMs,
  timeoutMs: COMMAND_RULES.timeoutMs,
  signal: COMMAND_RULES.signal,
  wait: boolean(true),
}) satisfies OptionRules

/** What `context.lane` reads in a broadcast, which goes through no lane. */
export const BROADCAST_LANE = 'broadcast'

/** Under this name a partition's thread keeps its index in its environment data. */
export const PARTITION_MARKER = 'corelane.partition'

/** Under this name a thread finds that its file is to run as its program, and takes that away. */
export const PROGRAM_MARKER = 'corelane.program'

/** What `setup` and `teardown` of a handler module are given. */
export interface PartitionContext {
  /** Index of the partition. */
  readonly partition: number
  /** 1 for the first thread of the partition, 2 for its first replacement, and so on. */
  readonly incarnation: number
}

/** Where the details of a failed command are kept on its error. */
export const commandInfo: unique symbol = Symbol.for('corelane.command') as never

/**
 * How a command ended and where: part of an outcome, and on errors under {@link commandInfo}.
 */
export interface CommandInfo {
  readonly id: string
  readonly lane: string
  readonly type: string
  /** Undefined if it has none. */
  readonly key: string | undefined
  /** Which run this was, from 1. */
  readonly attempt: number
  /** Index of its partition; -1 if it was never bound to one. */
  readonly partition: number
  /** When its handler was entered, monotonic milliseconds; undefined if it is not known to. */
  readonly startedAtMs: number | undefined
  /** How long it ran, in milliseconds; 0 if it did not or its thread died. */
  readonly durationMs: number
}

/** How a command ended, with where and when. */
export type CommandOutcome<R = unknown> =
  | { readonly ok: true; readonly value: R; readonly info: CommandInfo }
  | { readonly ok: false; readonly error: unknown; readonly info: CommandInfo }
