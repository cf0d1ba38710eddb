// Lanes: the lanes of a worker pool: what each asks of the queue, and how much of it is held.
// Thread: main.   Owns: the lane's counts.

import { laneError, show } from '../../base/errors.ts'
import type { LanePlan } from '../../model/lane.ts'
import type { LeasedQueue, QueueCapabilities } from '../contract/distributed-queue.ts'
import { checkName } from '../contract/envelope.ts'

/** Part of a second for which commands of a lane with a rate limit are held. */
const RATE_AHEAD_MS = 100

/** One lane. */
export class WorkerLane {
  readonly plan: LanePlan
  /** What becomes more urgent with age, in the form in which queues are asked. */
  readonly boost: readonly { readonly afterMs: number; readonly levels: number }[]
  /** Limit of starts over all workers, if the queue keeps it. */
  readonly rate: { readonly limit: number; readonly windowMs: number } | undefined
  /** Commands of it that may run anywhere at once, if that is bounded. */
  readonly places: number | undefined
  /** Whether something but free threads keeps its commands from starting. */
  readonly isLimited: boolean
  /** Commands of it that this worker has. */
  held = 0
  /** Those of them that have not ended and do not wait for another of their key. */
  ready = 0

  /**
   * @param plan - As the manager has it.
   * @param isRateGlobal - Whether the queue keeps its rate limit.
   * @param places - Commands of it that may run anywhere at once.
   */
  constructor(plan: LanePlan, isRateGlobal: boolean, places: number | undefined) {
    this.plan = plan
    this.boost = boostOf(plan)
    this.rate = isRateGlobal ? plan.rate : undefined
    this.places = places
    this.isLimited =
      plan.maxConcurrency !== undefined || plan.rate !== undefined || places !== undefined
  }

  /**
   * How many commands of it are worth having.
   *
   * @param target - How many of all lanes are.
   * @param capacity - Handlers that can run at once.
   */
  worthHaving(target: number, capacity: number): number {
    const { maxConcurrency = capacity, rate } = this.plan
    let worth = target
    // So many run and their successors wait; less than the whole is ahead of them.
    if (maxConcurrency < capacity) worth = Math.ceil((target * maxConcurrency) / capacity) + 1
    if (this.places !== undefined) worth = Math.min(worth, Math.max(this.places, 1))
    if (rate !== undefined) {
      const flow = Math.ceil((rate.limit * RATE_AHEAD_MS) / rate.windowMs)
      worth = Math.min(worth, capacity + flow)
    }
    return Math.min(worth, target)
  }
}

function boostOf({ boostSteps, deadlineMs, priority }: LanePlan): WorkerLane['boost'] {
  const steps = boostSteps.map(({ afterMs, by }) => ({ afterMs, levels: by }))
  if (deadlineMs === undefined) return steps
  // Past the deadline it is most urgent of all, whatever its steps would give it.
  const before = steps.filter(({ afterMs }) => afterMs < deadlineMs)
  return [...before, { afterMs: deadlineMs, levels: priority }]
}

/** How lanes are to be taken. */
export interface LaneChoice {
  /** Names of those to take. Default: all. */
  readonly lanes: readonly string[] | undefined
  /** Commands of a lane that may run anywhere at once. */
  readonly globalConcurrency: Readonly<Record<string, number>>
  /** Whether what the queue cannot do is done without. */
  readonly allowDegraded: boolean
}

/**
 * Chooses the lanes of a pool and checks that the queue can do what they ask.
 *
 * @param plans - The manager's lanes.
 * @param queue - The queue.
 * @param choice - Which, and what is asked beyond their options.
 * @returns The most urgent first.
 * @throws ConfigError `CORELANE_UNKNOWN_LANE`, `CORELANE_INVALID_ENVELOPE` for a name that cannot
 * travel, `CORELANE_DEGRADED`.
 */
export function chooseLanes(
  plans: readonly LanePlan[],
  queue: LeasedQueue,
  choice: LaneChoice,
): WorkerLane[] {
  const { globalConcurrency } = choice
  const names = choice.lanes ?? plans.map(({ name }) => name)
  const lanes = names.map((name) => lanePlan(plans, name))
  for (const name of Object.keys(globalConcurrency)) lanePlan(lanes, name)
  const { capabilities } = queue
  if (!choice.allowDegraded) refuseDegraded(lanes, capabilities, globalConcurrency)
  return lanes
    .map((plan) => {
      const isRateGlobal = plan.rate !== undefined && keepsRate(plan, capabilities)
      const max = Object.hasOwn(globalConcurrency, plan.name)
        ? globalConcurrency[plan.name]
        : undefined
      return new WorkerLane(plan, isRateGlobal, capabilities.globalConcurrency ? max : undefined)
    })
    .sort((a, b) => a.plan.priority - b.plan.priority)
}

function lanePlan(plans: readonly LanePlan[], name: string): LanePlan {
  const plan = plans.find((each) => each.name === name)
  if (plan === undefined) {
    throw laneError('CORELANE_UNKNOWN_LANE', {
      received: show(name),
      allowed: plans.map((each) => each.name).join(', '),
    })
  }
  checkName('laneId', name)
  return plan
}

function algorithmOf({ rate }: LanePlan): 'sliding-window' | 'token-bucket' {
  return rate?.isSliding ? 'sliding-window' : 'token-bucket'
}

function keepsRate(plan: LanePlan, { globalRate }: QueueCapabilities): boolean {
  return plan.rate?.isPerPartition === false && globalRate.includes(algorithmOf(plan))
}

function degraded(option: string, received: string, allowed: string): Error {
  return laneError('CORELANE_DEGRADED', { option, received, allowed })
}

function refuseDegraded(
  lanes: readonly LanePlan[],
  capabilities: QueueCapabilities,
  globalConcurrency: Readonly<Record<string, number>>,
): void {
  const priorities = new Set(lanes.map(({ priority }) => priority))
  if (priorities.size > 1 && !capabilities.lanePriority) {
    throw degraded('priorities of lanes', [...priorities].join(', '), 'one priority for all lanes')
  }
  for (const lane of lanes) {
    const owner = `lanes.${lane.name}`
    const { rate, retry, boostSteps, deadlineMs } = lane
    if (rate?.isPerPartition === false && !keepsRate(lane, capabilities)) {
      const allowed = [...capabilities.globalRate, 'scope "partition"'].join(', ')
      throw degraded(`${owner}.rateLimit`, `algorithm "${algorithmOf(lane)}"`, allowed)
    }
    if (retry.retries > 0 && retry.delayMs > 0 && !capabilities.delay) {
      throw degraded(`${owner}.retry`, `delayMs ${retry.delayMs}`, 'retries without delay')
    }
    if ((boostSteps.length > 0 || deadlineMs !== undefined) && capabilities.boost === 'none') {
      throw degraded(`${owner}.priorityBoost`, 'a boost', 'none')
    }
    if (Object.hasOwn(globalConcurrency, lane.name) && !capabilities.globalConcurrency) {
      const received = `${globalConcurrency[lane.name]} over all workers`
      throw degraded(`globalConcurrency.${lane.name}`, received, 'maxConcurrency of each worker')
    }
  }
}
