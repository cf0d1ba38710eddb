// In-flight window: the commands that one incarnation has, seen from the coordinator.
// Owns: the command ring's writer, the result ring's reader, slots and their commands.
// Must not: choose what is bound (dispatcher), start or stop threads (incarnation).

import { nowMs } from '../../base/clock.ts'
import { invariant, type LaneError } from '../../base/errors.ts'
import { readCounter } from '../../memory/counters.ts'
import type { BellRinger } from '../../memory/doorbell.ts'
import { Counter, SLOT_COUNT } from '../../memory/layout.ts'
import { CoordinatorEnd } from '../../memory/region.ts'
import { NO_ROOM, type RecordSink } from '../../memory/ring.ts'
import { SlotState, slotOf } from '../../memory/slots.ts'
import type { SharedMemory } from '../../memory/views.ts'
import { judge, type Urgency } from '../../schedule/urgency.ts'
import { commandHeadBytes, writeCommandHead } from '../../wire/command-record.ts'
import type { AbortOrder } from '../../wire/control.ts'
import type { OutputReader } from '../../wire/output.ts'
import {
  PRINTED_BIT,
  packKind,
  payloadKindOf,
  ResultStatus,
  RunMode,
  resetsOf,
  statusOf,
} from '../../wire/record-kind.ts'
import {
  RESULT_HEAD_BYTES,
  resultDurationMs,
  resultId,
  resultStartedAtMs,
  resultWeight,
} from '../../wire/result-record.ts'
import { PayloadDecoder, PayloadEncoder, PayloadKind, SPILL } from '../../wire/ring-payload.ts'
import { type SideParcel, type SidePort, toParcel } from '../../wire/side-payload.ts'
import type { Command, Holder } from '../command.ts'
import type { Lane } from '../lane-table.ts'
import type { RunTally } from '../tally-book.ts'
import { learnDuration } from '../type-table.ts'
import { type RecallBounds, recall } from './recall.ts'
import { type OrphanedCommand, type OverdueRun, RunWatch } from './run-watch.ts'
import { WindowLimits, type WindowPlan } from './window-limits.ts'
import { WindowLoad } from './window-load.ts'

/**
 * The partition drops revoked commands when it comes to them, which may be never: behind a busy
 * key, or in a lane at its limit. After so many it is asked to look for them.
 */
const SWEEP_COUNT = 128

/**
 * Commands are shown to the partition after so many, or so many bytes, or at the end of the
 * caller's turn: it decodes the first while the next are encoded.
 */
const FLUSH_COUNT = 64
const FLUSH_BYTES = 128 * 1024

/**
 * Results taken in one go, so that other partitions and the event loop get their turn, and so that
 * callers submit the next before partitions run dry: to take 32 strings of 128 KiB costs 2 ms.
 */
const DRAIN_COUNT = 1024
const DRAIN_BYTES = 192 * 1024

/** Binds commands and takes their results. */
export class InFlightWindow implements RecordSink, Holder {
  readonly #end: CoordinatorEnd
  readonly partition: number
  readonly #sidePort: SidePort
  readonly #output: OutputReader | undefined
  readonly #encoder: PayloadEncoder
  readonly #decoder: PayloadDecoder = new PayloadDecoder()
  readonly #commands: (Command | undefined)[] = new Array(SLOT_COUNT).fill(undefined)
  readonly #ids = new Int32Array(SLOT_COUNT)
  /** The lane of the last command in each slot; -1 if there was none. */
  readonly #laneIndices = new Int16Array(SLOT_COUNT).fill(-1)
  /** What is bound and yields values. */
  readonly streams = new Set<Command>()
  /** How much is bound. */
  readonly load: WindowLoad
  /** The runs that have time-outs, and those that go on without their commands. */
  readonly watch: RunWatch = new RunWatch()
  /** A command that must run here by itself: nothing else is bound until it has ended. */
  reservedFor: Command | undefined = undefined
  /** Abort orders for runs whose commands have settled. */
  readonly orders: AbortOrder[] = []
  /** Whether one more may be bound. */
  readonly limits: WindowLimits
  /** Whether its thread traces what runs there; known once it has loaded. */
  isTraced = false
  /** By lane: what is counted of its runs; only with metrics. */
  tallies: readonly RunTally[] | undefined = undefined
  readonly #bytesMax: number
  readonly #concurrency: number
  /** Takes the answers of `judge`, lest each call allocates one. */
  readonly #urgency: Urgency = { rank: 0, untilMs: 0 }
  /** When bound commands were judged last. */
  #judgedAtMs = 0
  /** Records that the partition was not shown yet. */
  unpublished = 0
  #unpublishedBytes = 0
  /** Commands revoked since the partition was last asked to look for them. */
  #unswept = 0
  #completed = 0

