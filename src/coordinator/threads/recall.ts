// Recall: which bound commands go back to the backlog.

import type { Ranked } from '../../schedule/priority-heap.ts'
import { ANY_PARTITION, type Command } from '../command.ts'
import type { WindowLoad } from './window-load.ts'

/** Which commands are taken back. */
export interface RecallBounds {
  /** Stop when so much estimated work was taken back, in microseconds. Default: no bound. */
  readonly workUs?: number
  /** Leave what runs before a command of this rank and sequence. Default: take any. */
  readonly after?: Ranked
  /** By lane: leave so many. Default: none. */
  readonly promised?: ArrayLike<number>
  /** Leave what is less urgent. Default: take any. */
  readonly rankMax?: number
  /** At most so many. Default: any number. */
  readonly countMax?: number
  /** Only commands of this lane. Default: of any. */
  readonly laneIndex?: number
  /** Only commands of this key. Default: of any. */
  readonly key?: string
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
  const { workUs = every, rankMax = every, countMax = every } = bounds
  const { after, promised, laneIndex, key } = bounds
  const slots: number[] = []
  for (const [slot, command] of commands.entries()) {
    if (command === undefined || load.rankOf(slot) > rankMax) continue
    if (laneIndex !== undefined && command.laneIndex !== laneIndex) continue
    if (key !== undefined && command.key !== key) continue
    if (after === undefined || load.isAfter(slot, after.rank, after.sequence)) slots.push(slot)
  }
  slots.sort((a, b) => load.compare(b, a))
  const recalled: Command[] = []
  let taken = 0
  for (const slot of slots) {
    if (taken >= workUs || recalled.length >= countMax) break
    const command = commands[slot]!
    const work = load.workOf(slot)
    if (promised && load.inLane(command.laneIndex) <= promised[command.laneIndex]!) continue
    if (command.transferList !== undefined && command.home !== ANY_PARTITION) break
    if (command.transferList !== undefined || !revoke(slot)) continue
    taken += work
    recalled.push(command)
  }
  return recalled
}
