// Run: has the deliveries of a worker run by its queue manager, and decides how they end.
// Owns: the runs. Each delivery leaves exactly one way.
// Must not: talk to the queue (acks, limits) or decide how much to take from it (fetch).

import { atTurnEnd } from '../../base/async-context.ts'
import { epochMs, nowMs } from '../../base/clock.ts'
import { codeOf, laneError, show } from '../../base/errors.ts'
import { checkGiven } from '../../base/options.ts'
import { COMMAND_RULES } from '../../model/command.ts'
import { planLane } from '../../model/lane.ts'
import type { Delivery } from '../contract/distributed-queue.ts'
import { isSealed } from '../contract/envelope.ts'
import { Pause } from '../contract/pause.ts'
import { failedResult, successfulResult } from '../contract/poison.ts'
import { toPortableError } from '../contract/portable-error.ts'
import { Reported } from '../reported.ts'
import { Acknowledger, ProgressReporter, type Starter, StartReporter } from './acks.ts'
import { isTurnOver, judge, lateError, mayRunOn, termsOf } from './disposition.ts'
import type { HeldCommand, RunEnd, WorkerCore } from './held.ts'
import { WorkerLane } from './lane.ts'
import { LaneLimiter } from './limits.ts'

/** How long a command that is handed on is kept back, so that it goes to another worker. */
const HAND_ON_MS_MIN = 250
const HAND_ON_MS_MAX = 5000

/** Commands that are started by one reading of the clock. */
const CLOCK_RUN = 64

/** Part of a lease before whose end it is given up: its run must have stopped by then. */
const MARGIN = 1 / 6

export function leaseMarginMs(leaseMs: number): number {
  return Number.isFinite(leaseMs) ? leaseMs * MARGIN : 0
}

export class Runner implements Starter {
  readonly acknowledger: Acknowledger
  readonly #core: WorkerCore
  readonly #passesKeys: boolean
  readonly #marginMs: number
  readonly #reporter: StartReporter
  readonly #progress: ProgressReporter
  /** Of lanes that share a limit with other workers. */
  readonly #limiters = new Map<WorkerLane, LaneLimiter>()
  readonly #lanes: ReadonlyMap<string, WorkerLane>
  readonly #unknownLane = new WorkerLane(planLane('unknown', {}), false, undefined)
  /** Types without a handler that were reported to the pool. */
  readonly #unknownTypes = new Reported()
  /** Those whose turn has come in this moment. */
  #turns: HeldCommand[] = []
  #isStarting = false
  /** Those that the manager has settled in this turn. */
  #settled: HeldCommand[] = []
  /** Waits for threads to end. */
  readonly #threads = new Pause()
  #isOver = false

  /** @param passesKeys - Whether the manager takes keys. */
  constructor(core: WorkerCore, passesKeys: boolean) {
    const { queue, lanes } = core
    this.#core = core
    this.#passesKeys = passesKeys
    this.#marginMs = leaseMarginMs(queue.leaseMs)
    this.acknowledger = new Acknowledger(core)
    this.#reporter = new StartReporter(core, this)
    this.#progress = new ProgressReporter(core)
    this.#lanes = new Map(lanes.map((lane) => [lane.plan.name, lane]))
    for (const lane of lanes) {
      if (lane.isShared) this.#limiters.set(lane, new LaneLimiter(core, lane, this))
    }
  }

  /** @param paused - Lanes that were paused while these were on their way. */
  take(deliveries: readonly Delivery[], paused: ReadonlySet<string>): void {
    const { held: all, pace, port } = this.#core
    const { next } = port
    const now = nowMs()
    let youngestAtMs = 0
    if (all.size === 0) pace.resume(now)
    for (const delivery of deliveries) {
      youngestAtMs = Math.max(youngestAtMs, delivery.acceptedAtMs)
      const lane = this.#lanes.get(delivery.envelope.laneId) ?? this.#unknownLane
      const held = all.add(delivery, lane)
      if (paused.has(delivery.envelope.laneId)) held.startByMs = 0
      if (held.state === 'READY') this.#turns.push(held)
      // Its key is open again before its turn comes, and an older one of the key comes after it.
      else if (all.isClosed(held)) this.#giveBack(held)
    }
    this.#startAll()
    port.queued(next, youngestAtMs, now)
  }

