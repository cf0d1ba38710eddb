// Boost: how a command of a lane becomes more urgent while it waits.
// Owns: nothing; data only.

import { TIMER_MS_MAX } from '../base/bounds.ts'
import { show } from '../base/errors.ts'
import {
  anything,
  invalidOption,
  milliseconds,
  type OptionRules,
  refuseConstruction,
} from '../base/options.ts'

/** Most steps of a boost. */
const STEPS_MAX = 64

/** From `afterMs` after submission the lane's priority counts as lower by `by` in all. */
export interface BoostStep {
  /** Milliseconds since the submit; at least those of the step before. */
  readonly afterMs: number
  /** Levels of priority in all, an integer; at least those of the step before. */
  readonly by: number
}

/** The plain form of {@link PriorityBoostConfig}. */
export interface PriorityBoostOptions {
  /** After so long a command is most urgent of all. 1 to 2^31 - 1 ms. Default: never. */
  readonly deadlineMs?: number | undefined
  /** What happens before that, in ascending order of time. Default: nothing. */
  readonly steps?: readonly BoostStep[] | undefined
}

function isSteps(value: unknown): boolean {
  if (!Array.isArray(value) || value.length > STEPS_MAX) return false
  let last: BoostStep = { afterMs: 0, by: 0 }
  for (const step of value as BoostStep[]) {
    if (!(step?.afterMs >= last.afterMs && Number.isInteger(step.by) && step.by >= last.by))
      return false
    last = step
  }
  return true
}

/** The rules of {@link PriorityBoostOptions}. */
export const BOOST_RULES = Object.freeze({
  deadlineMs: milliseconds(undefined, 1, TIMER_MS_MAX),
  steps: anything(
    Object.freeze([]),
    `up to ${STEPS_MAX} steps { afterMs, by } that never descend`,
    isSteps,
  ),
}) satisfies OptionRules

const STANDARD: readonly BoostStep[] = [
  { afterMs: 0.25, by: 1 },
  { afterMs: 0.5, by: 2 },
  { afterMs: 0.75, by: 3 },
  { afterMs: 0.9, by: 4 },
]
const AGGRESSIVE: readonly BoostStep[] = [
  { afterMs: 0.2, by: 2 },
  { afterMs: 0.4, by: 4 },
  { afterMs: 0.6, by: 6 },
  { afterMs: 0.8, by: 8 },
]

/**
 * How waiting commands of a lane become more urgent as their deadline nears. Immutable; every place
 * that takes one takes its plain form {@link PriorityBoostOptions} too.
 */
export class PriorityBoostConfig implements PriorityBoostOptions {
  readonly deadlineMs: number | undefined
  readonly steps: readonly BoostStep[]

  private constructor(deadlineMs: number | undefined, steps: readonly BoostStep[]) {
    refuseConstruction(Array.isArray(steps), 'PriorityBoostConfig', 'its static methods')
    this.deadlineMs = deadlineMs
    this.steps = Object.freeze(steps.map((step) => Object.freeze({ ...step })))
    Object.freeze(this)
  }

  /**
   * At 25, 50, 75 and 90 % of the deadline the lane's priority counts as 1, 2, 3 and 4 less; past
   * the deadline the command is most urgent of all.
   *
   * @param deadlineMs - Counted from submission.
   */
  static standard(deadlineMs: number): PriorityBoostConfig {
    return PriorityBoostConfig.#scaled(deadlineMs, STANDARD)
  }

  /**
   * At 20, 40, 60 and 80 % of the deadline the lane's priority counts as 2, 4, 6 and 8 less; past
   * the deadline the command is most urgent of all.
   *
   * @param deadlineMs - Counted from submission.
   */
  static aggressive(deadlineMs: number): PriorityBoostConfig {
    return PriorityBoostConfig.#scaled(deadlineMs, AGGRESSIVE)
  }

  /**
   * One step at each point; past the deadline the command is most urgent of all.
   *
   * @param deadlineMs - Counted from submission.
   * @param pointsMs - When the lane's priority counts as 1, 2, 3, … less, counted from submission.
   * @throws ConfigError `CORELANE_INVALID_OPTION`.
   */
  static custom(deadlineMs: number, pointsMs: readonly number[]): PriorityBoostConfig {
    if (
      !Array.isArray(pointsMs) ||
      !pointsMs.every((point) => point >= 0 && point <= TIMER_MS_MAX)
    ) {
      const allowed = `an array of milliseconds from 0 to ${TIMER_MS_MAX}`
      throw invalidOption('PriorityBoostConfig.custom.pointsMs', show(pointsMs), allowed)
    }
    const ascending = [...pointsMs].sort((a, b) => a - b)
    return new PriorityBoostConfig(
      deadlineMs,
      ascending.map((afterMs, index) => ({ afterMs, by: index + 1 })),
    )
  }

  /** No boost: a command keeps its urgency however long it waits. */
  static disabled(): PriorityBoostConfig {
    return new PriorityBoostConfig(undefined, [])
  }

  static #scaled(deadlineMs: number, parts: readonly BoostStep[]): PriorityBoostConfig {
    return new PriorityBoostConfig(
      deadlineMs,
      parts.map(({ afterMs, by }) => ({ afterMs: afterMs * deadlineMs, by })),
    )
  }
}
