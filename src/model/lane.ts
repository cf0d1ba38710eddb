// Lane: a named class of commands and how urgent it is.
// Thread: any.   Owns: nothing; data only.

import { integer, type OptionRules } from '../base/options.ts'
import { PRIORITY_MAX } from './command.ts'

/** Options of a lane. */
export interface LaneOptions {
  /** Urgency among lanes: 0 (the most urgent) to 255. Default 5. */
  readonly priority?: number | undefined
}

/** The rules of {@link LaneOptions}. */
export const LANE_RULES = Object.freeze({
  priority: integer(5, 0, PRIORITY_MAX),
}) satisfies OptionRules

/** The lanes a manager has when it is given none, by name, with their priorities. */
export const DEFAULT_LANES: Readonly<Record<string, LaneOptions>> = Object.freeze({
  system: Object.freeze({ priority: 0 }),
  control: Object.freeze({ priority: 1 }),
  query: Object.freeze({ priority: 2 }),
  session: Object.freeze({ priority: 3 }),
  skill: Object.freeze({ priority: 4 }),
  prompt: Object.freeze({ priority: 5 }),
})

/** Most lanes a manager can have. */
export const LANE_COUNT_MAX = 256

/**
 * Packs lane priority and command priority into the rank that orders commands everywhere.
 *
 * @param lanePriority - 0 to 255.
 * @param commandPriority - 0 to 255.
 * @returns An integer; less is more urgent.
 */
export function rankOf(lanePriority: number, commandPriority: number): number {
  return lanePriority * (PRIORITY_MAX + 1) + commandPriority
}
