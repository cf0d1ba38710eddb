// Telemetry: spans and metrics of commands for OpenTelemetry, by its conventions for messaging.
// Thread: main, where commands are submitted, and partition, where handlers run.
// Owns: the spans that have not ended.
// Must not: listen while the process has no SDK, or commands would pay for nothing.

import { tracingChannel } from 'node:diagnostics_channel'
import {
  type Attributes,
  type Context,
  context,
  createNoopMeter,
  type Histogram,
  metrics,
  ProxyTracerProvider,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api'
import { epochMs, nowMs, whenSettled } from '../base/clock.ts'
import { VERSION } from '../base/version.ts'
import { BROADCAST_LANE } from '../model/command.ts'
import {
  CARRIER_CHARS_MAX,
  type CommandTrace,
  type RunTracer,
  runTracer,
  setRunTracer,
  type TracedRun,
} from '../model/command-trace.ts'

const SCOPE = 'corelane'
const TYPE = 'corelane.command.type'

/** Of the conventions for `messaging.process.duration`, in seconds. */
const DURATION_BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]

/** The run has ended with its thread, which can tell nothing any more. */
const LOST = 'CORELANE_PARTITION_LOST'

type Iterating = AsyncIterator<unknown> | Iterator<unknown>

function attributesOf(
  operation: 'send' | 'process',
  { id, lane, type, attempt, partition }: TracedRun | CommandTrace,
): Attributes {
  const common: Attributes = {
    'messaging.system': SCOPE,
    'messaging.operation.name': operation,
    'messaging.operation.type': operation,
    'messaging.destination.name': lane,
    'messaging.message.id': id,
    [TYPE]: type,
  }
  if (operation === 'send') return common
  const where = String(partition)
  return { ...common, 'messaging.destination.partition.id': where, 'corelane.attempt': attempt }
}

/** The code of an error, or its name: few values, as the conventions ask. */
function errorTypeOf(error: unknown): string {
  const { code, name } = (error ?? {}) as { readonly code?: unknown; readonly name?: unknown }
  return typeof code === 'string' ? code : typeof name === 'string' ? name : '_OTHER'
}

function recordFailure(span: Span, error: unknown): void {
  span.setStatus({ code: SpanStatusCode.ERROR })
  try {
    const isError = typeof error === 'object' && error !== null
    const message = isError ? String((error as Partial<Error>).message) : String(error)
    span.setAttribute('error.type', errorTypeOf(error))
    span.recordException(isError ? (error as Error) : message)
    span.setStatus({ code: SpanStatusCode.ERROR, message })
  } catch {
    // A getter of the error itself throws: the span says that the run failed.
  }
}

/** A context as printable ASCII. */
function pack(from: Context): string | undefined {
  const fields: Record<string, string> = {}
  propagation.inject(from, fields)
  const kept: [string, string][] = []
  let chars = 2
  for (const [name, value] of Object.entries(fields)) {
    chars += JSON.stringify([name, value]).length + 1
    if (chars > CARRIER_CHARS_MAX || /[^ -~]/.test(name + value)) continue
    kept.push([name, value])
  }
  return kept.length === 0 ? undefined : JSON.stringify(Object.fromEntries(kept))
}

function unpack(carrier: string | undefined): Context {
  return carrier === undefined
    ? ROOT_CONTEXT
    : propagation.extract(ROOT_CONTEXT, JSON.parse(carrier))
}

/** The tracer of the process's SDK; undefined if it has none. */
function findTracer(): Tracer | undefined {
  const provider = trace.getTracerProvider()
  const isEmpty =
    provider instanceof ProxyTracerProvider && provider.getDelegateTracer(SCOPE) === undefined
  return isEmpty ? undefined : provider.getTracer(SCOPE, VERSION)
}

/** The histogram of the process's SDK; undefined if it has none. */
function findHistogram(): Histogram | undefined {
  const meter = metrics.getMeter(SCOPE, VERSION)
  if (meter === createNoopMeter()) return undefined
  return meter.createHistogram('messaging.process.duration', {
    description: 'Duration of processing operation.',
    unit: 's',
    advice: { explicitBucketBoundaries: DURATION_BOUNDS },
  })
}

/** Spans of submits: from their acceptance to their settlement, retries and waits included. */
function submitSubscribers(tracer: Tracer) {
  const spans = new WeakMap<object, Span>()
  return {
    start(command: CommandTrace): void {
      if (command.isOfQueue) return
      const parent = command.carrier === undefined ? context.active() : unpack(command.carrier)
      const attributes = attributesOf('send', command)
      const kind = SpanKind.PRODUCER
      const span = tracer.startSpan(`send ${command.lane}`, { kind, attributes }, parent)
      spans.set(command, span)
      command.carrier = pack(trace.setSpan(parent, span))
    },
    error(command: CommandTrace): void {
      const span = spans.get(command)
      if (span !== undefined) recordFailure(span, command.error)
    },
    asyncEnd(command: CommandTrace): void {
      spans.get(command)?.end()
    },
  }
}

