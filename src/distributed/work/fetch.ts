// Fetch: asks the queue for as many commands as the worker can use soon.
// Owns: the one lease call that is under way.
//
// A worker holds as many commands as can run at once and some milliseconds of work more, so that a
// more urgent command can run elsewhere. Less urgent commands never take the room of more urgent
// ones.

import { TURN_END } from '../../base/async-context.ts'
import { nowMs } from '../../base/clock.ts'
import { PRIORITY_MAX } from '../../model/command.ts'
import type { LaneDemand, LeaseRequest } from '../contract/distributed-queue.ts'
import { CALL_MAX } from '../contract/engine-checks.ts'
import { backoffMs, Pause, turn } from '../contract/pause.ts'
import type { WorkerCore } from './held.ts'
import type { WorkerLane } from './lane.ts'
import type { LeaseKeeper, PartitionAssignment } from './leases.ts'
import type { Runner } from './run.ts'

/** How long the queue is asked to wait for the first command. */
const WAIT_MS = 60_000

/** How long nothing is asked for at a time where nothing is wanted. */
const CONTENT_MS = 1000

/** How long to wait before it is looked again whether the event loop turns. */
const HELD_UP_MS = 20

/** No more time than this is made up for where the queue answers slowly. */
const ANSWER_MS_MAX = 250

const NEWEST_WEIGHT = 1 / 8

/** Part of the target that must be wanted before the queue is asked again. */
const REFILL = 1 / 2

export class LeaseFetcher {
  readonly #core: WorkerCore
  readonly #runner: Runner
  readonly #keeper: LeaseKeeper
  readonly #assignment: PartitionAssignment
  readonly #pause = new Pause()
  /** Commands that may be held beyond `prefetchMax`, so that urgent ones always find room. */
  readonly #reserveMax: number
  #running: Promise<void> | undefined
  #isStopped = false
  #isLookQueued = false
  /** Whether it waits because there is nothing to ask for. */
  #isContent = false
  #restUntilMs = 0
  /** How long the queue takes to answer, a moving average. */
  #answerMs = 0
  #request: LeaseRequest | undefined
  #controller: AbortController | undefined
  /** Lanes that were paused while it is under way: its answer may be older than that. */
  readonly #paused = new Set<string>()

  /** @param keeper - Knows whether the event loop is held up. */
  constructor(
    core: WorkerCore,
    runner: Runner,
    keeper: LeaseKeeper,
    assignment: PartitionAssignment,
  ) {
    const levels = new Set(core.lanes.map(({ plan }) => plan.priority)).size
    this.#core = core
    this.#runner = runner
    this.#keeper = keeper
    this.#assignment = assignment
    this.#reserveMax = core.pace.capacity * (levels - 1)
  }

  /** How many commands that could start are worth having, of all lanes together. */
  get target(): number {
    const { pace, plan } = this.#core
    const { capacity, perMs } = pace
    // The next are asked for when half is gone: the rest must last until they come.
    const aheadMs = plan.prefetchMs + 2 * this.#answerMs
    const ahead = Math.max(1, Math.ceil(aheadMs * perMs))
    return Math.min(capacity + ahead, plan.prefetchMax)
  }

  start(): void {
    this.#running ??= this.#run()
  }

