// Bound window: the commands that one incarnation has, seen from the coordinator.
// Thread: main.   Owns: the command ring's writer, the result ring's reader, slots and their
// commands. Must not: choose what is bound (binder), start or stop threads (incarnation).

import { invariant } from '../base/errors.ts'
import { readCounter } from '../memory/counters.ts'
import type { BellRinger } from '../memory/doorbell.ts'
import { Counter, SLOT_COUNT } from '../memory/layout.ts'
import { CoordinatorEnd } from '../memory/region.ts'
import { NO_ROOM, type RecordSink } from '../memory/ring.ts'
import { SlotState, slotOf } from '../memory/slots.ts'
import type { SharedMemory } from '../memory/views.ts'
import { commandHeadBytes, commandKind, writeCommandHead } from '../wire/command-record.ts'
import { PayloadDecoder, PayloadEncoder, PayloadKind, SPILL } from '../wire/payload-codec.ts'
import { payloadKindOf, ResultStatus, resetsOf, statusOf } from '../wire/record-kind.ts'
import {
  RESULT_HEAD_BYTES,
  resultDurationMs,
  resultId,
  resultStartedAtMs,
} from '../wire/result-record.ts'
import type { SidePort } from '../wire/side-port.ts'
import type { Holder, PendingCommand } from './pending-command.ts'
import { learnDuration } from './type-table.ts'

/** Work that a window should hold: it must outlast a pause of the main thread. */
const WINDOW_WORK_US = 10_000

/** Slots that only a command more urgent than something bound may take. */
const RESERVED_SLOTS = 64

/** Commands are shown to the partition after so many, or at the end of the caller's turn. */
const FLUSH_COUNT = 64

/** Results taken in one go, so that other partitions and the event loop get their turn. */
const DRAIN_COUNT = 1024

/** What a window must know of its manager. */
export interface WindowPlan {
  readonly inlineBytesMax: number
  readonly lanes: readonly unknown[]
  readonly concurrency: number
}

/** A command that a thread's death left behind. */
export interface LeftBehind {
  readonly command: PendingCommand
  /** Whether its handler had been entered. */
  readonly started: boolean
}

/** Binds commands and takes their results. */
export class BoundWindow implements RecordSink, Holder {
  readonly #end: CoordinatorEnd
  readonly #partition: number
  readonly #sidePort: SidePort
  readonly #encoder: PayloadEncoder
  readonly #decoder: PayloadDecoder = new PayloadDecoder()
  readonly #commands: (PendingCommand | undefined)[] = new Array(SLOT_COUNT).fill(undefined)
  readonly #ids = new Int32Array(SLOT_COUNT)
  readonly #ranks = new Int32Array(SLOT_COUNT)
  readonly #worksUs = new Float64Array(SLOT_COUNT)
  readonly #bytes = new Int32Array(SLOT_COUNT)
  readonly #laneCounts: Int32Array
  readonly #bytesMax: number
  /** So many commands may be bound however long they run: as many as can run, and one at hand. */
  readonly #countMin: number
  #count = 0
  #workUs = 0
  /** The same without lanes that are limited: their commands may wait at the gate. */
  #openCount = 0
  #openWorkUs = 0
  #boundBytes = 0
  /** No bound command is less urgent; may over-state. */
  #lastRank = 0
  #unpublished = 0
  #completed = 0

  /**
   * @param region - The incarnation's.
   * @param bell - Of its thread.
   * @param partition - Its partition's index.
   * @param sidePort - For payloads that do not go through the ring.
   * @param plan - `inlineBytesMax`: longest payload that may lie in a record; `lanes`;
   * `concurrency`: handlers that may run at once.
   */
  constructor(
    region: SharedMemory,
    bell: BellRinger,
    partition: number,
    sidePort: SidePort,
    plan: WindowPlan,
  ) {
    this.#end = new CoordinatorEnd(region, bell)
    this.#partition = partition
    this.#sidePort = sidePort
    this.#encoder = new PayloadEncoder('payload', plan.inlineBytesMax)
    this.#bytesMax = this.#end.commands.bodyBytesMax
    this.#laneCounts = new Int32Array(plan.lanes.length)
    this.#countMin = plan.concurrency + 1
  }

  /** The end of the region, for counters and states. */
  get end(): CoordinatorEnd {
    return this.#end
  }

  /** Commands bound of lanes that are not limited. */
  get openCount(): number {
    return this.#openCount
  }

  /** Estimated run time of those, in microseconds. */
  get openWorkUs(): number {
    return this.#openWorkUs
  }

