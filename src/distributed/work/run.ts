// Run: has the deliveries of a worker run by its queue manager, and decides how they end.
// Thread: main.   Owns: the runs, and their tally. Each delivery leaves exactly one way.
// Must not: talk to the queue (acks, limits) or decide what is asked of it (fetch).

import { nowMs } from '../../base/clock.ts'
import { laneError, show } from '../../base/errors.ts'
import type { ManagerPort } from '../../coordinator/queue-manager.ts'
import type { CommandOutcome } from '../../model/command.ts'
import { planLane } from '../../model/lane.ts'
import type { Delivery, SettleStatus } from '../contract/distributed-queue.ts'
import { toPortableError } from '../contract/portable-error.ts'
import type { Settlements, StartGate } from './acks.ts'
import { type HeldCommand, Holdings } from './held.ts'
import { WorkerLane } from './lanes.ts'
import type { LaneDesk } from './limits.ts'
import { type Quarantine, Throughput } from './pacing.ts'
import { codeOf, judge, lateError, mayRunOn, resultOf, termsOf } from './verdict.ts'

/** What has become of the commands of a worker. */
export interface WorkerTally {
  /** Deliveries taken. */
  leased: number
  /** Completed with what their handler gave. */
  completed: number
  /** Completed with a failure: they were late. */
  failed: number
  /** Given back to run again after a failure. */
  retried: number
  /** Put among the dead. */
  buried: number
  /** Given back because their thread died. */
  crashed: number
  /** Given back unstarted. */
  returned: number
  /** Leases that were given up or taken away. */
  lost: number
  /** Ends that came too late: the queue had given the command to another worker. */
  stale: number
  /** Ends that the queue took in no form. */
  dropped: number
}

/** A tally of nothing. */
export function newTally(): WorkerTally {
  return {
    leased: 0,
    completed: 0,
    failed: 0,
    retried: 0,
    buried: 0,
    crashed: 0,
    returned: 0,
    lost: 0,
    stale: 0,
    dropped: 0,
  }
}

/** How long a command that is handed on is kept back, so that it goes to another worker. */
const HAND_ON_MS_MIN = 250
const HAND_ON_MS_MAX = 5000

/** What a runner works with. */
export interface RunnerParts {
  /** The manager that runs the commands. */
  readonly port: ManagerPort
  /** Whether it takes keys. */
  readonly passesKeys: boolean
  readonly workerId: string
  readonly lanes: readonly WorkerLane[]
  readonly settlements: Settlements
  /** Reports starts that count only then. */
  readonly gate: StartGate
  /** Has what may be a killer run alone. */
  readonly quarantine: Quarantine
  /** Desks of the lanes of which all workers share a limit, by name of the lane. */
  readonly desks: ReadonlyMap<string, LaneDesk>
  /** Whether commands of one key run one at a time. */
  readonly keepsKeyOrder: boolean
  /** How many partitions the queue has. */
  readonly partitions: number
  /** So long before its end a lease is given up. */
  readonly marginMs: number
  /** So long after its acceptance a command without a handler here is handed on. */
  readonly unknownHandlerMs: number
  /** Whether commands of a partition are given back instead of started. */
  readonly isReturning: (partitionId: number) => boolean
  /** It holds less than before. */
  readonly progressed: () => void
  /** Resolves once the threads that were ended have ended, or cannot be for too long. */
  readonly deaths: () => Promise<void>
  /** Leases were lost. */
  readonly lost: (held: readonly HeldCommand[], why: LossCause) => void
  /** The manager takes nothing at the moment. */
  readonly refused: (error: unknown) => void
  /** The manager's module has no such handler. */
  readonly unknown: (held: HeldCommand, error: unknown) => void
}

/** Why a lease was lost: it could not be extended in time, or the queue says that it has ended. */
export type LossCause = 'expired' | 'taken'

/** Runs commands. */
export class Runner {
  readonly holdings: Holdings
  readonly throughput: Throughput = new Throughput()
  readonly tally: WorkerTally = newTally()
  readonly #parts: RunnerParts
  readonly #lanes: ReadonlyMap<string, WorkerLane>
  readonly #stray = new WorkerLane(planLane('stray', {}), false, undefined)
  #submitted = 0
  /** Those whose turn has come in this moment. */
  #turns: HeldCommand[] = []
  #idleWaiters: (() => void)[] = []

