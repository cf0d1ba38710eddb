// Supervisor: starts the partitions' threads, replaces those that die, and ends them.
// Thread: main.   Owns: the life of every incarnation.
// Must not: choose what runs where; it hands back what a dead thread left.

import { timers } from '../base/clock.ts'
import { LaneError, laneError } from '../base/errors.ts'
import type { Broadcast, LoadReport } from '../wire/control.ts'
import { fromSideValue } from '../wire/side-value.ts'
import { Incarnation, type ThreadPlan } from './incarnation.ts'
import type { PartitionHandle } from './partition-handle.ts'
import type { PendingCommand } from './pending-command.ts'

/** Threads in a row that may die without settling a command before the partition is given up. */
const FAILURES_MAX = 5

/** Wait before the second replacement in a row; it doubles with each further one. */
const BACKOFF_MS = 100

/** What the supervisor tells the manager. */
export interface SupervisorEvents {
  /** A partition can take commands. */
  ready(): void
  /**
   * Commands that had not started when their thread died, in order; they run elsewhere or later.
   */
  requeue(commands: readonly PendingCommand[]): void
  /** A partition was given up. */
  failed(partition: PartitionHandle, reason: LaneError): void
  /** A thread has ended, and what it left is settled or queued again. */
  ended(): void
}

/** Keeps partitions alive. */
export class Supervisor {
  readonly #plan: ThreadPlan
  readonly #partitions: readonly PartitionHandle[]
  readonly #events: SupervisorEvents
  readonly #startTimeoutMs: number
  readonly #sticky: Broadcast[] = []
  readonly #respawns = new Set<NodeJS.Timeout>()
  #types: readonly string[] | undefined
  #isClosing = false

  constructor(
    plan: ThreadPlan,
    partitions: readonly PartitionHandle[],
    startTimeoutMs: number,
    events: SupervisorEvents,
  ) {
    this.#plan = plan
    this.#partitions = partitions
    this.#startTimeoutMs = startTimeoutMs
    this.#events = events
  }

