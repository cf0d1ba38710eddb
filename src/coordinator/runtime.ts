// Runtime: the rooms of one manager, wired together, and its life from start to close.
// Thread: main.   Owns: the state of the manager and the instances of its rooms.

import { Alarm } from '../base/alarm.ts'
import { CallContext, outside } from '../base/async-context.ts'
import { TURN_END } from '../base/bounds.ts'
import { nowMs } from '../base/clock.ts'
import { type LaneError, laneError } from '../base/errors.ts'
import { inSlices } from '../base/slices.ts'
import { AwakeThreads, awakeMemory } from '../memory/awake-threads.ts'
import { CoordinatorCommons } from '../memory/commons.ts'
import type { CommandOptions, CommandOutcome } from '../model/command.ts'
import { FILE_TYPE, type FileHandler } from '../model/handler-module.ts'
import { laneNeeds } from '../model/lane.ts'
import type { ThreadOutput } from '../model/lane-event.ts'
import { AbortListeners } from './abort-listeners.ts'
import { Intake } from './admission/intake.ts'
import { NestedServer } from './admission/nested-server.ts'
import { Room } from './admission/room.ts'
import { WaitGraph, waitCapacity } from './admission/wait-graph.ts'
import type { Command, CommandManager } from './command.ts'
import { CommandTimers } from './command-timers.ts'
import { usableCores } from './cores.ts'
import { Backlog } from './dispatch/backlog.ts'
import { Binder } from './dispatch/binder.ts'
import { LaneTable, openCountOf } from './lane-table.ts'
import { ManagerHealth } from './manager-health.ts'
import { endSubmitTurn } from './metered-command.ts'
import { type MetricsSources, meter } from './metrics-reader.ts'
import { type BroadcastOptions, handlersUrl, isShared, type ManagerPlan } from './options.ts'
import { DeadLetterQueue } from './results/dead-letter-queue.ts'
import { Drainage } from './results/drainage.ts'
import { EventHub } from './results/event-hub.ts'
import { ResultPump } from './results/result-pump.ts'
import { type ManagerState, type QueueStats, takeStats } from './stats.ts'
import { Broadcasts } from './threads/broadcasts.ts'
import { Elastic } from './threads/elastic.ts'
import {
  type ExitReport,
  type Incarnation,
  planThreads,
  type ThreadEvents,
  type ThreadPlan,
} from './threads/incarnation.ts'
import { Interruptions } from './threads/interruptions.ts'
import { PartitionHandle } from './threads/partition-handle.ts'
import { Recovery } from './threads/recovery.ts'
import { Renewal } from './threads/renewal.ts'
import { closedError, Supervisor, type SupervisorEvents } from './threads/supervisor.ts'
import { fileProgram, findThreadProgram, type ThreadProgram } from './threads/thread-program.ts'

/** A lone command that is estimated to run no longer is waited for without leaving the turn. */
const LONE_WORK_US = 10

/** Watches threads come and go. */
export interface ThreadObserver {
  spawned(incarnation: Incarnation): void
  loaded(incarnation: Incarnation): void
  exited(incarnation: Incarnation, report: ExitReport): void
  /** Takes what a thread printed; true keeps it from the streams of the process. */
  printed?(incarnation: Incarnation, output: ThreadOutput): boolean
}

/** A call that waits for the threads. */
interface EarlyCall {
  readonly run: () => void
  readonly fail: (reason: unknown) => void
}

/** What a queue manager is made of. */
export class Runtime {
  readonly hub: EventHub
  readonly intake: Intake
  readonly deadLetters: DeadLetterQueue
  readonly interruptions: Interruptions
  readonly health: ManagerHealth
  readonly #plan: ManagerPlan
  readonly #timers: CommandTimers
  readonly #lanes: LaneTable
  readonly #room: Room
  readonly #partitions: readonly PartitionHandle[]
  readonly #backlog: Backlog
  readonly #binder: Binder
  readonly #pump: ResultPump
  readonly #threads: ThreadPlan
  readonly #supervisor: Supervisor
  readonly #nested: NestedServer
  readonly #renewal: Renewal
  readonly #broadcasts: Broadcasts
  readonly #isShared: boolean
  readonly #elastic: Elastic | undefined
  readonly #observer: ThreadObserver | undefined
  readonly #drainage: Drainage
  #state: ManagerState = 'created'
  readonly #urgency = new Alarm(() => this.#progressed(nowMs()))
  #isFlushQueued = false
  /** Calls that came before the threads were ready, in order. */
  #early: EarlyCall[] = []
  /** Commands were settled or given up in this turn. */
  #hasActed = false
  #starting: Promise<void> | undefined
  #closing: Promise<void> | undefined
  #end!: () => void
  /** Resolves when every thread has ended, or none could be started. */
  readonly closed = new Promise<void>((resolve) => {
    this.#end = resolve
  })