/** How runs ended; spans of those in threads that make none themselves. */
function runSubscribers(tracer: Tracer | undefined, histogram: Histogram | undefined) {
  const failed = new WeakSet<object>()
  return {
    error(run: CommandTrace): void {
      failed.add(run)
    },
    asyncEnd(run: CommandTrace): void {
      const { startedAtMs = nowMs(), durationMs = 0, error, lane, partition } = run
      const isFailed = failed.has(run)
      histogram?.record(durationMs / 1000, {
        'messaging.system': SCOPE,
        'messaging.operation.name': 'process',
        'messaging.destination.name': lane,
        'messaging.destination.partition.id': String(partition),
        ...(isFailed && { 'error.type': errorTypeOf(error) }),
      })
      if (run.isTracedThere && !(isFailed && errorTypeOf(error) === LOST)) return
      const startTime = epochMs() - (nowMs() - startedAtMs)
      const attributes = attributesOf('process', run)
      const options = { kind: SpanKind.CONSUMER, attributes, startTime }
      const span = tracer?.startSpan(`process ${lane}`, options, unpack(run.carrier))
      if (span === undefined) return
      if (isFailed) recordFailure(span, error)
      span.end(startTime + durationMs)
    },
  }
}

/** Spans of the runs of this thread: what a handler does is in the context of its span. */
class ThreadTracer implements RunTracer {
  readonly #tracer: Tracer

  constructor(tracer: Tracer) {
    this.#tracer = tracer
  }

  carrier(): string | undefined {
    return pack(context.active())
  }

  run(run: TracedRun, call: () => unknown, isStream: boolean): unknown {
    if (run.lane === BROADCAST_LANE) return call()
    const parent = unpack(run.carrier)
    const attributes = attributesOf('process', run)
    const options = { kind: SpanKind.CONSUMER, attributes }
    const span = this.#tracer.startSpan(`process ${run.lane}`, options, parent)
    const active = trace.setSpan(parent, span)
    const end = <T>(value: T): T => {
      // A module that its command names is known by now.
      span.setAttribute(TYPE, run.type)
      span.end()
      return value
    }
    const fail = (error: unknown): never => {
      recordFailure(span, error)
      throw end(error)
    }
    const settle = (value: unknown) => {
      // What is no stream may have such methods as well, and is sent as it is.
      const iterating = isStream ? iteratorOf(value) : undefined
      return iterating === undefined ? end(value) : follow(iterating, active, end, fail)
    }
    try {
      const result = context.with(active, call)
      const { then } = (result ?? {}) as Partial<PromiseLike<unknown>>
      return typeof then === 'function' ? whenSettled(result, settle, fail) : settle(result)
    } catch (error) {
      return fail(error)
    }
  }
}

/** An iterator over what a handler of a stream gives; undefined if that has none. */
function iteratorOf(given: unknown): Iterating | undefined {
  if (typeof given !== 'object' || given === null) return undefined
  const source = given as Partial<AsyncIterable<unknown> & Iterable<unknown>>
  return source[Symbol.asyncIterator]?.() ?? source[Symbol.iterator]?.()
}

/** Takes the steps of an iterator in a context, and notes how it ends. */
function follow(
  iterating: Iterating,
  active: Context,
  end: <T>(value: T) => T,
  fail: (error: unknown) => never,
): AsyncIterableIterator<unknown> {
  const step = async (take: () => unknown): Promise<IteratorResult<unknown>> => {
    let taken: IteratorResult<unknown>
    try {
      taken = (await context.with(active, take)) as IteratorResult<unknown>
    } catch (error) {
      return fail(error)
    }
    return taken.done ? end(taken) : taken
  }
  return {
    next: () => step(() => iterating.next()),
    return: (value) => step(() => iterating.return?.(value) ?? { value, done: true }),
    [Symbol.asyncIterator]() {
      return this
    },
  }
}

/** Ends what the last call of {@link instrument} began. */
let end: (() => void) | undefined

/**
 * Makes spans and metrics of all commands of the process from now on, by the SDK that was started
 * before. In a thread of a partition it makes the spans of the handlers there, so that spans made
 * in them are their children: call it in the handler module, or in one that `--import` loads.
 * Without an SDK it does nothing, and costs nothing. Another call takes the place of this one.
 *
 * @returns A function that ends it.
 */
export function instrument(): () => void {
  end?.()
  const tracer = findTracer()
  const histogram = findHistogram()
  const undone: (() => void)[] = []
  const subscribe = (name: string, subscribers: object) => {
    const channel = tracingChannel(name)
    channel.subscribe(subscribers as never)
    undone.push(() => channel.unsubscribe(subscribers as never))
  }
  if (tracer !== undefined) {
    for (const name of ['submit', 'enqueue']) {
      subscribe(`corelane:${name}`, submitSubscribers(tracer))
    }
    const own = new ThreadTracer(tracer)
    setRunTracer(own)
    undone.push(() => runTracer() === own && setRunTracer(undefined))
  }
  if (tracer !== undefined || histogram !== undefined) {
    subscribe('corelane:run', runSubscribers(tracer, histogram))
  }
  end = () => {
    for (const undo of undone.splice(0)) undo()
  }
  return end
}
