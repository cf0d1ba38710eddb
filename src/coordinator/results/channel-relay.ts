// Channel relay: publishes events on diagnostics channels, for tracers of the whole process.
// Owns: the traces of commands and runs that have not ended.
// Must not: cost anything while nothing listens: the hub asks once per turn, and adds it then.

import { channel, type TracingChannel, tracingChannel } from 'node:diagnostics_channel'
import { nowMs } from '../../base/clock.ts'
import type { CommandTrace } from '../../model/command-trace.ts'
import type { LaneEvent, LaneEventName } from '../../model/lane-event.ts'
import type { Command } from '../command.ts'

const SUBMIT: TracingChannel<string, CommandTrace> = tracingChannel('corelane:submit')
const RUN: TracingChannel<string, CommandTrace> = tracingChannel('corelane:run')
const PLAIN = new Map<LaneEventName, ReturnType<typeof channel>>([
  ['queue.partition.lost', channel('corelane:partition:lost')],
  ['queue.command.retry', channel('corelane:command:retry')],
  ['queue.command.dead_lettered', channel('corelane:command:dead_lettered')],
])
const ALL = [SUBMIT, RUN, ...PLAIN.values()]

const ENDS: readonly LaneEventName[] = ['queue.command.completed', 'queue.command.failed']
const SUBMIT_EVENTS: readonly LaneEventName[] = ['queue.command.submitted', ...ENDS]
const RUN_EVENTS: readonly LaneEventName[] = [
  'queue.command.started',
  'queue.command.retry',
  ...ENDS,
]

/** Which channels anything listens to: 0 if none, and another number whenever that changes. */
export function listenedChannels(): number {
  let listened = 0
  for (const { hasSubscribers } of ALL) listened = listened * 2 + Number(hasSubscribers)
  return listened
}

/** Takes the events of a hub while a channel has a subscriber. */
export class ChannelRelay {
  readonly #submits = new WeakMap<Command, CommandTrace>()
  readonly #runs = new WeakMap<Command, CommandTrace>()

  /** Whether it wants events of a name. */
  wants(event: LaneEventName): boolean {
    if (PLAIN.get(event)?.hasSubscribers) return true
    if (RUN.hasSubscribers && RUN_EVENTS.includes(event)) return true
    return SUBMIT.hasSubscribers && SUBMIT_EVENTS.includes(event)
  }

  /**
   * Publishes an event.
   *
   * @param command - Of which command, if it is one of a command.
   */
  offer(event: LaneEvent, command?: Command): void {
    PLAIN.get(event.event)?.publish(event)
    if (command === undefined) return
    switch (event.event) {
      case 'queue.command.submitted':
        begin(SUBMIT, this.#submits, event, command)
        break
      case 'queue.command.started':
        begin(RUN, this.#runs, event, command)
        break
      case 'queue.command.retry':
        end(RUN, this.#runs, event, command)
        break
      case 'queue.command.completed':
      case 'queue.command.failed':
        end(RUN, this.#runs, event, command)
        end(SUBMIT, this.#submits, event, command)
        break
    }
  }

  /** Nothing is kept for later. */
  end(): void {}
}

type Traces = WeakMap<Command, CommandTrace>

function begin(on: typeof SUBMIT, traces: Traces, event: LaneEvent, command: Command): void {
  const { submittedAtMs, startedAtMs, partition } = event
  const trace: CommandTrace = {
    id: command.id,
    lane: command.lane.name,
    type: command.type.name,
    key: command.key,
    group: command.group,
    attempt: command.attempt,
    submittedAtMs,
    partition,
    startedAtMs,
    durationMs: undefined,
    carrier: command.carrier,
    isOfQueue: command.isOfQueue,
    isTracedThere: command.holder?.isTraced === true,
  }
  traces.set(command, trace)
  on.start.publish(trace)
  if (on === SUBMIT && trace.carrier !== undefined) command.carry(trace.carrier)
  on.end.publish(trace)
}

function end(on: typeof SUBMIT, traces: Traces, event: LaneEvent, command: Command): void {
  const trace = traces.get(command)
  // It began before anything listened.
  if (trace === undefined) return
  traces.delete(command)
  trace.attempt = event.attempt ?? trace.attempt
  trace.partition = event.partition ?? trace.partition
  trace.startedAtMs = event.startedAtMs ?? trace.startedAtMs
  trace.durationMs = event.durationMs
  // Its thread says nothing of a run that it died in, or that goes on without its command.
  if (on === RUN) trace.durationMs ||= nowMs() - trace.startedAtMs!
  if (event.event !== 'queue.command.completed') {
    trace.error = event.error
    on.error.publish(trace)
  }
  on.asyncStart.publish(trace)
  on.asyncEnd.publish(trace)
}
