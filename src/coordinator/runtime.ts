// Runtime: the rooms of one manager, wired together, and its life from start to close.
// Thread: main.   Owns: the state of the manager and the instances of its rooms.

import { nowMs, timers } from '../base/clock.ts'
import { type LaneError, laneError } from '../base/errors.ts'
import { CoordinatorCommons } from '../memory/commons.ts'
import { laneNeeds } from '../model/lane.ts'
import type { EventFilter } from '../model/lane-event.ts'
import { fromSideValue, sideRefused, toSideValue } from '../wire/side-value.ts'
import { Backlog } from './backlog.ts'
import { Binder } from './binder.ts'
import { EventHub, type EventSubscription } from './event-hub.ts'
import { Intake } from './intake.ts'
import { LaneTable, openCountOf } from './lane-table.ts'
import type { ManagerPlan } from './options.ts'
import { PartitionHandle } from './partition-handle.ts'
import { isShared } from './partitioners.ts'
import type { PendingCommand } from './pending-command.ts'
import { ResultPump } from './result-pump.ts'
import { Room } from './room.ts'
import { type QueueStats, takeStats } from './stats.ts'
import { closedError, Supervisor } from './supervisor.ts'
import { Timetable } from './timetable.ts'
import { TypeTable } from './type-table.ts'

/** Its reactions run at the end of the current turn; cheaper than `queueMicrotask`. */
const TURN_END: Promise<void> = Promise.resolve()

/** What a queue manager is made of. */
export class Runtime {
  readonly intake: Intake
  readonly #plan: ManagerPlan
  readonly #hub: EventHub
  readonly #timetable = new Timetable((command) => this.#due(command))
  readonly #lanes: LaneTable
  readonly #room: Room
  readonly #partitions: readonly PartitionHandle[]
  readonly #backlog: Backlog
  readonly #binder: Binder
  readonly #pump: ResultPump
  readonly #supervisor: Supervisor
  readonly #isShared: boolean
  readonly #drainWaiters = new Set<() => void>()
  #state: QueueStats['state'] = 'created'
  #broadcasts = 0
  /** Fires when the order of what waits changes by itself. */
  #urgencyTimer: NodeJS.Timeout | undefined
  #urgencyAtMs = Number.POSITIVE_INFINITY
  #isFlushQueued = false
  #starting: Promise<void> | undefined
  #closing: Promise<void> | undefined

