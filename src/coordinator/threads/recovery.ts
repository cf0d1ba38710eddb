// Recovery: ends a command whose run failed: by another run, a dead letter or a rejection.
// Owns: the decision. A command ends exactly one way.

import { nowMs } from '../../base/clock.ts'
import { type LaneError, laneError } from '../../base/errors.ts'
import type { CommandOptions } from '../../model/command.ts'
import { priorityOf } from '../../model/lane.ts'
import { isWorthRetrying, mayRetry, retryDelayMs } from '../../model/retry.ts'
import { stableHash } from '../../schedule/hash.ts'
import { ANY_PARTITION, type Command, type CommandEvents } from '../command.ts'
import type { CommandTimers } from '../command-timers.ts'
import type { LifeCycle } from '../life-cycle.ts'
import { startableNow } from '../metered-manager.ts'
import type { ManagerPlan } from '../options.ts'
import type { DeadLetterQueue } from '../results/dead-letter-queue.ts'
import { fileOf } from '../type-table.ts'

/** Whether the death of a thread was a command's doing. */
export type Blame = 'sole' | 'suspect' | 'none'

type RecoveryPlan = Pick<ManagerPlan, 'maxCrashes' | 'rerunsBystanders'>

export class Recovery {
  readonly #hub: CommandEvents
  readonly #timers: Pick<CommandTimers, 'delay'>
  readonly #deadLetters: Pick<DeadLetterQueue, 'add'>
  readonly #plan: RecoveryPlan
  readonly #life: Pick<LifeCycle, 'state'>

  /**
   * @param hub - Takes events of commands.
   * @param timers - Delay retries.
   * @param deadLetters - Keep commands that failed for good.
   * @param plan - A command that has killed `maxCrashes` threads is not run again.
   * @param life - The manager's; a closed one runs nothing again.
   */
  constructor(
    hub: CommandEvents,
    timers: Pick<CommandTimers, 'delay'>,
    deadLetters: Pick<DeadLetterQueue, 'add'>,
    plan: RecoveryPlan,
    life: Pick<LifeCycle, 'state'>,
  ) {
    this.#hub = hub
    this.#timers = timers
    this.#deadLetters = deadLetters
    this.#plan = plan
    this.#life = life
  }

