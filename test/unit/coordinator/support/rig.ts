// Rig: a coordinator's in-flight window and its partition, on one thread, step by step.

import { MessageChannel } from 'node:worker_threads'
import { AbortListeners } from '../../../../src/base/abort-listeners.ts'
import { CallContext } from '../../../../src/base/async-context.ts'
import { nowMs } from '../../../../src/base/clock.ts'
import { ANY_PARTITION, Command, type CommandManager } from '../../../../src/coordinator/command.ts'
import {
  type CommandExtras,
  type GivenOptions,
  noExtras,
  noGiven,
} from '../../../../src/coordinator/command-extras.ts'
import { CommandTimers } from '../../../../src/coordinator/command-timers.ts'
import { type Lane, LaneTable } from '../../../../src/coordinator/lane-table.ts'
import type { ManagerState } from '../../../../src/coordinator/life-cycle.ts'
import type { DeadLetter } from '../../../../src/coordinator/results/dead-letter-queue.ts'
import { EventHub } from '../../../../src/coordinator/results/event-hub.ts'
import { InFlightWindow } from '../../../../src/coordinator/threads/in-flight-window.ts'
import { PartitionHandle } from '../../../../src/coordinator/threads/partition-handle.ts'
import { Recovery } from '../../../../src/coordinator/threads/recovery.ts'
import { type CommandType, TypeTable } from '../../../../src/coordinator/type-table.ts'
import { attachCommons, CoordinatorCommons } from '../../../../src/memory/commons.ts'
import { count } from '../../../../src/memory/counters.ts'
import { Counter, SLOT_COUNT } from '../../../../src/memory/layout.ts'
import { createRegion, PartitionEnd } from '../../../../src/memory/region.ts'
import { type LaneOptions, type LanePlan, laneNeeds, planLane } from '../../../../src/model/lane.ts'
import { Outbox } from '../../../../src/partition/outbox.ts'
import { Window, type WindowEntry } from '../../../../src/partition/window.ts'
import { GroupSeat } from '../../../../src/schedule/group-ring.ts'
import { ADMIT_ALL } from '../../../../src/schedule/scheduler.ts'
import { ResultStatus } from '../../../../src/wire/record-kind.ts'
import { SidePort } from '../../../../src/wire/side-payload.ts'

/** What a test may say of a command; the rest is filled in. */
export interface CommandTraits {
  readonly rank?: number
  readonly sequence?: number
  readonly estimateUs?: number
  readonly payload?: unknown
  readonly home?: number
  readonly key?: string
  readonly group?: string
  readonly transferList?: readonly object[]
  readonly lane?: Lane
  readonly deadlineMs?: number
  readonly submittedAtMs?: number
  readonly bytes?: number
  readonly type?: CommandType
  readonly isDetailed?: boolean
  readonly options?: Partial<GivenOptions>
}

let sequences = 0

const NO_OPTIONS: GivenOptions = { ...noGiven(), context: new CallContext() }

/** The services of a manager, each of them real. */
export interface Services extends CommandManager {
  readonly recovery: Recovery
  readonly timers: CommandTimers
  readonly signals: AbortListeners
}

/** What a test may put in place of the parts that recovery works with. */
export interface RecoveryWorld {
  readonly state: ManagerState
  delay(command: Command, delayMs: number): void
  add(letter: DeadLetter): void
}

/** The services of a manager; nothing is run again unless the world says so. */
export function services(
  hub: EventHub = new EventHub(() => {}),
  world: RecoveryWorld = { state: 'running', delay: () => {}, add: () => {} },
  place: (command: Command) => void = () => {},
): Services {
  const recovery = new Recovery(hub, world, world, { maxCrashes: 2 }, world)
  const timers = new CommandTimers({ place, refusal: () => undefined, acted: () => {} })
  return { events: hub, timers, recovery, signals: new AbortListeners(), abort: () => {} }
}

/** Makes lanes as a manager has them, over some partitions. */
export function laneTable(lanes: Readonly<Record<string, LaneOptions>>, partitions = 1): LaneTable {
  const plans = Object.entries(lanes).map(([name, options]) => planLane(name, options))
  const needs = plans.map((plan) => laneNeeds(plan, partitions))
  return new LaneTable(plans, needs)
}

/** Makes types, in the order of their indices. */
export function typesOf(...names: string[]): TypeTable {
  const types = new TypeTable({ define: (url, name) => ({ id: 0, url, name }) })
  types.update(names, names)
  return types
}

/** Four lanes without limits. */
export const LANES = ['lane0', 'lane1', 'lane2', 'lane3'].map((name) => planLane(name, {}))

/** Makes one of those lanes, with a tally of its own. */
export function lane(index = 0): Lane {
  return laneTable(Object.fromEntries(LANES.map(({ name }) => [name, {}]))).all[index]!
}

/** Makes what only some commands have. */
export function extras(traits: Partial<CommandExtras>): CommandExtras {
  return { ...noExtras(), ...traits }
}

