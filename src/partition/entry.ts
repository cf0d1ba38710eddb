// Entry: the program of a partition's thread. The only module here with effects on import.
// Owns: the thread's parts and their wiring.

import { parentPort } from 'node:worker_threads'
import { nowMs, timers } from '../base/clock.ts'
import { laneError } from '../base/errors.ts'
import { VERSION } from '../base/version.ts'
import { AwakeThreads } from '../memory/awake-threads.ts'
import { type AttachedCommons, attachCommons } from '../memory/commons.ts'
import { LaneGate } from '../memory/lane-gate.ts'
import { PartitionEnd } from '../memory/region.ts'
import { CountingGate, Tallies } from '../memory/tallies.ts'
import { BROADCAST_LANE, type PartitionContext } from '../model/command.ts'
import { isMoved } from '../model/handler-module.ts'
import { isGated, type LaneNeeds, laneNeeds } from '../model/lane.ts'
import type {
  BootMessage,
  Broadcast,
  CallReport,
  CoordinatorControl,
  EntryMessage,
  LoadReport,
  PartitionControl,
} from '../wire/control.ts'
import { callControl, serveControl } from '../wire/control-calls.ts'
import { thrownValue } from '../wire/error-codec.ts'
import { OutputWriter } from '../wire/output.ts'
import { fromSideValue, SidePort, toCallValue } from '../wire/side-payload.ts'
import { CommandSpin } from './command-spin.ts'
import { DutyCycle } from './duty-cycle.ts'
import { FileHandlers } from './file-handlers.ts'
import { HandlerTable, loadHandlers } from './handlers.ts'
import { HeapGauge } from './heap-gauge.ts'
import { NestedSubmits } from './nested-submits.ts'
import { Outbox } from './outbox.ts'
import { RunContext, type RunFields, type RunServices } from './run-context.ts'
import { Window } from './window.ts'

async function boot(message: BootMessage): Promise<void> {
  const { partition, incarnation, lanes, bell } = message
  const context: PartitionContext = Object.freeze({ partition, incarnation })
  const output = new OutputWriter(message.outputPort)
  const coordinator = callControl<CoordinatorControl>(message.controlPort)
  let cycle: DutyCycle | undefined
  let table: HandlerTable | undefined
  let isSetUp = false
  const broadcasts = new Map<string, AbortController>()
  const files = new FileHandlers(message.files, message.fileCall)
  message.controlPort.on('message', files.learn)
  let announceBooted!: () => void
  const booted = new Promise<void>((resolve) => {
    announceBooted = resolve
  })
  serveControl<PartitionControl>(message.controlPort, {
    broadcast: (broadcast) => {
      const { id } = broadcast
      const { signal } = open(broadcasts, id)
      return report(async () => {
        await booted
        signal.throwIfAborted()
        return cycle!.between(id, () => {
          // Posted before the handler runs: the manager learns of it even if that never ends.
          void coordinator.begun(id)
          return runBroadcast(table!, broadcast, partition, signal)
        })
      }).finally(() => broadcasts.delete(id))
    },
    withdraw: (id, code, details) => {
      const reason = laneError(code, details)
      broadcasts.get(id)?.abort(reason)
      cycle?.withdraw(id, reason)
    },
    profile: takeProfile,
    abort: (orders) => {
      for (const { id, code, details } of orders) cycle?.abort(id, laneError(code, details))
    },
    stop: () =>
      report(async () => {
        const reason = laneError('CORELANE_CLOSED', { state: 'closed' })
        for (const controller of broadcasts.values()) controller.abort(reason)
        cycle?.stop(reason)
        await cycle?.idle()
        await table?.hook('teardown', context)
        await files.teardown()
      }),
  })
  try {
    if (message.reportsRejections) reportRejections(coordinator)
    table = await tableOf(message, files)
    await table.hook('setup', context)
    isSetUp = true
    for (const broadcast of message.sticky) {
      // A reload may have brought a module without its handler.
      if (!table.own.includes(broadcast.type)) continue
      await runBroadcast(table, broadcast, partition, open(broadcasts, broadcast.id).signal)
      broadcasts.delete(broadcast.id)
    }
  } catch (error) {
    say({ ok: false, error: toCallValue(thrownValue(error), 'error'), isSetUp })
    return
  }
  const needs = lanes.map((lane) => laneNeeds(lane, message.partitions * message.concurrency))
  const commons = attachCommons(message.commons, message.partitions, needs)
  const awake = new AwakeThreads(message.awake, message.awakeWord, message.cores)
  const end = new PartitionEnd(message.region, commons.views, bell, () => cycle?.turn(), awake)
  const sidePort = new SidePort(message.sidePort)
  // Before its cycle is there: the coordinator binds the first commands meanwhile.
  say(table.open())
  cycle = new DutyCycle({
    end,
    gate: gateOf(message, commons, needs),
    table,
    window: new Window(end.views, sidePort, lanes),
    outbox: new Outbox(end, sidePort, message, output),
    nested: new NestedSubmits(coordinator),
    spin: new CommandSpin(end.commands, awake),
    heap: new HeapGauge(end.views),
    lanes: lanes.map((lane, index) => ({ ...lane, isGated: isGated(needs[index]!) })),
    partition,
    concurrency: message.concurrency,
  })
  output.runOf = () => cycle?.soleRun
  cycle.turn()
  announceBooted()
}

