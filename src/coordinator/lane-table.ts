// Lane table: the lanes of one manager, by name and by index.
// Thread: main.   Owns: the lanes and their tallies.

import { laneError, show } from '../base/errors.ts'
import { LANE_COUNT_MAX, type LaneOptions } from '../model/lane.ts'

/** A lane of one manager, with what has become of its commands. */
export interface Lane {
  readonly name: string
  readonly index: number
  readonly priority: number
  submitted: number
  completed: number
  failed: number
}

/** Finds lanes. */
export class LaneTable {
  /** All lanes, by index: in the order they were given. */
  readonly all: readonly Lane[]
  readonly #byName = new Map<string, Lane>()

  /**
   * @param lanes - Checked options by name; at least one.
   */
  constructor(lanes: Readonly<Record<string, Required<LaneOptions>>>) {
    const names = Object.keys(lanes)
    if (names.length < 1 || names.length > LANE_COUNT_MAX) {
      throw laneError('CORELANE_INVALID_OPTION', {
        option: 'lanes',
        received: `${names.length} lanes`,
        allowed: `1 to ${LANE_COUNT_MAX} lanes`,
      })
    }
    this.all = names.map((name, index) => ({
      name,
      index,
      priority: lanes[name]!.priority as number,
      submitted: 0,
      completed: 0,
      failed: 0,
    }))
    for (const lane of this.all) this.#byName.set(lane.name, lane)
  }

  /** Commands submitted and not settled. */
  get openCount(): number {
    let open = 0
    for (const { submitted, completed, failed } of this.all) open += submitted - completed - failed
    return open
  }

  /**
   * The lane of a name.
   *
   * @param name - What the caller gave.
   * @throws ConfigError `CORELANE_UNKNOWN_LANE`.
   */
  get(name: string): Lane {
    const lane = this.#byName.get(name)
    if (lane !== undefined) return lane
    throw laneError('CORELANE_UNKNOWN_LANE', {
      received: show(name),
      allowed: this.all.map((known) => known.name).join(', '),
    })
  }
}
