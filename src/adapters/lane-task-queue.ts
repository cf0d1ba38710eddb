// Lane task queue: lanes for a pool that stays on Piscina itself.
// Owns: the tasks that wait.

import { nowMs } from '../base/clock.ts'
import { checkGiven, isObject } from '../base/options.ts'
import { planManager } from '../coordinator/options.ts'
import { COMMAND_RULES } from '../model/command.ts'
import { type LaneOptions, type LanePlan, rankOf, unknownLane } from '../model/lane.ts'
import { GroupQueue } from '../schedule/group-queue.ts'
import { type GroupItem, GroupSeat } from '../schedule/group-ring.ts'
import { ADMIT_ALL, type Schedulable, Scheduler } from '../schedule/scheduler.ts'
import { queueOptionsSymbol, type Task, type TaskQueue } from './task-queues.ts'

/** Options of a {@link LaneTaskQueue}. */
export interface LaneTaskQueueOptions {
  /** Lanes by name. Default: those of a queue manager. */
  readonly lanes?: Readonly<Record<string, LaneOptions>>
  /** Lane of tasks that name none. Default: `query` if there is one, else the first. */
  readonly defaultLane?: string
}

/** So many removed tasks may stay in the order, and as many as there are others. */
const REMOVED_MAX = 1024

const TASK_RULES = {
  priority: COMMAND_RULES.priority,
  group: COMMAND_RULES.group,
  deadlineMs: COMMAND_RULES.deadlineMs,
}

const DEFAULT_PRIORITY = COMMAND_RULES.priority.default as number

interface LaneTask extends Schedulable {
  readonly task: Task
  rank: number
  sequence: number
  /** Its place in its group; undefined if it waits for no turn. */
  readonly seat: GroupSeat | undefined
}

type GroupedTask = LaneTask & GroupItem

/** The tasks of a lane that have a group. */
interface LaneTurns {
  readonly queue: GroupQueue<GroupedTask>
  /** The last that had its turn; others take theirs once it waits no more. */
  next: LaneTask | undefined
}

/**
 * A task queue with lanes for Piscina itself: `new Piscina({ taskQueue: new LaneTaskQueue() })`.
 * Tasks name `lane`, `priority`, `group` and `deadlineMs` under `Piscina.queueOptionsSymbol`. It
 * orders what waits, with deadlines and fair turns of groups; it does not count what runs, so rates
 * and maxima have no effect.
 */
export class LaneTaskQueue implements TaskQueue {
  readonly #plans: readonly LanePlan[]
  readonly #defaultLane: string
  readonly #scheduler: Scheduler<LaneTask>
  /** By index of lanes to which a task with a group has come. */
  readonly #turns = new Map<number, LaneTurns>()
  /** All that were not removed. */
  readonly #waiting = new Map<Task, LaneTask>()
  /** What was taken last: Piscina gives it back at once if no thread has room for it. */
  #taken: LaneTask | undefined
  #sequence = 0
  #returnedSequence = 0

  /**
   * @param options - The lanes.
   * @throws ConfigError `CORELANE_INVALID_OPTION`.
   */
  constructor(options: LaneTaskQueueOptions = {}) {
    const { lanes, defaultLane } = planManager({ handlers: 'data:,', ...options })
    this.#plans = lanes
    this.#defaultLane = defaultLane
    this.#scheduler = new Scheduler(lanes)
  }

  get size(): number {
    return this.#waiting.size
  }

  shift(): Task | null {
    for (;;) {
      const now = nowMs()
      for (const turns of this.#turns.values()) {
        if (turns.next !== undefined && this.#isWaiting(turns.next)) continue
        turns.next = turns.queue.next(0, now)
        if (turns.next !== undefined) this.#scheduler.offer(turns.next, now)
      }
      const next = this.#scheduler.next(ADMIT_ALL, now)
      if (next === undefined) return null
      if (!this.#isWaiting(next)) continue
      this.#waiting.delete(next.task)
      this.#taken = next
      return next.task
    }
  }

  push(task: Task): void {
    if (!this.#putBack(task)) this.#offer(task, this.#sequence++, true)
  }

  unshift(task: Task): void {
    if (!this.#putBack(task)) this.#offer(task, --this.#returnedSequence, false)
  }

  remove(task: Task): void {
    this.#waiting.get(task)?.seat?.leave()
    this.#waiting.delete(task)
    // In a lane that starves none comes across those that were removed.
    if (this.#scheduler.size <= 2 * this.size + REMOVED_MAX) return
    this.#scheduler.retain((one) => this.#isWaiting(one), nowMs())
  }

  /** Puts a task where it was, with its turn, if it was taken last. */
  #putBack(task: Task): boolean {
    const taken = this.#taken
    if (taken?.task !== task) return false
    this.#taken = undefined
    this.#waiting.set(task, taken)
    this.#scheduler.offer(taken, nowMs())
    return true
  }

  #offer(task: Task, sequence: number, takesTurns: boolean): void {
    const given = task[queueOptionsSymbol]
    const { lane, priority, group, deadlineMs } = (isObject(given) ? given : {}) as Partial<
      Record<string, unknown>
    >
    const laneIndex = this.#plans.findIndex(({ name }) => name === (lane ?? this.#defaultLane))
    if (laneIndex < 0) throw unknownLane(lane, this.#plans)
    checkGiven('LaneTaskQueue', { priority, group, deadlineMs }, TASK_RULES)
    const plan = this.#plans[laneIndex]!
    const now = nowMs()
    const isTurned = group !== undefined && !takesTurns
    const own = isTurned ? undefined : (priority as number | undefined)
    const one: LaneTask = {
      task,
      laneIndex,
      rank: rankOf(plan.priority, own ?? DEFAULT_PRIORITY),
      sequence,
      submittedAtMs: now,
      deadlineMs: deadlineMs as number | undefined,
      seat: group === undefined || isTurned ? undefined : new GroupSeat(group as string),
    }
    this.#waiting.set(task, one)
    if (one.seat === undefined) this.#scheduler.offer(one, now)
    else this.#turnsOf(laneIndex).queue.offer(one as GroupedTask, 0, now)
  }

  #turnsOf(laneIndex: number): LaneTurns {
    let turns = this.#turns.get(laneIndex)
    if (turns === undefined) {
      const plan = this.#plans[laneIndex]!
      const terms = { ...plan.groups, concurrency: Number.POSITIVE_INFINITY, rate: undefined }
      // Each task costs the same, and starts count for no limit: nothing is known of runs.
      const queue = new GroupQueue<GroupedTask>(
        plan,
        terms,
        1,
        () => 1,
        () => 0,
        true,
      )
      turns = { queue, next: undefined }
      this.#turns.set(laneIndex, turns)
    }
    return turns
  }

  #isWaiting(one: LaneTask): boolean {
    return this.#waiting.get(one.task) === one
  }
}
