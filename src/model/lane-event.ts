// Lane event: the events of a manager, as subscribers get them.
// Owns: nothing; data only.

import { anything, integer, isTexts, type OptionRules } from '../base/options.ts'

/** Names of the events. */
export const LANE_EVENTS = Object.freeze([
  'queue.command.submitted',
  'queue.command.started',
  'queue.command.completed',
  'queue.command.failed',
  'queue.command.retry',
  'queue.command.timeout',
  'queue.command.progress',
  'queue.command.dead_lettered',
  'queue.dead_letter.dropped',
  'queue.partition.spawned',
  'queue.partition.exited',
  'queue.partition.output',
  'queue.partition.lost',
  'queue.partition.replaced',
  'queue.partition.failed',
  'queue.partition.rejection',
  'queue.lane.pressure',
  'queue.lane.idle',
  'queue.lane.changed',
  'queue.shutdown.started',
  'queue.shutdown.complete',
] as const)

/** Name of an event. */
export type LaneEventName = (typeof LANE_EVENTS)[number]

/** The members of every event; those that do not apply are undefined. */
export interface AnyLaneEvent {
  readonly event: LaneEventName
  readonly atMs: number
  /** The command's id; undefined in events of a lane or of the manager. */
  readonly id: string | undefined
  readonly lane: string | undefined
  readonly type: string | undefined
  readonly key: string | undefined
  readonly group: string | undefined
  /** The command's partition, once it has one. */
  readonly partition: number | undefined
  readonly attempt: number | undefined
  /**
   * When it was submitted; undefined if no subscription to the ends of commands existed then and
   * nothing else needed to know: a deadline, a boost, or metrics.
   */
  readonly submittedAtMs: number | undefined
  /** When its handler was entered. */
  readonly startedAtMs: number | undefined
  /** How long it ran, once it has ended. */
  readonly durationMs: number | undefined
  /** Why it failed. */
  readonly error: unknown
  /** Unsettled commands of the lane, in events of a lane. */
  readonly unsettled: number | undefined
  /** What the handler reported, in events of progress. */
  readonly progress: unknown
  /** `threadId` of the thread, in events of a thread. */
  readonly threadId: number | undefined
  /** What the thread printed, in events of output. */
  readonly output: ThreadOutput | undefined
}

/** What an event of a name has for certain. */
type Certain<N extends LaneEventName> = N extends
  | `queue.command.${string}`
  | 'queue.dead_letter.dropped'
  ? {
      readonly id: string
      readonly lane: string
      readonly type: string
      readonly attempt: number
    }
  : N extends `queue.lane.${string}`
    ? { readonly lane: string; readonly unsettled: number }
    : N extends 'queue.partition.output'
      ? { readonly partition: number; readonly threadId: number; readonly output: ThreadOutput }
      : N extends 'queue.partition.spawned' | 'queue.partition.exited'
        ? { readonly partition: number; readonly threadId: number }
        : N extends `queue.partition.${string}`
          ? { readonly partition: number }
          : unknown

/** An event of a name. */
export type LaneEventOf<N extends LaneEventName> = N extends N
  ? AnyLaneEvent & { readonly event: N } & Certain<N>
  : never

/** Something that happened in a manager. Times are monotonic milliseconds. */
export type LaneEvent = LaneEventOf<LaneEventName>

/** What a thread printed. */
export interface ThreadOutput {
  readonly stream: 'stdout' | 'stderr'
  readonly text: string | Uint8Array
}

/** Which events a subscriber wants. */
export interface EventFilter<L extends string = string> {
  /** Default: all. */
  readonly events?: readonly LaneEventName[] | undefined
  /** Names of lanes; events of the manager always pass. Default: all. */
  readonly lanes?: readonly L[] | undefined
  /**
   * Events kept for a slow reader, 1 to 1,000,000; beyond, the oldest are dropped. Default 1,024.
   */
  readonly capacity?: number | undefined
}

function areEvents(value: unknown): boolean {
  return Array.isArray(value) && value.every((name) => LANE_EVENTS.includes(name))
}

/** The rules of {@link EventFilter}. */
export const SUBSCRIBE_RULES = Object.freeze({
  events: anything(undefined, `an array of ${LANE_EVENTS.join(', ')}`, areEvents),
  lanes: anything(undefined, 'an array of lane names', isTexts),
  capacity: integer(1024, 1, 1_000_000),
}) satisfies OptionRules