  submit(held: HeldCommand, now: number = nowMs()): void {
    const { port, queue, held: all } = this.#core
    const leftMs = held.leasedUntilMs - this.#marginMs - now
    if (leftMs < 1) {
      this.lose([held], 'expired')
      return
    }
    const terms = termsOf(held, leftMs, now, this.#passesKeys)
    if (terms === 'late') this.#endLate(held)
    else if (terms === 'turn') this.#giveBack(held)
    else if (terms === 'token') this.#limiters.get(held.lane)!.putBack(held)
    else if (!held.isCounted) this.#reporter.add(held)
    else {
      const { laneId, commandType, payload, options } = held.envelope
      all.submit(held)
      try {
        // What a queue checked need not be checked again.
        if (!isSealed(held.envelope)) checkGiven('command', terms, COMMAND_RULES)
        if (options?.progress === true && queue.commands !== undefined) {
          terms.onProgress = this.#progress.of(held)
        }
        // Leases are watched by their keeper; a token is not.
        const isWatched = held.tokenUntilMs > 0 || held.startByMs !== Number.POSITIVE_INFINITY
        const carrier = options?.trace && JSON.stringify(options.trace)
        held.command = port.submit(
          laneId,
          commandType,
          payload,
          terms,
          held,
          isWatched,
          carrier,
          now,
        )
      } catch (error) {
        this.#notAccepted(held, error)
      }
    }
  }

  /**
   * Gives back commands that have not started.
   *
   * @param isMeant - Which. Default: all.
   */
  giveBack(isMeant: (held: HeldCommand) => boolean = () => true): void {
    const { port, held: all } = this.#core
    for (const held of all.values()) {
      if (!isMeant(held)) continue
      // Those behind another of their key follow when that has left, so that order is kept.
      if (held.state === 'READY') this.#giveBack(held)
      else if (held.state === 'SUBMITTED') {
        // Code of the user, in a payload, may call this while the manager takes the command on.
        if (held.command !== undefined) port.withdraw(held.command, 'its worker gives it back')
      }
    }
  }

  /** A lane was paused: nothing of it starts that has not, also once it is its turn in its key. */
  paused(laneId: string): void {
    const isOfLane = ({ envelope }: HeldCommand) => envelope.laneId === laneId
    for (const held of this.#core.held.values()) if (isOfLane(held)) held.startByMs = 0
    this.giveBack(isOfLane)
  }

  /** The limits of a lane are others: nothing of it starts by the old ones. */
  limited(lane: WorkerLane): void {
    this.giveBack((held) => held.lane === lane)
    const limiter = this.#limiters.get(lane) ?? new LaneLimiter(this.#core, lane, this)
    this.#limiters.set(lane, limiter)
    void limiter.changed()
  }

  /** Ends all runs, and their threads. */
  abortAll(reason: unknown): void {
    for (const held of this.#core.held.values()) {
      if (held.state === 'SUBMITTED') held.abort(reason)
    }
  }

  /**
   * Gives up deliveries.
   *
   * @param why - `expired`: they could not be extended in time; the queue judges ends that are on
   * their way. `taken`: they are not this worker's any more, since another has them or they were
   * cancelled; their ends are stale.
   */
  lose(all: readonly HeldCommand[], why: 'expired' | 'taken'): void {
    const { held: store, events } = this.#core
    const commandIds: string[] = []
    for (const held of all) {
      const mayRun = held.state === 'SUBMITTED'
      if (why === 'taken' && mayRun) {
        // It keeps its place until its thread has let go of it: its key is closed until then.
        if (held.isAborted) continue
        store.tally.lost++
        commandIds.push(held.envelope.id)
        held.abort('its lease was lost')
        continue
      }
      const behind = store.lose(held, why === 'taken')
      if (behind === undefined) continue
      commandIds.push(held.envelope.id)
      this.#limiters.get(held.lane)?.left(held, mayRun)
      if (mayRun) held.abort('its lease was lost')
      // One that was cancelled keeps its key closed until then.
      else this.acknowledger.release(held, 'unstarted')
      this.#return(behind)
    }
    if (commandIds.length === 0) return
    events.incident({ what: `leases-${why}`, commandIds })
    store.progressed()
  }

  /**
   * Stops deliveries whose commands were cancelled. The queue gets them back, for what follows in
   * their keys, once their runs are over; for it they have ended.
   */
  cancelled(fences: readonly string[]): void {
    const { port, held: all } = this.#core
    for (const held of all.values()) {
      if (held.state === 'ENDING' || !fences.includes(held.delivery.fence)) continue
      held.isAborted = true
      if (held.state !== 'SUBMITTED') this.#giveBack(held)
      else if (held.command !== undefined) port.stop(held.command, 'it was cancelled')
    }
  }

  /** Less is held than before: other commands may be reported as started. */
  progressed(): void {
    this.#reporter.progressed()
  }

  /** Keeps the slots of running commands; to be called every third of a lease. */
  keepSlots(): void {
    for (const limiter of this.#limiters.values()) limiter.keep()
  }

  async close(): Promise<void> {
    await Promise.all(Array.from(this.#limiters.values(), (limiter) => limiter.close()))
  }

  /** Tries no more to reach the queue, and waits for no thread. */
  giveUp(): void {
    this.#isOver = true
    this.#threads.end()
    this.acknowledger.giveUp()
    this.#reporter.giveUp()
    this.#progress.giveUp()
    for (const limiter of this.#limiters.values()) limiter.giveUp()
  }

  #startAll(): void {
    if (this.#isStarting) return
    this.#isStarting = true
    // One that ends at once lets the next of its key go on: a loop, since there may be thousands.
    let now = 0
    for (let i = 0; i < this.#turns.length; i++) {
      if (i % CLOCK_RUN === 0) now = nowMs()
      this.#start(this.#turns[i]!, now)
    }
    this.#turns = []
    this.#isStarting = false
  }

  #start(held: HeldCommand, now: number): void {
    const { held: all, quarantine } = this.#core
    const { laneId, partitionId } = held.envelope
    const mayStart = !all.refuses(partitionId) && !all.isClosed(held) && !isTurnOver(held, now)
    if (!mayStart) this.#giveBack(held)
    else if (held.lane === this.#unknownLane) {
      const allowed = [...this.#lanes.keys()].join(', ')
      const error = laneError('CORELANE_UNKNOWN_LANE', { received: show(laneId), allowed })
      this.#deadLetter(held, 'unknown lane', error, 0)
    } else if (!quarantine.admits(held.delivery, all.size === 1)) this.#giveBack(held)
    else {
      const limiter = this.#limiters.size === 0 ? undefined : this.#limiters.get(held.lane)
      if (limiter === undefined || !held.lane.isShared) this.submit(held, now)
      else limiter.add(held)
    }
  }

  #notAccepted(held: HeldCommand, error: unknown): void {
    const run = { isOk: false, value: error, startedAtMs: undefined, durationMs: 0 }
    const next = judge(held.envelope, held.lane.plan, error, run)
    // The command is in order: it is the manager that can run nothing, now or for ever.
    if (next.reason === 'unstarted') this.#core.events.refused(error)
    this.#ended(held, run, nowMs(), 0)
  }

  /** Takes the end of a run, in the middle of the manager's work; it is dealt with soon. */
  settled(held: HeldCommand): void {
    if (this.#settled.push(held) === 1) atTurnEnd(this.#takeSettled)
  }

  readonly #takeSettled = (): void => {
    const settled = this.#settled
    this.#settled = []
    const [now, endedAt] = [nowMs(), epochMs()]
    for (const held of settled) this.#ended(held, held.run!, now, endedAt)
  }

  /** @param endedAt - When its run ended, milliseconds since 1970. */
  #ended(held: HeldCommand, run: RunEnd, now: number, endedAt: number): void {
    const { held: all, pace, queue } = this.#core
    const { isOk, value, durationMs } = run
    all.runEnded()
    pace.ended(now)
    const mayRun = !isOk && (held.isAborted || mayRunOn(value))
    if (mayRun || held.isLost) void this.#endedLater(held, run)
    // After a freeze the lease may be over though no timer has fired yet.
    else if (now >= held.leasedUntilMs) {
      all.unsubmit(held)
      this.lose([held], 'expired')
    } else if (isOk) {
      const { envelope } = held
      const result = successfulResult(envelope, queue.workerId, value, durationMs, endedAt)
      all.tally.completed++
      this.acknowledger.complete(held, result)
      this.#passOn(held)
    } else this.#failed(held, run)
  }

  /** Its thread is being ended: while it still runs no worker may have it, nor start its key. */
  async #endedLater(held: HeldCommand, run: RunEnd): Promise<void> {
    await this.#untilThreadsEnded()
    if (held.isLost) {
      if (held.isLeaving) this.acknowledger.release(held, 'crash')
      this.#core.held.progressed()
    } else if (held.isAborted) this.#giveBack(held)
    else this.#failed(held, run)
  }

  /** Resolves once the threads that were ended have ended, or native code holds one for long. */
  async #untilThreadsEnded(): Promise<void> {
    const { port, plan } = this.#core
    if (port.health.isQuiet || this.#isOver) return
    const stop = port.health.whenQuiet(() => this.#threads.end())
    await this.#threads.wait(plan.closeTimeoutMs)
    stop()
  }

  #failed(held: HeldCommand, run: RunEnd): void {
    const { held: all } = this.#core
    const { envelope, lane } = held
    const { value: error, durationMs } = run
    const isUnstarted = run.startedAtMs === undefined
    if (isUnstarted && codeOf(error) === 'CORELANE_DEADLINE_EXCEEDED') {
      this.#tooLate(held)
      return
    }
    const next = judge(envelope, lane.plan, error, run)
    const isCrash = next.reason === 'crash'
    if (isUnstarted && !isCrash && all.refuses(envelope.partitionId)) this.#giveBack(held)
    else if (isUnstarted && this.#mayHandOn(held, error)) this.#handOn(held, error)
    else if (next.end === 'dead-letter') this.#deadLetter(held, next.reason, error, durationMs)
    else if (next.reason === 'unstarted') this.#giveBack(held)
    else if (isCrash) {
      all.tally.crashed++
      this.#leave(held, 'crash')
    } else {
      all.tally.retried++
      this.acknowledger.release(held, 'retry', next.delayMs)
      this.#passOn(held)
    }
  }

  /** Whether another worker may have its handler, as while a new version is rolled out. */
  #mayHandOn({ delivery }: HeldCommand, error: unknown): boolean {
    if (codeOf(error) !== 'CORELANE_UNKNOWN_TYPE') return false
    const { plan, queue } = this.#core
    const isInTime = nowMs() - delivery.acceptedAtMs < plan.unknownHandlerMs
    return isInTime && queue.capabilities.delay
  }

  #handOn(held: HeldCommand, error: unknown): void {
    const { held: all, events } = this.#core
    const { commandType, id } = held.envelope
    if (this.#unknownTypes.add(commandType)) {
      events.incident({ what: 'handler-unknown', error, commandIds: [id] })
    }
    const ageMs = nowMs() - held.delivery.acceptedAtMs
    const delayMs = Math.min(Math.max(ageMs / 2, HAND_ON_MS_MIN), HAND_ON_MS_MAX)
    all.tally.returned++
    this.acknowledger.release(held, 'unstarted', Math.ceil(delayMs))
    this.#passOn(held)
  }

  /** Its token was over, or its lease was before it was extended, or it is late indeed. */
  #tooLate(held: HeldCommand): void {
    const { held: all } = this.#core
    const limiter = this.#limiters.get(held.lane)
    all.unsubmit(held)
    const isOver = isTurnOver(held, nowMs())
    if (isOver || all.refuses(held.envelope.partitionId)) this.#giveBack(held)
    // Whether its deadline has passed is seen when it is to start the next time.
    else if (limiter !== undefined) limiter.putBack(held)
    else this.submit(held)
  }

  #endLate(held: HeldCommand): void {
    const { held: all, queue } = this.#core
    const { envelope } = held
    const error = lateError(held)
    if (envelope.retryCount > 0) {
      this.#deadLetter(held, 'late', error, 0)
      return
    }
    all.tally.failed++
    this.acknowledger.complete(held, failedResult(envelope, queue.workerId, toPortableError(error)))
    this.#passOn(held)
  }

