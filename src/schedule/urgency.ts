// Urgency: the rank of a waiting command at a moment, and when it changes next.
// Pure: time is a parameter.

import { priorityOf, rankOf, type SharedLanePlan } from '../model/lane.ts'

/** The rank of a command past its deadline: less than that of any command that is not. */
export const OVERDUE_RANK = -1

/** A rank, and until when it holds. */
export interface Urgency {
  rank: number
  /** Milliseconds on the clock of submission; Infinity if it holds for good. */
  untilMs: number
}

/** What decides how urgent a command is. */
export interface Waiting {
  /** Its rank when it was submitted. */
  readonly rank: number
  /** When it was submitted; only looked at if it or its lane has a deadline or a boost. */
  readonly submittedAtMs: number
  /** Deadline of its own, counted from submission; undefined: that of its lane. */
  readonly deadlineMs: number | undefined
}

/**
 * How urgent a command is. Its rank never grows while it waits.
 *
 * @param lane - Its lane: priority and boost.
 * @param answer - Takes the answer.
 */
export function judge(
  lane: SharedLanePlan,
  command: Waiting,
  nowMs: number,
  answer: Urgency,
): void {
  const { rank, submittedAtMs, deadlineMs } = command
  const { boostSteps } = lane
  const ownDeadlineMs = deadlineMs ?? lane.deadlineMs
  answer.rank = rank
  answer.untilMs = Number.POSITIVE_INFINITY
  if (ownDeadlineMs === undefined && boostSteps.length === 0) return
  const endMs = submittedAtMs + (ownDeadlineMs ?? Number.POSITIVE_INFINITY)
  if (nowMs >= endMs) {
    answer.rank = OVERDUE_RANK
    return
  }
  // The steps are those of the lane's deadline; a command's own deadline stretches or shrinks them.
  const scale =
    deadlineMs === undefined || lane.deadlineMs === undefined ? 1 : deadlineMs / lane.deadlineMs
  let by = 0
  answer.untilMs = endMs
  for (const step of boostSteps) {
    const atMs = submittedAtMs + step.afterMs * scale
    if (nowMs < atMs) {
      answer.untilMs = Math.min(endMs, atMs)
      break
    }
    by = step.by
  }
  answer.rank = rankOf(Math.max(0, lane.priority - by), priorityOf(rank))
}
