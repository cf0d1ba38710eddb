// Command trace: a command or a run as tracers see it, and how its trace goes on in a thread.
// Owns: how the name of a command carries a trace through the ring.

/** A longer trace loses its last fields, such as baggage: it must fit a small ring beside a key. */
export const CARRIER_CHARS_MAX = 2048

/** What the tracing channels carry: one object from the start of a command or run to its end. */
export interface CommandTrace {
  readonly id: string
  readonly lane: string
  readonly type: string
  readonly key: string | undefined
  readonly group: string | undefined
  attempt: number
  /** Monotonic milliseconds, as all times here. */
  readonly submittedAtMs: number | undefined
  partition: number | undefined
  startedAtMs: number | undefined
  durationMs: number | undefined
  /** Why it failed, if it did. */
  error?: unknown
  /**
   * The trace that it belongs to, as printable ASCII: that of the handler that submitted it. A
   * subscriber to the start of a submit may set it, for the thread and for the traces of its runs.
   */
  carrier: string | undefined
  /** Whether a distributed queue gave it out, whose submitter has a trace of its own. */
  readonly isOfQueue: boolean
  /** Whether the thread of a run traces it by itself. */
  readonly isTracedThere: boolean
}

/** A run as its thread's tracer sees it: the context of its handler, and more. */
export interface TracedRun {
  readonly id: string
  readonly lane: string
  readonly type: string
  readonly attempt: number
  readonly partition: number
  /** The trace that it goes on with. */
  readonly carrier: string | undefined
}

/** What traces the runs of a thread. */
export interface RunTracer {
  /**
   * Calls a handler.
   *
   * @param call - Gives what the handler returns.
   * @param isStream - Whether that is iterated.
   */
  run(run: TracedRun, call: () => unknown, isStream: boolean): unknown
  /** The trace of the code that runs now. */
  carrier(): string | undefined
}

const RUN_TRACER: unique symbol = Symbol.for('corelane.run-tracer.1') as never
const thread = globalThis as { [RUN_TRACER]?: RunTracer | undefined }

/** What traces the runs of this thread; undefined: nothing does. */
export function runTracer(): RunTracer | undefined {
  return thread[RUN_TRACER]
}

/** Lets something trace the runs of this thread. Partitions look once they have set up. */
export function setRunTracer(tracer: RunTracer | undefined): void {
  thread[RUN_TRACER] = tracer
}

/** Between an id, which has printable characters alone, and a carrier. */
const SEPARATOR = '\n'

/** The name of a command that carries a trace. */
export function withCarrier(id: string, carrier: string): string {
  return id + SEPARATOR + carrier
}

/** The id in a name. */
export function idIn(name: string): string {
  const end = name.indexOf(SEPARATOR)
  return end < 0 ? name : name.slice(0, end)
}

/** The trace in a name, if it carries one. */
export function carrierIn(name: string): string | undefined {
  const end = name.indexOf(SEPARATOR)
  return end < 0 ? undefined : name.slice(end + 1)
}
