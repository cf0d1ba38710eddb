// Command extras: the fields that only some commands have, kept apart from those of a million.

import type { CallContext } from '../base/async-context.ts'
import type { RetryPlan } from '../model/retry.ts'
import type { HeapPlace } from '../schedule/indexed-heap.ts'

/** The moment at which a delayed command is due, or a waiting one late; its place in the timers. */
export interface CommandTimer extends HeapPlace {
  readonly dueMs: number
  /** Sequence of the command, as it was when the timer was set. */
  readonly sequence: number
}

/** The producer of a stream, as its reader sees it. */
export interface StreamSource {
  /** Lets the producer go on; units consumed so far, modulo 2^32. */
  grant(credit: number): void
  /** Ends the generator; does nothing if the command has ended. */
  abort(reason: unknown): void
}

/** The reader of a stream, as its command sees it. */
export interface StreamSink {
  attach(source: StreamSource): void
  push(value: unknown, weight: number): void
}

/** The options that few callers give. Commands may share them. */
export interface GivenOptions {
  /** The trace that its handler goes on with. */
  readonly carrier?: string | undefined
  /** Number of its first run here. */
  readonly attempt: number | undefined
  readonly timeoutMs: number | undefined
  readonly rejectsLate: boolean | undefined
  readonly startWithinMs: number | undefined
  readonly retry: RetryPlan | undefined
  readonly signal: AbortSignal | undefined
  readonly kill: boolean
  readonly onProgress: ((value: unknown) => void) | undefined
  readonly stream: StreamSink | undefined
  /** For the caller's functions; undefined if there is none to call. */
  readonly context: CallContext | undefined
}

/** The options of a command that was given none of those. */
export function noGiven(): GivenOptions {
  return {
    attempt: undefined,
    timeoutMs: undefined,
    rejectsLate: undefined,
    startWithinMs: undefined,
    retry: undefined,
    signal: undefined,
    kill: false,
    onProgress: undefined,
    stream: undefined,
    context: undefined,
  }
}

/** What has happened to a command that failed before. */
export interface CommandHistory {
  /** Number of the present run, or of the next. */
  attempt: number
  /** Runs that failed and used up a retry. */
  failures: number
  /** Runs that ended with their thread. */
  crashes: number
  /** Threads that it killed: it alone ran there. */
  kills: number
  /** Whether it may have killed a thread, so that it runs by itself until it is known. */
  isSuspect: boolean
  firstFailedAtMs: number
  lastError: unknown
}

/** The place of a command that waits for room. */
export interface RoomPlace {
  /** Gives the place up. */
  leave(): void
  /** Called after the command was settled there. */
  readonly onRefused: (() => void) | undefined
}

/** Fields that only some commands have. */
export interface CommandExtras {
  /** What its submitter calls it. */
  name: string | undefined
  readonly key: string | undefined
  readonly transferList: readonly object[] | undefined
  /** Whether the promise gives a `CommandOutcome` instead of the bare result. */
  readonly isDetailed: boolean
  readonly submittedAtMs: number
  readonly deadlineMs: number | undefined
  /** What the payload counts for where pending bytes are bounded. */
  readonly bytes: number
  /** How long it is delayed once it is admitted. */
  readonly delayMs: number
  readonly options: GivenOptions | undefined
  history: CommandHistory | undefined
  /** While it is delayed, or may be late. */
  timer: CommandTimer | undefined
  /** While it waits for room. */
  room: RoomPlace | undefined
}

/** Extras of a command that has none of its own. */
export function noExtras(): CommandExtras {
  return {
    name: undefined,
    key: undefined,
    transferList: undefined,
    isDetailed: false,
    submittedAtMs: 0,
    deadlineMs: undefined,
    bytes: 0,
    delayMs: 0,
    options: undefined,
    history: undefined,
    timer: undefined,
    room: undefined,
  }
}

/**
 * How long after its submit a command may start, in milliseconds; Infinity if it always may.
 *
 * @param rejectsLate - What the command says of its deadline; undefined: as its lane.
 * @param deadlineMs - Its own deadline, if it has one.
 */
export function patienceOf(
  plan: { readonly rejectsLate: boolean; readonly deadlineMs: number | undefined },
  startWithinMs: number | undefined,
  rejectsLate: boolean | undefined,
  deadlineMs: number | undefined,
): number {
  const withinMs = startWithinMs ?? Number.POSITIVE_INFINITY
  if (!(rejectsLate ?? plan.rejectsLate)) return withinMs
  return Math.min(withinMs, deadlineMs ?? plan.deadlineMs ?? withinMs)
}

/**
 * Whether the clock matters to a command that waits.
 *
 * @param deadlineMs - Its own deadline, if it has one.
 * @param options - The rare options, if it has any.
 */
export function isTimed(
  lane: { readonly isTimed: boolean },
  deadlineMs: number | undefined,
  options: GivenOptions | undefined,
): boolean {
  return lane.isTimed || deadlineMs !== undefined || options?.startWithinMs !== undefined
}
