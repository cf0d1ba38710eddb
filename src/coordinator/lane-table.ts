// Lane table: the lanes of one manager, by name and by index.
// Owns: the lanes and their tallies.

import { isGated, isLimited, type LaneNeeds, type LanePlan, unknownLane } from '../model/lane.ts'

/** A lane of one manager, with what has become of its commands. */
export interface Lane {
  readonly name: string
  readonly index: number
  plan: LanePlan
  /** Whether partitions ask the gate before they start a command of it. */
  readonly isGated: boolean
  /** Whether its rate or its concurrency is limited. */
  isLimited: boolean
  /** Slots that bound its concurrency; 0 if there is no bound. */
  slots: number
  /** Whether none of its commands starts until it is resumed. */
  isPaused: boolean
  /**
   * Whether it never holds commands back in the backlog: it is not paused, and what bounds it, if
   * anything, is seen to elsewhere.
   */
  neverHoldsBack: boolean
  /** Whether its commands become more urgent, or late, while they wait. */
  readonly isTimed: boolean
  submitted: number
  completed: number
  failed: number
  /** Runs of its commands that were followed by another. */
  retried: number
  /** Runs of its commands that took longer than they may. */
  timedOut: number
  /** Its commands that were given up after another run was tried or wished for. */
  deadLettered: number
  /** Estimated bytes of the payloads of unsettled commands; kept only where they are bounded. */
  pendingBytes: number
  /** Whether `queue.lane.pressure` was emitted and `queue.lane.idle` not since. */
  isPressed: boolean
}

export class LaneTable {
  /** All lanes, by index: in the order they were given. */
  readonly all: readonly Lane[]
  readonly #byName = new Map<string, Lane>()
  /** The lane that was asked for last: most submits name the same. */
  #last: Lane

  /**
   * @param plans - Checked lanes.
   * @param needs - What threads share about each.
   */
  constructor(plans: readonly LanePlan[], needs: readonly LaneNeeds[]) {
    this.all = plans.map((plan, index) => ({
      name: plan.name,
      index,
      plan,
      isGated: isGated(needs[index]!),
      slots: needs[index]!.owners,
      isLimited: isLimited(needs[index]!),
      isPaused: false,
      neverHoldsBack: isLimited(needs[index]!) || needs[index]!.owners === 0,
      isTimed: plan.deadlineMs !== undefined || plan.boostSteps.length > 0,
      submitted: 0,
      completed: 0,
      failed: 0,
      retried: 0,
      timedOut: 0,
      deadLettered: 0,
      pendingBytes: 0,
      isPressed: false,
    }))
    for (const lane of this.all) this.#byName.set(lane.name, lane)
    this.#last = this.all[0]!
  }

  /** Commands submitted and not settled. */
  get openCount(): number {
    let open = 0
    for (const lane of this.all) open += openCountOf(lane)
    return open
  }

  /** Estimated bytes of the payloads of those; kept only where they are bounded. */
  get pendingBytes(): number {
    let bytes = 0
    for (const lane of this.all) bytes += lane.pendingBytes
    return bytes
  }

  /**
   * The lane of a name.
   *
   * @param name - What the caller gave.
   * @throws ConfigError `CORELANE_UNKNOWN_LANE`.
   */
  get(name: string): Lane {
    if (name === this.#last.name) return this.#last
    const lane = this.#byName.get(name)
    if (lane !== undefined) {
      this.#last = lane
      return lane
    }
    throw unknownLane(name, this.all)
  }
}

/**
 * Pauses a lane, or lets it go on. Only the dispatcher calls it, which acts on it.
 *
 * @param isPaused - Whether its commands are kept from starting.
 */
export function setPaused(lane: Lane, isPaused: boolean): void {
  lane.isPaused = isPaused
  lane.neverHoldsBack = !isPaused && (lane.isLimited || lane.slots === 0)
}

/** Commands of a lane that are submitted and not settled. */
export function openCountOf({ submitted, completed, failed }: Lane): number {
  return submitted - completed - failed
}

/**
 * Changes what limits a lane, while it is paused.
 *
 * @param plan - Its new one.
 * @param isLimited - Whether that holds commands back.
 */
export function setLimits(lane: Lane, plan: LanePlan, isLimited: boolean): void {
  lane.plan = plan
  lane.slots = plan.maxConcurrency ?? 0
  lane.isLimited = isLimited
}
