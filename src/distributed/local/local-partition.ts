// Local partition: commands in the engine of this process, from enqueueing until their end, and
// those of one partition that wait, by lane and by key.
// Owns: the state of each, and their order.
//
// Of the commands with a key only the first is in its lane's queue, or leased: the others wait
// behind it, so that they are run one at a time and in order, whatever their lanes and priorities.

import { isDeepStrictEqual } from 'node:util'
import type { Linked } from '../../base/chain.ts'
import { RenewedMap } from '../../base/renewed-map.ts'
import { COMMAND_RULES } from '../../model/command.ts'
import { type LanePlan, planLane, rankOf } from '../../model/lane.ts'
import { GroupQueue } from '../../schedule/group-queue.ts'
import { GroupSeat } from '../../schedule/group-ring.ts'
import type { HeapPlace } from '../../schedule/indexed-heap.ts'
import { LaneQueue, type Queueable } from '../../schedule/lane-queue.ts'
import { precedes, type Ranked } from '../../schedule/priority-heap.ts'
import type { LaneDemand } from '../contract/distributed-queue.ts'
import type { CommandEnvelope } from '../contract/envelope.ts'
import { LocalEntry } from './local-archive.ts'
import { tokenMs } from './local-limits.ts'

const PRIORITY_DEFAULT = COMMAND_RULES.priority.default as number

/** The fence of a command that was cancelled while it waited: who meets it there passes it over. */
const DROPPED = ''

/** A command that has not ended. It is waiting, leased or delayed. */
export class LocalCommand implements Queueable, HeapPlace, Linked<LocalCommand> {
  envelope: CommandEnvelope
  /** What is known of its id. */
  readonly entry: LocalEntry<LocalCommand>
  /** When the queue accepted it, monotonic milliseconds; its deadline counts from then. */
  readonly acceptedAtMs: number
  /** Its place among those that wait. */
  sequence = 0
  rank = 0
  submittedAtMs = 0
  deadlineMs: number | undefined
  /** How often it may have been started since its last orderly return. */
  deliveries = 0
  /** Whether the present delivery is among those. */
  isCounted = false
  /** Names the present delivery; undefined unless it is leased, {@link DROPPED} at its end. */
  fence: string | undefined
  /** Who has it, or had it last. */
  workerId = ''
  /** When its lease or its delay ends, monotonic milliseconds. */
  dueMs = 0
  /** Its place in the heap of delays; -1 unless it is delayed. */
  place = -1
  older: LocalCommand | undefined = undefined
  younger: LocalCommand | undefined = undefined
  /** What it holds of its group, if it has one. */
  seat: GroupSeat | undefined
  /** By when it may start, as the rate of its group says, monotonic milliseconds. */
  startByMs: number | undefined
  /** The next command with its key. */
  next: LocalCommand | undefined

  constructor(envelope: CommandEnvelope, nowMs: number) {
    this.envelope = envelope
    this.entry = new LocalEntry(envelope.id, this)
    this.acceptedAtMs = nowMs
  }

  /** Takes a place behind all others. */
  queueUp(sequence: number, nowMs: number): void {
    const { deadline, createdAt, group } = this.envelope
    this.sequence = sequence
    this.submittedAtMs = nowMs
    if (group !== undefined) this.seat = new GroupSeat(group)
    const ageMs = nowMs - this.acceptedAtMs
    this.deadlineMs = deadline === undefined ? undefined : Math.max(0, deadline - createdAt - ageMs)
  }

  /** Takes the urgency that its lane has now, 0 to 255. */
  rankIn(lanePriority: number): void {
    this.rank = rankOf(lanePriority, this.envelope.priority ?? PRIORITY_DEFAULT)
  }
}

type GroupedCommand = LocalCommand & { readonly seat: GroupSeat }

function isGrouped(command: LocalCommand): command is GroupedCommand {
  return command.seat !== undefined
}

/** Lanes of a partition that are kept though they are empty. */
const EMPTY_LANES_MAX = 64

