// Runtime: the parts of one manager, wired together, and what each step of its life does to them.
// Owns: the instances of its parts.

import { AbortListeners } from '../base/abort-listeners.ts'
import { Alarm } from '../base/alarm.ts'
import { outside, TURN_END } from '../base/async-context.ts'
import { nowMs } from '../base/clock.ts'
import { invariant, type LaneError, laneError, show } from '../base/errors.ts'
import { inSlices } from '../base/slices.ts'
import { AwakeThreads, awakeMemory } from '../memory/awake-threads.ts'
import { CoordinatorCommons } from '../memory/commons.ts'
import type { CommandOptions } from '../model/command.ts'
import { FILE_COUNT_MAX, FILE_INDEX, type FileHandler } from '../model/handler-module.ts'
import { type LanePlan, laneNeeds } from '../model/lane.ts'
import { SeatState } from '../schedule/group-ring.ts'
import { Backpressure } from './admission/backpressure.ts'
import { Intake } from './admission/intake.ts'
import { NestedServer, type RefusableWait } from './admission/nested-server.ts'
import { WaitGraph, waitCapacity } from './admission/wait-graph.ts'
import type { Command, CommandManager } from './command.ts'
import { CommandTimers } from './command-timers.ts'
import { usableCores } from './cores.ts'
import { Backlog } from './dispatch/backlog.ts'
import { Dispatcher } from './dispatch/dispatcher.ts'
import { Rebalancer } from './dispatch/rebalancer.ts'
import { type LaneChanges, LaneControl } from './lane-control.ts'
import { LaneTable } from './lane-table.ts'
import { type LateCall, LifeCycle } from './life-cycle.ts'
import type { ManagerEvents, RunClaim } from './manager-events.ts'
import { ManagerHealth } from './manager-health.ts'
import type { ManagerPort } from './manager-port.ts'
import { meter } from './metrics-reader.ts'
import { type BroadcastOptions, handlersUrl, isShared, type ManagerPlan } from './options.ts'
import { DeadLetterQueue } from './results/dead-letter-queue.ts'
import { EventHub } from './results/event-hub.ts'
import { ResultPump } from './results/result-pump.ts'
import type { Settler } from './settlement.ts'
import { type QueueStats, takeStats } from './stats.ts'
import { Elastic } from './threads/elastic.ts'
import type { Incarnation, ThreadObserver } from './threads/incarnation.ts'
import { Interruptions } from './threads/interruptions.ts'
import { PartitionHandle } from './threads/partition-handle.ts'
import { closedError, Recovery } from './threads/recovery.ts'
import { Renewal } from './threads/renewal.ts'
import { Supervisor } from './threads/supervisor.ts'
import { planThreads, type ThreadPlan } from './threads/thread-plan.ts'
import { fileProgram, findThreadProgram, type ThreadProgram } from './threads/thread-program.ts'

/** A lone command that is estimated to run no longer is waited for without leaving the turn. */
const LONE_WORK_US = 10

