// Local partition: the commands of one partition that wait, by lane and by key.
// Owns: their order.
//
// Of the commands with a key only the first is in its lane's queue, or leased: the others wait
// behind it, so that they are run one at a time and in order, whatever their lanes and priorities.

import { type LanePlan, planLane } from '../../model/lane.ts'
import { LaneQueue } from '../../schedule/lane-queue.ts'
import { precedes, type Ranked } from '../../schedule/priority-heap.ts'
import type { LaneDemand } from '../contract/distributed-queue.ts'
import { DROPPED, type LocalCommand } from './local-command.ts'

/** Lanes of a partition that are kept though they are empty. */
const EMPTY_LANES_MAX = 64

/** Descriptions of lanes that are kept. */
const PLANS_MAX = 4096

/** What a worker still wants of a lane. */
export interface OpenDemand {
  readonly plan: LanePlan
  left: number
}

/**
 * The lanes of a queue as workers last described them. Workers that describe a lane differently
 * make its queues sort themselves anew with each change.
 */
export class LocalLanePlans {
  readonly #plans = new Map<string, LanePlan>()

  /** A lane as it was described last. */
  planOf(laneId: string): LanePlan {
    let plan = this.#plans.get(laneId)
    if (plan === undefined) {
      plan = planLane(laneId, {})
      this.#keep(plan)
    }
    return plan
  }

  /**
   * What is wanted of lanes.
   *
   * @throws ConfigError `CORELANE_INVALID_OPTION` for a boost that is none.
   */
  open(demands: readonly LaneDemand[]): OpenDemand[] {
    return demands.map((demand) => ({ plan: this.#adapted(demand), left: demand.max }))
  }

  #adapted({ laneId, priority, boost }: LaneDemand): LanePlan {
    const known = this.#plans.get(laneId)
    if (known?.priority === priority && isSameBoost(known, boost)) return known
    const steps = boost.map(({ afterMs, levels }) => ({ afterMs, by: levels }))
    const plan = planLane(laneId, { priority, priorityBoost: { steps } })
    this.#keep(plan)
    return plan
  }

  #keep(plan: LanePlan): void {
    // Workers describe their lanes with each request, so what is forgotten comes back.
    if (this.#plans.size >= PLANS_MAX) this.#plans.clear()
    this.#plans.set(plan.name, plan)
  }
}

function isSameBoost({ boostSteps }: LanePlan, boost: LaneDemand['boost']): boolean {
  if (boostSteps.length !== boost.length) return false
  return boost.every(({ afterMs, levels }, index) => {
    const step = boostSteps[index]!
    return step.afterMs === afterMs && step.by === levels
  })
}

/** The waiting commands of one lane in one partition. */
interface LocalLane {
  plan: LanePlan
  queue: LaneQueue<LocalCommand>
}

/** Commands with the same key, linked in their order. */
interface KeyChain {
  head: LocalCommand
  tail: LocalCommand
}

/** The waiting commands of one partition. */
export class LocalPartition {
  readonly #plans: LocalLanePlans
  readonly #lanes = new Map<string, LocalLane>()
  readonly #keys = new Map<string, KeyChain>()

  constructor(plans: LocalLanePlans) {
    this.#plans = plans
  }

  /** Names of the lanes that hold something, and of some that did. */
  get laneIds(): IterableIterator<string> {
    return this.#lanes.keys()
  }

  /** Adds a command that has queued up: behind those with its key. */
  add(command: LocalCommand, nowMs: number): void {
    const { key } = command.envelope
    if (key === undefined) {
      this.#offer(command, nowMs)
      return
    }
    const chain = this.#keys.get(key)
    if (chain === undefined) {
      this.#keys.set(key, { head: command, tail: command })
      this.#offer(command, nowMs)
    } else {
      chain.tail.next = command
      chain.tail = command
    }
  }

  /**
   * Puts a command back where it was taken from.
   *
   * @param command - Taken from here, and nothing was done about its key since.
   */
  restore(command: LocalCommand, nowMs: number): void {
    this.#offer(command, nowMs)
  }

  /** Lets the next command with its key come forward. */
  leave(command: LocalCommand, nowMs: number): void {
    const { key } = command.envelope
    if (key === undefined) return
    let { next } = command
    command.next = undefined
    while (next?.fence === DROPPED) next = next.next
    if (next === undefined) {
      this.#keys.delete(key)
      return
    }
    this.#keys.get(key)!.head = next
    this.#offer(next, nowMs)
  }

  /** Passes over a command that waits and is dropped; its lane meets it later. */
  drop(command: LocalCommand, nowMs: number): void {
    const { key, ...others } = command.envelope
    command.fence = DROPPED
    if (key !== undefined && this.#keys.get(key)?.head === command) this.leave(command, nowMs)
    // Until then it keeps no memory.
    command.envelope = { ...others, payload: undefined }
  }

  /**
   * Takes the most urgent command that is wanted.
   *
   * @returns Undefined if there is none.
   */
  take(demands: readonly OpenDemand[], nowMs: number): LocalCommand | undefined {
    for (;;) {
      const command = this.#take(demands, nowMs)
      if (command?.fence !== DROPPED) return command
    }
  }

  #take(demands: readonly OpenDemand[], nowMs: number): LocalCommand | undefined {
    let best: LocalLane | undefined
    let wanted: OpenDemand | undefined
    let front: Ranked | undefined
    for (const demand of demands) {
      if (demand.left <= 0) continue
      const lane = this.#lanes.get(demand.plan.name)
      if (lane === undefined || lane.queue.size === 0) continue
      if (lane.plan !== demand.plan) resort(lane, demand.plan, nowMs)
      const own = lane.queue.front(nowMs)!
      if (front === undefined || precedes(own, front)) {
        best = lane
        wanted = demand
        front = own
      }
    }
    if (best === undefined || wanted === undefined) return undefined
    const command = best.queue.take(nowMs)
    if (command.fence !== DROPPED) wanted.left--
    const isKept = best.queue.size > 0 || this.#lanes.size <= EMPTY_LANES_MAX
    if (!isKept) this.#lanes.delete(best.plan.name)
    return command
  }

  #offer(command: LocalCommand, nowMs: number): void {
    const { laneId } = command.envelope
    let lane = this.#lanes.get(laneId)
    if (lane === undefined) {
      const plan = this.#plans.planOf(laneId)
      lane = { plan, queue: new LaneQueue(plan) }
      this.#lanes.set(laneId, lane)
    }
    command.rankIn(lane.plan.priority)
    lane.queue.offer(command, nowMs)
  }
}

/** Sorts what waits by what a lane promises now. */
function resort(lane: LocalLane, plan: LanePlan, nowMs: number): void {
  const queue = new LaneQueue<LocalCommand>(plan)
  while (lane.queue.size > 0) {
    const command = lane.queue.take(nowMs)
    command.rankIn(plan.priority)
    queue.offer(command, nowMs)
  }
  lane.plan = plan
  lane.queue = queue
}
