// Held: every delivery of a worker, from its arrival until the queue has answered for its end.
// Owns: their states and their order, the counts of lanes and the tally.
// Must not: call the queue or the manager.
//
// They are linked in the order of their arrival. Those of one key are in a line besides: the first
// may start, the others are chained behind it.
//
// ```
//  arrives ──► CHAINED ──► READY ◄──► SUBMITTED ──► ENDING ──► GONE
//                 │          │            │           ▲
//                 │          ├────────────┼───────────┤
//                 └──────────┴────► LOST ◄┘───────────┘
// ```
//
// | state     | entered                                 | left                                    |
// |-----------|-----------------------------------------|-----------------------------------------|
// | CHAINED   | it arrives behind another of its key    | READY: the one before it has ended;     |
// |           |                                         | ENDING: that one is given back          |
// | READY     | it is the first of its key, or has none;| SUBMITTED: the manager has it;          |
// |           | it waits for tokens, a slot, and the    | ENDING: it is given back, or late       |
// |           | report of its start                     |                                         |
// | SUBMITTED | the manager took it                     | READY: the manager could not start it   |
// |           |                                         | in time; ENDING: it ended               |
// | ENDING    | its end is on its way to the queue      | GONE: the queue has answered            |
// | LOST      | its lease was given up or taken away,   | ENDING: its run is over, and the queue  |
// |           | in any state but ENDING; a run may go on| gets it back, for the order of its key  |
//
// A command that is given back, or whose lease was given up, must run before what was enqueued
// behind it. The queue sees to that once it has the command back. Until then an answer may bring a
// younger one: it was given before the other was back. So a key stays closed until everything of it
// that left has been answered for, and until the answer that was on its way at that moment is in.
// What comes while it is closed leaves, too, also if it is CHAINED behind one that runs.

import { Chain, type Linked } from '../../base/chain.ts'
import { nowMs } from '../../base/clock.ts'
import { invariant } from '../../base/errors.ts'
import type { ManagerPort, PortCommand } from '../../coordinator/manager-port.ts'
import type { Settler } from '../../coordinator/settlement.ts'
import type { Delivery, LeasedQueue, SettleStatus } from '../contract/distributed-queue.ts'
import type { CommandEnvelope, CommandResult } from '../contract/envelope.ts'
import { Pause } from '../contract/pause.ts'
import type { QueueIncident } from '../incident.ts'
import type { WorkerLane } from './lane.ts'
import type { Pace, Quarantine } from './pacing.ts'
import type { WorkerPlan } from './pool-options.ts'

/** What the parts of a worker share. */
export interface WorkerCore {
  readonly plan: WorkerPlan
  readonly queue: LeasedQueue
  readonly port: ManagerPort
  /** The most urgent first. */
  readonly lanes: readonly WorkerLane[]
  readonly held: HeldCommands
  readonly pace: Pace
  readonly quarantine: Quarantine
  readonly events: WorkerEvents
}

/** What the parts of a worker report to the pool. */
export interface WorkerEvents {
  /** The manager has settled a command, in the middle of its own work. */
  settled(held: HeldCommand): void
  /** Less is held than before. */
  progressed(): void
  /** The worker has other partitions than before. */
  reassigned(): void
  /** The manager takes nothing at the moment. */
  refused(error: unknown): void
  /** A call of the queue failed; it is repeated. */
  failed(error: unknown): void
  incident(incident: QueueIncident): void
}

/** Where a delivery is: see the table at the top. */
export type HeldState = 'CHAINED' | 'READY' | 'SUBMITTED' | 'ENDING' | 'LOST' | 'GONE'

class KeyLine {
  /** In their order; no more than a worker holds. */
  readonly members: HeldCommand[] = []
  /** Those that have left and are not answered for, or may be overtaken. */
  leaving = 0
}

/** Part of a token's time that is not used, so that a late timer does no harm. */
const TOKEN_MARGIN = 0.2

const TOKEN_MARGIN_MS_MIN = 2

/** Until when a token is used that is good until a moment. */
export function usableUntilMs(untilMs: number, now: number = nowMs()): number {
  return untilMs - Math.max(TOKEN_MARGIN_MS_MIN, (untilMs - now) * TOKEN_MARGIN)
}