/** The handlers that commands name by their type alone. */
async function tableOf(
  { handlers, types }: BootMessage,
  files: FileHandlers,
): Promise<HandlerTable> {
  if (handlers === undefined) return new HandlerTable(new Map(), types, files.run)
  return loadHandlers(handlers, types, files.run)
}

/** What lets commands start; while metrics are on it counts as well. */
function gateOf(
  { lanes, partition, incarnation, bell, tallies }: BootMessage,
  commons: AttachedCommons,
  needs: readonly LaneNeeds[],
): LaneGate {
  if (tallies === undefined) return new LaneGate(commons, needs, partition, incarnation, bell)
  const own = new Tallies(lanes.length, tallies)
  own.measureDelay()
  return new CountingGate(commons, needs, partition, incarnation, bell, own)
}

/** Runs user code for a control call and reports how it ended; nothing it throws is lost. */
async function report(run: () => unknown): Promise<CallReport> {
  try {
    const value = await run()
    return { ok: true, side: toCallValue(isMoved(value) ? value.value : value, 'result') }
  } catch (error) {
    return { ok: false, side: toCallValue(thrownValue(error), 'error') }
  }
}

/** Promises that are rejected and that no handler handles are the coordinator's to show. */
function reportRejections(coordinator: ReturnType<typeof callControl<CoordinatorControl>>): void {
  process.on('unhandledRejection', (reason) => {
    void coordinator.rejected(toCallValue(thrownValue(reason), 'error'))
  })
}

/** Profiles this thread, where the main thread cannot start that. */
async function takeProfile(durationMs: number): Promise<string> {
  const { Session } = process.getBuiltinModule('node:inspector/promises')
  const session = new Session()
  session.connect()
  try {
    await session.post('Profiler.enable')
    await session.post('Profiler.start')
    await new Promise((resolve) => timers.setTimeout(resolve, durationMs))
    return JSON.stringify((await session.post('Profiler.stop')).profile)
  } finally {
    session.disconnect()
  }
}

/** Lets a broadcast be aborted by its id. */
function open(broadcasts: Map<string, AbortController>, id: string): AbortController {
  const controller = new AbortController()
  broadcasts.set(id, controller)
  return controller
}

/** What the context of a broadcast does: it is no command, so it reports and submits nothing. */
class BroadcastServices implements RunServices {
  readonly #signal: AbortSignal

  constructor(signal: AbortSignal) {
    this.#signal = signal
  }

  signalOf(): AbortSignal {
    return this.#signal
  }

  isAborted(): boolean {
    return this.#signal.aborted
  }

  progress(): void {}

  submit(): Promise<never> {
    const details = { field: 'context.submit', received: 'called in a broadcast' }
    const allowed = 'a call in the handler of a command'
    return Promise.reject(laneError('CORELANE_INVALID_COMMAND', { ...details, allowed }))
  }
}

async function runBroadcast(
  table: HandlerTable,
  broadcast: Broadcast,
  partition: number,
  signal: AbortSignal,
): Promise<unknown> {
  const fields: RunFields = {
    lane: BROADCAST_LANE,
    type: broadcast.type,
    key: undefined,
    attempt: 1,
    deadlineAtMs: undefined,
    startedAtMs: nowMs(),
    partition,
    slotId: 0,
  }
  const context = new RunContext(broadcast.id, fields, new BroadcastServices(signal))
  const payload = fromSideValue(broadcast.payload)
  return table.call(table.types.indexOf(broadcast.type), payload, context, false)
}

function say(loaded?: LoadReport): void {
  // Tools load this file on a main thread to look at it.
  parentPort?.postMessage({ corelane: VERSION, loaded } satisfies EntryMessage)
}

say()
parentPort?.once('message', (message: BootMessage) => {
  // Another version of this program would not understand the message; the manager ends it.
  if (message.version === VERSION) void boot(message)
})
