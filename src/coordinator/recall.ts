// Recall: which bound commands go back to the backlog.
// Thread: main.   Owns: nothing.

import { ANY_PARTITION, type Command } from './command.ts'
import type { WindowLoad } from './window-load.ts'

/** Which commands are taken back. */
export interface RecallBounds {
  /** Stop when so much estimated work was taken back, in microseconds. Default: no bound. */
  readonly workUs?: number
  /** Leave what is more urgent, and what a lane is promised. Default: take any. */
  readonly rankMin?: number
  /** Leave what is less urgent. Default: take any. */
  readonly rankMax?: number
  /** At most so many. Default: any number. */
  readonly countMax?: number
}

/**
 * Takes back commands that have not started, the last to run first, and leaves those that cannot be
 * sent twice. One of those that has a home keeps what runs before it here: their order stays.
 *
 * @param commands - What is bound, by slot.
 * @param load - How much that is.
 * @param revoke - Takes one back; false if it has started.
 * @param bounds - Which, and how many.
 */
export function recall(
  commands: readonly (Command | undefined)[],
  load: WindowLoad,
  revoke: (slot: number) => boolean,
  bounds: RecallBounds,
): Command[] {
  const every = Number.POSITIVE_INFINITY
  const { workUs = every, rankMin = 0, rankMax = every, countMax = every } = bounds
  const slots: number[] = []
  for (const [slot, command] of commands.entries()) {
    const rank = load.rankOf(slot)
    if (command !== undefined && rank >= rankMin && rank <= rankMax) slots.push(slot)
  }
  slots.sort(
    (a, b) => load.rankOf(b) - load.rankOf(a) || commands[b]!.sequence - commands[a]!.sequence,
  )
  const recalled: Command[] = []
  let taken = 0
  for (const slot of slots) {
    if (taken >= workUs || recalled.length >= countMax) break
    const command = commands[slot]!
    const work = load.workOf(slot)
    const { minConcurrency } = command.lane.plan
    // What a lane is promised makes way for nobody.
    if (rankMin > 0 && load.inLane(command.laneIndex) <= minConcurrency) continue
    if (command.transferList !== undefined && command.home !== ANY_PARTITION) break
    if (command.transferList !== undefined || !revoke(slot)) continue
    taken += work
    recalled.push(command)
  }
  return recalled
}
