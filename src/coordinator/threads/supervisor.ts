// Supervisor: starts the partitions' threads, replaces those that die, and ends them.
// Owns: the life of every incarnation.
// Must not: choose what runs where; it hands back the commands of a dead thread.

import { outside } from '../../base/async-context.ts'
import { timers } from '../../base/clock.ts'
import { type LaneError, laneError, releaseCalls } from '../../base/errors.ts'
import { BELLS_PER_PARTITION } from '../../memory/layout.ts'
import type { FileHandler } from '../../model/handler-module.ts'
import type { ThreadOutput } from '../../model/lane-event.ts'
import { fromSideValue } from '../../wire/side-payload.ts'
import type { Command } from '../command.ts'
import type { ManagerEvents, RunClaim } from '../manager-events.ts'
import type { ElasticPlan } from '../options.ts'
import type { EventHub } from '../results/event-hub.ts'
import { Broadcasts } from './broadcasts.ts'
import {
  Incarnation,
  type NestedRequests,
  type ThreadObserver,
  type ThreadReports,
  type ThreadTerminator,
} from './incarnation.ts'
import type { PartitionHandle } from './partition-handle.ts'
import { type Blame, closedError, type Recovery } from './recovery.ts'
import { detachedRuns, type OrphanedCommand } from './run-watch.ts'
import { isShortage, type LoadLimits, ThreadLoader } from './thread-loader.ts'
import type { ThreadPlan } from './thread-plan.ts'
import { FORBIDDEN, findThreadProgram, type ThreadProgram } from './thread-program.ts'

/** Threads in a row that may die without settling a command before the partition is given up. */
const FAILURES_MAX = 5

/** So long after the first thread is ready others start: to make one keeps its result waiting. */
const REST_DELAY_MS = 10

/** Wait before the second replacement in a row; it doubles with each further one. */
const BACKOFF_MS = 100

/** How patient the supervisor is. */
export interface SupervisorLimits extends LoadLimits {
  /** How long a thread may take to tear down. */
  readonly closeTimeoutMs: number
  /** Threads of one partition that may be given up and not ended when another is started. */
  readonly terminatingMax: number
  /** How long a broadcast may take on each partition. */
  readonly broadcastTimeoutMs: number
  /** Whether partitions have threads only while there is work for them. */
  readonly elastic: ElasticPlan | undefined
}