export interface RunEnd {
  readonly isOk: boolean
  /** What its handler gave, or why it has no result. */
  readonly value: unknown
  /** When its handler was entered; undefined if it was not. */
  readonly startedAtMs: number | undefined
  readonly durationMs: number
}

export class HeldCommand implements Settler, Linked<HeldCommand> {
  readonly #events: WorkerEvents
  readonly delivery: Delivery
  readonly envelope: CommandEnvelope
  readonly lane: WorkerLane
  /** Until when it is this worker's, monotonic milliseconds. */
  leasedUntilMs: number
  /** Whether its start counts towards `maxDeliveries`, or need not. */
  isCounted: boolean
  /** Whether its run was aborted, or it was cancelled. */
  isAborted = false
  /** Whether its lease was given up or taken away. */
  isLost = false
  /** The name of its concurrency slot, if it has one. */
  slot: string | undefined = undefined
  /** Until when it may start by its token, monotonic milliseconds; 0 if it needs none. */
  tokenUntilMs = 0
  /**
   * Until when it may start by the rate of its group, Infinity where that has none; 0 once its lane
   * was paused.
   */
  startByMs: number
  run: RunEnd | undefined = undefined
  /** What is on its way to the queue as its end. */
  result: CommandResult | undefined = undefined
  /** The manager's command, once it has been submitted. */
  command: PortCommand | undefined = undefined
  /** Written by {@link HeldCommands} alone. */
  state: HeldState = 'READY'
  /** Whether its key is closed until the queue has it back. Written by {@link HeldCommands}. */
  isLeaving = false
  /** The line of its key while it is in it. Written by {@link HeldCommands}. */
  line: KeyLine | undefined = undefined
  older: HeldCommand | undefined = undefined
  younger: HeldCommand | undefined = undefined

  constructor(events: WorkerEvents, delivery: Delivery, lane: WorkerLane) {
    this.#events = events
    this.delivery = delivery
    this.envelope = delivery.envelope
    this.lane = lane
    this.leasedUntilMs = delivery.leasedUntilMs
    this.isCounted = !delivery.countsAtStart
    const { startByMs } = delivery
    this.startByMs = startByMs === undefined ? Number.POSITIVE_INFINITY : usableUntilMs(startByMs)
  }

  get isOfQueue(): boolean {
    return true
  }

  get commandId(): string {
    return this.envelope.id
  }

  settled(
    _place: number,
    isOk: boolean,
    value: unknown,
    enteredAtMs: number,
    durationMs: number,
  ): void {
    const startedAtMs = enteredAtMs === 0 ? undefined : enteredAtMs
    this.run = { isOk, value, startedAtMs, durationMs }
    this.#events.settled(this)
  }

  /** Whether it may be submitted: it has not been given back or lost meanwhile. */
  get isReady(): boolean {
    return this.state === 'READY'
  }

  /** Ends it in the manager, wherever it is. */
  abort(reason: unknown): void {
    this.isAborted = true
    this.command?.abort(reason)
  }
}

/** What has become of the commands of a worker. */
export class WorkerTally {
  /** Deliveries taken. */
  leased = 0
  /** Completed with what their handler gave. */
  completed = 0
  /** Completed with a failure: they were late. */
  failed = 0
  /** Given back to run again after a failure. */
  retried = 0
  /** Put among the dead. */
  deadLettered = 0
  /** Given back because their thread died. */
  crashed = 0
  /** Given back unstarted. */
  returned = 0
  /** Leases that were given up or taken away. */
  lost = 0
  /** Ends that came too late: the queue had given the command to another worker. */
  stale = 0
  /** Ends that the queue took in no form. */
  dropped = 0
}

