// Submit trace: publishes the commands of submitters on a diagnostics channel, and sends their
// traces with them into the queue.
// Must not: cost anything while nothing listens.

import { type TracingChannel, tracingChannel } from 'node:diagnostics_channel'
import { nowMs } from '../../base/clock.ts'
import type { CommandTrace } from '../../model/command-trace.ts'
import { type CommandEnvelope, sealEnvelope, traceFieldsOf } from '../contract/envelope.ts'
import type { Outstanding } from './outstanding.ts'

const ENQUEUE: TracingChannel<string, CommandTrace> = tracingChannel('corelane:enqueue')

/** Whether anything listens. */
export function isFollowed(): boolean {
  return ENQUEUE.hasSubscribers
}

/** Publishes that a command is submitted. Subscribers run in the context of the caller. */
export function startTrace(envelope: CommandEnvelope): CommandTrace {
  const { id, laneId, commandType, key, group } = envelope
  const trace: CommandTrace = {
    id,
    lane: laneId,
    type: commandType,
    key,
    group,
    attempt: 1,
    submittedAtMs: nowMs(),
    partition: undefined,
    startedAtMs: undefined,
    durationMs: undefined,
    carrier: undefined,
    isOfQueue: false,
    isTracedThere: false,
  }
  ENQUEUE.start.publish(trace)
  ENQUEUE.end.publish(trace)
  return trace
}

/** The envelope of a command with the trace that a subscriber to its start gave it. */
export function withTrace(envelope: CommandEnvelope, { carrier }: CommandTrace): CommandEnvelope {
  const trace = carrier === undefined ? undefined : traceFieldsOf(parse(carrier))
  if (trace === undefined) return envelope
  return sealEnvelope({ ...envelope, options: Object.freeze({ ...envelope.options, trace }) })
}

/** Publishes how a command ends, when its promise is settled. */
export function followTrace(trace: CommandTrace, item: Outstanding): void {
  const end = (): void => {
    const { retryCount = 0, durationMs } = item.result ?? {}
    trace.attempt = retryCount + 1
    trace.durationMs = durationMs
    ENQUEUE.asyncStart.publish(trace)
    ENQUEUE.asyncEnd.publish(trace)
  }
  item.promise = item.promise.then(
    (value) => {
      end()
      return value
    },
    (error) => {
      trace.error = error
      ENQUEUE.error.publish(trace)
      end()
      throw error
    },
  )
}

function parse(carrier: string): unknown {
  try {
    return JSON.parse(carrier)
  } catch {
    // A tracer that writes no JSON follows commands within its process alone.
    return undefined
  }
}
