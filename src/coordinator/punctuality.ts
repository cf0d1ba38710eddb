// Punctuality: commands that must not start yet, and commands that must not start any more.
// Thread: main.   Owns: what each appointment is for.

import { nowMs } from '../base/clock.ts'
import { type LaneError, laneError } from '../base/errors.ts'
import type { PendingCommand } from './pending-command.ts'
import { Timetable } from './timetable.ts'

/** What punctuality works for. */
export interface PunctualityParts {
  /** Lets a command wait its turn. */
  readonly place: (command: PendingCommand) => void
  /** Why a command can run nowhere, if its partition was given up meanwhile. */
  readonly refusal: (home: number) => LaneError | undefined
  /** Called when commands were placed or settled. */
  readonly acted: () => void
}

/** Keeps commands' moments. */
export class Punctuality {
  readonly timetable: Timetable = new Timetable((command) => this.#due(command))
  readonly #parts: PunctualityParts

  /**
   * @param parts - What it works for.
   */
  constructor(parts: PunctualityParts) {
    this.#parts = parts
  }

  /**
   * Keeps a command from starting for a while; one that will be late then is late before.
   *
   * @param command - New, or failed and to be run again.
   * @param delayMs - How long.
   */
  delay(command: PendingCommand, delayMs: number): void {
    command.extras!.isPlaced = false
    this.#appoint(command, Math.min(nowMs() + delayMs, command.latestStartMs))
  }

  /**
   * Lets a command wait its turn, until its deadline if its lane rejects what is late.
   *
   * @param command - Not delayed any more.
   */
  place(command: PendingCommand): void {
    const atMs = command.latestStartMs
    if (atMs !== Number.POSITIVE_INFINITY) {
      if (atMs <= nowMs()) {
        command.lane.recovery.late(command)
        return
      }
      this.#appoint(command, atMs)
    }
    this.#parts.place(command)
  }

  #appoint(command: PendingCommand, dueMs: number): void {
    const extras = command.extras!
    // One that failed and runs again may have an appointment to be late from.
    if (extras.appointment !== undefined) this.timetable.cancel(extras.appointment)
    extras.appointment = this.timetable.add(command, dueMs)
  }

  /** A command's moment has come: it may start now, or it is late. */
  #due(command: PendingCommand): void {
    const extras = command.extras!
    extras.appointment = undefined
    if (!extras.isPlaced) {
      extras.isPlaced = true
      const refusal = this.#parts.refusal(command.home)
      if (refusal === undefined) this.place(command)
      else command.fail(laneError(refusal.code, refusal.details, refusal.cause), command.home)
    } else if (extras.holder === undefined || extras.holder.revoke(extras.slot)) {
      // One that is bound is late only if it can still be kept from starting.
      command.lane.recovery.late(command)
    }
    this.#parts.acted()
  }
}
