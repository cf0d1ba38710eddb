// Lane: one lane of a worker, as its manager has it, and its limits over all workers.
// Owns: the limits that hold now, and how much of the lane is ready.

import type { CommandOptions } from '../../model/command.ts'
import type { LanePlan } from '../../model/lane.ts'
import type { GroupTerms } from '../contract/distributed-queue.ts'
import type { LaneLimits, SharedRate } from '../contract/live-limits.ts'

/** Part of a second for which commands of a lane with a rate limit are held. */
const RATE_AHEAD_MS = 100

export class WorkerLane {
  readonly plan: LanePlan
  /** What becomes more urgent with age, in the form in which queues are asked. */
  readonly boost: readonly { readonly afterMs: number; readonly levels: number }[]
  /** Limit of starts over all workers, if the queue keeps it. */
  rate: SharedRate | undefined
  /** Concurrency slots over all workers, if there is a bound. */
  slots: number | undefined
  /** Terms of its groups, which the queue keeps; undefined: the usual ones. */
  readonly groups: GroupTerms | undefined
  /** Whether something but free threads keeps its commands from starting. */
  isLimited = false
  readonly #configured: Readonly<Pick<WorkerLane, 'rate' | 'slots'>>
  /** Its commands that are READY or SUBMITTED. */
  ready = 0
  /** Options of its last run that had none of its command's own. */
  terms: CommandOptions | undefined

  /**
   * @param isRateGlobal - Whether the queue keeps its rate limit.
   * @param slots - How many of its commands may run anywhere at once.
   */
  constructor(plan: LanePlan, isRateGlobal: boolean, slots: number | undefined) {
    this.plan = plan
    this.boost = boostOf(plan)
    const { limit = 0, windowMs = 0 } = plan.rate ?? {}
    this.#configured = { rate: isRateGlobal ? { limit, windowMs } : undefined, slots }
    this.groups = termsOf(plan)
    this.limit(undefined)
  }

  /** Whether it shares a limit with other workers. */
  get isShared(): boolean {
    return this.rate !== undefined || this.slots !== undefined
  }

  /** Whether its manager holds the rate limit too, which the queue keeps. */
  get isRateOfManager(): boolean {
    return this.#configured.rate !== undefined
  }

  /**
   * Takes the limits that are set on the queue.
   *
   * @param live - Undefined: none, so those that are configured hold.
   * @returns Whether that changes any.
   */
  limit(live: LaneLimits | undefined): boolean {
    const { rate, slots } = this
    this.rate = live?.rate ?? this.#configured.rate
    this.slots = live?.concurrency ?? this.#configured.slots
    const { maxConcurrency, rate: own, groups } = this.plan
    const limits = [maxConcurrency, own, groups.rate]
    this.isLimited = this.isShared || limits.some((limit) => limit !== undefined)
    const isSameRate = this.rate?.limit === rate?.limit && this.rate?.windowMs === rate?.windowMs
    return !isSameRate || this.slots !== slots
  }

  /** How many commands of it are worth having. */
  worthHaving(target: number, capacity: number): number {
    const { maxConcurrency = capacity } = this.plan
    const rate = this.rate ?? this.plan.rate
    let worth = target
    // So many run and their successors wait; less than the whole is ahead of them.
    if (maxConcurrency < capacity) worth = Math.ceil((target * maxConcurrency) / capacity) + 1
    if (this.slots !== undefined) worth = Math.min(worth, Math.max(this.slots, 1))
    // More would wait here until their groups' tokens are over.
    if (this.plan.groups.rate !== undefined) worth = Math.min(worth, capacity)
    if (rate !== undefined) {
      const flow = Math.ceil((rate.limit * RATE_AHEAD_MS) / rate.windowMs)
      worth = Math.min(worth, capacity + flow)
    }
    return Math.min(worth, target)
  }
}

function termsOf({ groups: { concurrency, rate, weights } }: LanePlan): GroupTerms | undefined {
  const isBounded = concurrency !== Number.POSITIVE_INFINITY
  if (!isBounded && rate === undefined && weights.size === 0) return undefined
  return {
    ...(isBounded ? { concurrency } : {}),
    ...(rate === undefined ? {} : { rate: { limit: rate.limit, windowMs: rate.windowMs } }),
    weights,
  }
}

function boostOf({ boostSteps, deadlineMs, priority }: LanePlan): WorkerLane['boost'] {
  const steps = boostSteps.map(({ afterMs, by }) => ({ afterMs, levels: by }))
  if (deadlineMs === undefined) return steps
  // Past the deadline it is most urgent of all, whatever its steps would give it.
  const before = steps.filter(({ afterMs }) => afterMs < deadlineMs)
  return [...before, { afterMs: deadlineMs, levels: priority }]
}