  constructor(plan: ManagerPlan) {
    const { lanes, partitionCount, concurrency } = plan
    const needs = lanes.map((lane) => laneNeeds(lane, partitionCount * concurrency))
    const commons = new CoordinatorCommons(partitionCount, needs)
    this.#plan = plan
    this.#isShared = isShared(plan.strategy)
    this.#hub = new EventHub((isListening) => commons.listen(isListening))
    this.#lanes = new LaneTable(lanes, needs, this.#hub, this.#timetable)
    this.#room = new Room(this.#lanes, plan.bounds)
    this.#partitions = Array.from(
      { length: partitionCount },
      (_, index) => new PartitionHandle(index),
    )
    this.#backlog = new Backlog(lanes, this.#isShared ? 1 : partitionCount)
    this.#binder = new Binder({
      backlog: this.#backlog,
      partitions: this.#partitions,
      isShared: this.#isShared,
      commons,
      laneCount: lanes.length,
    })
    this.intake = new Intake(
      {
        plan,
        lanes: this.#lanes,
        room: this.#room,
        refuseUnlessRunning: () => this.#refuseUnlessRunning(),
        refuseFailed: (home) => this.#refuseFailed(home),
        accept: (command, delayMs) => this.#accept(command, delayMs),
      },
      new TypeTable([]),
    )
    this.#pump = new ResultPump(commons, {
      drain: () => this.#drainRings(),
      progressed: (now) => this.#progressed(now),
      isBusy: () => this.#lanes.openCount > 0,
      idled: (now) => this.#binder.rebalance(now),
      leastWorkMs: () => this.#binder.leastWorkUs / 1000,
    })
    this.#supervisor = new Supervisor(
      {
        commons,
        partitions: partitionCount,
        handlers: plan.handlers,
        lanes,
        concurrency,
        ringBytes: plan.ringBytes,
        inlineBytesMax: plan.ringBytes >> 3,
        worker: plan.worker,
      },
      this.#partitions,
      plan.startTimeoutMs,
      {
        ready: () => this.#progressed(nowMs()),
        requeue: (commands) => {
          this.#binder.takeBack(commands)
          this.#progressed(nowMs())
        },
        failed: (partition, reason) => this.#giveUp(partition, reason),
        ended: () => {
          this.#settled()
          this.#pump.look()
        },
      },
    )
  }

  /** Starts the threads; calling it again gives the same promise. */
  start(): Promise<void> {
    this.#starting ??= this.#start()
    return this.#starting
  }

  /** Refuses new commands from now on; what was submitted goes on. */
  shutdown(): void {
    if (this.#state === 'shutdown' || this.#state === 'closed') return
    this.#state = 'shutdown'
    this.#hub.lane('queue.shutdown.started')
    this.#room.refuseAll(() => laneError('CORELANE_CLOSED', { state: 'shutdown' }))
  }

  /**
   * Refuses new commands and waits for those that were submitted.
   *
   * @param timeoutMs - How long to wait.
   * @throws LaneError `CORELANE_DRAIN_TIMEOUT`.
   */
  async drain(timeoutMs: number): Promise<void> {
    this.shutdown()
    if (this.#lanes.openCount === 0) return
    let finish!: () => void
    let timer!: NodeJS.Timeout
    const isDrained = await new Promise<boolean>((resolve) => {
      finish = () => resolve(true)
      timer = timers.setTimeout(resolve, timeoutMs, false)
      this.#drainWaiters.add(finish)
    })
    timers.clearTimeout(timer)
    this.#drainWaiters.delete(finish)
    if (isDrained) return
    const left = this.#lanes.all.filter((lane) => openCountOf(lane) > 0)
    const lanes = Object.fromEntries(left.map((lane) => [lane.name, openCountOf(lane)]))
    const words = left.map((lane) => `${openCountOf(lane)} in ${lane.name}`)
    throw laneError('CORELANE_DRAIN_TIMEOUT', { timeoutMs, left: words.join(', '), lanes })
  }

  /** Ends everything; calling it again gives the same promise. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /**
   * Runs a handler once on every partition that has a thread.
   *
   * @param type - Name of the handler.
   * @param payload - Copied to each.
   * @param sticky - Whether replacements run it too.
   */
  async broadcast(type: string, payload: unknown, sticky: boolean): Promise<unknown[]> {
    this.#refuseUnlessRunning()
    const { name } = this.intake.types.get(type)
    const id = `broadcast-${++this.#broadcasts}`
    const broadcast = { id, type: name, payload: toSideValue(payload, 'payload') }
    if (sticky) this.#supervisor.stick(broadcast)
    const timeoutMs = this.#plan.broadcastTimeoutMs
    const living = this.#partitions.flatMap(({ incarnation }) => incarnation?.living ?? [])
    const calls = living.map(async (incarnation) => {
      const report = await incarnation.call('broadcast', timeoutMs, (control) =>
        control.broadcast(broadcast).catch((error) => {
          throw sideRefused('result', error)
        }),
      )
      if (!report.ok) throw fromSideValue(report.side)
      return fromSideValue(report.side)
    })
    return Promise.all(calls)
  }

  /**
   * Subscribes to events.
   *
   * @param filter - Which.
   */
  subscribe(filter: EventFilter | undefined): EventSubscription {
    return this.#hub.subscribe(filter)
  }

  /** One snapshot. */
  stats(): QueueStats {
    const { strategy } = this.#plan
    return takeStats(this.#state, strategy, this.#lanes, this.#room, this.#partitions)
  }

  async #start(): Promise<void> {
    if (this.#state !== 'created') throw laneError('CORELANE_CLOSED', { state: this.#state })
    this.#state = 'starting'
    try {
      this.intake.types = new TypeTable(await this.#supervisor.start())
    } catch (error) {
      const wasClosed = this.#closing !== undefined
      this.#state = 'closed'
      this.#pump.stop()
      this.#hub.endAll()
      throw wasClosed ? laneError('CORELANE_CLOSED', { state: 'closed' }, error) : error
    }
    // It may have been closed or shut down meanwhile.
    if (this.#closing !== undefined) throw laneError('CORELANE_CLOSED', { state: 'closed' })
    if (this.stats().state === 'starting') this.#state = 'running'
  }

  async #close(): Promise<void> {
    this.shutdown()
    this.#state = 'closed'
    timers.clearTimeout(this.#urgencyTimer)
    const unbound = [...this.#timetable.takeAll(), ...this.#backlog.takeAll(0)]
    for (const command of unbound) {
      // A command that has an appointment may be bound, or wait in the backlog as well.
      if (!command.isSettled && command.extras?.holder === undefined) {
        command.fail(closedError(false), command.home)
      }
    }
    const failures = await this.#supervisor.stop(this.#plan.closeTimeoutMs)
    this.#pump.stop()
    this.#settled()
    this.#hub.lane('queue.shutdown.complete')
    this.#hub.endAll()
    if (failures.length > 0) {
      throw new AggregateError(failures, `teardown failed on ${failures.length} partitions`)
    }
  }

  #refuseUnlessRunning(): void {
    if (this.#state === 'running') return
    if (this.#state === 'created' || this.#state === 'starting') {
      throw laneError('CORELANE_NOT_STARTED')
    }
    throw laneError('CORELANE_CLOSED', { state: this.#state })
  }

  #accept(command: PendingCommand, delayMs: number): void {
    const { lane } = command
    lane.submitted++
    lane.pendingBytes += command.extras?.bytes ?? 0
    if (this.#hub.isActive) this.#hub.command('queue.command.submitted', command)
    if (!lane.isPressed && openCountOf(lane) >= lane.plan.pressureThreshold) {
      lane.isPressed = true
      this.#hub.lane('queue.lane.pressure', lane)
    }
    if (delayMs > 0) this.#delay(command, delayMs)
    else this.#place(command)
    this.#pump.expect()
    if (this.#isFlushQueued) return
    this.#isFlushQueued = true
    void TURN_END.then(this.#flush)
  }

  readonly #flush = (): void => {
    this.#isFlushQueued = false
    this.#binder.flush()
    this.#watchUrgency()
  }

  /** Looks again when something that waits becomes more urgent than what is bound. */
  #watchUrgency(): void {
    const atMs = this.#binder.changesAtMs
    if (atMs === this.#urgencyAtMs) return
    this.#urgencyAtMs = atMs
    timers.clearTimeout(this.#urgencyTimer)
    if (atMs === Number.POSITIVE_INFINITY) return
    const delayMs = Math.max(1, Math.ceil(atMs - nowMs()))
    this.#urgencyTimer = timers.setTimeout(() => this.#progressed(nowMs()), delayMs).unref()
  }

  /** Keeps a command from starting for a while; one that will be late then is late before. */
  #delay(command: PendingCommand, delayMs: number): void {
    this.#appoint(command, Math.min(nowMs() + delayMs, this.#lateAtMs(command)))
  }

  /** When a command is rejected if it has not started; Infinity if it never is. */
  #lateAtMs({ lane, submittedAtMs, deadlineMs }: PendingCommand): number {
    const ownDeadlineMs = deadlineMs ?? lane.plan.deadlineMs
    if (!lane.plan.rejectsLate || ownDeadlineMs === undefined) return Number.POSITIVE_INFINITY
    return submittedAtMs + ownDeadlineMs
  }

  /** Lets a command wait its turn, until its deadline if its lane rejects what is late. */
  #place(command: PendingCommand): void {
    const lateAtMs = this.#lateAtMs(command)
    if (lateAtMs !== Number.POSITIVE_INFINITY) {
      if (lateAtMs <= nowMs()) {
        this.#failLate(command)
        return
      }
      this.#appoint(command, lateAtMs)
    }
    this.#binder.place(command)
  }

  #appoint(command: PendingCommand, dueMs: number): void {
    command.extras!.appointment = this.#timetable.add(command, dueMs)
  }

  /** A command's moment has come: it may start now, or it is late. */
  #due(command: PendingCommand): void {
    const extras = command.extras!
    extras.appointment = undefined
    if (!extras.isPlaced) {
      extras.isPlaced = true
      this.#place(command)
      this.#binder.flush()
      return
    }
    // One that is bound is late only if it can still be kept from starting.
    if (extras.holder === undefined || extras.holder.revoke(extras.slot)) this.#failLate(command)
    this.#progressed(nowMs())
  }

  #failLate(command: PendingCommand): void {
    const { lane, submittedAtMs } = command
    const deadlineMs = command.deadlineMs ?? lane.plan.deadlineMs
    const waitedMs = Math.round(nowMs() - submittedAtMs)
    const details = { lane: lane.name, waitedMs, deadlineMs }
    command.fail(laneError('CORELANE_DEADLINE_EXCEEDED', details), -1)
  }

  #drainRings(): number {
    let records = 0
    for (const { incarnation } of this.#partitions) records += incarnation?.window.drain() ?? 0
    return records
  }

  #progressed(now: number): void {
    this.#binder.refill()
    this.#binder.rebalance(now)
    this.#binder.flush()
    this.#watchUrgency()
    this.#settled()
  }

  /** Commands were settled: somebody may have waited for that. */
  #settled(): void {
    if (this.#state === 'running') this.#room.release()
    if (this.#drainWaiters.size === 0 || this.#lanes.openCount > 0) return
    for (const finish of this.#drainWaiters) finish()
  }

  /** Refuses a command whose partition was given up. */
  #refuseFailed(home: number): void {
    const failure = this.#isShared ? this.#partitions[0]!.failure : this.#partitions[home]!.failure
    if (failure === undefined) return
    if (this.#isShared && !this.#partitions.every((partition) => partition.failure)) return
    throw failure
  }

  /** Settles what waits for a partition that gets no thread any more. */
  #giveUp(partition: PartitionHandle, reason: LaneError): void {
    if (this.#isShared && !this.#partitions.every(({ failure }) => failure !== undefined)) return
    const stranded = this.#backlog.takeFrom(this.#isShared ? 0 : partition.index, 0)
    for (const command of stranded) {
      // Each gets an error of its own: it carries what became of that command.
      command.fail(laneError(reason.code, reason.details, reason.cause), partition.index)
    }
    this.#settled()
  }
}
