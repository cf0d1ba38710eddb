// Lane task queue: lanes for a pool that stays on Piscina itself.
// Owns: the tasks that wait.

import { nowMs } from '../base/clock.ts'
import { laneError, show } from '../base/errors.ts'
import { checkGiven, isObject } from '../base/options.ts'
import { planManager } from '../coordinator/options.ts'
import { COMMAND_RULES } from '../model/command.ts'
import { type LaneOptions, type LanePlan, rankOf } from '../model/lane.ts'
import { type Schedulable, Scheduler } from '../schedule/scheduler.ts'
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

const TASK_RULES = { priority: COMMAND_RULES.priority, deadlineMs: COMMAND_RULES.deadlineMs }

interface LaneTask extends Schedulable {
  readonly task: Task
}

/**
 * A task queue with lanes for Piscina itself: `new Piscina({ taskQueue: new LaneTaskQueue() })`.
 * Tasks name `lane`, `priority` and `deadlineMs` under `Piscina.queueOptionsSymbol`. It orders what
 * waits, deadlines included; it does not count what runs, so rates and maxima have no effect.
 */
export class LaneTaskQueue implements TaskQueue {
  readonly #plans: readonly LanePlan[]
  readonly #defaultLane: string
  readonly #scheduler: Scheduler<LaneTask>
  /** Those of the scheduler's that were not removed. */
  readonly #waiting = new Map<Task, LaneTask>()
  readonly #all = { isUnderMin: () => false, admits: () => true }
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
      const next = this.#scheduler.next(this.#all, nowMs())
      if (next === undefined) return null
      if (!this.#isWaiting(next)) continue
      this.#waiting.delete(next.task)
      return next.task
    }
  }

  push(task: Task): void {
    this.#offer(task, this.#sequence++)
  }

  unshift(task: Task): void {
    this.#offer(task, --this.#returnedSequence)
  }

  remove(task: Task): void {
    this.#waiting.delete(task)
    // In a lane that starves none comes across those that were removed.
    if (this.#scheduler.size <= 2 * this.size + REMOVED_MAX) return
    this.#scheduler.retain((one) => this.#isWaiting(one), nowMs())
  }

  #offer(task: Task, sequence: number): void {
    const given = task[queueOptionsSymbol]
    const { lane, priority, deadlineMs } = (isObject(given) ? given : {}) as Partial<
      Record<string, unknown>
    >
    const laneIndex = this.#plans.findIndex(({ name }) => name === (lane ?? this.#defaultLane))
    if (laneIndex < 0) {
      const allowed = this.#plans.map(({ name }) => name).join(', ')
      throw laneError('CORELANE_UNKNOWN_LANE', { received: show(lane), allowed })
    }
    checkGiven('LaneTaskQueue', { priority, deadlineMs }, TASK_RULES)
    const plan = this.#plans[laneIndex]!
    const now = nowMs()
    const one = {
      task,
      laneIndex,
      rank: rankOf(plan.priority, (priority as number | undefined) ?? 128),
      sequence,
      submittedAtMs: now,
      deadlineMs: deadlineMs as number | undefined,
    }
    this.#waiting.set(task, one)
    this.#scheduler.offer(one, now)
  }

  #isWaiting(one: LaneTask): boolean {
    return this.#waiting.get(one.task) === one
  }
}