/** So many dropped commands, and as many as wait, are kept until they are met. */
const DROPPED_MAX = 64

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
  /** What the plans were made of. */
  readonly #demands = new WeakMap<LanePlan, LaneDemand>()

  /** A lane as it was described last. */
  planOf(laneId: string): LanePlan {
    return this.#plans.get(laneId) ?? this.#keep(planLane(laneId, {}))
  }

  /**
   * What is wanted of lanes.
   *
   * @throws ConfigError `CORELANE_INVALID_OPTION` for a boost that is none.
   */
  open(demands: readonly LaneDemand[]): OpenDemand[] {
    return demands.map((demand) => ({ plan: this.#adapted(demand), left: demand.max }))
  }

  #adapted(demand: LaneDemand): LanePlan {
    const { laneId, priority, boost, groups } = demand
    const known = this.#plans.get(laneId)
    const before = known && this.#demands.get(known)
    if (known !== undefined && before !== undefined && isSame(before, demand)) return known
    const plan = planLane(laneId, {
      priority,
      priorityBoost: { steps: boost.map(({ afterMs, levels }) => ({ afterMs, by: levels })) },
      groupConcurrency: groups?.concurrency,
      groupRateLimit: groups?.rate,
      groupWeights: Object.fromEntries(groups?.weights ?? []),
    })
    this.#demands.set(plan, demand)
    return this.#keep(plan)
  }

  /** @returns The same. */
  #keep(plan: LanePlan): LanePlan {
    // Workers describe their lanes with each request, so what is forgotten comes back.
    if (this.#plans.size >= PLANS_MAX) this.#plans.clear()
    this.#plans.set(plan.name, plan)
    return plan
  }
}

/** Whether a lane is described alike. A worker gives the same objects each time. */
function isSame(before: LaneDemand, { priority, boost, groups }: LaneDemand): boolean {
  if (before.priority !== priority) return false
  return isDeepStrictEqual(before.boost, boost) && isDeepStrictEqual(before.groups, groups)
}

/** The waiting commands of one lane in one partition. */
export interface LocalLane {
  plan: LanePlan
  /** Those without a group. */
  queue: LaneQueue<LocalCommand>
  /** Those with a group; undefined while the lane knows none. */
  groups: GroupQueue<GroupedCommand> | undefined
  /** The one of them whose turn it is. */
  next: GroupedCommand | undefined
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
  readonly #keys = new RenewedMap<string, KeyChain>()
  readonly #grouped: Set<LocalLane>
  /** Those that were dropped since the last sweep, and how many make the next one worth it. */
  #dropped = 0
  #droppedMax = DROPPED_MAX

  /** @param grouped - Lanes that know groups, of all partitions; kept here. */
  constructor(plans: LocalLanePlans, grouped: Set<LocalLane> = new Set()) {
    this.#plans = plans
    this.#grouped = grouped
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

  /** Puts a command back that was taken from here; nothing was done about its key since. */
  restore(command: LocalCommand, nowMs: number): void {
    const { groups } = this.#lanes.get(command.envelope.laneId) ?? {}
    if (isGrouped(command)) groups!.giveBack(command, 0, 1)
    this.#offer(command, nowMs)
  }

  /** Lets the next command with its key come forward. */
  leave(command: LocalCommand, nowMs: number): void {
    const { key } = command.envelope
    command.seat?.leave()
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

  /** Passes over a command that waits and is dropped; its lane or a sweep meets it later. */
  drop(command: LocalCommand, nowMs: number): void {
    const { key, ...others } = command.envelope
    command.fence = DROPPED
    const lane = this.#lanes.get(others.laneId)
    if (lane !== undefined && lane.next === command) lane.next = undefined
    command.seat?.leave()
    if (key !== undefined && this.#keys.get(key)?.head === command) this.leave(command, nowMs)
    // Until then it keeps no memory.
    command.envelope = { ...others, payload: undefined }
    if (++this.#dropped > this.#droppedMax) this.#sweep(nowMs)
  }

  /** Lets go of dropped commands, whose lanes or keys may not go on for long. */
  #sweep(nowMs: number): void {
    let kept = 0
    for (const [laneId, lane] of this.#lanes) {
      requeue(lane, lane.plan, nowMs)
      kept += lane.queue.size
      if (lane.queue.size === 0 && lane.groups === undefined) this.#lanes.delete(laneId)
    }
    for (const chain of this.#keys.values()) {
      let last = chain.head
      for (let { next } = last; next !== undefined; next = next.next) {
        if (next.fence === DROPPED) continue
        last.next = next
        last = next
        kept++
      }
      last.next = undefined
      chain.tail = last
    }
    this.#dropped = 0
    this.#droppedMax = DROPPED_MAX + kept
  }

  /** Those of demands whose lanes hold something here. */
  served(demands: readonly OpenDemand[]): readonly OpenDemand[] {
    return demands.filter(({ plan }) => {
      const lane = this.#lanes.get(plan.name)
      return lane !== undefined && (lane.queue.size > 0 || lane.groups !== undefined)
    })
  }

  /** Takes the most urgent command that is wanted; undefined if there is none. */
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
      if (lane === undefined) continue
      if (lane.queue.size === 0 && lane.groups === undefined) continue
      if (lane.plan !== demand.plan) resort(lane, demand.plan, nowMs)
      const own = lane.groups === undefined ? lane.queue.front(nowMs)! : frontOf(lane, nowMs)
      if (own === undefined) continue
      if (front === undefined || precedes(own, front)) {
        best = lane
        wanted = demand
        front = own
      }
    }
    if (best === undefined || wanted === undefined) return undefined
    if (front === best.next) {
      wanted.left--
      return takeNext(best, nowMs)
    }
    const command = best.queue.take(nowMs)
    if (command.fence !== DROPPED) wanted.left--
    const isEmpty = best.queue.size === 0 && best.groups === undefined
    if (isEmpty && this.#lanes.size > EMPTY_LANES_MAX) this.#lanes.delete(best.plan.name)
    return command
  }

  #offer(command: LocalCommand, nowMs: number): void {
    const { laneId } = command.envelope
    let lane = this.#lanes.get(laneId)
    if (lane === undefined) {
      const plan = this.#plans.planOf(laneId)
      lane = { plan, queue: new LaneQueue(plan), groups: undefined, next: undefined }
      this.#lanes.set(laneId, lane)
    }
    command.rankIn(lane.plan.priority)
    if (!isGrouped(command)) {
      lane.queue.offer(command, nowMs)
      return
    }
    const { plan } = lane
    // Nothing is known of how long one runs, and it counts as started when it is given out.
    lane.groups ??= new GroupQueue<GroupedCommand>(
      plan,
      plan.groups,
      1,
      () => 1,
      () => 0,
    )
    lane.groups.offer(command, 0, nowMs)
    this.#grouped.add(lane)
  }
}

/** The most urgent of a lane that knows groups. */
function frontOf(lane: LocalLane, nowMs: number): Ranked | undefined {
  const { queue } = lane
  const groups = lane.groups!
  if (groups.changesAtMs <= nowMs) groups.advance(nowMs)
  lane.next ??= groups.next(0, nowMs)
  const own = queue.size === 0 ? undefined : queue.front(nowMs)
  if (lane.next === undefined) return own
  return own === undefined || precedes(lane.next, own) ? lane.next : own
}

function takeNext(lane: LocalLane, nowMs: number): LocalCommand {
  const command = lane.next!
  const { rate } = lane.plan.groups
  lane.next = undefined
  command.startByMs = rate && nowMs + tokenMs(rate)
  // It is charged as if it started last of all.
  if (rate !== undefined) command.seat.started(command.startByMs!)
  return command
}

/** Sorts those without a group by a plan, and leaves out what was dropped. */
function requeue(lane: LocalLane, plan: LanePlan, nowMs: number): void {
  const queue = new LaneQueue<LocalCommand>(plan)
  while (lane.queue.size > 0) {
    const command = lane.queue.take(nowMs)
    if (command.fence === DROPPED) continue
    command.rankIn(plan.priority)
    queue.offer(command, nowMs)
  }
  lane.plan = plan
  lane.queue = queue
}

/** Sorts what waits by what a lane promises now. */
function resort(lane: LocalLane, plan: LanePlan, nowMs: number): void {
  requeue(lane, plan, nowMs)
  const { groups, next } = lane
  if (groups === undefined) return
  if (next !== undefined) {
    groups.giveBack(next, 0, 1)
    groups.offer(next, 0, nowMs)
    lane.next = undefined
  }
  groups.replan(plan, plan.groups, nowMs)
}