  constructor(plan: ManagerPlan, observer?: ThreadObserver) {
    this.#observer = observer
    const { lanes, partitionCount, concurrency } = plan
    const needs = lanes.map((lane) => laneNeeds(lane, partitionCount * concurrency))
    const commons = new CoordinatorCommons(partitionCount, needs)
    this.#plan = plan
    this.#isShared = isShared(plan)
    this.hub = new EventHub((isListening) => commons.listen(isListening))
    this.#partitions = Array.from({ length: partitionCount }, (_, i) => new PartitionHandle(i))
    this.health = new ManagerHealth(plan, this.#partitions, () => this.#isEnding)
    this.#timers = new CommandTimers({
      place: (command) => this.#binder.place(command),
      refusal: (home) => this.#refusal(home),
      acted: () => this.#act(),
    })
    const signals = new AbortListeners()
    this.interruptions = new Interruptions({
      partitions: this.#partitions,
      supervisor: () => this.#supervisor,
      signals,
      timeoutGraceMs: plan.timeoutGraceMs,
      acted: () => this.#act(),
    })
    this.deadLetters = new DeadLetterQueue(plan.deadLetterCapacity, {
      submit: ({ lane, type, payload, options }, onRefused) =>
        this.intake.admit(this.intake.make(lane, type, payload, options, false), { onRefused }),
      dropped: (letter) => this.hub.dropped(letter),
    })
    this.#lanes = new LaneTable(lanes, needs)
    const recovery = this.#recovery()
    const { abort } = this.interruptions
    const timers = this.#timers
    const manager: CommandManager = { events: this.hub, timers, signals, abort, recovery }
    this.#drainage = new Drainage(this.#lanes, () => this.#early.length)
    this.#room = new Room(this.#lanes, plan.bounds)
    this.#backlog = new Backlog(lanes, this.#isShared ? 1 : partitionCount)
    this.#binder = new Binder({
      backlog: this.#backlog,
      partitions: this.#partitions,
      isShared: this.#isShared,
      commons,
      lanes: this.#lanes.all,
      capacity: partitionCount * concurrency,
    })
    this.intake = this.#makeIntake(manager, signals)
    this.#pump = this.#makePump(commons)
    this.#nested = new NestedServer({
      intake: this.intake,
      partitions: this.#partitions,
      graph: new WaitGraph(waitCapacity(plan)),
      acted: () => this.#act(),
      held: ({ window }) => this.#isShared && this.#binder.takeBack(window?.recall() ?? []),
    })
    this.#threads = planThreads(plan, commons, meter(plan, this.closed, this.#metricsSources()))
    const broadcasts = this.#makeBroadcasts()
    this.#broadcasts = broadcasts
    this.#supervisor = new Supervisor(
      this.#threads,
      this.#partitions,
      plan,
      recovery,
      broadcasts,
      this.#supervisorEvents(),
    )
    const { elastic } = plan
    this.#elastic =
      elastic && new Elastic(this.#partitions, this.#supervisor, elastic, () => this.#demand())
    this.#renewal = new Renewal(this.#partitions, this.#supervisor, plan.wear, (commands) =>
      this.#requeue(commands),
    )
  }

  /** Names of the handlers that the module has now. */
  get handlers(): readonly string[] {
    return this.intake.types.names
  }

  /**
   * Submits a command for a worker pool.
   *
   * @param lane - Name of its lane.
   * @param type - Name of its handler.
   * @param payload - Its payload.
   * @param options - Its options.
   * @param settle - Called once.
   * @throws The error that keeps it from being accepted.
   */
  submit(
    lane: string,
    type: string,
    payload: unknown,
    options: CommandOptions,
    settle: (outcome: CommandOutcome) => void,
  ): Command {
    const command = this.intake.make(lane, type, payload, options, true)
    this.intake.enter(command, settle as (outcome: unknown) => void)
    return command
  }

  /**
   * Ends a command unless it has started.
   *
   * @param command - From {@link Runtime.submit}.
   * @param reason - Why.
   */
  withdraw(command: Command, reason: unknown): void {
    this.interruptions.withdraw(command, reason)
  }

  /** Starts the threads; calling it again gives the same promise. */
  start(): Promise<void> {
    this.#starting ??= outside(() => this.#start())
    return this.#starting
  }

  /**
   * Starts at once, without a handler module: threads come with commands, each of which names its
   * module.
   */
  open(): void {
    const { entry } = this.#plan
    const begin = (program: ThreadProgram) => {
      if (this.#isEnding) return
      this.#supervisor.open(program)
      this.grow()
    }
    this.#state = 'running'
    this.intake.types.update([FILE_TYPE], [])
    const program = fileProgram(entry)
    if (program !== undefined) begin(program)
    else void outside(() => findThreadProgram(entry)).then(begin)
  }

  /** Starts threads that present commands need, now and not at the end of the turn. */
  grow(): void {
    if (!this.#isEnding && !this.#renewal.isBusy) this.#elastic?.grow()
  }

  /** Refuses new commands from now on; what was submitted goes on. */
  shutdown(): void {
    if (this.#isEnding) return
    this.#state = 'shutdown'
    this.hub.lane('queue.shutdown.started')
    this.health.changed()
    this.#room.refuseAll(() => laneError('CORELANE_CLOSED', { state: 'shutdown' }))
  }

  /**
   * Refuses new commands and waits for those that were submitted.
   *
   * @param timeoutMs - How long to wait.
   * @throws LaneError `CORELANE_DRAIN_TIMEOUT`.
   */
  drain(timeoutMs: number): Promise<void> {
    this.shutdown()
    return this.#drainage.wait(timeoutMs)
  }

  /** Ends everything; calling it again gives the same promise. */
  close(): Promise<void> {
    this.#closing ??= outside(() => this.#close())
    return this.#closing
  }

  /**
   * Runs a handler once on every partition that has a thread.
   *
   * @param type - Name of the handler.
   * @param payload - Copied to each.
   * @param options - Checked.
   */
  async broadcast(type: string, payload: unknown, options: BroadcastOptions): Promise<unknown[]> {
    const later = this.#whenStarted(() => this.broadcast(type, payload, options))
    if (later !== undefined) return later
    this.#refuseUnlessRunning()
    return this.#broadcasts.run(this.intake.types.get(type).name, payload, options)
  }

  /**
   * Replaces every thread: on every partition or, if the module does not load, on none.
   *
   * @param handlers - URL of the module that the new threads load; undefined: the present one.
   */
  async reload(handlers: string | undefined): Promise<void> {
    const later = this.#whenStarted(() => this.reload(handlers))
    if (later !== undefined) return later
    this.#refuseUnlessRunning()
    await this.#renewal.reload(handlers, (own) => {
      this.intake.types.update(this.#threads.types!, own)
      this.#broadcasts.prune(own)
    })
  }

  /** One snapshot. */
  stats(): QueueStats {
    const { strategy } = this.#plan
    const { size } = this.deadLetters
    return takeStats(this.#state, strategy, this.#lanes, this.#room, this.#partitions, size)
  }

  #metricsSources(): MetricsSources {
    return {
      state: () => this.#state,
      lanes: this.#lanes,
      room: this.#room,
      backlog: this.#backlog,
      partitions: this.#partitions,
      deadLetters: this.deadLetters,
    }
  }

  #makeBroadcasts(): Broadcasts {
    const { broadcastTimeoutMs } = this.#plan
    return new Broadcasts(this.#partitions, broadcastTimeoutMs, (incarnation, reason) =>
      this.#supervisor.condemn(incarnation, reason),
    )
  }

  #define(file: string, name: string): FileHandler {
    const { files } = this.#threads
    const handler = { id: files.length, url: handlersUrl(file), name }
    this.#supervisor.define(handler)
    return handler
  }

  /** Handlers that could run at once now, if there were a thread for each. */
  #demand(): number {
    let sum = 0
    for (const lane of this.#lanes.all) {
      sum += Math.min(openCountOf(lane), lane.slots === 0 ? Number.POSITIVE_INFINITY : lane.slots)
    }
    let bound = this.#backlog.size
    for (const { incarnation } of this.#partitions) bound += incarnation?.window.load.count ?? 0
    return Math.ceil(Math.min(sum, bound) / this.#plan.concurrency)
  }

  #makeIntake(manager: CommandManager, signals: AbortListeners): Intake {
    return new Intake({
      plan: this.#plan,
      manager,
      lanes: this.#lanes,
      room: this.#room,
      signals,
      timers: this.#timers,
      refuseUnlessRunning: () => this.#refuseUnlessRunning(),
      whenStarted: (call) => this.#whenStarted(call),
      refuseFailed: (home) => this.#refuseFailed(home),
      define: (file, name) => this.#define(file, name),
      admitted: () => this.#admitted(),
    })
  }

  #makePump(commons: CoordinatorCommons): ResultPump {
    const awake = new AwakeThreads(awakeMemory(), 0, usableCores())
    return new ResultPump(commons, awake, this.#partitions, {
      progressed: (now) => this.#progressed(now),
      isBusy: () => this.#lanes.openCount > 0,
      idled: (now) => this.#binder.rebalance(now),
      leastWorkMs: () => this.#binder.leastWorkUs / 1000,
    })
  }

  get #isEnding(): boolean {
    return this.#state === 'shutdown' || this.#state === 'closed'
  }

  #recovery(): Recovery {
    return new Recovery({
      events: this.hub,
      isClosing: () => this.#state === 'closed',
      maxCrashes: this.#plan.maxCrashes,
      delay: (command, delayMs) => this.#timers.delay(command, delayMs),
      bury: (letter) => this.deadLetters.add(letter),
    })
  }

  #supervisorEvents(): SupervisorEvents & ThreadEvents {
    const hub = this.hub
    const nested = this.#nested
    return {
      ready: () => this.#progressed(nowMs()),
      setBack: () => this.health.changed(),
      requeue: (commands) => this.#requeue(commands),
      detached: ({ index }, runs) => this.#binder.detach(index, runs),
      reattached: ({ index }, runs) => this.#binder.reattach(index, runs),
      failed: (partition, reason) => this.#giveUp(partition, reason),
      lost: ({ index }, reason, isKnown) => {
        if (isKnown) hub.partition('queue.partition.lost', index, reason)
        else hub.failure('queue.partition.lost', index, reason)
        this.health.changed()
      },
      replaced: ({ index }) => {
        hub.partition('queue.partition.replaced', index)
        this.health.changed()
      },
      spawned: (incarnation) => {
        this.#observer?.spawned(incarnation)
        this.hub.thread('queue.partition.spawned', incarnation)
      },
      printed: (incarnation, output, run) => {
        const { partition, threadId, window } = incarnation
        const command = run === undefined ? undefined : window.commandOf(run)
        hub.printed(partition, threadId, output, command)
        return this.#observer?.printed?.(incarnation, output) ?? false
      },
      loaded: (incarnation) => this.#observer?.loaded(incarnation),
      exited: (incarnation, report) => {
        this.#observer?.exited(incarnation, report)
        this.hub.thread('queue.partition.exited', incarnation, report.cause)
      },
      ended: () => {
        this.#progressed(nowMs())
        this.#pump.look()
      },
      rejected: (partition, error) => hub.failure('queue.partition.rejection', partition, error),
      submit: (from, command) => nested.submit(from, command),
      cancel: (from, id) => nested.cancel(from, id),
      untilEnded: (from, id) => nested.untilEnded(from, id),
    }
  }

  /**
   * Lets a call wait until the threads are ready, and starts them if they are not started.
   *
   * @param call - Made in the async context of now.
   * @returns What the call gives; undefined if the manager has started or ends.
   */
  #whenStarted<T>(call: () => Promise<T>): Promise<T> | undefined {
    if (this.#state !== 'created' && this.#state !== 'starting') return undefined
    const context = new CallContext()
    return new Promise<T>((resolve, reject) => {
      this.#early.push({ run: () => resolve(context.call(call, undefined)), fail: reject })
      // A failed start rejects the call.
      if (this.#state === 'created') this.start().catch(() => {})
    })
  }

  /** Makes the calls that waited for the start, even where `shutdown` came after them. */
  #runEarly(): void {
    const isEnding = this.#isEnding
    this.#state = 'running'
    for (const { run } of this.#early.splice(0)) run()
    if (isEnding) {
      this.#state = 'shutdown'
      this.#room.refuseAll(() => laneError('CORELANE_CLOSED', { state: 'shutdown' }))
    }
    this.#settled()
  }

  async #start(): Promise<void> {
    if (this.#state !== 'created') throw laneError('CORELANE_CLOSED', { state: this.#state })
    this.#state = 'starting'
    try {
      const own = await this.#supervisor.start()
      this.intake.types.update(this.#threads.types!, own)
    } catch (error) {
      const wasClosed = this.#closing !== undefined
      this.#state = 'closed'
      this.#pump.stop()
      this.hub.endAll()
      this.#end()
      const reason = wasClosed ? laneError('CORELANE_CLOSED', { state: 'closed' }, error) : error
      for (const { fail } of this.#early.splice(0)) fail(reason)
      this.#drainage.settled()
      throw reason
    }
    // It may have been closed or shut down meanwhile.
    if (this.#closing !== undefined) throw laneError('CORELANE_CLOSED', { state: 'closed' })
    this.#runEarly()
    this.#elastic?.progressed(nowMs())
  }

  async #close(): Promise<void> {
    this.shutdown()
    this.#state = 'closed'
    for (const { fail } of this.#early.splice(0))
      fail(laneError('CORELANE_CLOSED', { state: 'closed' }))
    this.#urgency.stop()
    this.#elastic?.stop()
    this.interruptions.limits.stop()
    const unbound = [...this.#timers.takeAll(), ...this.#backlog.takeAll(0)]
    const dropped = inSlices(unbound, (command) => {
      // A command that has a timer may be bound, or wait in the backlog as well.
      if (!command.isBound) command.fail(closedError(false), command.home)
    })
    // Threads stop meanwhile: what is bound must not start any more.
    const failures = await this.#supervisor.stop()
    await dropped
    this.#pump.stop()
    this.#settled()
    this.hub.lane('queue.shutdown.complete')
    this.hub.endAll()
    this.#end()
    if (failures.length > 0) {
      throw new AggregateError(failures, `teardown failed on ${failures.length} partitions`)
    }
  }

  #refuseUnlessRunning(): void {
    if (this.#state !== 'running') throw laneError('CORELANE_CLOSED', { state: this.#state })
  }

  #admitted(): void {
    this.#pump.expect()
    if (!this.#isFlushQueued) this.#queueFlush()
  }

  /** Commands were settled, placed or given up outside the pump, perhaps many in this turn. */
  #act(): void {
    this.#hasActed = true
    if (!this.#isFlushQueued) this.#queueFlush()
  }

  #queueFlush(): void {
    this.#isFlushQueued = true
    void TURN_END.then(this.#flush)
  }

  readonly #flush = (): void => {
    this.#isFlushQueued = false
    endSubmitTurn()
    if (this.#hasActed) {
      this.#hasActed = false
      this.#progressed(nowMs())
      this.#pump.look()
      return
    }
    this.#binder.flush()
    this.grow()
    this.interruptions.limits.plan()
    this.#urgency.set(this.#binder.changesAtMs)
    if (this.#lanes.openCount === 1 && this.#binder.workUs <= LONE_WORK_US) this.#pump.spin()
  }

  #requeue(commands: readonly Command[]): void {
    this.#binder.takeBack(commands)
    this.#progressed(nowMs())
  }

  #progressed(now: number): void {
    this.#nested.progressed()
    this.#binder.refill()
    this.#binder.rebalance(now)
    this.#binder.flush()
    this.interruptions.flush()
    this.#urgency.set(this.#binder.changesAtMs)
    this.#renewal.progressed()
    if (this.#state === 'running' && !this.#renewal.isBusy) this.#elastic?.progressed(now)
    this.health.progressed()
    this.#settled()
  }

  /** Commands were settled: somebody may have waited for that. */
  #settled(): void {
    if (this.#state === 'running') this.#room.release()
    this.#drainage.settled()
  }

  /** Refuses a command whose partition was given up. */
  #refuseFailed(home: number): void {
    const refusal = this.#refusal(home)
    if (refusal !== undefined) throw refusal
  }

  /** Why a command can run nowhere; undefined if it can. */
  #refusal(home: number): LaneError | undefined {
    if (!this.#isShared) return this.#partitions[home]!.failure
    for (const { failure, isDormant } of this.#partitions) {
      if (failure === undefined && !isDormant) return undefined
    }
    return this.#partitions.find(({ failure }) => failure !== undefined)?.failure
  }

  /** Whether no partition gets a thread any more. */
  get #isLost(): boolean {
    const partitions = this.#partitions
    const isFailing = partitions.some(({ failure }) => failure !== undefined)
    return isFailing && partitions.every(({ failure, isDormant }) => failure || isDormant)
  }

  /** Settles what waits for a partition that gets no thread any more. */
  #giveUp(partition: PartitionHandle, reason: LaneError): void {
    this.hub.failure('queue.partition.failed', partition.index, reason)
    this.health.changed()
    if (this.#isShared && !this.#isLost) return
    const stranded = this.#backlog.takeFrom(this.#isShared ? 0 : partition.index, 0)
    void inSlices(stranded, (command) => {
      // Each gets an error of its own: it carries what became of that command.
      command.fail(laneError(reason.code, reason.details, reason.cause), partition.index)
    }).then(() => this.#settled())
  }
}