/** Keeps partitions alive. */
export class Supervisor implements ThreadTerminator, ThreadReports {
  readonly broadcasts: Broadcasts
  readonly loader: ThreadLoader
  readonly #plan: ThreadPlan
  readonly #partitions: readonly PartitionHandle[]
  readonly #events: ManagerEvents
  readonly #limits: SupervisorLimits
  readonly #hub: EventHub
  readonly #nested: NestedRequests
  readonly #observer: ThreadObserver | undefined
  readonly #recovery: Recovery
  /** By thread that is being terminated. */
  readonly #detachedRuns = new WeakMap<Incarnation, readonly RunClaim[]>()
  readonly #watched = new WeakSet<Incarnation>()
  readonly #respawns = new Set<NodeJS.Timeout>()
  #isClosing = false
  #endRestDelay!: () => void
  /** Until then a start makes one thread only. */
  readonly #restDelay = new Promise<void>((resolve) => {
    this.#endRestDelay = resolve
  })
  /** Why the start failed. */
  #failure: LaneError | undefined

  constructor(
    plan: ThreadPlan,
    partitions: readonly PartitionHandle[],
    limits: SupervisorLimits,
    hub: EventHub,
    recovery: Recovery,
    nested: NestedRequests,
    observer: ThreadObserver | undefined,
    events: ManagerEvents,
  ) {
    this.#plan = plan
    this.#partitions = partitions
    this.#limits = limits
    this.#hub = hub
    this.#recovery = recovery
    this.#nested = nested
    this.#observer = observer
    this.#events = events
    this.loader = new ThreadLoader(plan, limits, observer)
    this.broadcasts = new Broadcasts(partitions, limits.broadcastTimeoutMs, this)
  }

  /** Whether the manager ends. */
  get isClosing(): boolean {
    return this.#isClosing
  }

  /**
   * Starts every partition: the first at once, the others with {@link Supervisor.startRest} or soon
   * after the first is ready. Each may run commands as soon as it is ready.
   *
   * @throws ConfigError `CORELANE_INVALID_OPTION` if `new Worker` refuses what it is given,
   * `CORELANE_ENTRY_FAILED` if the program of threads does not run, or `CORELANE_HANDLERS_FAILED`
   * if the handler module cannot be loaded or set up on any of them; every thread has ended then.
   */
  async start(): Promise<void> {
    this.#plan.program = await findThreadProgram(this.#limits.entry)
    if (this.#isClosing) throw laneError('CORELANE_CLOSED', { state: 'closed' })
    // A thread finds out which handlers there are, even if none is needed yet.
    const count = Math.max(1, this.#limits.elastic?.min ?? this.#partitions.length)
    const first = this.#partitions.slice(0, count)
    for (const partition of this.#partitions.slice(count)) partition.vacate('dormant')
    const failures: LaneError[] = []
    const starts = first.map(async (partition, index) => {
      if (index > 0) await this.#restDelay
      try {
        if (failures.length === 0) await this.#startFirst(partition)
        if (index === 0) timers.setTimeout(() => this.startRest(), REST_DELAY_MS).unref()
      } catch (error) {
        failures.push(error as LaneError)
        this.startRest()
      }
    })
    await Promise.all(starts)
    const [failure] = failures
    if (failure !== undefined) {
      if (!this.#isClosing) this.#failure = failure
      this.#isClosing = true
      // Those that run nothing tear down; what the others run is lost at once.
      const ends = this.#living.map((one) =>
        one.window.load.count === 0 ? this.end(one) : one.terminate(),
      )
      await Promise.all(ends)
      await this.terminate()
      throw failure
    }
  }

  /** Lets a start make all its threads, if it has made one only. */
  startRest(): void {
    // What ends lets its threads tear down first.
    if (!this.#isClosing) this.#endRestDelay()
  }

  /** Starts the first thread of a partition. */
  async #startFirst(partition: PartitionHandle): Promise<void> {
    if (this.#isClosing) throw laneError('CORELANE_CLOSED', { state: 'closed' })
    const incarnation = this.make(partition)
    partition.occupy(incarnation)
    await this.loader.load(incarnation)
    this.#watch(incarnation)
    if (!this.#isClosing) this.#events.opened(this.loader.own)
  }

  /**
   * Starts without a handler module and without a thread: {@link Supervisor.spawn} starts them.
   *
   * @param program - What they run.
   */
  open(program: ThreadProgram): void {
    this.#plan.program = program
    this.#plan.types = []
    for (const partition of this.#partitions) partition.vacate('dormant')
    this.loader.switchTo(undefined, [])
  }

  /** Gives a dormant partition a thread. */
  spawn(partition: PartitionHandle): void {
    void this.#replace(partition, false)
  }

  /**
   * Ends the thread of a partition that has nothing to do, until there is need of it again.
   *
   * @param partition - Nothing is bound to it.
   */
  async retire(partition: PartitionHandle): Promise<void> {
    const incarnation = partition.incarnation!
    partition.vacate('dormant')
    await this.end(incarnation)
  }

  /**
   * Ends a thread that gets no more commands, once it has torn down if it was set up. A teardown
   * that fails, or takes too long, holds up nothing.
   */
  async end(incarnation: Incarnation): Promise<void> {
    this.#partitions[incarnation.partition]!.retiring.add(incarnation)
    // Modules whose handlers take the payload alone have no teardown.
    if (incarnation.isSetUp && this.#plan.fileCall !== 'payload') {
      await this.tearDown(incarnation).catch(() => {})
    }
    await this.remove(incarnation)
  }

  /** Ends a thread that has torn down. Until then its partition gets no other for want of one. */
  async remove(incarnation: Incarnation): Promise<void> {
    await incarnation.terminate()
    await incarnation.exited
    this.#partitions[incarnation.partition]!.retiring.delete(incarnation)
    this.#events.threadChanged()
  }

  /** Makes a handler known that commands name. */
  define(file: FileHandler): void {
    this.#plan.files.push(file)
    for (const incarnation of this.#living) incarnation.define(file)
  }

  /**
   * Stops every thread: lets it finish what runs and tear down, then ends it.
   *
   * @returns Why `teardown` failed, for each where it did.
   */
  async stop(): Promise<unknown[]> {
    this.#isClosing = true
    const stopped = new Set<Incarnation>()
    const failures: unknown[] = []
    const isDue = (one: Incarnation) => one.isSetUp && !one.isTerminating && !stopped.has(one)
    // One may be set up while others tear down.
    for (let due = this.#living.filter(isDue); due.length > 0; due = this.#living.filter(isDue)) {
      for (const one of due) stopped.add(one)
      // A thread that died or did not answer in time has nothing to tell of its teardown.
      const ends = due.map((one) => this.tearDown(one).catch(() => undefined))
      failures.push(...(await Promise.all(ends)))
    }
    await this.terminate()
    return failures.filter((failure) => failure !== undefined)
  }

  /**
   * Lets a thread finish what it runs and tear down, once. It takes no commands from now on.
   *
   * @returns Why `teardown` failed, if it did.
   * @throws PartitionLostError if the thread exits; LaneError `CORELANE_CONTROL_TIMEOUT`.
   */
  async tearDown(incarnation: Incarnation): Promise<unknown> {
    incarnation.shut()
    incarnation.window.abortAll()
    const report = await incarnation.stop(this.#limits.closeTimeoutMs)
    return report.ok ? undefined : fromSideValue(report.side)
  }

  /** Ends every thread at once. */
  async terminate(): Promise<void> {
    this.#isClosing = true
    this.#endRestDelay()
    for (const timer of this.#respawns) timers.clearTimeout(timer)
    this.#respawns.clear()
    await Promise.all(
      this.#living.map(async (incarnation) => {
        await incarnation.terminate()
        await incarnation.exited
      }),
    )
  }

  /**
   * Gives a thread up: what it runs is lost, what it has not started runs elsewhere, and another
   * thread is started at once, however long this one takes to end.
   */
  giveUpThread(incarnation: Incarnation, reason: Error): void {
    const partition = this.#partitions[incarnation.partition]!
    // What has exited is replaced for that.
    const isPresent = partition.incarnation === incarnation && incarnation.living !== undefined
    if (this.#isClosing || !isPresent) return
    incarnation.giveUp()
    partition.vacate('waiting')
    partition.terminating.add(incarnation)
    partition.failures = 0
    const lost = incarnation.lostError('running', true, reason)
    this.#lost(partition, lost, true)
    const left = incarnation.window.takeOrphans()
    const runs = detachedRuns(left, incarnation.window.watch.detached)
    this.#detachedRuns.set(incarnation, runs)
    this.#events.detached(partition.index, runs)
    this.#settle(incarnation, left, 'none', reason)
    void incarnation.terminate()
    if (partition.terminating.size <= this.#limits.terminatingMax) this.#respawn(partition, lost)
    this.#events.threadChanged()
  }

  printed(from: Incarnation, output: ThreadOutput, run: number | undefined): boolean {
    const { partition, threadId, window } = from
    const command = run === undefined ? undefined : window.commandOf(run)
    this.#hub.printed(partition, threadId, output, command)
    return this.#observer?.printed?.(from, output) ?? false
  }

  rejected(partition: number, error: unknown): void {
    this.#hub.failure('queue.partition.rejection', partition, error)
  }

  /** A partition has lost its thread; `isKnown`: the caller of some command learns of it. */
  #lost(partition: PartitionHandle, reason: LaneError, isKnown: boolean): void {
    partition.losses++
    if (isKnown || this.#observer !== undefined)
      this.#hub.partition('queue.partition.lost', partition.index, reason)
    else this.#hub.failure('queue.partition.lost', partition.index, reason)
    this.#events.partitionChanged()
  }

  /**
   * Makes a thread that is not the partition's present one yet.
   *
   * @param handlers - URL of the module that it loads. Default: that of the other threads.
   * @throws ConfigError `CORELANE_INVALID_OPTION` if `new Worker` refuses what it is given;
   * PartitionLostError for want of threads or memory, or if so many do not end that there is no
   * bell for it, as after reloads.
   */
  make(
    partition: PartitionHandle,
    handlers: string | undefined = this.#plan.handlers,
  ): Incarnation {
    const { index } = partition
    const count = this.#living.filter((one) => one.partition === index).length
    if (count === BELLS_PER_PARTITION) throw partition.hindrance
    const incarnations = ++partition.incarnations
    try {
      const { kept } = this.broadcasts
      const plan = { ...this.#plan, handlers }
      // Its ports and its thread call back in the context in which they were made.
      return outside(() => {
        const incarnation = new Incarnation(plan, index, incarnations, kept, this, this.#nested)
        this.broadcasts.join(incarnation)
        this.#observer?.spawned?.(incarnation)
        this.#hub.thread('queue.partition.spawned', incarnation)
        void incarnation.exited.then((report) => {
          this.#observer?.exited?.(incarnation, report)
          this.#hub.thread('queue.partition.exited', incarnation, report.cause)
        })
        return incarnation
      })
    } catch (error) {
      throw refused(error, index)
    }
  }

  /**
   * Makes a thread that has loaded its handlers the partition's present one. If it has died since,
   * it is replaced as a thread that dies later. Its caller ends the one before.
   *
   * @param isAnother - Whether it replaces one.
   */
  adopt(partition: PartitionHandle, incarnation: Incarnation, isAnother = true): void {
    partition.occupy(incarnation)
    incarnation.open()
    this.#watch(incarnation)
    if (isAnother) {
      this.#hub.partition('queue.partition.replaced', partition.index)
      this.#events.partitionChanged()
    }
    this.#events.threadChanged()
  }

  /** Every thread that has not ended; a present one that ends is among the retiring ones too. */
  get #living(): Incarnation[] {
    const all = this.#partitions.flatMap(({ incarnation, successor, retiring, terminating }) =>
      [incarnation, successor, ...retiring, ...terminating].flatMap((one) => one?.living ?? []),
    )
    return [...new Set(all)]
  }

  #watch(incarnation: Incarnation): void {
    if (this.#watched.has(incarnation)) return
    this.#watched.add(incarnation)
    outside(() => void incarnation.exited.then(() => this.#onExit(incarnation)))
  }

  #onExit(incarnation: Incarnation): void {
    const partition = this.#partitions[incarnation.partition]!
    const { window, number } = incarnation
    const wasPresent = partition.incarnation === incarnation
    const runs = this.#detachedRuns.get(incarnation)
    if (runs !== undefined) this.#events.reattached(partition.index, runs)
    else for (const { group } of window.watch.detached) group?.leave()
    const wasHindering = partition.terminating.size > this.#limits.terminatingMax
    partition.terminating.delete(incarnation)
    // Results that it finished count, unless it was given up before.
    const left = incarnation.isTerminating ? [] : window.takeOrphans()
    this.#plan.commons.reclaim(partition.index, number)
    const ran = left.filter(({ started }) => started).map(({ command }) => command)
    const running = ran.length + window.watch.detachedCount
    if (this.#isClosing) {
      for (const { command, started } of left)
        command.fail(closedError(started, this.#failure), partition.index)
    } else {
      if (!incarnation.isTerminating) incarnation.crashed(ran)
      this.#settle(incarnation, left, running === 1 ? 'sole' : 'suspect')
    }
    // Where it has not loaded, the method that has started it starts the next.
    if (!this.#isClosing && wasPresent && incarnation.isLoaded) {
      const hasSettled = window.completed > 0 || running > 0
      partition.failures = hasSettled ? 0 : partition.failures + 1
      // Commands get it that waited for the partition, should it get no other thread.
      const reason = incarnation.lostError('waiting', false)
      this.#lost(partition, reason, running > 0)
      this.#respawn(partition, reason)
    } else if (!this.#isClosing && wasHindering && partition.state === 'waiting') {
      this.#respawn(partition, incarnation.lostError('ending', false))
    }
    this.#events.threadChanged()
  }

  /**
   * Settles what a thread left or queues it again.
   *
   * @param reason - Why the thread was given up; undefined if it ended by itself.
   */
  #settle(
    incarnation: Incarnation,
    left: readonly OrphanedCommand[],
    blame: Blame,
    reason?: Error,
  ): void {
    const { partition } = incarnation
    const waiting: Command[] = []
    for (const { command, started } of left) {
      if (started) {
        const error = incarnation.lostError('running', true, reason)
        if (this.#recovery.lost(command, error, partition, blame)) waiting.push(command)
      } else if (command.transferList !== undefined) {
        const stage = 'bound, its transferred memory gone'
        command.fail(incarnation.lostError(stage, false, reason), partition)
      } else waiting.push(command)
    }
    this.#events.requeue(waiting)
  }

  #respawn(partition: PartitionHandle, reason: LaneError): void {
    const { failures } = partition
    // An elastic one gets another as soon as there is need of it; once one was given up none would.
    const hasFailed = this.#partitions.some(({ state }) => state === 'failed')
    const isLater = this.#limits.elastic !== undefined && failures === 0 && !hasFailed
    partition.vacate(failures > FAILURES_MAX ? 'failed' : isLater ? 'dormant' : 'waiting')
    partition.setback = reason
    releaseCalls(reason)
    this.#events.partitionChanged()
    if (partition.state === 'failed') this.#events.gaveUp(partition.index, reason)
    if (partition.state !== 'waiting') return
    const delayMs = failures === 0 ? 0 : BACKOFF_MS * 2 ** (failures - 1)
    const timer = timers.setTimeout(() => {
      this.#respawns.delete(timer)
      // A reload may have given it a thread meanwhile.
      if (partition.state === 'waiting' && !this.#isClosing) void this.#replace(partition)
    }, delayMs)
    this.#respawns.add(timer)
  }

  async #replace(partition: PartitionHandle, isAnother = true): Promise<void> {
    let incarnation: Incarnation | undefined
    try {
      incarnation = this.make(partition)
      partition.occupy(incarnation)
      if (this.#plan.handlers === undefined && !this.#living.some(({ isLoaded }) => isLoaded)) {
        // Commands start nowhere sooner, and it needs nothing more of the main thread.
        this.#watch(incarnation)
        incarnation.open()
      }
      await this.loader.load(incarnation)
    } catch (error) {
      // Whatever takes its place, or takes it away, ends it.
      const isPresent = () => partition.incarnation === incarnation
      if (incarnation !== undefined && isPresent()) await this.end(incarnation)
      if (this.#isClosing || !isPresent()) return
      partition.losses++
      // No other module or option would mend a shortage: it is tried again until that is over.
      if (partition.failures < FAILURES_MAX || !isShortage(error)) partition.failures++
      this.#respawn(partition, error as LaneError)
      return
    }
    if (partition.incarnation === incarnation) this.adopt(partition, incarnation, isAnother)
  }
}

/** The error of a thread, or of its memory, that Node.js does not make. */
function refused(error: unknown, partition: number): LaneError {
  const { code, name } = error as NodeJS.ErrnoException
  if (isShortage(error)) {
    const details = { partition, reason: String(error), stage: 'waiting', started: false }
    return laneError('CORELANE_PARTITION_LOST', details, error)
  }
  if (code === 'ERR_ACCESS_DENIED') return laneError('CORELANE_INVALID_OPTION', FORBIDDEN, error)
  // What `new Worker` refuses has a code.
  const [option, maker] =
    name === 'RangeError' && code === undefined
      ? ['ringBytes', 'SharedArrayBuffer']
      : ['workerData, env, execArgv or resourceLimits', 'Worker']
  const details = {
    option: `QueueManager ${option}`,
    received: `refused by new ${maker} (${String(error)})`,
    allowed: `what new ${maker} takes`,
  }
  return laneError('CORELANE_INVALID_OPTION', details, error)
}