  #deadLetter(held: HeldCommand, reason: string, error: unknown, durationMs: number): void {
    const { held: all, queue } = this.#core
    all.tally.deadLettered++
    const failure = toPortableError(error)
    const result = failedResult(held.envelope, queue.workerId, failure, durationMs)
    this.acknowledger.deadLetter(held, reason, result)
    this.#passOn(held)
  }

  #giveBack(held: HeldCommand): void {
    this.#core.held.tally.returned++
    this.#leave(held, 'unstarted')
  }

  /** It keeps its place in the order of its key: those behind it go back behind it. */
  #leave(held: HeldCommand, reason: 'unstarted' | 'crash'): void {
    const { held: all } = this.#core
    const behind = all.leave(held)
    this.acknowledger.release(held, reason)
    this.#limiters.get(held.lane)?.left(held)
    this.#return(behind)
    all.progressed()
  }

  #return(behind: readonly HeldCommand[]): void {
    const { held: all } = this.#core
    for (const held of behind) {
      all.tally.returned++
      all.leave(held)
      this.acknowledger.release(held, 'unstarted')
    }
  }

  /** It has left its place in the order of its key: the next goes on. */
  #passOn(held: HeldCommand): void {
    const { held: all } = this.#core
    if (this.#limiters.size > 0) this.#limiters.get(held.lane)?.left(held)
    const next = all.passOn(held)
    if (next !== undefined) {
      this.#turns.push(next)
      this.#startAll()
    }
    all.progressed()
  }
}