  /**
   * A handler failed, or gave something that cannot cross threads.
   *
   * @param partition - Where it ran.
   * @param startedAtMs - When its handler was entered.
   * @param durationMs - How long it ran.
   */
  failed(
    command: Command,
    error: unknown,
    partition: number,
    startedAtMs: number,
    durationMs: number,
  ): void {
    const { retry } = command
    if (startedAtMs > 0) command.groupSeat?.started(startedAtMs)
    const isRetriable = mayRetry(retry) && !command.isStream
    const { retryable } = retry
    const context = command.extras?.options?.context
    const asked = retryable && ((reason: unknown) => context!.call(retryable, reason))
    const isAgain = isRetriable && isWorthRetrying(error, asked)
    // The predicate is the caller's, and may have aborted the command.
    if (
      command.isSettled ||
      (isAgain && this.#retried(command, error, partition, startedAtMs, durationMs))
    )
      return
    this.#end(command, error, partition, startedAtMs, durationMs)
  }

  /**
   * A run took longer than it may; it may go on, detached from its command.
   *
   * @param error - The TimeoutError.
   * @param partition - Where it runs.
   * @param startedAtMs - When its handler was entered.
   */
  timedOut(command: Command, error: LaneError, partition: number, startedAtMs: number): void {
    const { lane, retry } = command
    const durationMs = nowMs() - startedAtMs
    lane.timedOut++
    this.#hub.command('queue.command.timeout', command, partition, startedAtMs, durationMs, error)
    if (retry.retryTimeouts) this.failed(command, error, partition, startedAtMs, durationMs)
    else this.#end(command, error, partition, startedAtMs, durationMs)
  }

  /**
   * A thread ended while the command ran there.
   *
   * @param error - The PartitionLostError.
   * @param partition - Where it ran.
   * @param blame - Whether it alone ran, was one of several, or the thread ended for another
   * reason.
   * @returns Whether it is to be queued again.
   */
  lost(command: Command, error: LaneError, partition: number, blame: Blame): boolean {
    const history = command.remember()
    history.firstFailedAtMs ||= nowMs()
    // Its start was not read before its thread had gone; another run needs another turn.
    command.groupSeat?.leave(nowMs())
    if (blame !== 'none') history.crashes++
    // A suspect ran by itself, but for what its handler waited for.
    if (blame === 'sole' || (blame === 'suspect' && history.isSuspect)) history.kills++
    const isReplayable = command.transferList === undefined && !command.isStream
    const isHarmless = history.kills < this.#plan.maxCrashes
    const isBystander = blame === 'none' && this.#plan.rerunsBystanders
    if ((command.retry.retryLost || isBystander) && isReplayable && isHarmless) {
      // One of several: it runs by itself next, so that it is known whose doing it was.
      if (blame === 'suspect') history.isSuspect = true
      this.#again(command, error, partition)
      // A subscriber to its retry may have ended it.
      return !command.isSettled
    }
    this.#end(command, error, partition, 0, 0)
    return false
  }

  /**
   * A command was not started in time: it rejects with a DeadlineExceededError, whose cause is what
   * its last run ended with. If it has run before, it has failed for good.
   *
   * @param command - It waits, or nothing is left of it on its partition.
   */
  late(command: Command): void {
    const { lane, submittedAtMs, patienceMs: deadlineMs } = command
    const history = command.extras?.history
    const waitedMs = Math.round(nowMs() - submittedAtMs)
    const details = { lane: lane.name, waitedMs, deadlineMs }
    const error = laneError('CORELANE_DEADLINE_EXCEEDED', details, history?.lastError)
    if (!history?.firstFailedAtMs) {
      command.fail(error, ANY_PARTITION)
      return
    }
    // The run that it waited for does not come.
    history.attempt--
    this.#end(command, error, ANY_PARTITION, 0, 0)
  }

  /** Lets a command run again after its delay, if it has retries left. */
  #retried(
    command: Command,
    error: unknown,
    partition: number,
    startedAtMs: number,
    durationMs: number,
  ): boolean {
    const { retry } = command
    const history = command.remember()
    if (history.failures >= retry.retries || this.#life.state === 'closed') return false
    history.failures++
    history.firstFailedAtMs ||= nowMs()
    // Chance that is the same in every run of a program: a hash of the command and its attempt.
    const chance = stableHash(`${command.sequence}/${history.failures}`) / 2 ** 32
    this.#again(command, error, partition, startedAtMs, durationMs)
    this.#timers.delay(command, retryDelayMs(retry, history.failures, chance))
    return true
  }

  #again(
    command: Command,
    error: unknown,
    partition: number,
    startedAtMs?: number,
    durationMs?: number,
  ): void {
    const event = 'queue.command.retry'
    command.lane.retried++
    this.#hub.command(event, command, partition, startedAtMs, durationMs, error)
    const history = command.remember()
    history.attempt++
    history.lastError = error
    startableNow(command)
  }

  #end(
    command: Command,
    error: unknown,
    partition: number,
    startedAtMs: number,
    durationMs: number,
  ): void {
    if (mayRetry(command.retry) && !command.isStream) this.#deadLetter(command, error, partition)
    command.fail(error, partition, startedAtMs, durationMs)
  }

  #deadLetter(command: Command, error: unknown, partition: number): void {
    const now = nowMs()
    const { crashes, firstFailedAtMs } = command.remember()
    const { payload } = command
    const options = optionsAgain(command)
    const file = fileOf(command.type)
    command.lane.deadLettered++
    this.#hub.command('queue.command.dead_lettered', command, partition, 0, undefined, error)
    this.#deadLetters.add({
      id: command.id,
      lane: command.lane.name,
      type: command.type.name,
      payload,
      error,
      attempts: command.attempt,
      crashes,
      firstFailedAtMs: firstFailedAtMs || now,
      failedAtMs: now,
      options: file ? { ...options, file: file.url } : options,
    })
  }
}

/** The options with which a command like one would be submitted. */
function optionsAgain({ extras, groupSeat, group, rank, key }: Command): CommandOptions {
  const { name, deadlineMs, options } = extras!
  const all = {
    id: name,
    key,
    group,
    priority: priorityOf(groupSeat?.number === undefined ? rank : groupSeat.rank),
    deadlineMs,
    onDeadline:
      options?.rejectsLate === undefined ? undefined : options.rejectsLate ? 'reject' : 'boost',
    startWithinMs: options?.startWithinMs,
    timeoutMs: options?.timeoutMs,
    retry: options?.retry,
  }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
}

/**
 * Why a command ended with its manager.
 *
 * @param started - Whether its handler had been entered.
 * @param failure - Why the manager could not start; undefined: it was closed.
 */
export function closedError(started: boolean, failure?: LaneError): LaneError {
  if (failure !== undefined && !started) {
    return laneError(failure.code, failure.details, failure.cause)
  }
  const stage = started ? 'running' : 'waiting'
  const reason = failure === undefined ? 'close() was called' : 'another of its threads failed'
  return laneError('CORELANE_COMMAND_DROPPED', { stage, reason }, failure)
}