  /**
   * Starts every partition.
   *
   * @returns The sorted names of the handlers.
   * @throws ConfigError `CORELANE_INVALID_OPTION` if `new Worker` refuses what it is given, or
   * `CORELANE_HANDLERS_FAILED` if the handler module cannot be loaded or set up
   * on any of them; every thread has ended then.
   */
  async start(): Promise<readonly string[]> {
    const results = await Promise.allSettled(
      // Asynchronous, since making a thread may throw, and then the others must be ended.
      this.#partitions.map(async (partition) => this.#load(this.#spawn(partition))),
    )
    const failed = results.find((result) => result.status === 'rejected')
    if (failed !== undefined) {
      await this.terminate()
      throw failed.reason
    }
    for (const partition of this.#partitions) this.#watch(partition, partition.incarnation!)
    return this.#types!
  }

  /**
   * Remembers a broadcast for the replacements to come.
   *
   * @param broadcast - Already run on the present threads.
   */
  stick(broadcast: Broadcast): void {
    this.#sticky.push(broadcast)
  }

  /**
   * Stops every thread: lets it finish what runs and tear down, then ends it.
   *
   * @param timeoutMs - How long each may take.
   * @returns Why `teardown` failed, for each where it did.
   */
  async stop(timeoutMs: number): Promise<unknown[]> {
    this.#isClosing = true
    const stops = this.#partitions.map(async ({ incarnation }) => {
      if (!incarnation?.isReady) return undefined
      incarnation.isReady = false
      const report = await incarnation.call('stop', timeoutMs, (control) => control.stop())
      return report.ok ? undefined : fromSideValue(report.side)
    })
    const ends = await Promise.allSettled(stops)
    await this.terminate()
    // A thread that died or did not answer in time has nothing to tell of its teardown.
    return ends.flatMap((end) =>
      end.status === 'fulfilled' && end.value !== undefined ? [end.value] : [],
    )
  }

  /** Ends every thread at once. */
  async terminate(): Promise<void> {
    this.#isClosing = true
    for (const timer of this.#respawns) timers.clearTimeout(timer)
    this.#respawns.clear()
    await Promise.all(
      this.#partitions.map(async ({ incarnation }) => {
        await incarnation?.terminate()
        await incarnation?.exited
      }),
    )
  }

  #spawn(partition: PartitionHandle): Incarnation {
    partition.incarnations++
    const { index, incarnations } = partition
    try {
      partition.incarnation = new Incarnation(this.#plan, index, incarnations, [...this.#sticky])
      return partition.incarnation
    } catch (error) {
      throw laneError(
        'CORELANE_INVALID_OPTION',
        {
          option: 'QueueManager workerData, env, execArgv or resourceLimits',
          received: `refused by new Worker (${String(error)})`,
          allowed: 'what new Worker takes',
        },
        error,
      )
    }
  }

  /** Waits until a thread is ready. Always settles: it races the exit and a time-out. */
  async #load(incarnation: Incarnation): Promise<void> {
    const report = await this.#loadReport(incarnation)
    if (!report.ok) throw this.#loadError(fromSideValue(report.error))
    this.#types ??= report.types
    if (report.types.join() !== this.#types.join()) {
      throw this.#loadError(new Error(`its handlers changed to ${report.types.join(', ')}`))
    }
    incarnation.isReady = true
  }

  #loadReport(incarnation: Incarnation): Promise<LoadReport> {
    return new Promise((resolve, reject) => {
      const timeoutMs = this.#startTimeoutMs
      const timer = timers.setTimeout(() => {
        reject(this.#loadError(new Error(`it was not ready after ${timeoutMs} ms`)))
      }, timeoutMs)
      void incarnation.exited.then(() => {
        reject(this.#loadError(incarnation.lostError('loading its handlers', false)))
      })
      void incarnation.loaded.then(resolve)
      void Promise.race([incarnation.exited, incarnation.loaded]).then(() =>
        timers.clearTimeout(timer),
      )
    })
  }

  #loadError(cause: unknown): LaneError {
    const reason = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause)
    return laneError('CORELANE_HANDLERS_FAILED', { module: this.#plan.handlers, reason }, cause)
  }

  #watch(partition: PartitionHandle, incarnation: Incarnation): void {
    void incarnation.exited.then(() => this.#onExit(partition, incarnation))
  }

  #onExit(partition: PartitionHandle, incarnation: Incarnation): void {
    const { window } = incarnation
    const left = window.takeLeftBehind()
    this.#plan.commons.reclaim(partition.index, incarnation.number)
    const waiting: PendingCommand[] = []
    for (const { command, started } of left) {
      if (!started && command.transferList === undefined) {
        waiting.push(command)
        continue
      }
      const stage = started ? 'running' : 'bound, its transferred memory gone'
      command.fail(
        this.#isClosing ? closedError(started) : incarnation.lostError(stage, started),
        partition.index,
      )
    }
    if (this.#isClosing) {
      for (const command of waiting) command.fail(closedError(false), partition.index)
    } else {
      const hasSettled = window.completed > 0 || left.length > waiting.length
      partition.failures = hasSettled ? 0 : partition.failures + 1
      this.#events.requeue(waiting)
      this.#respawn(partition, incarnation.lostError('starting', false))
    }
    this.#events.ended()
  }

  #respawn(partition: PartitionHandle, reason: LaneError): void {
    if (partition.failures > FAILURES_MAX) {
      partition.incarnation = undefined
      partition.failure = reason
      this.#events.failed(partition, reason)
      return
    }
    const delayMs = partition.failures === 0 ? 0 : BACKOFF_MS * 2 ** (partition.failures - 1)
    const timer = timers.setTimeout(() => {
      this.#respawns.delete(timer)
      void this.#replace(partition)
    }, delayMs)
    this.#respawns.add(timer)
  }

  async #replace(partition: PartitionHandle): Promise<void> {
    let incarnation: Incarnation | undefined
    try {
      incarnation = this.#spawn(partition)
      await this.#load(incarnation)
    } catch (error) {
      await incarnation?.terminate()
      if (this.#isClosing) return
      partition.failures++
      this.#respawn(partition, error instanceof LaneError ? error : this.#loadError(error))
      return
    }
    this.#watch(partition, incarnation)
    this.#events.ready()
  }
}

/**
 * Why a command ended with its manager.
 *
 * @param started - Whether its handler had been entered.
 */
export function closedError(started: boolean): Error {
  const stage = started ? 'running' : 'waiting'
  return laneError('CORELANE_COMMAND_DROPPED', { stage, reason: 'close() was called' })
}