  constructor(parts: RunnerParts) {
    this.#parts = parts
    this.holdings = new Holdings(parts.partitions, parts.keepsKeyOrder)
    this.#lanes = new Map(parts.lanes.map((lane) => [lane.plan.name, lane]))
  }

  /** Commands that the manager has, those included whose lease was given up. */
  get submitted(): number {
    return this.#submitted
  }

  /**
   * Takes deliveries on.
   *
   * @param deliveries - Fresh from the queue.
   */
  take(deliveries: readonly Delivery[]): void {
    if (this.holdings.size === 0) this.throughput.resume(nowMs())
    for (const delivery of deliveries) {
      this.tally.leased++
      const lane = this.#lanes.get(delivery.envelope.laneId) ?? this.#stray
      const held = this.holdings.add(delivery, lane)
      if (!held.isChained) this.#admit(held)
    }
  }

  /**
   * Gives a command to the manager.
   *
   * @param held - One whose turn it is, with whatever permit and place it needs.
   */
  submit(held: HeldCommand): void {
    const { port, passesKeys, marginMs, desks } = this.#parts
    const { laneId, commandType, payload } = held.envelope
    const now = nowMs()
    const leftMs = held.leasedUntilMs - marginMs - now
    if (leftMs < 1) {
      this.lose([held], 'expired')
      return
    }
    const terms = termsOf(held, leftMs, now, passesKeys)
    if (terms === 'late') this.#endLate(held)
    else if (terms === 'permit') desks.get(laneId)!.putBack(held)
    else if (!held.isCounted) this.#parts.gate.add(held)
    else {
      held.stage = 'submitted'
      this.#submitted++
      try {
        const { command, outcome } = port.submit(laneId, commandType, payload, terms)
        held.command = command
        outcome.then(
          (ended) => this.#ended(held, ended),
          (error: unknown) => this.#notAccepted(held, error),
        )
      } catch (error) {
        this.#notAccepted(held, error)
      }
    }
  }

  /**
   * Gives back what has not started.
   *
   * @param isMeant - Which. Default: everything.
   */
  giveBack(isMeant: (held: HeldCommand) => boolean = () => true): void {
    const { port } = this.#parts
    for (const held of [...this.holdings.values()]) {
      if (!isMeant(held)) continue
      // Those behind another of their key follow when that has left, so that order is kept.
      if (held.stage === 'waiting' && !held.isChained) this.#giveBack(held)
      else if (held.stage === 'submitted') {
        // Code of the user, in a payload, may call this while the manager takes the command on.
        if (held.command !== undefined) port.withdraw(held.command, 'its worker gives it back')
      }
    }
  }

  /**
   * Ends what runs, and the threads that it runs on.
   *
   * @param reason - Why.
   */
  abortAll(reason: unknown): void {
    for (const held of [...this.holdings.values()]) {
      if (held.stage === 'submitted') held.abort(reason)
    }
  }

