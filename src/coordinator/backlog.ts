// Backlog: every command that is not bound to a partition yet.
// Thread: main.   Owns: the order of what waits.

import { Scheduler } from '../schedule/scheduler.ts'
import { ANY_PARTITION, type PendingCommand } from './pending-command.ts'

/** A scheduler for the commands of each partition, or one for all where any will do. */
export class Backlog {
  readonly #places: Scheduler<PendingCommand>[]
  #size = 0

  /**
   * @param laneCount - Number of lanes.
   * @param places - One per partition where commands have a home, else 1.
   */
  constructor(laneCount: number, places: number) {
    this.#places = Array.from({ length: places }, () => new Scheduler<PendingCommand>(laneCount))
  }

  /** Commands that wait. */
  get size(): number {
    return this.#size
  }

  /** Number of places. */
  get places(): number {
    return this.#places.length
  }

  /**
   * Whether nothing waits where a command would have to.
   *
   * @param home - The command's.
   */
  isEmptyAt(home: number): boolean {
    return this.#places[placeOf(home)]!.size === 0
  }

  /**
   * Commands of a lane that wait.
   *
   * @param laneIndex - The lane.
   */
  sizeOf(laneIndex: number): number {
    let size = 0
    for (const place of this.#places) size += place.sizeOf(laneIndex)
    return size
  }

  /**
   * Adds a command.
   *
   * @param command - New, or back from a partition: its old sequence puts it where it was.
   */
  offer(command: PendingCommand): void {
    this.#places[placeOf(command.home)]!.offer(command)
    this.#size++
  }

  /**
   * The command that is next at a place, left there.
   *
   * @param place - Its index.
   */
  peek(place: number): PendingCommand | undefined {
    return this.#places[place]!.peek()
  }

  /**
   * Takes the command that is next at a place.
   *
   * @param place - Its index; not empty.
   */
  next(place: number): PendingCommand {
    this.#size--
    return this.#places[place]!.next()!
  }

  /** Takes all commands, in the order they would have run at each place. */
  takeAll(): PendingCommand[] {
    return this.#places.flatMap((_, place) => this.takeFrom(place))
  }

  /**
   * Takes all commands of one place.
   *
   * @param place - Its index.
   */
  takeFrom(place: number): PendingCommand[] {
    const taken: PendingCommand[] = []
    while (this.#places[place]!.size > 0) taken.push(this.next(place))
    return taken
  }
}

function placeOf(home: number): number {
  return home === ANY_PARTITION ? 0 : home
}
