// Local broker: the commands in the engine of this process. Time is a parameter.
// Owns: every command from its enqueueing until it is forgotten.

import { Chain } from '../../base/chain.ts'
import { epochMs } from '../../base/clock.ts'
import { laneError } from '../../base/errors.ts'
import {
  addCounts,
  type LaneCounts,
  type QueueCounts,
  queueCounts,
} from '../../model/queue-standing.ts'
import { IndexedHeap } from '../../schedule/indexed-heap.ts'
import { precedes } from '../../schedule/priority-heap.ts'
import type {
  CancelStatus,
  CommandState,
  Delivery,
  EnqueueStatus,
  FoundCommand,
  LeaseExtension,
  LeaseRequest,
  ReleaseReason,
  SettleStatus,
} from '../contract/distributed-queue.ts'
import type { CommandEnvelope, CommandResult } from '../contract/envelope.ts'
import {
  cancelledResult,
  countsFirstAtStart,
  DELIVERIES_SPENT,
  poisonedResult,
} from '../contract/poison.ts'
import { LocalArchive } from './local-archive.ts'
import {
  LocalCommand,
  type LocalLane,
  LocalLanePlans,
  LocalPartition,
  type OpenDemand,
} from './local-partition.ts'
import type { LocalQueuePlan } from './local-plan.ts'

export interface LocalBrokerEvents {
  /** A command has ended; called before the call that ended it returns. */
  ended(envelope: CommandEnvelope, result: CommandResult): void
  cancelled(workerId: string, fence: string): void
}

/**
 * Commands and their states. A command is **waiting** in its partition, **leased** under a fence,
 * or **delayed**; the last two have an end. Leases all last the same, so the one that was given or
 * extended first ends first; a heap knows which delay does.
 *
 * A lease ends when its end is noticed, by {@link LocalBroker.advance}: a worker that is late
 * because the event loop of both was held up still has its commands.
 */