/** What a worker holds. Its methods refuse every transition that the table does not name. */
export class HeldCommands {
  readonly tally = new WorkerTally()
  /** Partitions whose commands may start here; undefined: all. */
  partitions: ReadonlySet<number> | undefined
  /** Whether the pool takes commands; if not, what has not started is given back. */
  isAccepting = false
  /** Those that wait for another of their key. */
  chained = 0
  /** Commands that the manager has, those included whose lease was given up. */
  submitted = 0
  readonly #events: WorkerEvents
  readonly #keepsKeyOrder: boolean
  readonly #all = new Chain<HeldCommand>()
  readonly #keys = new Map<string, KeyLine>()
  readonly #inPartition: number[]
  /** Leaving ones that the queue knows of. */
  #returning = 0
  /** The partitions that the queue is asked for at the moment. */
  #asked: readonly number[] | undefined
  /** Keys of those that were answered for meanwhile. */
  #answered: string[] = []
  /** Waits for idleness. */
  readonly #lull = new Pause()

  /** @param keepsKeyOrder - Whether commands of one key go one at a time. */
  constructor(events: WorkerEvents, numPartitions: number, keepsKeyOrder: boolean) {
    this.#events = events
    this.#keepsKeyOrder = keepsKeyOrder
    this.#inPartition = new Array<number>(numPartitions).fill(0)
  }

  get size(): number {
    return this.#all.size
  }

  /** All of them in the order of their arrival. */
  values(): HeldCommand[] {
    return this.#all.values()
  }

  /** How many it has of a partition of the queue, lost ones included that keep a key closed. */
  countIn(partitionId: number): number {
    return this.#inPartition[partitionId]!
  }

  /** Whether a command is given back instead of started. */
  refuses(partitionId: number): boolean {
    return !this.isAccepting || this.partitions?.has(partitionId) === false
  }

  /** Whether a command must not start, since an older one of its key has left. */
  isClosed({ line }: HeldCommand): boolean {
    return line !== undefined && line.leaving > 0
  }

  /** Whether the order of a key waits for the queue to have something back. */
  get isReordering(): boolean {
    return this.#returning > 0
  }

  /** The queue is asked for commands. */
  asking(partitions: readonly number[]): void {
    this.#asked = partitions
  }