  /**
   * Gives up leases.
   *
   * @param all - Of these; those whose end is on its way to the queue are left to its judgement.
   * @param why - Why.
   */
  lose(all: readonly HeldCommand[], why: LossCause): void {
    const lost: HeldCommand[] = []
    for (const held of all) {
      if (held.stage === 'ended' || !this.#lose(held)) continue
      lost.push(held)
      this.holdings.leave(held)
      if (why === 'taken') this.holdings.left(held)
      else if (held.stage === 'waiting') this.#release(held, 'unstarted')
      for (const next of this.holdings.cut(held)) this.#return(next)
    }
    if (lost.length === 0) return
    this.#parts.lost(lost, why)
    this.#progressed()
  }

  /**
   * The queue knows how a delivery ended. May be told more than once.
   *
   * @param held - The delivery.
   * @param status - Whether it was still this worker's.
   */
  settled(held: HeldCommand, status: SettleStatus): void {
    this.holdings.left(held)
    if (!this.holdings.forget(held)) return
    if (status === 'stale') this.tally.stale++
    this.#progressed()
  }

  /** Resolves once nothing is held and the manager runs nothing of it. */
  idle(): Promise<void> {
    if (this.#isIdle) return Promise.resolve()
    return new Promise((resolve) => {
      this.#idleWaiters.push(resolve)
    })
  }

  get #isIdle(): boolean {
    return this.holdings.size === 0 && this.#submitted === 0
  }

  #progressed(): void {
    this.#parts.gate.progressed()
    this.#parts.progressed()
    if (!this.#isIdle) return
    for (const resolve of this.#idleWaiters.splice(0)) resolve()
  }

  /** It is its turn among those of its key. */
  #admit(held: HeldCommand): void {
    this.#turns.push(held)
    if (this.#turns.length > 1) return
    // One that ends at once lets the next of its key go on: a loop, since there may be thousands.
    for (let i = 0; i < this.#turns.length; i++) this.#start(this.#turns[i]!)
    this.#turns = []
  }

  #start(held: HeldCommand): void {
    const { desks, isReturning, quarantine } = this.#parts
    const { laneId, partitionId } = held.envelope
    if (isReturning(partitionId) || this.holdings.isClosed(held)) this.#giveBack(held)
    else if (held.lane === this.#stray) {
      const allowed = [...this.#lanes.keys()].join(', ')
      const error = laneError('CORELANE_UNKNOWN_LANE', { received: show(laneId), allowed })
      this.#bury(held, 'unknown lane', error, 0)
    } else if (!quarantine.admits(held.delivery, this.holdings.size === 1)) this.#giveBack(held)
    else {
      const desk = desks.get(laneId)
      if (desk === undefined) this.submit(held)
      else desk.add(held)
    }
  }

  /** The manager refused it at once. */
  #notAccepted(held: HeldCommand, error: unknown): void {
    const { laneId: lane, commandType: type, key } = held.envelope
    const rest = { id: '', lane, type, key, attempt: 1, partition: -1, durationMs: 0 }
    const info = { ...rest, startedAtMs: undefined }
    const verdict = judge(held.envelope, held.lane.plan, error, info)
    // The command is in order: it is the manager that can run nothing, now or for ever.
    if (verdict.reason === 'unstarted') this.#parts.refused(error)
    this.#ended(held, { ok: false, error, info })
  }

  #ended(held: HeldCommand, outcome: CommandOutcome): void {
    const now = nowMs()
    this.#submitted--
    this.throughput.ended(now)
    if (held.isLost) void this.#lostEnded(held)
    // After a freeze the lease may be over though nobody has looked yet.
    else if (now >= held.leasedUntilMs) {
      held.stage = 'waiting'
      this.lose([held], 'expired')
    } else if (outcome.ok) {
      const { workerId, settlements } = this.#parts
      const { value, info } = outcome
      this.tally.completed++
      settlements.complete(held, resultOf(held.envelope, workerId, info.durationMs, { value }))
      this.#passOn(held)
    } else if (held.isAborted || mayRunOn(outcome.error)) void this.#failedLater(held, outcome)
    else this.#failed(held, outcome)
  }

  /** Its thread is being ended: nobody may have it, or the next of its key, while it still runs. */
  async #failedLater(
    held: HeldCommand,
    outcome: CommandOutcome & { readonly ok: false },
  ): Promise<void> {
    await this.#parts.deaths()
    if (held.isLost) this.#leaveLost(held)
    else if (held.isAborted) this.#giveBack(held)
    else this.#failed(held, outcome)
  }

