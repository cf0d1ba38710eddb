// Lane control: the changes that users make to a lane while its manager runs.

import { nowMs } from '../base/clock.ts'
import { show } from '../base/errors.ts'
import { invalidOption, isObject } from '../base/options.ts'
import type { CoordinatorCommons } from '../memory/commons.ts'
import { toNs } from '../memory/lane-gate.ts'
import { isBinding, type LanePlan, laneNeeds, planRate } from '../model/lane.ts'
import type { RateLimitOptions } from '../model/rate-limit.ts'
import type { NestedServer } from './admission/nested-server.ts'
import type { Dispatcher } from './dispatch/dispatcher.ts'
import { type Lane, setLimits } from './lane-table.ts'
import type { ManagerEvents } from './manager-events.ts'
import type { EventHub } from './results/event-hub.ts'

/** What acts on changes of a lane. */
export interface LaneChanges {
  readonly dispatcher: Dispatcher
  readonly commons: CoordinatorCommons
  readonly events: EventHub
  readonly manager: Pick<ManagerEvents, 'acted'>
  /** Handlers that can run at once in all partitions together. */
  readonly capacity: number
  /** Commands of each lane that may run at once, for those that wait for each other. */
  readonly laneSlots: number[]
  /** Refuses handlers what they would wait for without end. */
  readonly nested: Pick<NestedServer, 'lowered'>
  /** The lanes as they were made. */
  readonly plans: readonly LanePlan[]
}

/** One lane of a manager that runs. */
export class LaneControl {
  readonly #lane: Lane
  readonly #changes: LaneChanges

  /** @internal */
  constructor(lane: Lane, changes: LaneChanges) {
    this.#lane = lane
    this.#changes = changes
  }

  /** Its name. */
  get name(): string {
    return this.#lane.name
  }

  /** Whether it is paused. */
  get isPaused(): boolean {
    return this.#lane.isPaused
  }

  /**
   * Keeps its commands from starting, in all partitions, from the moment this returns. Running
   * ones go on, submits are accepted, and waiting ones still become late or are aborted. A command
   * with a transfer list may have been moved to its partition already; it starts.
   */
  pause(): void {
    this.#changes.dispatcher.pause(this.#lane)
    this.#changes.manager.acted()
  }

  /** Lets its commands start again, in their order. */
  resume(): void {
    this.#changes.dispatcher.resume(this.#lane)
    this.#changes.manager.acted()
  }

  /**
   * Changes how many of its commands may run at once, in all partitions from the moment this
   * returns. Running ones go on: none starts while as many run as may. A handler that would wait
   * for another of the lane without end gets `CORELANE_NESTED_WAIT`.
   *
   * @param maxConcurrency - From `minConcurrency`, 1 at least, to the handlers that all partitions
   * can run, or to the `maxConcurrency` that the lane was made with if that is more.
   * @throws ConfigError `CORELANE_INVALID_OPTION`; also if the lane was made without
   * `maxConcurrency`.
   */
  setConcurrency(maxConcurrency: number): void {
    const option = `lane(${show(this.name)}).setConcurrency`
    const { plan, index } = this.#lane
    const { plans, capacity, laneSlots, nested } = this.#changes
    const { ownersMax = 0 } = laneNeeds(plans[index]!, capacity)
    if (ownersMax === 0) throw unbounded(option, 'maxConcurrency')
    const least = Math.max(1, plan.minConcurrency)
    const isInteger = Number.isInteger(maxConcurrency)
    if (!isInteger || maxConcurrency < least || maxConcurrency > ownersMax) {
      const allowed = `an integer from ${least} to ${ownersMax}`
      throw invalidOption(option, show(maxConcurrency), allowed)
    }
    if (maxConcurrency < laneSlots[index]!) nested.lowered()
    laneSlots[index] = maxConcurrency
    this.#change({ ...plan, maxConcurrency })
  }

  /**
   * Changes how many of its commands may start in a window of time, in all partitions from the
   * moment this returns. Starts before it count.
   *
   * @param rateLimit - Its new `limit`, `windowMs` or both. With a sliding window `limit` is at
   * most the one that the lane was made with.
   * @throws ConfigError `CORELANE_INVALID_OPTION`; also if the lane was made without `rateLimit`,
   * or with another algorithm or scope.
   */
  setRateLimit(rateLimit: RateLimitOptions): void {
    const option = `lane(${show(this.name)}).setRateLimit`
    const { plan, index } = this.#lane
    const { rate } = plan
    const refuse = (received: string, allowed: string) => invalidOption(option, received, allowed)
    if (rate === undefined) throw unbounded(option, 'rateLimit')
    if (!isObject(rateLimit)) throw refuse(show(rateLimit), 'a RateLimitConfig or its plain form')
    const { limit, windowMs, isSliding, isPerPartition } = rate
    const algorithm = isSliding ? 'sliding-window' : 'token-bucket'
    const scope = isPerPartition ? 'partition' : 'global'
    const given = Object.entries(rateLimit).filter(([, value]) => value !== undefined)
    const known = { limit, windowMs, algorithm, scope } as const
    const changed = planRate(option, { ...known, ...Object.fromEntries(given) })!
    if (changed.isSliding !== isSliding || changed.isPerPartition !== isPerPartition) {
      throw refuse(show(rateLimit), `the algorithm ${algorithm} and the scope ${scope}`)
    }
    const most = this.#changes.plans[index]!.rate!.limit
    if (isSliding && changed.limit > most) {
      throw refuse(show(changed.limit), `a limit of at most ${most} with a sliding window`)
    }
    this.#change({ ...plan, rate: changed })
  }

  #change(plan: LanePlan): void {
    const { commons, dispatcher, capacity, events, manager } = this.#changes
    const lane = this.#lane
    const { maxConcurrency = 0, rate } = plan
    const { limit = 0, windowMs = 0 } = rate ?? {}
    commons.setLimits(lane.index, { slots: maxConcurrency, limit, windowMs }, toNs(nowMs()))
    // Commands that partitions have not started are taken back: how many they should have depends
    // on the limits.
    const { isPaused } = lane
    dispatcher.pause(lane)
    setLimits(lane, Object.freeze(plan), rate !== undefined || isBinding(maxConcurrency, capacity))
    if (!isPaused) dispatcher.resume(lane)
    events.lane('queue.lane.changed', lane)
    manager.acted()
  }
}

/** Why a limit that a lane was made without cannot be changed. */
function unbounded(option: string, limit: 'maxConcurrency' | 'rateLimit'): Error {
  const received = `called on a lane without ${limit}`
  const allowed = `a lane that was made with ${limit}`
  return invalidOption(option, received, allowed)
}