  /** What the queue answered was taken in, or it gave no answer. */
  asked(): void {
    this.#asked = undefined
    for (const key of this.#answered.splice(0)) this.#reopen(key)
  }

  /** Whether commands of a partition may be on their way here. */
  isAskedFor(partitionId: number): boolean {
    return this.#asked?.includes(partitionId) === true
  }

  /** Tells that less is held, or runs, than before. */
  progressed(): void {
    this.#events.progressed()
    if (this.#isIdle) this.#lull.end()
  }

  /** Resolves once nothing is held and the manager runs nothing of it. */
  async idle(): Promise<void> {
    if (!this.#isIdle) await this.#lull.wait(Number.POSITIVE_INFINITY)
  }

  get #isIdle(): boolean {
    return this.#all.size === 0 && this.submitted === 0
  }

  // ── Transitions ──────────────────────────────────────────────────────────────────────────────

  /** Takes a delivery in: it is READY, or CHAINED behind another of its key. */
  add(delivery: Delivery, lane: WorkerLane): HeldCommand {
    const held = new HeldCommand(this.#events, delivery, lane)
    const { key, partitionId } = held.envelope
    this.tally.leased++
    this.#all.add(held)
    this.#inPartition[partitionId]!++
    if (key !== undefined && this.#keepsKeyOrder) {
      held.line = this.#lineOf(key)
      held.line.members.push(held)
    }
    if (held.line !== undefined && held.line.members.length > 1) {
      held.state = 'CHAINED'
      this.chained++
    } else lane.ready++
    return held
  }

  /** READY to SUBMITTED. */
  submit(held: HeldCommand): void {
    invariant(held.state === 'READY', 'only a ready delivery is submitted')
    held.state = 'SUBMITTED'
    this.submitted++
  }

  /** SUBMITTED to READY: it has not started, or its lease is over and it is about to be lost. */
  unsubmit(held: HeldCommand): void {
    invariant(held.state === 'SUBMITTED', 'only a submitted delivery becomes ready again')
    held.state = 'READY'
    held.command = undefined
    held.run = undefined
  }

  runEnded(): void {
    this.submitted--
  }

  /**
   * To ENDING, from every state but ENDING and GONE. One that keeps its place in the order of its
   * key has left its line before, by {@link HeldCommands.leave}.
   */
  end(held: HeldCommand): void {
    invariant(held.state !== 'ENDING' && held.state !== 'GONE', 'a delivery ends once')
    this.#uncount(held)
    held.state = 'ENDING'
    if (held.isLeaving) this.#returning++
  }

  /**
   * Lets the next of its key go on: CHAINED to READY.
   *
   * @param held - ENDING, and the first of its key if it has one.
   * @returns The next.
   */
  passOn(held: HeldCommand): HeldCommand | undefined {
    const { line } = held
    if (line === undefined) return undefined
    const isFirst = line.members.shift() === held
    invariant(isFirst && held.state === 'ENDING', 'the first of a key ends first')
    held.line = undefined
    const next = line.members[0]
    if (next === undefined) {
      this.#dropLine(held.envelope.key!, line)
      return undefined
    }
    next.state = 'READY'
    this.chained--
    next.lane.ready++
    return next
  }

  /**
   * One leaves and keeps its place in the order of its key: what is younger of the key must not
   * start here before the queue has it back.
   *
   * @returns Those of its key that were behind it, in their order. They have to leave, too.
   */
  leave(held: HeldCommand): HeldCommand[] {
    const { key } = held.envelope
    if (key === undefined || !this.#keepsKeyOrder || held.isLeaving) return []
    const line = this.#lineOf(key)
    line.leaving++
    held.isLeaving = true
    if (held.line === undefined) return []
    const cut = line.members.splice(line.members.indexOf(held))
    for (const each of cut) each.line = undefined
    return cut.slice(1)
  }

  /**
   * To LOST, from CHAINED, READY and SUBMITTED.
   *
   * @param isTaken - Whether the queue has given it to another worker: its key need not wait for
   * it.
   * @returns Those of its key that were behind it, which have to leave; undefined if it is not held
   * or its end is on its way.
   */
  lose(held: HeldCommand, isTaken: boolean): HeldCommand[] | undefined {
    if (held.state === 'ENDING' || held.state === 'GONE' || held.isLost) return undefined
    this.#uncount(held)
    this.#all.remove(held)
    held.state = 'LOST'
    held.isLost = true
    this.tally.lost++
    const behind = this.leave(held)
    if (isTaken) this.#answer(held)
    // Its partition is not released before its key is open.
    if (!held.isLeaving) this.#inPartition[held.envelope.partitionId]!--
    return behind
  }

  /**
   * ENDING to GONE; nothing happens the second time.
   *
   * @param status - Whether it was still this worker's.
   */
  settled(held: HeldCommand, status: SettleStatus): void {
    if (held.state !== 'ENDING') return
    held.state = 'GONE'
    const wasLeaving = held.isLeaving
    if (wasLeaving) {
      this.#returning--
      this.#answer(held)
    }
    if (wasLeaving || !held.isLost) this.#inPartition[held.envelope.partitionId]!--
    if (!held.isLost) {
      this.#all.remove(held)
      if (status === 'stale' && !held.isAborted) this.tally.stale++
    }
    this.progressed()
  }

  #uncount({ lane, state }: HeldCommand): void {
    if (state === 'CHAINED') this.chained--
    else if (state === 'READY' || state === 'SUBMITTED') lane.ready--
  }

  #lineOf(key: string): KeyLine {
    let line = this.#keys.get(key)
    if (line === undefined) {
      line = new KeyLine()
      this.#keys.set(key, line)
    }
    return line
  }

  /** The queue has one back, or another worker has it. */
  #answer(held: HeldCommand): void {
    const { key } = held.envelope
    if (!held.isLeaving) return
    held.isLeaving = false
    if (this.#asked === undefined) this.#reopen(key!)
    else this.#answered.push(key!)
  }

  #reopen(key: string): void {
    const line = this.#keys.get(key)!
    line.leaving--
    this.#dropLine(key, line)
  }

  #dropLine(key: string, line: KeyLine): void {
    if (line.members.length === 0 && line.leaving === 0) this.#keys.delete(key)
  }
}
