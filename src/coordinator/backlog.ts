// Backlog: every command that is not bound to a partition yet.
// Thread: main.   Owns: the order of what waits.

import type { LanePlan } from '../model/lane.ts'
import { type Admission, Scheduler } from '../schedule/scheduler.ts'
import { ANY_PARTITION, type Command } from './command.ts'

/** A scheduler for the commands of each partition, or one for all where any will do. */
export class Backlog {
  readonly #places: Scheduler<Command>[]
  #size = 0

  /**
   * @param lanes - By index.
   * @param places - One per partition where commands have a home, else 1.
   */
  constructor(lanes: readonly LanePlan[], places: number) {
    this.#places = Array.from({ length: places }, () => new Scheduler<Command>(lanes))
  }

  /** Commands that wait, with those that were settled meanwhile and not come across yet. */
  get size(): number {
    return this.#size
  }

  /** Number of places. */
  get places(): number {
    return this.#places.length
  }

  /**
   * How many commands of one lane wait.
   *
   * @param laneIndex - The lane.
   */
  sizeOf(laneIndex: number): number {
    return this.#places.reduce((sum, place) => sum + place.sizeOf(laneIndex), 0)
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
   * Adds a command.
   *
   * @param command - New, or back from a partition: its old sequence puts it where it was.
   * @param nowMs - Monotonic milliseconds.
   */
  offer(command: Command, nowMs: number): void {
    this.#places[placeOf(command.home)]!.offer(command, nowMs)
    this.#size++
  }

  /**
   * Whether a command that waits is the front of its lane at its place.
   *
   * @param command - The command.
   * @param nowMs - Monotonic milliseconds.
   */
  isFront(command: Command, nowMs: number): boolean {
    return this.#places[placeOf(command.home)]!.isFront(command, nowMs)
  }

  /**
   * The rank of the most urgent command at a place; undefined if none waits there.
   *
   * @param place - Its index.
   * @param nowMs - Monotonic milliseconds.
   */
  frontRank(place: number, nowMs: number): number | undefined {
    return this.#places[place]!.frontRank(nowMs)
  }

  /** When the order of what waits may change by itself; Infinity if it cannot. */
  get changesAtMs(): number {
    let atMs = Number.POSITIVE_INFINITY
    for (const place of this.#places) atMs = Math.min(atMs, place.changesAtMs)
    return atMs
  }

  /**
   * Takes the command that is next at a place.
   *
   * @param place - Its index.
   * @param admission - Decides whether it may go.
   * @param nowMs - Monotonic milliseconds.
   * @returns The command; undefined if none may go.
   */
  next(place: number, admission: Admission<Command>, nowMs: number): Command | undefined {
    const command = this.#places[place]!.next(admission, nowMs)
    if (command !== undefined) this.#size--
    return command
  }

  /**
   * Takes all commands, in the order they would have run at each place.
   *
   * @param nowMs - Monotonic milliseconds.
   */
  takeAll(nowMs: number): Command[] {
    return this.#places.flatMap((_, place) => this.takeFrom(place, nowMs))
  }

  /**
   * Takes all commands of one place.
   *
   * @param place - Its index.
   * @param nowMs - Monotonic milliseconds.
   */
  takeFrom(place: number, nowMs: number): Command[] {
    const taken = this.#places[place]!.takeAll(nowMs)
    this.#size -= taken.length
    return taken.filter((command) => !command.isSettled)
  }
}

/**
 * The place where a command waits.
 *
 * @param home - The command's.
 */
export function placeOf(home: number): number {
  return home === ANY_PARTITION ? 0 : home
}
