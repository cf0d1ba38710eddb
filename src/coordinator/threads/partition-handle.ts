// Partition handle: one partition, whatever thread it has at the moment.
// Owns: which incarnation is the present one, and whether another comes.
//
// ```
//                       occupy
//  waiting, dormant ──────────────► occupied ⟲ occupy, by a successor
//   or failed       ◄──────────────
//                       vacate
// ```
//
// | state | its thread | what ends it |
// |---|---|---|
// | waiting | none; it comes with the start, after a delay, or once others have ended | a thread |
// | dormant | none, and it needs none | need of a thread, a reload |
// | failed | none, and it gets none: too many died in a row | a reload |
// | occupied | loads, is ready, hands over or ends: see `incarnation.ts` | its end, idleness |
//
// Beside the present thread there may be a successor, which loads, and threads that have not ended:
// retiring ones finish what they run, terminating ones were given up.

import { type LaneError, laneError } from '../../base/errors.ts'
import type { InFlightWindow } from './in-flight-window.ts'
import type { Incarnation } from './incarnation.ts'

/** Where a partition is in its life; the picture is at the top of this file. */
type PartitionState = 'waiting' | 'dormant' | 'failed' | 'occupied'

let touches = 0

export class PartitionHandle {
  readonly index: number
  /** Threads it has had. */
  incarnations = 0
  /** Threads that died, were given up or did not load. */
  losses = 0
  /** Threads in a row that died without settling a command, or did not load. */
  failures = 0
  /** Threads given up that have not ended yet. */
  readonly terminating = new Set<Incarnation>()
  /** A thread that is to take over from the present one. */
  successor: Incarnation | undefined = undefined
  /** Threads that get no more commands and have not ended, though nothing is wrong with them. */
  readonly retiring = new Set<Incarnation>()
  /** Since when it has nothing to do; undefined while it has, or that is not looked at. */
  idleSinceMs: number | undefined = undefined
  /** Whether every handler that may run here waits for another command. */
  isHeld = false
  /** Whether any handler that runs here waits for another command. */
  hasWaiting = false
  /** Why its last thread was lost, or its replacement did not load. */
  setback: LaneError | undefined = undefined
  /** Until when it keeps its commands: moved on at every turn, they might never start. */
  keepsUntilMs = 0
  /** Grows with every command bound to any partition: the greater, the more recently active. */
  touched = 0
  #state: PartitionState = 'waiting'
  #incarnation: Incarnation | undefined = undefined
  #completedSeen = -1
  #progressMs = 0
  #stuckAt = -1

  constructor(index: number) {
    this.index = index
  }

  get state(): PartitionState {
    return this.#state
  }

  /** The present thread; undefined unless it is occupied. */
  get incarnation(): Incarnation | undefined {
    return this.#incarnation
  }

  /** Why it has no thread and gets none, if so. */
  get failure(): LaneError | undefined {
    return this.#state === 'failed' ? this.setback : undefined
  }

  /** Takes a present thread; the one before retires. */
  occupy(incarnation: Incarnation): void {
    const before = this.#incarnation
    if (before !== undefined && before !== incarnation) this.retiring.add(before)
    if (this.successor === incarnation) this.successor = undefined
    this.#incarnation = incarnation
    this.#state = 'occupied'
  }

  /** Lets its present thread go, if it has one. */
  vacate(state: Exclude<PartitionState, 'occupied'>): void {
    this.#incarnation = undefined
    this.#state = state
  }

  /** Why it gets no thread while those that were given up do not end. */
  get hindrance(): LaneError {
    return laneError('CORELANE_PARTITION_LOST', {
      partition: this.index,
      reason: `${this.terminating.size} of its threads were given up and have not ended`,
      stage: 'waiting',
      started: false,
    })
  }

  /** Where commands can be bound; undefined while it has no thread that is ready. */
  get window(): InFlightWindow | undefined {
    return this.#incarnation?.isReady ? this.#incarnation.window : undefined
  }

  /** Where its results come in; undefined until its thread has told what it has loaded. */
  get results(): InFlightWindow | undefined {
    return this.#incarnation?.isLoaded ? this.#incarnation.window : undefined
  }

  /** Whether a run of a key goes on in a thread that the present one took over from. */
  hasRetiringRun(key: string): boolean {
    if (this.retiring.size === 0) return false
    for (const old of this.retiring) {
      if (old.living && [...old.window.watch.detached].some((run) => run.key === key)) return true
    }
    return false
  }

  /** Whether it is held up: by handlers that wait, or by long commands until one settles. */
  get isStuck(): boolean {
    const window = this.#incarnation?.window
    if (window === undefined || window.load.count === 0) return false
    return this.isHeld || window.completed === this.#stuckAt
  }

  /** Notes that a command was bound to it. */
  touch(): void {
    this.touched = ++touches
    // It was idle: what it did before says nothing about how long it takes now.
    if (this.#incarnation!.window.load.count === 1) {
      this.idleSinceMs = undefined
      this.#completedSeen = -1
      this.#stuckAt = -1
    }
  }

  /**
   * Notes whether it makes progress.
   *
   * @param stuckMs - Without a settled command for so long it counts as stuck.
   * @returns Whether it is stuck.
   */
  observe(nowMs: number, stuckMs: number): boolean {
    const { completed, runningCount, hasFreeHandler } = this.#incarnation!.window
    if (hasFreeHandler) this.#stuckAt = -1
    if (completed !== this.#completedSeen || hasFreeHandler) {
      this.#completedSeen = completed
      this.#progressMs = nowMs
    }
    const isHeldUp = nowMs - this.#progressMs >= stuckMs && runningCount > 0
    if (isHeldUp) this.#stuckAt = completed
    return this.isStuck
  }
}