export class LocalBroker {
  readonly #plan: LocalQueuePlan
  readonly #events: LocalBrokerEvents
  readonly #plans = new LocalLanePlans()
  readonly #partitions: LocalPartition[]
  /** Lanes that know groups, in each partition. */
  readonly #grouped = new Set<LocalLane>()
  readonly #delayed = new IndexedHeap<LocalCommand>(
    (a, b) => a.dueMs < b.dueMs,
    (command) => command,
  )
  readonly #leased = new Chain<LocalCommand>()
  readonly archive: LocalArchive<LocalCommand>
  readonly paused = new Set<string>()
  /** Waiting and leased ones by lane and by partition. */
  readonly #laneCounts = new Map<string, { count: number }>()
  readonly #partitionCounts: number[]
  /** Cancelled ones by their fences: they have ended, and keep their keys closed. */
  readonly #cancelled = new Map<string, LocalCommand>()
  #pending = 0
  #sequence = 0
  #fences = 0

  constructor(plan: LocalQueuePlan, events: LocalBrokerEvents) {
    this.#plan = plan
    this.#events = events
    this.#partitions = Array.from(
      { length: plan.numPartitions },
      () => new LocalPartition(this.#plans, this.#grouped),
    )
    this.#partitionCounts = new Array<number>(plan.numPartitions).fill(0)
    this.archive = new LocalArchive(plan.resultTtlMs, plan.maxResults, plan.maxDead)
  }

  /** When a lease or a delay ends next, or a group may go on; Infinity if there is none. */
  get nextDueMs(): number {
    let nextMs = this.#nextDue?.dueMs ?? Number.POSITIVE_INFINITY
    for (const { groups } of this.#grouped) nextMs = Math.min(nextMs, groups!.changesAtMs)
    return nextMs
  }

  /** Ends leases, delays and results whose time has come. */
  advance(nowMs: number): void {
    for (let due = this.#nextDue; due !== undefined && due.dueMs <= nowMs; due = this.#nextDue) {
      if (due.fence === undefined) {
        this.#delayed.remove(due)
        this.#queueUp(due, nowMs)
      } else if (this.#cancelled.has(due.fence)) this.#remove(due, nowMs)
      else this.#crash(due, nowMs, 0)
    }
    for (const lane of this.#grouped) {
      const groups = lane.groups!
      if (groups.changesAtMs <= nowMs) groups.advance(nowMs)
      if (groups.groupCount > 0) continue
      lane.groups = undefined
      this.#grouped.delete(lane)
    }
    this.archive.expire(nowMs)
  }

  /**
   * Adds commands, all or none of them.
   *
   * @throws QueueFullError `CORELANE_QUEUE_FULL`.
   */
  enqueue(envelopes: readonly CommandEnvelope[], nowMs: number): EnqueueStatus[] {
    this.archive.expire(nowMs)
    if (this.#pending + envelopes.length > this.#plan.maxPending) {
      const ids = envelopes.map(({ id }) => id)
      this.#checkRoom(new Set(ids.filter((id) => !this.archive.knows(id))).size)
    }
    return envelopes.map((envelope) => {
      if (this.archive.knows(envelope.id)) return 'duplicate'
      this.#enter(envelope, envelope.options?.delayMs ?? 0, nowMs)
      return 'accepted'
    })
  }

  lease(workerId: string, request: LeaseRequest, nowMs: number): Delivery[] {
    const { partitions, lanes, max } = request
    return this.#give(workerId, partitions, this.#plans.open(lanes), max, nowMs)
  }

  /** Gives the next command of a partition out, whatever its lane. */
  leaseNext(workerId: string, partitionId: number, nowMs: number): Delivery | undefined {
    const demands = Array.from(this.#partitions[partitionId]!.laneIds, (laneId) => ({
      plan: this.#plans.planOf(laneId),
      left: 1,
    }))
    return this.#give(workerId, [partitionId], demands, 1, nowMs)[0]
  }

  /** Counts a delivery that is about to start. One that was cancelled never will. */
  start(delivery: Delivery, nowMs: number): SettleStatus {
    const command = this.#ending(delivery, nowMs)
    if (command === undefined) return 'stale'
    countDelivery(command)
    return 'done'
  }

  extend(deliveries: readonly Delivery[], nowMs: number): LeaseExtension {
    const leasedUntilMs = nowMs + this.#plan.leaseMs
    const lost: string[] = []
    for (const delivery of deliveries) {
      const { fence } = delivery
      const command = this.#held(delivery)
      if (command === undefined) lost.push(fence)
      // A cancelled one keeps its key closed for another lease.
      const kept = command ?? this.#cancelled.get(fence)
      if (kept === undefined) continue
      this.#leased.remove(kept)
      this.#lend(kept, leasedUntilMs)
    }
    return { lost, leasedUntilMs }
  }

  complete(delivery: Delivery, result: CommandResult, nowMs: number): SettleStatus {
    const command = this.#ending(delivery, nowMs)
    if (command === undefined) return 'stale'
    this.#end(command, result, nowMs)
    return 'done'
  }

  release(delivery: Delivery, reason: ReleaseReason, delayMs: number, nowMs: number): SettleStatus {
    const command = this.#ending(delivery, nowMs)
    if (command === undefined) return 'stale'
    if (reason === 'crash') {
      countDelivery(command)
      this.#crash(command, nowMs, delayMs)
    } else if (reason === 'unstarted') {
      if (command.isCounted) command.deliveries--
      this.#putBack(command, nowMs, delayMs)
    } else {
      const { envelope } = command
      command.deliveries = 0
      command.envelope = Object.freeze({ ...envelope, retryCount: envelope.retryCount + 1 })
      this.#moveBack(command, nowMs, delayMs)
    }
    return 'done'
  }

  deadLetter(
    delivery: Delivery,
    reason: string,
    result: CommandResult,
    nowMs: number,
  ): SettleStatus {
    const command = this.#ending(delivery, nowMs)
    if (command === undefined) return 'stale'
    this.#deadLetter(command, reason, result, nowMs)
    return 'done'
  }

  /**
   * Enqueues dead commands again, all or none of them.
   *
   * @throws QueueFullError `CORELANE_QUEUE_FULL`.
   */
  redrive(ids: readonly string[], nowMs: number): number {
    const dead = new Set(ids.filter((id) => this.archive.dead.has(id)))
    this.#checkRoom(dead.size)
    for (const id of dead) {
      const envelope = this.archive.restore(id)!
      // Its result is kept until now; the command takes its place.
      this.archive.forget(id)
      this.#enter(Object.freeze({ ...envelope, retryCount: 0 }), 0, nowMs)
    }
    return dead.size
  }

  look(id: string, nowMs: number): CommandState {
    this.archive.expire(nowMs)
    if (this.archive.entries.get(id)?.command !== undefined) return { state: 'pending' }
    const result = this.archive.resultOf(id)
    return result === undefined ? { state: 'unknown' } : { state: 'ended', result }
  }

  cancel(id: string, canceller: string, nowMs: number): CancelStatus {
    this.advance(nowMs)
    const command = this.archive.entries.get(id)?.command
    if (command === undefined) return this.archive.knows(id) ? 'ended' : 'unknown'
    const { envelope, fence, workerId } = command
    const result = cancelledResult(envelope, canceller, fence === undefined ? 'waiting' : 'running')
    this.archive.keep(envelope, result, nowMs, command.entry)
    this.#events.ended(envelope, result)
    if (fence !== undefined) {
      // Its key stays closed until its worker has stopped it.
      this.#cancelled.set(fence, command)
      this.#events.cancelled(workerId, fence)
      return 'stopping'
    }
    this.#pending--
    if (command.place >= 0) this.#delayed.remove(command)
    else {
      this.#count(command, -1)
      this.#partitionOf(command).drop(command, nowMs)
    }
    return 'cancelled'
  }

  find(id: string, nowMs: number): FoundCommand | undefined {
    this.advance(nowMs)
    const command = this.archive.entries.get(id)?.command
    if (command !== undefined) return foundOf(command, nowMs)
    const dead = this.archive.dead.get(id)
    if (dead !== undefined) {
      const { envelope, reason, diedAt, result } = dead
      const { partitionId } = envelope
      return { state: 'dead', commandId: id, partitionId, envelope, reason, diedAt, result }
    }
    const result = this.archive.resultOf(id)
    if (result === undefined) return undefined
    return { state: 'ended', commandId: id, partitionId: result.partitionId, result }
  }

  /** Commands that wait, the next of each lane first. It costs O(commands). */
  peek(laneId: string | undefined, max: number, nowMs: number): FoundCommand[] {
    this.advance(nowMs)
    const lanes = new Map<string, LocalCommand[]>()
    for (const { command } of this.archive.entries.values()) {
      if (command === undefined) continue
      const { laneId: lane } = command.envelope
      if (command.fence !== undefined || command.place >= 0) continue
      if (laneId !== undefined && lane !== laneId) continue
      const waiting = lanes.get(lane)
      if (waiting === undefined) lanes.set(lane, [command])
      else waiting.push(command)
    }
    return [...lanes.keys()].sort().flatMap((lane) =>
      lanes
        .get(lane)!
        .sort((a, b) => (precedes(a, b) ? -1 : 1))
        .slice(0, max)
        .map((command) => foundOf(command, nowMs)),
    )
  }

  /** Names of lanes in which commands wait or are leased. */
  get busyLanes(): string[] {
    return [...this.#laneCounts.keys()]
  }

  /** It costs O(leased, delayed and dead commands), and none of them costs more for it. */
  counts(nowMs: number): QueueCounts {
    this.advance(nowMs)
    const byLane = new Map<string, LaneCounts>()
    for (const [laneId, { count }] of this.#laneCounts) addCounts(byLane, laneId, count)
    for (const { envelope } of this.#delayed.values()) addCounts(byLane, envelope.laneId, 0, 1)
    for (const { envelope } of this.#leased.values()) addCounts(byLane, envelope.laneId, -1, 0, 1)
    for (const { envelope } of this.archive.dead.values()) {
      addCounts(byLane, envelope.laneId, 0, 0, 0, 1)
    }
    return queueCounts(byLane, [...this.#partitionCounts])
  }

  #checkRoom(fresh: number): void {
    const { maxPending } = this.#plan
    const pending = this.#pending
    if (fresh === 0 || pending + fresh <= maxPending) return
    throw laneError('CORELANE_QUEUE_FULL', {
      owner: 'The local queue',
      reached: `${pending} of ${maxPending} commands are pending`,
      pending,
      maxPending,
      pendingBytes: 0,
      maxPendingBytes: Number.POSITIVE_INFINITY,
    })
  }

  #enter(envelope: CommandEnvelope, delayMs: number, nowMs: number): void {
    const command = new LocalCommand(envelope, nowMs)
    this.archive.entries.set(envelope.id, command.entry)
    this.#pending++
    if (delayMs > 0) this.#delay(command, nowMs + delayMs)
    else this.#queueUp(command, nowMs)
  }

  #give(
    workerId: string,
    partitions: readonly number[],
    demands: readonly OpenDemand[],
    max: number,
    nowMs: number,
  ): Delivery[] {
    this.advance(nowMs)
    const { paused } = this
    if (paused.size > 0) demands = demands.filter(({ plan }) => !paused.has(plan.name))
    const given: Delivery[] = []
    for (const partitionId of partitions) {
      const partition = this.#partitions[partitionId]!
      const wanted = partition.served(demands)
      while (given.length < max) {
        const command = partition.take(wanted, nowMs)
        if (command === undefined) break
        given.push(this.#grant(command, workerId, nowMs))
      }
    }
    return given
  }

  #grant(command: LocalCommand, workerId: string, nowMs: number): Delivery {
    const fence = String(++this.#fences)
    command.fence = fence
    command.workerId = workerId
    const leasedUntilMs = nowMs + this.#plan.leaseMs
    this.#lend(command, leasedUntilMs)
    const { envelope, acceptedAtMs } = command
    const deliveries = command.deliveries + 1
    const countsAtStart = deliveries > 1 || countsFirstAtStart(this.#plan.maxDeliveries)
    command.isCounted = false
    if (!countsAtStart) countDelivery(command)
    const given = { envelope, fence, deliveries, countsAtStart, leasedUntilMs, acceptedAtMs }
    const { startByMs } = command
    return startByMs === undefined ? given : { ...given, startByMs }
  }

  /** The command that a delivery gave out, if that delivery is the present one. */
  #held({ envelope, fence }: Delivery): LocalCommand | undefined {
    const command = this.archive.entries.get(envelope.id)?.command
    return command?.fence === fence ? command : undefined
  }

  /** As {@link LocalBroker.#held}, for its end; one that was cancelled is removed. */
  #ending(delivery: Delivery, nowMs: number): LocalCommand | undefined {
    const command = this.#held(delivery)
    if (command !== undefined || this.#cancelled.size === 0) return command
    const cancelled = this.#cancelled.get(delivery.fence)
    if (cancelled !== undefined) this.#remove(cancelled, nowMs)
    return undefined
  }

  /** The worker or its thread died, and it was counted if it may have started. */
  #crash(command: LocalCommand, nowMs: number, delayMs: number): void {
    const { envelope, deliveries, workerId } = command
    if (deliveries < this.#plan.maxDeliveries) this.#putBack(command, nowMs, delayMs)
    else {
      const result = poisonedResult(envelope, deliveries, workerId)
      this.#deadLetter(command, DELIVERIES_SPENT, result, nowMs)
    }
  }

  /** Back to its place, unless it is kept back and loses it. */
  #putBack(command: LocalCommand, nowMs: number, delayMs: number): void {
    if (delayMs > 0) this.#moveBack(command, nowMs, delayMs)
    else {
      this.#takeFrom(command)
      this.#partitionOf(command).restore(command, nowMs)
    }
  }

  /** Behind all others, after a while. */
  #moveBack(command: LocalCommand, nowMs: number, delayMs: number): void {
    this.#takeFrom(command)
    this.#count(command, -1)
    this.#partitionOf(command).leave(command, nowMs)
    if (delayMs > 0) this.#delay(command, nowMs + delayMs)
    else this.#queueUp(command, nowMs)
  }

  #queueUp(command: LocalCommand, nowMs: number): void {
    command.queueUp(this.#sequence++, nowMs)
    this.#count(command, 1)
    this.#partitionOf(command).add(command, nowMs)
  }

  #deadLetter(command: LocalCommand, reason: string, result: CommandResult, nowMs: number): void {
    const { envelope } = command
    this.archive.deadLetter(Object.freeze({ envelope, reason, diedAt: epochMs(), result }))
    this.#end(command, result, nowMs)
  }

  #end(command: LocalCommand, result: CommandResult, nowMs: number): void {
    const { envelope } = command
    this.archive.keep(envelope, result, nowMs, command.entry)
    this.#remove(command, nowMs)
    this.#events.ended(envelope, result)
  }

  /** A leased one has left. */
  #remove(command: LocalCommand, nowMs: number): void {
    if (this.#cancelled.size > 0) this.#cancelled.delete(command.fence!)
    this.#takeFrom(command)
    this.#count(command, -1)
    this.#pending--
    this.#partitionOf(command).leave(command, nowMs)
  }

  /** No worker has it any more. */
  #takeFrom(command: LocalCommand): void {
    this.#leased.remove(command)
    command.fence = undefined
  }

  /** What ends first, a lease or a delay. */
  get #nextDue(): LocalCommand | undefined {
    const lease = this.#leased.oldest
    const delay = this.#delayed.peek()
    return delay === undefined || (lease !== undefined && lease.dueMs <= delay.dueMs)
      ? lease
      : delay
  }

  #lend(command: LocalCommand, untilMs: number): void {
    command.dueMs = untilMs
    this.#leased.add(command)
  }

  #delay(command: LocalCommand, untilMs: number): void {
    command.dueMs = untilMs
    this.#delayed.put(command)
  }

  #partitionOf({ envelope }: LocalCommand): LocalPartition {
    return this.#partitions[envelope.partitionId]!
  }

  #count({ envelope }: LocalCommand, change: 1 | -1): void {
    const { laneId, partitionId } = envelope
    let lane = this.#laneCounts.get(laneId)
    if (lane === undefined) {
      lane = { count: 0 }
      this.#laneCounts.set(laneId, lane)
    }
    lane.count += change
    if (lane.count === 0) this.#laneCounts.delete(laneId)
    this.#partitionCounts[partitionId]! += change
  }
}

function foundOf(command: LocalCommand, nowMs: number): FoundCommand {
  const { envelope, fence, place, deliveries, acceptedAtMs, dueMs, workerId } = command
  const { id: commandId, partitionId } = envelope
  const dateOf = (ms: number): number => Math.round(epochMs() + ms - nowMs)
  const acceptedAt = dateOf(acceptedAtMs)
  const found = { commandId, partitionId, envelope, deliveries, acceptedAt }
  if (fence !== undefined) return { state: 'leased', ...found, workerId }
  if (place >= 0) return { state: 'delayed', ...found, dueAt: dateOf(dueMs) }
  return { state: 'waiting', ...found }
}

/** It may have started. */
function countDelivery(command: LocalCommand): void {
  if (command.isCounted) return
  command.isCounted = true
  command.deliveries++
}