  /** Whether a handler runs; lags behind by results that were not taken yet. */
  get isRunning(): boolean {
    return readCounter(this.#end.views, Counter.STARTED) !== this.#completed >>> 0
  }

  /**
   * Commands bound of one lane.
   *
   * @param laneIndex - The lane.
   */
  boundIn(laneIndex: number): number {
    return this.#laneCounts[laneIndex]!
  }

  /** Whether there is room for one more command, its work aside. */
  get hasRoom(): boolean {
    return this.#end.slots.freeCount > RESERVED_SLOTS && this.#boundBytes <= this.#bytesMax
  }

  /** Commands bound and not settled. */
  get count(): number {
    return this.#count
  }

  /** Estimated run time of what is bound, in microseconds. */
  get workUs(): number {
    return this.#workUs
  }

  /** No bound command is less urgent; may over-state. */
  get lastRank(): number {
    return this.#lastRank
  }

  /** Results taken so far; grows whenever the partition makes progress. */
  get completed(): number {
    return this.#completed
  }

  /**
   * Whether the window has room for a command: for about 10 ms of work, at least two commands, and
   * beyond that for one that must overtake something bound, as long as little is ahead of it.
   *
   * @param command - The next one of its place, of a lane that is not limited.
   * @param rank - How urgent it is at this moment.
   */
  accepts(command: PendingCommand, rank: number): boolean {
    const free = this.#end.slots.freeCount
    if (free === 0) return false
    if (this.#openCount < this.#countMin) return true
    const work = command.type.estimateUs
    if (this.hasRoom && this.#openWorkUs + work <= WINDOW_WORK_US) return true
    return rank < this.#lastRank && this.aheadUs(rank) + work <= WINDOW_WORK_US
  }

  /**
   * Estimated work that runs before a command of a rank would.
   *
   * @param rank - Of the command.
   * @returns Microseconds.
   */
  aheadUs(rank: number): number {
    let sum = 0
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      if (this.#ranks[slot]! <= rank) sum += this.#worksUs[slot]!
    }
    return sum
  }

  /**
   * Puts a command into the ring. It is shown to the partition by {@link BoundWindow.flush}.
   *
   * @param command - Accepted before.
   * @param rank - How urgent it is at this moment.
   * @returns False if the ring has no room now.
   * @throws SerializationError if its payload cannot cross; nothing is bound then.
   */
  bind(command: PendingCommand, rank: number): boolean {
    const { commands, slots, views } = this.#end
    const { transferList } = command
    const length = transferList === undefined ? this.#encoder.prepare(command.payload) : SPILL
    const isSide = length === SPILL
    const headBytes = commandHeadBytes(command)
    const offset = commands.tryClaim(isSide ? headBytes : headBytes + length)
    if (offset === NO_ROOM) {
      if (!isSide) this.#encoder.discard()
      return false
    }
    const id = slots.open()
    writeCommandHead(views, offset, id, command)
    if (isSide) {
      try {
        this.#sidePort.post(id, 'payload', command.payload, transferList ?? [])
      } catch (error) {
        commands.abort()
        slots.close(id)
        throw error
      }
      commands.commit(offset, commandKind(PayloadKind.SIDE, false))
    } else {
      const kind = commandKind(this.#encoder.kind, this.#encoder.resets)
      this.#encoder.write(views, offset + headBytes)
      commands.commit(offset, kind)
    }
    // What takes the side port is large or moved: few of them fill a window.
    this.#open(id, command, rank, isSide ? this.#bytesMax >> 3 : headBytes + length)
    if (++this.#unpublished >= FLUSH_COUNT) this.flush()
    return true
  }

  /** Shows the partition what was bound, and wakes it. */
  flush(): void {
    if (this.#unpublished === 0) return
    this.#unpublished = 0
    this.#end.commands.publish()
    this.#end.bell.ring(true)
  }

  /**
   * Takes results and settles their commands.
   *
   * @returns How many records there were.
   */
  drain(): number {
    const taken = this.#end.results.read(this, DRAIN_COUNT)
    if (taken > 0) this.#end.grantSpace()
    return taken
  }

  onRecord(kind: number, offset: number, length: number): void {
    const { views, slots } = this.#end
    const id = resultId(views, offset)
    const status = statusOf(kind)
    const slot = slotOf(id)
    const command = this.#commands[slot]
    if (status === ResultStatus.STARTED) {
      command?.started(this.#partition, resultStartedAtMs(views, offset))
      return
    }
    invariant(slots.isCurrent(id), `record ${id} is of its slot's present command`)
    if (status === ResultStatus.REVOKED) {
      invariant(command === undefined, `command ${id} was taken back before it was dropped`)
      slots.close(id)
      return
    }
    invariant(command !== undefined, `result ${id} has a command`)
    const payloadKind = payloadKindOf(kind)
    const value =
      payloadKind === PayloadKind.SIDE
        ? this.#sidePort.take(id)
        : this.#decoder.decode(
            payloadKind,
            resetsOf(kind),
            views,
            offset + RESULT_HEAD_BYTES,
            length - RESULT_HEAD_BYTES,
          )
    this.#forget(slot)
    slots.close(id)
    this.#completed++
    const startedAtMs = resultStartedAtMs(views, offset)
    const durationMs = resultDurationMs(views, offset)
    learnDuration(command.type, durationMs)
    if (status === ResultStatus.DONE) {
      command.complete(value, this.#partition, startedAtMs, durationMs)
    } else command.fail(value, this.#partition, startedAtMs, durationMs)
  }

  revoke(slot: number): boolean {
    // The slot stays taken until the partition acknowledges that it dropped the command.
    if (!this.#end.slots.revoke(this.#ids[slot]!)) return false
    this.#forget(slot)
    return true
  }

  /**
   * Takes back commands that have not started, the last to run first, and leaves those that cannot
   * be sent twice or have a home.
   *
   * @param workUs - Stop when so much estimated work was taken back.
   * @param rankMin - Leave what is more urgent. Default: take any.
   * @param rankMax - Leave what is less urgent. Default: take any.
   */
  recall(
    workUs: number,
    rankMin = 0,
    rankMax: number = Number.POSITIVE_INFINITY,
  ): PendingCommand[] {
    const slots: number[] = []
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      const rank = this.#ranks[slot]!
      if (this.#commands[slot] !== undefined && rank >= rankMin && rank <= rankMax) slots.push(slot)
    }
    slots.sort(
      (a, b) =>
        this.#ranks[b]! - this.#ranks[a]! ||
        this.#commands[b]!.sequence - this.#commands[a]!.sequence,
    )
    const recalled: PendingCommand[] = []
    let taken = 0
    for (const slot of slots) {
      if (taken >= workUs) break
      const command = this.#commands[slot]!
      const work = this.#worksUs[slot]!
      const { minConcurrency } = command.lane.plan
      // What a lane is promised makes way for nobody.
      if (rankMin > 0 && this.#laneCounts[command.laneIndex]! <= minConcurrency) continue
      if (command.transferList !== undefined || !this.revoke(slot)) continue
      taken += work
      recalled.push(command)
    }
    this.#lastRank = 0
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      if (this.#commands[slot] !== undefined) {
        this.#lastRank = Math.max(this.#lastRank, this.#ranks[slot]!)
      }
    }
    return recalled
  }

  /** Commands bound, with whether they run: a snapshot that may be stale at once. */
  *snapshot(): Generator<LeftBehind> {
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      const command = this.#commands[slot]
      if (command === undefined) continue
      yield { command, started: this.#end.slots.stateOf(this.#ids[slot]!) !== SlotState.QUEUED }
    }
  }

  /** After the thread's exit: takes every result that was finished, then gives up what is left. */
  takeLeftBehind(): LeftBehind[] {
    while (this.drain() > 0);
    const left = [...this.snapshot()].sort((a, b) => a.command.sequence - b.command.sequence)
    for (const [slot, command] of this.#commands.entries()) {
      if (command !== undefined) this.#forget(slot)
    }
    this.#sidePort.close()
    return left
  }

  #open(id: number, command: PendingCommand, rank: number, bytes: number): void {
    const slot = slotOf(id)
    const work = command.type.estimateUs
    this.#commands[slot] = command
    this.#ids[slot] = id
    this.#ranks[slot] = rank
    this.#worksUs[slot] = work
    this.#bytes[slot] = bytes
    this.#laneCounts[command.laneIndex]!++
    if (this.#count++ === 0 || rank > this.#lastRank) this.#lastRank = rank
    this.#workUs += work
    if (!command.lane.isLimited) {
      this.#openCount++
      this.#openWorkUs += work
    }
    this.#boundBytes += bytes
    const { extras } = command
    if (extras !== undefined) {
      extras.holder = this
      extras.slot = slot
    }
  }

  #forget(slot: number): void {
    const command = this.#commands[slot]!
    const work = this.#worksUs[slot]!
    this.#commands[slot] = undefined
    this.#worksUs[slot] = 0
    this.#boundBytes -= this.#bytes[slot]!
    this.#laneCounts[command.laneIndex]!--
    // Sums of estimates drift by rounding; an empty window starts from zero again.
    if (--this.#count === 0) this.#workUs = 0
    else this.#workUs -= work
    if (!command.lane.isLimited) {
      if (--this.#openCount === 0) this.#openWorkUs = 0
      else this.#openWorkUs -= work
    }
    if (command.extras !== undefined) command.extras.holder = undefined
  }
}
