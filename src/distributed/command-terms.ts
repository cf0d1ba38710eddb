// Command terms: the options under which a manager runs a command that came through a queue.
// Thread: main.   Owns: nothing.

import { TIMER_MS_MAX } from '../base/bounds.ts'
import { nowMs } from '../base/clock.ts'
import { type LaneError, laneError } from '../base/errors.ts'
import { ATTEMPT_MAX, type CommandOptions } from '../model/command.ts'
import { RetryPolicy } from '../model/retry.ts'
import type { HeldCommand } from './held-command.ts'

/** Its failures are retried by the queue, on whatever worker. */
const NO_RETRY = RetryPolicy.none()

/**
 * How long after its acceptance a command should have started; undefined if neither it nor its lane
 * has a deadline. Both moments of the envelope are by the clock of its submitter, and only their
 * difference counts: no two machines' clocks are compared.
 */
function patienceMsOf({ envelope, lane }: HeldCommand): number | undefined {
  const { deadline, createdAt } = envelope
  return deadline === undefined ? lane.plan.deadlineMs : Math.max(0, deadline - createdAt)
}

/**
 * The options for the manager.
 *
 * @param held - The command.
 * @param leftMs - How long its lease lets it start.
 * @param now - Monotonic milliseconds.
 * @param passesKeys - Whether the manager takes keys.
 * @returns `late` if it may not start any more, `permit` if its permit is over.
 */
export function termsOf(
  held: HeldCommand,
  leftMs: number,
  now: number,
  passesKeys: boolean,
): CommandOptions | 'late' | 'permit' {
  const { envelope, permitUntilMs } = held
  const { plan } = held.lane
  const { key, priority } = envelope
  const options: { -readonly [K in keyof CommandOptions]: CommandOptions[K] } = {
    // So that an effect that a run before has had can be told by it.
    id: envelope.id,
    attempt: Math.min(envelope.retryCount + 1, ATTEMPT_MAX),
    kill: true,
    retry: NO_RETRY,
    // However long this process stands still: afterwards it may be another worker's.
    startWithinMs: Math.min(leftMs, TIMER_MS_MAX),
  }
  if (key !== undefined && passesKeys) options.key = key
  if (priority !== undefined) options.priority = priority
  const patienceMs = patienceMsOf(held)
  if (patienceMs !== undefined) {
    const untilDueMs = held.delivery.acceptedAtMs + patienceMs - now
    if (untilDueMs <= 0 && plan.rejectsLate) return 'late'
    options.deadlineMs = Math.min(Math.max(untilDueMs, 1), TIMER_MS_MAX)
  }
  if (permitUntilMs === 0) return options
  const permitMs = permitUntilMs - now
  if (permitMs < 1) return 'permit'
  options.startWithinMs = Math.min(leftMs, permitMs, TIMER_MS_MAX)
  return options
}

/**
 * The failure of a command that has not started by its deadline.
 *
 * @param held - The command.
 */
export function lateError(held: HeldCommand): LaneError {
  const waitedMs = Math.max(0, Math.round(nowMs() - held.delivery.acceptedAtMs))
  const deadlineMs = patienceMsOf(held) ?? 0
  const { laneId: lane } = held.envelope
  return laneError('CORELANE_DEADLINE_EXCEEDED', { lane, waitedMs, deadlineMs })
}
