// Timetable: calls back when commands' moments come, with one timer for all of them.
// Thread: main.   Owns: the timer and the order of the moments.

import { Alarm } from '../base/alarm.ts'
import { nowMs } from '../base/clock.ts'
import { type HeapPlace, IndexedHeap } from '../schedule/indexed-heap.ts'
import type { PendingCommand } from './pending-command.ts'

/** A command's moment. */
export interface Appointment {
  readonly command: PendingCommand
  readonly dueMs: number
  readonly inTimetable: HeapPlace
}

/** Moments of commands. Adding and cancelling cost O(log n). */
export class Timetable {
  readonly #onDue: (command: PendingCommand) => void
  readonly #appointments = new IndexedHeap<Appointment>(
    (a, b) => a.dueMs < b.dueMs,
    (appointment) => appointment.inTimetable,
  )
  // Commands in flight keep the process alive; the alarm need not.
  readonly #alarm = new Alarm(() => this.#wake())

  /**
   * @param onDue - Called for each command when its moment has come.
   */
  constructor(onDue: (command: PendingCommand) => void) {
    this.#onDue = onDue
  }

  /**
   * Makes an appointment.
   *
   * @param command - Whose.
   * @param dueMs - When, monotonic milliseconds.
   * @returns To cancel it with.
   */
  add(command: PendingCommand, dueMs: number): Appointment {
    const appointment = { command, dueMs, inTimetable: { place: -1 } }
    this.#appointments.put(appointment)
    if (this.#appointments.peek() === appointment) this.#alarm.set(dueMs)
    return appointment
  }

  /**
   * Cancels an appointment; nothing happens if its moment has come.
   *
   * @param appointment - Made by {@link Timetable.add}.
   */
  cancel(appointment: Appointment): void {
    this.#appointments.remove(appointment)
  }

  /** Cancels everything and gives back the commands, in the order of their moments. */
  takeAll(): PendingCommand[] {
    this.#alarm.clear()
    const commands: PendingCommand[] = []
    for (let next = this.#appointments.pop(); next !== undefined; ) {
      commands.push(next.command)
      next = this.#appointments.pop()
    }
    return commands
  }

  #wake(): void {
    const now = nowMs()
    for (;;) {
      const next = this.#appointments.peek()
      if (next === undefined) return
      if (next.dueMs > now) {
        this.#alarm.set(next.dueMs)
        return
      }
      this.#appointments.pop()
      this.#onDue(next.command)
    }
  }
}