/** Makes a command that was admitted, and whose settlement goes to `settled`. */
export function command(
  traits: CommandTraits = {},
  settled: (value: unknown) => void = () => {},
  manager: CommandManager = services(),
): Command {
  const made = newCommand(traits, settled, manager)
  made.admit()
  return made
}

/** Makes a command that was not admitted yet. */
export function newCommand(
  traits: CommandTraits = {},
  settled: (value: unknown) => void = () => {},
  manager: CommandManager = services(),
): Command {
  const { rank = 0, sequence = ++sequences, estimateUs = 100, payload = sequence } = traits
  const { key, transferList, deadlineMs, isDetailed = false, home = ANY_PARTITION } = traits
  const { submittedAtMs = 0, bytes = 0 } = traits
  // A lane with a predicate gives all its commands something to be called.
  const isCalledBack = traits.lane?.plan.retry.retryable !== undefined
  const given = traits.options ?? (isCalledBack ? {} : undefined)
  const options = given && { ...NO_OPTIONS, ...given }
  const type = traits.type ?? { name: 'type', index: 0, hash: 0, estimateUs }
  const seat = traits.group === undefined ? undefined : new GroupSeat(traits.group)
  const rare = [key, transferList, deadlineMs, options, traits.submittedAtMs, traits.bytes]
  const hasExtras = isDetailed || rare.some((trait) => trait !== undefined)
  const more = hasExtras
    ? extras({ key, transferList, deadlineMs, isDetailed, options, submittedAtMs, bytes })
    : undefined
  const made = new Command(
    manager,
    rank,
    sequence,
    type,
    traits.lane ?? lane(),
    payload,
    home,
    more,
    seat,
  )
  made.open(settled)
  return made
}

/** Both sides of one partition. */
export class Rig {
  readonly bound: InFlightWindow
  readonly end: PartitionEnd
  readonly handle: PartitionHandle
  readonly #window: Window
  readonly outbox: Outbox

  /**
   * @param index - The partition's.
   * @param ringBytes - Of each ring, a power of two.
   * @param lanes - Plans of the lanes.
   * @param concurrency - Handlers that may run at once; keys are counted where that is above 1.
   */
  constructor(index = 0, ringBytes = 65_536, lanes: readonly LanePlan[] = LANES, concurrency = 1) {
    const plan = { inlineBytesMax: ringBytes >> 2, lanes, concurrency }
    const region = createRegion(ringBytes, ringBytes)
    const { port1, port2 } = new MessageChannel()
    for (const port of [port1, port2]) port.unref()
    const side = new SidePort(port2)
    const commons = new CoordinatorCommons(index + 1, [])
    const bell = commons.openBell(index)
    this.bound = new InFlightWindow(region, bell, index, new SidePort(port1), plan)
    const { views } = attachCommons(commons.memory, index + 1, [])
    this.end = new PartitionEnd(region, views, bell.word, () => {})
    this.#window = new Window(this.end.views, side, lanes)
    this.outbox = new Outbox(this.end, side, { ...plan, fileCall: 'context' })
    this.handle = new PartitionHandle(index)
    // Only these members of the incarnation matter to those who bind.
    this.handle.occupy({ isReady: true, window: this.bound } as never)
  }

  /** Takes the next command and starts it; undefined if there is none. Drops revoked ones. */
  start(nowMs = 0): WindowEntry | undefined {
    this.end.commands.read(this.#window, SLOT_COUNT)
    for (;;) {
      const entry = this.#window.next(ADMIT_ALL, nowMs)
      if (entry === undefined) return undefined
      if (this.end.slots.start(entry.id, 5)) {
        count(this.end.views, Counter.STARTED)
        return entry
      }
      this.outbox.send(entry.id, ResultStatus.REVOKED, undefined, 0, 0)
    }
  }

  /** Drops what was revoked, if the coordinator asks for it. */
  sweep(): void {
    this.end.commands.read(this.#window, SLOT_COUNT)
    if (!this.#window.isSweepDue) return
    for (const id of this.#window.sweep((each) => this.end.slots.isRevoked(each), 0)) {
      this.outbox.send(id, ResultStatus.REVOKED, undefined, 0, 0)
    }
  }

  /** Finds the next command too late to be started. */
  findLate(): WindowEntry {
    this.end.commands.read(this.#window, SLOT_COUNT)
    const entry = this.#window.next(ADMIT_ALL, nowMs())!
    this.outbox.send(entry.id, ResultStatus.LATE, undefined, 0, 0)
    return entry
  }

  /** Ends a command that was started. */
  finish(id: number, value: unknown, durationMs = 1): void {
    this.outbox.send(id, ResultStatus.DONE, value, 5, durationMs)
  }

  /** Ends a command that was started with a failure. */
  fail(id: number, reason: unknown): void {
    this.outbox.send(id, ResultStatus.FAILED, reason, 5, 1)
  }

  /** Starts and ends everything that was shown; answers the sequences in the order they ran. */
  runAll(): number[] {
    const ran: number[] = []
    for (let entry = this.start(); entry !== undefined; entry = this.start()) {
      ran.push(entry.sequence)
      this.finish(entry.id, entry.payload)
    }
    return ran
  }
}