/** What a queue manager is made of, and its life. */
export class Runtime implements CommandManager, ManagerEvents, ManagerPort {
  readonly events: EventHub
  readonly timers: CommandTimers
  readonly signals = new AbortListeners()
  readonly life: LifeCycle
  readonly recovery: Recovery
  readonly intake: Intake
  readonly deadLetters: DeadLetterQueue
  readonly health: ManagerHealth
  readonly #plan: ManagerPlan
  readonly #lanes: LaneTable
  readonly #backpressure: Backpressure
  readonly #partitions: readonly PartitionHandle[]
  readonly #backlog: Backlog
  readonly #dispatcher: Dispatcher
  readonly #rebalancer: Rebalancer
  readonly #laneChanges: LaneChanges
  readonly #pump: ResultPump
  readonly #threads: ThreadPlan
  readonly #supervisor: Supervisor
  readonly #interruptions: Interruptions
  readonly #nested: NestedServer
  readonly #renewal: Renewal
  readonly #elastic: Elastic | undefined
  readonly #observer: ThreadObserver | undefined
  readonly #urgency = new Alarm(() => this.progressed(nowMs()))
  #isFlushQueued = false
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
    const { partitionCount, concurrency, elastic } = plan
    this.#observer = observer
    const needs = plan.lanes.map((lane) => laneNeeds(lane, partitionCount * concurrency))
    const commons = new CoordinatorCommons(partitionCount, needs)
    const partitions = Array.from({ length: partitionCount }, (_, i) => new PartitionHandle(i))
    const lanes = new LaneTable(plan.lanes, needs)
    const awake = new AwakeThreads(awakeMemory(), 0, usableCores())
    const shared = isShared(plan)
    this.#plan = plan
    this.#lanes = lanes
    this.#partitions = partitions
    this.life = new LifeCycle(lanes, this.signals)
    this.events = new EventHub((isListening) => commons.listen(isListening))
    this.timers = new CommandTimers(this)
    this.deadLetters = new DeadLetterQueue(plan.deadLetterCapacity, this.events, this)
    this.#pump = new ResultPump(commons, awake, partitions, this)
    const { events, life, timers, signals, deadLetters } = this
    this.recovery = new Recovery(events, timers, deadLetters, plan, life)
    this.#backlog = new Backlog(plan.lanes, shared ? 1 : partitionCount)
    const backlog = this.#backlog
    const { all } = lanes
    this.#dispatcher = new Dispatcher(backlog, partitions, all, commons, shared, concurrency)
    const dispatcher = this.#dispatcher
    this.#rebalancer = new Rebalancer(dispatcher, backlog, partitions, all, shared)
    const room = new Backpressure(lanes, plan.bounds)
    this.#backpressure = room
    this.intake = new Intake(plan, this, life, lanes, room, dispatcher, timers, signals, this)
    const waits = waitCapacity(plan, partitions)
    const graph = new WaitGraph<RefusableWait>(waits)
    this.#nested = new NestedServer(this.intake, partitions, graph, dispatcher, life, this)
    this.#laneChanges = {
      dispatcher,
      commons,
      events,
      manager: this,
      capacity: partitionCount * concurrency,
      laneSlots: waits.laneSlots,
      nested: this.#nested,
      plans: plan.lanes,
    }
    const sources = { life, lanes, backpressure: room, backlog, partitions, deadLetters }
    const tallies = meter(plan, this.closed, sources)
    this.#threads = planThreads(plan, commons, tallies)
    this.#supervisor = new Supervisor(
      this.#threads,
      partitions,
      plan,
      events,
      this.recovery,
      this.#nested,
      observer,
      this,
    )
    const supervisor = this.#supervisor
    this.#interruptions = new Interruptions(partitions, supervisor, plan.timeoutGraceMs, this)
    this.#elastic = elastic && new Elastic(partitions, supervisor, elastic, this)
    this.#renewal = new Renewal(partitions, supervisor, plan.wear, this)
    this.health = new ManagerHealth(plan, partitions, life)
  }

  // ── Its life ─────────────────────────────────────────────────────────────────────────────────

  get handlers(): readonly string[] {
    return this.intake.types.names
  }

  submit(
    lane: string,
    type: string,
    payload: unknown,
    options: CommandOptions,
    settler: Settler,
    isWatched: boolean,
    carrier?: string,
    now: number = nowMs(),
  ): Command {
    this.life.refuseUnlessRunning()
    const { intake } = this
    const { commandId } = settler
    const command = intake.make(lane, type, payload, options, true, undefined, true, now)
    if (commandId !== undefined) command.extras!.name = commandId
    if (carrier !== undefined) command.carry(carrier)
    const seat = command.groupSeat
    if (seat !== undefined) seat.state = SeatState.NAMED
    intake.enter(command, settler, isWatched)
    return command
  }

  queued(from: number, atMs: number, now: number): void {
    this.#dispatcher.queued(from, this.next, atMs, now)
  }

  get next(): number {
    return this.intake.next
  }

  withdraw(command: Command, reason: unknown): void {
    this.#interruptions.withdraw(command, reason)
  }

  stop(command: Command, reason: unknown): void {
    if (!command.isSettled) this.#interruptions.stopRun(command, reason)
  }

  /** Starts all threads; calling it again gives the same promise. */
  start(): Promise<void> {
    this.#supervisor.startRest()
    return this.#begin()
  }

  /** Starts without a handler module. Gives the error of `new Worker`, if that refused a thread. */
  open(): unknown {
    const begin = (program: ThreadProgram) => {
      if (this.life.state === 'closed') return
      this.#supervisor.open(program)
      this.grow()
    }
    this.life.begin()
    this.life.ready()
    const program = fileProgram(this.#plan.entry)
    if (program !== undefined) begin(program)
    else void outside(() => findThreadProgram(this.#plan.entry)).then(begin)
    return this.#partitions[0]!.setback?.cause
  }

  /** The present threads of the partitions, ready or not. */
  get threads(): Incarnation[] {
    return this.#partitions.flatMap(({ incarnation }) => incarnation ?? [])
  }

  /** Starts threads that present commands need. */
  grow(): void {
    if (this.life.state !== 'closed' && !this.#renewal.isSwitching) this.#elastic?.grow()
  }

  /** Does the work of the turn's end, if all may start at once: the main thread may block now. */
  hasten(): void {
    if (this.#lanes.openCount > this.#laneChanges.capacity) return
    this.grow()
    this.#dispatcher.refill()
    this.#dispatcher.flush()
  }

  /** Refuses new commands from now on; what was submitted goes on. */
  shutdown(): void {
    if (!this.life.shutDown()) return
    this.events.lane('queue.shutdown.started')
    this.health.changed()
    // From now on calls that wait are made once all threads are ready.
    if (this.life.earlyCount > 0) this.#supervisor.startRest()
    this.#refuseWaiting()
  }

  /**
   * Refuses new commands and waits for those that were submitted.
   *
   * @param timeoutMs - How long to wait.
   * @throws LaneError `CORELANE_DRAIN_TIMEOUT`.
   */
  drain(timeoutMs: number): Promise<void> {
    this.shutdown()
    return this.life.drained(timeoutMs)
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
  broadcast(type: string, payload: unknown, options: BroadcastOptions): Promise<unknown[]> {
    return this.onceStarted(async () =>
      this.#supervisor.broadcasts.run(this.intake.types.get(type).name, payload, options),
    )
  }

  /**
   * Takes a CPU profile of a partition's thread.
   *
   * @param index - Of the partition.
   * @param durationMs - Checked.
   */
  profile(index: number, durationMs: number): Promise<string> {
    return this.onceStarted(async () => {
      const living = this.#partitions[index]?.incarnation?.living
      if (living !== undefined) return living.profile(durationMs)
      throw laneError('CORELANE_INVALID_OPTION', {
        option: 'profilePartition.index',
        received: show(index),
        allowed: 'the index of a partition that has a thread',
      })
    })
  }

  /**
   * Replaces every thread: on every partition or, if the module does not load, on none.
   *
   * @param handlers - URL of the module that the new threads load; undefined: the present one.
   */
  reload(handlers: string | undefined): Promise<void> {
    return this.onceStarted(() =>
      this.#renewal.reload(handlers, (own) => {
        this.intake.types.update(this.#threads.types!, own)
        this.#supervisor.broadcasts.prune(own)
      }),
    )
  }

  /** One snapshot. */
  stats(): QueueStats {
    return takeStats(
      this.life.state,
      this.#plan.strategy,
      this.#lanes,
      this.#backpressure,
      this.#backlog.turns,
      this.#partitions,
      this.deadLetters.size,
    )
  }

  #refuseWaiting(): void {
    this.#backpressure.refuseAll(() => laneError('CORELANE_CLOSED', { state: 'shutdown' }))
  }

  #begin(): Promise<void> {
    this.#starting ??= outside(() => this.#start())
    return this.#starting
  }

  async #start(): Promise<void> {
    this.life.begin()
    this.events.look()
    try {
      await this.#supervisor.start()
    } catch (error) {
      if (this.#closing !== undefined)
        throw laneError('CORELANE_CLOSED', { state: 'closed' }, error)
      if (!this.life.isEnding) this.events.lane('queue.shutdown.started')
      this.life.close(error)
      this.health.changed()
      await this.#dropUnbound(() => closedError(false, error as LaneError))
      this.#ended()
      throw error
    }
    // It may have been closed or shut down meanwhile.
    if (this.#closing !== undefined) throw laneError('CORELANE_CLOSED', { state: 'closed' })
    this.life.ready()
    // What came before the shutdown waits for no room.
    if (this.life.isEnding) this.#refuseWaiting()
    this.progressed(nowMs())
  }

  async #close(): Promise<void> {
    this.shutdown()
    this.life.close(laneError('CORELANE_CLOSED', { state: 'closed' }))
    // A getter of a payload has called it: the backlog is being looked through.
    if (this.#dispatcher.isBinding) await TURN_END
    const drop = () => this.#dropUnbound(() => closedError(false))
    const dropped = drop()
    // Threads stop meanwhile: what is bound must not start any more.
    const failures = await this.#supervisor.stop()
    await dropped
    // A getter of options has called it, and only then was its command admitted.
    await drop()
    this.#ended()
    if (failures.length > 0) {
      throw new AggregateError(failures, `teardown failed on ${failures.length} partitions`)
    }
  }

  /** Ends the commands that have not started. */
  #dropUnbound(errorOf: () => LaneError): Promise<void> {
    this.#urgency.stop()
    this.#elastic?.stop()
    this.#interruptions.stop()
    this.#backpressure.refuseAll(errorOf)
    for (const { window } of this.#partitions) this.#dispatcher.takeBack(window?.recall() ?? [])
    const unbound = [...this.timers.takeAll(), ...this.#backlog.takeAll(0)]
    return inSlices(unbound, (command) => {
      // A command that has a timer may be bound, or wait in the backlog as well.
      if (!command.isBound) command.fail(errorOf(), command.home)
    })
  }

  /** Every thread and every command has ended. */
  #ended(): void {
    this.#pump.stop()
    this.#settled()
    this.events.lane('queue.shutdown.complete')
    this.events.endAll()
    this.#end()
  }

  // ── Events of its parts ──────────────────────────────────────────────────────────────────────

  whenStarted<T>(
    call: LateCall<T>,
    isOne = false,
    lane?: string,
    options?: CommandOptions,
  ): Promise<T> | undefined {
    const { life } = this
    const isFirst = life.state === 'created'
    if (!isFirst && life.state !== 'starting') return undefined
    const later = life.wait(call, isOne, lane, options)
    // A failed start rejects the call.
    if (isFirst) this.#begin().catch(() => {})
    else this.#callFirst()
    // One command needs one thread; others would take their start from it.
    const isServed = isFirst ? isOne : life.earlyCount === 0
    if (!isServed || !isShared(this.#plan)) this.#supervisor.startRest()
    return later
  }

  async onceStarted<T>(call: LateCall<T>): Promise<T> {
    const later = this.whenStarted(call)
    if (later !== undefined) return later
    this.life.refuseUnlessRunning()
    return call(nowMs())
  }

  opened(own: readonly string[]): void {
    this.intake.types.update(this.#threads.types!, own)
    this.progressed(nowMs())
  }

  /**
   * Gives threads that are ready something to run while others start: none gets more than it can
   * run at once, since what was moved to it could not go to another any more.
   */
  #callFirst(): void {
    const { concurrency } = this.#plan
    const hasRun = ({ window }: PartitionHandle) =>
      window !== undefined && window.load.openCount < concurrency
    while (this.life.isNextForOne() && this.#partitions.some(hasRun)) this.life.callNext()
  }

  abort(command: Command, reason: unknown): void {
    this.#interruptions.abort(command, reason)
  }

  /** Ends a command, and the thread where it runs: see the option `kill` of commands. */
  kill(command: Command, reason: unknown): void {
    if (!command.isSettled) this.#interruptions.abort(command, reason, true)
  }

  define(file: string, name: string): FileHandler {
    const { files } = this.#threads
    invariant(files.length < FILE_COUNT_MAX, 'commands name so many handlers at most')
    const handler = { id: FILE_INDEX - files.length, url: handlersUrl(file), name }
    this.#supervisor.define(handler)
    return handler
  }

  admitted(): void {
    if (!this.#isFlushQueued) this.#queueFlush()
  }

  refusal(home: number): LaneError | undefined {
    return this.#dispatcher.refusal(home)
  }

  place(command: Command): void {
    this.#dispatcher.place(command)
  }

  acted(): void {
    this.#hasActed = true
    if (!this.#isFlushQueued) this.#queueFlush()
  }

  resubmit(
    lane: string,
    type: string,
    payload: unknown,
    options: CommandOptions,
    onRefused: () => void,
  ): Promise<unknown> {
    // A letter may come while threads start, of a command that ran on the first of them.
    if (this.life.state !== 'starting') this.life.refuseUnlessRunning()
    return this.intake.admit(this.intake.make(lane, type, payload, options, false), { onRefused })
  }

  progressed(now: number): void {
    this.#nested.progressed()
    this.#callFirst()
    this.#dispatcher.lookAhead(now, this.intake.next)
    this.#dispatcher.refill()
    this.#rebalancer.rebalance(now)
    this.#dispatcher.flush()
    this.#interruptions.flush()
    this.#urgency.set(this.#dispatcher.changesAtMs)
    this.#renewal.progressed()
    if (this.life.state !== 'running' || this.#renewal.isBusy) this.grow()
    else this.#elastic?.progressed(now)
    this.health.progressed()
    this.#settled()
  }

  idled(now: number): boolean {
    // Of a lane with a rate commands have started, perhaps, and more may be bound.
    this.#dispatcher.refill()
    const isWaiting = this.#rebalancer.rebalance(now)
    this.#dispatcher.flush()
    return isWaiting
  }

  isBusy(): boolean {
    return this.#lanes.openCount > 0
  }

  doze(now: number): number {
    return this.#dispatcher.doze(now)
  }

  hasYounger(): boolean {
    return this.#dispatcher.hasYounger
  }

  demand(): number {
    return this.#observer?.demand?.() ?? this.#dispatcher.demand()
  }

  /** The lanes with their present limits, in the order they were given. */
  get lanePlans(): readonly LanePlan[] {
    return this.#lanes.all.map(({ plan }) => plan)
  }

  /** What users may change of a lane. */
  lane(name: string): LaneControl {
    return new LaneControl(this.#lanes.get(name), this.#laneChanges)
  }

  requeue(commands: readonly Command[]): void {
    this.#dispatcher.takeBack(commands)
    this.progressed(nowMs())
  }

  partitionChanged(): void {
    this.health.changed()
  }

  detached(partition: number, runs: readonly RunClaim[]): void {
    this.#dispatcher.detach(partition, runs)
  }

  reattached(partition: number, runs: readonly RunClaim[]): void {
    this.#dispatcher.reattach(partition, runs)
  }

  gaveUp(partition: number, reason: LaneError): void {
    this.events.failure('queue.partition.failed', partition, reason)
    this.#observer?.gaveUp?.()
    this.health.changed()
    // Handlers may wait for commands that only this partition could have run.
    this.#nested.lowered()
    this.acted()
    void inSlices(this.#dispatcher.takeStranded(partition), (command) => {
      // Each gets an error of its own: it carries what became of that command.
      command.fail(laneError(reason.code, reason.details, reason.cause), partition)
    }).then(() => this.#settled())
  }

  threadChanged(): void {
    this.progressed(nowMs())
    this.#pump.look()
  }

  #queueFlush(): void {
    this.#isFlushQueued = true
    void TURN_END.then(this.#flush)
  }

  readonly #flush = (): void => {
    this.#isFlushQueued = false
    this.intake.endTurn()
    this.events.look()
    const isLone = !this.#hasActed && this.#lanes.openCount === 1
    this.#pump.expect(isLone)
    if (this.#hasActed) {
      this.#hasActed = false
      this.progressed(nowMs())
      this.#pump.look()
      return
    }
    this.#dispatcher.flush()
    this.grow()
    this.#interruptions.planCheck()
    this.#urgency.set(this.#dispatcher.changesAtMs)
    if (isLone) this.#pump.waitForOne(this.#dispatcher.workUs <= LONE_WORK_US)
  }

  /** Commands were settled: submits that wait for room, or `drain`, may go on. */
  #settled(): void {
    // After the shutdown those of handlers alone wait.
    if (this.life.state !== 'closed') this.#backpressure.release()
    this.life.settled()
  }
}