  /**
   * @param bell - Of its thread.
   * @param sidePort - For payloads that do not go through the ring.
   * @param plan - `inlineBytesMax`: longest payload that may lie in a record; `lanes`;
   * `concurrency`: handlers that may run at once.
   * @param output - Prints what the thread has printed, before what came of it is settled.
   */
  constructor(
    region: SharedMemory,
    bell: BellRinger,
    partition: number,
    sidePort: SidePort,
    plan: WindowPlan,
    output?: OutputReader,
  ) {
    this.#end = new CoordinatorEnd(region, bell)
    this.partition = partition
    this.#sidePort = sidePort
    this.#output = output
    this.#encoder = new PayloadEncoder('payload', plan.inlineBytesMax)
    this.#bytesMax = this.#end.commands.bodyBytesMax
    this.#concurrency = plan.concurrency
    this.load = new WindowLoad(plan.lanes.length, plan.concurrency > 1)
    this.limits = new WindowLimits(this.#end.slots, this.load, this.#bytesMax, plan, this)
  }

  /** The end of the region, for counters and states. */
  get end(): CoordinatorEnd {
    return this.#end
  }

  /** Payloads that took the side port. */
  get sidePosts(): number {
    return this.#sidePort.posts
  }

  /**
   * When a command was started.
   *
   * @param slot - Of one that has started.
   */
  startedAtMs(slot: number): number {
    return this.#end.slots.startedAtMs(this.#ids[slot]!)
  }

  startOf(slot: number): number {
    const isRunning = this.#end.slots.stateOf(this.#ids[slot]!) === SlotState.RUNNING
    return isRunning ? this.startedAtMs(slot) : 0
  }

  /** Handlers that run; lags behind by results that were not taken yet. */
  get runningCount(): number {
    const started = readCounter(this.#end.views, Counter.STARTED)
    return (started - this.#completed - this.load.restingCount) | 0
  }

  /** Whether its thread sleeps with a handler free: what is bound and may start has started. */
  get hasFreeHandler(): boolean {
    if (this.#end.bell.isAwake || this.load.openCount >= this.#concurrency) return false
    return this.runningCount < this.#concurrency
  }

  /** Whether a result has come that was not taken. */
  get hasResults(): boolean {
    return !this.#end.results.isEmpty
  }

  /** Results taken so far; grows whenever the partition makes progress. */
  get completed(): number {
    return this.#completed
  }

  /**
   * Puts a command into the ring. It is shown to the partition by {@link InFlightWindow.flush}.
   *
   * @param command - Accepted before.
   * @param rank - How urgent it is at this moment.
   * @returns False if the ring has no room now, or if a getter of its payload ended the command or
   * paused its lane.
   * @throws SerializationError if its payload cannot cross; nothing is bound then.
   */
  bind(command: Command, rank: number): boolean {
    const { commands, slots, views } = this.#end
    const { transferList } = command
    const length = transferList === undefined ? this.#encoder.prepare(command.payload) : SPILL
    const isSide = length === SPILL
    const headBytes = commandHeadBytes(command)
    const mode = command.isStream ? RunMode.STREAM : RunMode.PLAIN
    let parcel: SideParcel | undefined
    if (isSide) {
      if (!commands.hasRoomFor(headBytes)) return false
      // Runs getters of the user's, so nothing is claimed yet.
      parcel = toParcel(command.payload, 'payload', transferList)
    }
    // Getters of the payload may have ended it, or paused its lane.
    const isBarred = command.isOver || command.lane.isPaused
    const ringBytes = isSide ? headBytes : headBytes + length
    const offset = isBarred ? NO_ROOM : commands.tryClaim(ringBytes)
    if (offset === NO_ROOM) {
      if (!isSide) this.#encoder.discard()
      return false
    }
    const id = slots.open()
    writeCommandHead(views, offset, id, command)
    if (parcel !== undefined) {
      try {
        this.#sidePort.post(id, 'payload', parcel)
      } catch (error) {
        commands.abort()
        slots.close(id)
        throw error
      }
      commands.commit(offset, packKind(mode, PayloadKind.SIDE, false))
    } else {
      const kind = packKind(mode, this.#encoder.kind, this.#encoder.resets)
      this.#encoder.write(views, offset + headBytes)
      commands.commit(offset, kind)
    }
    const bytes = isSide ? headBytes + this.#sideBytes(command) : ringBytes
    this.#open(id, command, rank, bytes)
    this.#unpublishedBytes += bytes
    if (++this.unpublished >= FLUSH_COUNT || this.#unpublishedBytes >= FLUSH_BYTES) this.flush()
    return true
  }

  /**
   * Bytes that a payload beside the ring counts for: 32 that are moved fill a window. A string
   * counts for all its bytes: the port copies it, and with more than a few in flight the C library
   * keeps returning their memory to the system, for 32 of 256 KiB a third of their time.
   */
  #sideBytes({ payload, transferList }: Command): number {
    const most = typeof payload === 'string' ? this.#bytesMax : this.#bytesMax >> 5
    return transferList === undefined ? Math.min(this.#encoder.spilledBytes, most) : most
  }

  /** Shows the partition what was bound, and wakes it. */
  flush(): void {
    if (this.unpublished === 0) return
    this.unpublished = 0
    this.#unpublishedBytes = 0
    this.#end.commands.publish()
    this.#end.bell.ring(true)
  }

  /**
   * Takes results and settles their commands.
   *
   * @returns How many records there were.
   */
  drain(): number {
    const taken = this.#end.results.read(this, DRAIN_COUNT, DRAIN_BYTES)
    if (taken > 0) this.#end.grantSpace()
    return taken
  }

  onRecord(kind: number, offset: number, length: number): void {
    const { views, slots } = this.#end
    if ((kind & PRINTED_BIT) !== 0) this.#output?.read()
    const id = resultId(views, offset)
    const status = statusOf(kind)
    const slot = slotOf(id)
    const command = this.#commands[slot]
    if (status === ResultStatus.STARTED) {
      command?.started(this.partition, resultStartedAtMs(views, offset))
      return
    }
    // A handler may report from a timer that outlives its run.
    const isLate = status === ResultStatus.PROGRESS && !slots.isCurrent(id)
    if (!isLate) invariant(slots.isCurrent(id), "a record is of its slot's present command")
    if (status === ResultStatus.REVOKED || status === ResultStatus.LATE) {
      const isLeft = status === ResultStatus.REVOKED || slots.stateOf(id) !== SlotState.QUEUED
      invariant(isLeft === (command === undefined), 'a command is dropped once, by one side')
      slots.close(id)
      if (command === undefined) return
      this.#forget(slot)
      command.manager.recovery.late(command)
      return
    }
    let isDone = status === ResultStatus.DONE
    let value: unknown
    try {
      // Results of detached runs too: the decoder must see all records in order.
      value = this.#decode(id, kind, offset, length)
    } catch (error) {
      isDone = false
      value = error
    }
    if (status === ResultStatus.CHUNK) {
      if (command === undefined) return
      const weight = resultWeight(views, offset)
      this.load.received(slot, command.lane, weight)
      command.chunk(value, weight)
      return
    }
    if (status === ResultStatus.PROGRESS) {
      if (!isLate) command?.progressed(value, this.partition)
      return
    }
    slots.close(id)
    this.#completed++
    const startedAtMs = resultStartedAtMs(views, offset)
    const durationMs = resultDurationMs(views, offset)
    if (command === undefined) {
      const run = this.watch.ended(slot)
      invariant(run !== undefined, 'a result has a command')
      this.load.remove(slot, run.lane)
      run.group?.leave()
      learnDuration(run.type, durationMs)
      this.tallies?.[run.lane.index]?.returned(run.manager, startedAtMs, durationMs, isDone)
      return
    }
    this.#forget(slot)
    learnDuration(command.type, durationMs)
    this.tallies?.[command.laneIndex]?.count(command.manager, startedAtMs, durationMs, isDone)
    if (isDone) {
      command.complete(value, this.partition, startedAtMs, durationMs)
      return
    }
    const { recovery } = command.manager
    recovery.failed(command, value, this.partition, startedAtMs, durationMs)
  }

  revoke(slot: number): boolean {
    // The slot stays taken until the partition acknowledges that it dropped the command.
    if (!this.#end.slots.revoke(this.#ids[slot]!)) return false
    this.#forget(slot)
    if (++this.#unswept >= SWEEP_COUNT) this.#sweep()
    return true
  }

  detach(slot: number, reason: LaneError, graceMs: number): void {
    const command = this.#commands[slot]!
    const { lane, type, key, manager } = command
    const id = this.#ids[slot]!
    this.tallies?.[lane.index]?.drifted()
    const group = command.groupSeat?.split(this.startedAtMs(slot))
    this.#letGo(slot)
    this.#end.slots.abort(id)
    this.orders.push({ id, code: reason.code, details: reason.details })
    const graceEndsMs = nowMs() + graceMs
    this.watch.detach(slot, { lane, type, key, manager, group, reason, graceEndsMs })
    // A stream that waits for credit looks again.
    this.#end.bell.ring(true)
  }

  grant(slot: number, credit: number): void {
    this.load.granted(slot, credit)
    this.#end.slots.grant(this.#ids[slot]!, credit)
    this.#end.bell.ring(true)
  }

  /** Commands that run longer than they may. Take all results before. */
  overdue(now: number): OverdueRun[] {
    return this.watch.overdue(now, this.#commands, this.#ids, this.#end.slots)
  }

  /**
   * The command of an id, unless its run has ended or is detached.
   *
   * @param id - An id of this window.
   */
  commandOf(id: number): Command | undefined {
    return this.#ids[slotOf(id)] === id ? this.#commands[slotOf(id)] : undefined
  }

  /**
   * Whether a run has not ended.
   *
   * @param id - An id of this window.
   */
  isOpen(id: number): boolean {
    const slot = slotOf(id)
    if (this.#ids[slot] !== id) return false
    return this.#commands[slot] !== undefined || this.watch.isDetached(slot)
  }

  /** Aborts the signal of every handler that runs. */
  abortAll(): void {
    for (const [slot, command] of this.#commands.entries()) {
      if (command !== undefined) this.#end.slots.abort(this.#ids[slot]!)
    }
  }

  /**
   * Takes back commands that have not started, the last to run first.
   *
   * @param bounds - Which, and how many. Default: all.
   */
  recall(bounds: RecallBounds = {}): Command[] {
    const { load } = this
    const recalled = recall(this.#commands, load, (slot) => this.revoke(slot), bounds)
    load.refreshLast((slot) => this.#commands[slot] !== undefined)
    return recalled
  }

  /** Judges anew how urgent the bound commands are, if that has changed by itself. */
  judge(now: number): void {
    const { load } = this
    this.#judgedAtMs = now
    if (now < load.changesAtMs) return
    load.changesAtMs = Number.POSITIVE_INFINITY
    for (const [slot, command] of this.#commands.entries()) {
      if (command?.isTimed) load.raise(slot, this.#judged(command, now))
    }
    load.refreshLast((slot) => this.#commands[slot] !== undefined)
  }

  /** How urgent a command was a little before, which saves a reading of the clock. */
  #judgedLately(command: Command): number {
    return this.#judged(command, Math.max(command.submittedAtMs, this.#judgedAtMs))
  }

  /** How urgent a command is; when that changes is noted. */
  #judged(command: Command, now: number): number {
    judge(command.lane.plan, command, now, this.#urgency)
    this.load.changesAtMs = Math.min(this.load.changesAtMs, this.#urgency.untilMs)
    return this.#urgency.rank
  }

  /** Commands bound, with whether they run: a snapshot that may be stale at once. */
  *snapshot(): Generator<OrphanedCommand> {
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      const command = this.#commands[slot]
      if (command !== undefined) yield { command, started: this.#hasStarted(slot) }
    }
  }

  /** The same of one lane, without a look at the commands of others. */
  *snapshotOf(laneIndex: number): Generator<OrphanedCommand> {
    const lanes = this.#laneIndices
    for (let slot = lanes.indexOf(laneIndex); slot >= 0; ) {
      const command = this.#commands[slot]
      if (command !== undefined) yield { command, started: this.#hasStarted(slot) }
      slot = lanes.indexOf(laneIndex, slot + 1)
    }
  }

  #hasStarted(slot: number): boolean {
    return this.#end.slots.stateOf(this.#ids[slot]!) !== SlotState.QUEUED
  }

  /** Whether something that could be taken back has not started, of a lane that lets it. */
  hasWaiting(mayStart: (lane: Lane) => boolean): boolean {
    for (const { command, started } of this.snapshot()) {
      if (!started && command.transferList === undefined && mayStart(command.lane)) return true
    }
    return false
  }

  /**
   * Gives up the thread: takes every result that was finished, then all that is left. Commands that
   * have not started are taken back first, since the thread may still live.
   *
   * @returns What is left, in order.
   */
  takeOrphans(): OrphanedCommand[] {
    while (this.drain() > 0);
    const left: OrphanedCommand[] = []
    for (const [slot, command] of this.#commands.entries()) {
      if (command !== undefined) left.push({ command, started: !this.revoke(slot) })
    }
    for (const [slot, command] of this.#commands.entries()) {
      if (command === undefined) continue
      this.tallies?.[command.laneIndex]?.drifted()
      this.#forget(slot)
    }
    this.#sidePort.close()
    return left.sort((a, b) => a.command.sequence - b.command.sequence)
  }

  #decode(id: number, kind: number, offset: number, length: number): unknown {
    const payloadKind = payloadKindOf(kind)
    if (payloadKind === PayloadKind.SIDE) return this.#sidePort.take(id)
    return this.#decoder.decode(
      payloadKind,
      resetsOf(kind),
      this.#end.views,
      offset + RESULT_HEAD_BYTES,
      length - RESULT_HEAD_BYTES,
    )
  }

  #open(id: number, command: Command, rank: number, bytes: number): void {
    const slot = slotOf(id)
    if (command.isStream) {
      this.streams.add(command)
      if (command.key !== undefined) this.load.countKeys(this.#commands)
    }
    const { lane, timeoutMs } = command
    this.#commands[slot] = command
    command.bind(this, slot)
    this.#ids[slot] = id
    this.#laneIndices[slot] = lane.index
    const present = command.isTimed ? this.#judgedLately(command) : rank
    this.load.add(
      slot,
      lane,
      present,
      command.sequence,
      command.type.estimateUs,
      bytes,
      command.key,
    )
    if (timeoutMs !== undefined && this.watch.isTighter(timeoutMs)) {
      this.watch.tighten(timeoutMs, nowMs())
    }
  }

  /** Asks the partition to drop what was revoked; asked again later if the ring is full. */
  #sweep(): void {
    const { commands } = this.#end
    const offset = commands.tryClaim(0)
    if (offset === NO_ROOM) return
    commands.commit(offset, packKind(RunMode.SWEEP, PayloadKind.UNDEFINED, false))
    this.#unswept = 0
    this.unpublished++
    this.flush()
  }

  #forget(slot: number): void {
    this.load.remove(slot, this.#letGo(slot).lane)
  }

  /** Unbinds a command; its run may go on. */
  #letGo(slot: number): Command {
    const command = this.#commands[slot]!
    this.#commands[slot] = undefined
    if (command.isStream) this.streams.delete(command)
    command.unbind()
    if (this.reservedFor === command) this.reservedFor = undefined
    return command
  }
}