  /** A run ended whose lease was given up. */
  async #lostEnded(held: HeldCommand): Promise<void> {
    // Its thread is being ended: nobody may have it while it still runs.
    await this.#parts.deaths()
    this.#leaveLost(held)
  }

  #leaveLost(held: HeldCommand): void {
    if (held.isLeaving) this.#release(held, 'crash')
    this.#progressed()
  }

  #failed(held: HeldCommand, { error, info }: CommandOutcome & { readonly ok: false }): void {
    const { envelope, lane } = held
    const isUnstarted = info.startedAtMs === undefined
    if (isUnstarted && codeOf(error) === 'CORELANE_DEADLINE_EXCEEDED') {
      this.#tooLate(held)
      return
    }
    const verdict = judge(envelope, lane.plan, error, info)
    const isCrash = verdict.reason === 'crash'
    const isReturning = this.#parts.isReturning(envelope.partitionId)
    if (isUnstarted && isReturning && !isCrash) this.#giveBack(held)
    else if (isUnstarted && this.#mayHandOn(held, error)) this.#handOn(held, error)
    else if (verdict.end === 'bury') this.#bury(held, verdict.reason, error, info.durationMs)
    else if (verdict.reason === 'unstarted') this.#giveBack(held)
    else if (verdict.reason === 'crash') {
      this.tally.crashed++
      this.holdings.leave(held)
      this.#release(held, 'crash')
      this.#leaveWithRest(held)
    } else {
      this.tally.retried++
      this.#parts.settlements.release(held, 'retry', verdict.delayMs)
      this.#passOn(held)
    }
  }

  /** Whether another worker may have its handler, as while a new version is rolled out. */
  #mayHandOn({ delivery }: HeldCommand, error: unknown): boolean {
    const { unknownHandlerMs } = this.#parts
    if (codeOf(error) !== 'CORELANE_UNKNOWN_TYPE') return false
    return nowMs() - delivery.acceptedAtMs < unknownHandlerMs
  }

  #handOn(held: HeldCommand, error: unknown): void {
    const ageMs = nowMs() - held.delivery.acceptedAtMs
    const delayMs = Math.min(Math.max(ageMs / 2, HAND_ON_MS_MIN), HAND_ON_MS_MAX)
    this.#parts.unknown(held, error)
    this.tally.returned++
    this.#parts.settlements.release(held, 'unstarted', Math.ceil(delayMs))
    this.#passOn(held)
  }

  /** Its permit was over, or its lease was before it was extended, or it is late indeed. */
  #tooLate(held: HeldCommand): void {
    const { laneId, partitionId } = held.envelope
    const desk = this.#parts.desks.get(laneId)
    held.stage = 'waiting'
    if (this.#parts.isReturning(partitionId)) this.#giveBack(held)
    // What it is late for is seen when it is to start the next time.
    else if (desk !== undefined) desk.putBack(held)
    else this.submit(held)
  }

  #endLate(held: HeldCommand): void {
    const { envelope } = held
    const { workerId, settlements } = this.#parts
    const error = lateError(held)
    if (envelope.retryCount > 0) {
      this.#bury(held, 'late', error, 0)
      return
    }
    this.tally.failed++
    settlements.complete(held, resultOf(envelope, workerId, 0, { error: toPortableError(error) }))
    this.#passOn(held)
  }

  #bury(held: HeldCommand, reason: string, error: unknown, durationMs: number): void {
    const { workerId, settlements } = this.#parts
    this.tally.buried++
    const failure = { error: toPortableError(error) }
    settlements.bury(held, reason, resultOf(held.envelope, workerId, durationMs, failure))
    this.#passOn(held)
  }

  #giveBack(held: HeldCommand): void {
    this.#parts.desks.get(held.envelope.laneId)?.remove(held)
    this.#return(held)
    this.#leaveWithRest(held)
  }

  #return(held: HeldCommand): void {
    this.tally.returned++
    this.holdings.leave(held)
    this.#release(held, 'unstarted')
  }

  #release(held: HeldCommand, reason: 'unstarted' | 'crash'): void {
    this.holdings.told(held)
    this.#parts.settlements.release(held, reason)
  }

  /** It keeps its place in the order of its key: those behind it go back behind it. */
  #leaveWithRest(held: HeldCommand): void {
    this.#parts.desks.get(held.envelope.laneId)?.ended(held, true)
    for (const next of this.holdings.cut(held)) this.#return(next)
    this.#parts.gate.progressed()
    this.#parts.progressed()
  }

  /** It has left its place in the order of its key: the next goes on. */
  #passOn(held: HeldCommand): void {
    this.#parts.desks.get(held.envelope.laneId)?.ended(held, true)
    const next = this.holdings.passOn(held)
    if (next !== undefined) this.#admit(next)
    this.#parts.gate.progressed()
    this.#parts.progressed()
  }

  #lose(held: HeldCommand): boolean {
    if (!this.holdings.forget(held)) return false
    held.isLost = true
    this.tally.lost++
    const desk = this.#parts.desks.get(held.envelope.laneId)
    desk?.remove(held)
    // What runs may run on until its thread has ended: its place is left to expire.
    desk?.ended(held, held.stage !== 'submitted')
    if (held.stage === 'submitted') held.abort('its lease was lost')
    return true
  }
}