  /** Asks no more. Resolves once nothing is on its way. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.interrupt()
    await this.#running
  }

  /** Asks anew: other partitions are to be asked for. */
  interrupt(): void {
    // To abort costs an error with its stack: only a request that is under way is worth that.
    if (this.#request !== undefined) this.#controller?.abort()
    this.#pause.end()
  }

  paused(laneId: string): void {
    if (this.#request === undefined) return
    this.#paused.add(laneId)
    this.interrupt()
  }

  /** The worker holds less than before: if that is worth a call, the next one is made. */
  progressed(): void {
    if (this.#isLookQueued) return
    this.#isLookQueued = true
    // Many end in one turn.
    void TURN_END.then(this.#look)
  }

  rest(ms: number): void {
    this.#restUntilMs = nowMs() + ms
    this.#controller?.abort()
  }

  async #run(): Promise<void> {
    const { queue, held, quarantine, events } = this.#core
    for (let failures = 0; !this.#isStopped; ) {
      if (!held.isAccepting) {
        await this.#pause.wait(Number.POSITIVE_INFINITY)
        continue
      }
      // Commands that are asked for now would come before those that are on their way back.
      const isEarly = held.isReordering || nowMs() < this.#restUntilMs
      if (isEarly || this.#keeper.isHeldUp) {
        await this.#pause.wait(HELD_UP_MS, false)
        continue
      }
      const request = this.#nextRequest()
      if (request === undefined) {
        this.#isContent = true
        await this.#pause.wait(CONTENT_MS, false)
        this.#isContent = false
        continue
      }
      this.#request = request
      this.#paused.clear()
      const isForSuspect = quarantine.isOn
      held.asking(request.partitions)
      try {
        const askedAtMs = nowMs()
        // Both go in one write, and their answers come in one.
        this.#runner.acknowledger.hurry()
        const deliveries = await queue.lease(request)
        failures = 0
        // One that is not full may have been waited for.
        if (deliveries.length === request.max) {
          const newest = Math.min(nowMs() - askedAtMs, ANSWER_MS_MAX)
          this.#answerMs += (newest - this.#answerMs) * NEWEST_WEIGHT
        }
        if (isForSuspect) quarantine.took(deliveries.length)
        if (deliveries.length > 0) {
          this.#runner.take(deliveries, this.#paused)
          // A queue in this process answers without letting the event loop turn.
          await turn()
        }
        this.#request = undefined
        held.asked()
      } catch (error) {
        this.#request = undefined
        held.asked()
        events.failed(error)
        await this.#pause.wait(backoffMs(++failures), false)
      }
      this.#assignment.check()
    }
  }

  /** What to ask for now; undefined if there is nothing. */
  #nextRequest(): LeaseRequest | undefined {
    const { held, plan, quarantine } = this.#core
    if (quarantine.isOn) {
      if (held.size > 0) {
        this.#runner.giveBack(({ delivery }) => quarantine.isInTheWay(delivery))
        return undefined
      }
      const suspect = this.#suspectRequest()
      if (suspect !== undefined) return suspect
    }
    const room = plan.prefetchMax + this.#reserveMax - held.size
    const lanes = this.#demands()
    const wanted = lanes.reduce((sum, { max }) => sum + max, 0)
    const partitions = wanted > 0 && room > 0 ? this.#assignment.next() : []
    if (partitions.length === 0) return undefined
    this.#controller = new AbortController()
    const { signal } = this.#controller
    const max = Math.min(wanted, this.target, room, CALL_MAX)
    return { partitions, lanes, max, waitMs: WAIT_MS, signal }
  }

  /** A request for one suspect; undefined if there is none whose partition is this worker's. */
  #suspectRequest(): LeaseRequest | undefined {
    const { lanes: all, quarantine } = this.#core
    const where = quarantine.next()
    if (where === undefined) return undefined
    const partitions = this.#assignment
      .next()
      .filter((partition) => where.partitions.has(partition))
    if (partitions.length === 0) {
      quarantine.end()
      return undefined
    }
    const lanes = all.filter(({ plan }) => where.lanes.has(plan.name))
    return { partitions, lanes: lanes.map((lane) => demandOf(lane, 1)), max: 1, waitMs: 0 }
  }

  readonly #look = (): void => {
    this.#isLookQueued = false
    const asked = this.#request?.lanes
    // While an answer is being taken on, or a failure waited for, the next call comes by itself.
    if (this.#isStopped || (asked === undefined && !this.#isContent)) return
    if (this.#core.quarantine.isOn) {
      this.interrupt()
      return
    }
    const least = leastOf(this.target)
    const isWorthwhile = this.#demands().some(({ max }, index) => {
      const before = asked?.[index]?.max ?? 0
      const { isLimited } = this.#core.lanes[index]!
      return before === 0 ? max > 0 : !isLimited && max - before >= least
    })
    if (isWorthwhile) this.interrupt()
  }

  #demands(): LaneDemand[] {
    const { lanes, pace } = this.#core
    const { capacity } = pace
    const { target } = this
    const ready = this.#readyUpTo(PRIORITY_MAX)
    // While every thread has something, fewer are not worth a call.
    const isEnough = ready >= capacity && target - ready < leastOf(target)
    const missing = isEnough ? 0 : Math.max(0, target - ready)
    const leastUrgent = lanes.at(-1)!.plan.priority
    return lanes.map((lane) => {
      const { priority } = lane.plan
      // However much is held, so many of a more urgent lane are taken on beyond it.
      const reserve = priority === leastUrgent ? 0 : Math.min(capacity, target)
      const max = lane.isLimited
        ? lane.worthHaving(target, capacity) - lane.ready
        : Math.max(missing, reserve - this.#readyUpTo(priority))
      return demandOf(lane, Math.max(0, max))
    })
  }

  /** Commands of lanes at least so urgent that could start but for free threads. */
  #readyUpTo(priority: number): number {
    let count = 0
    // Those of lanes that are limited by something else have a measure of their own.
    for (const { isLimited, plan, ready } of this.#core.lanes) {
      if (!isLimited && plan.priority <= priority) count += ready
    }
    return count
  }
}

function leastOf(target: number): number {
  return Math.max(1, Math.floor(target * REFILL))
}

function demandOf({ plan, boost, groups }: WorkerLane, max: number): LaneDemand {
  return { laneId: plan.name, priority: plan.priority, max, boost, groups }
}
