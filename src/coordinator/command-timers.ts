// Command timers: when delayed commands are due, and when waiting ones are late.
// Owns: one alarm for all commands, and the order of their moments.
// Must not: change the state of a command that is not due. Adding and cancelling cost O(log n).

import { Alarm } from '../base/alarm.ts'
import { nowMs } from '../base/clock.ts'
import { IndexedHeap } from '../schedule/indexed-heap.ts'
import { type Command, CommandState } from './command.ts'
import { noExtras } from './command-extras.ts'
import type { ManagerEvents } from './manager-events.ts'
import { startableNow } from './metered-manager.ts'

/** So long one turn of the event loop may be spent on commands that are due together. */
const SLICE_MS = 5

type TimerEvents = Pick<ManagerEvents, 'place' | 'refusal' | 'acted'>

/** Keeps commands' moments. */
export class CommandTimers {
  readonly #events: TimerEvents
  readonly #heap = new IndexedHeap<Command>(isEarlier, (command) => command.extras!.timer!)
  // Commands in flight keep the process alive; the alarm need not.
  readonly #alarm = new Alarm(() => this.#wake())

  constructor(events: TimerEvents) {
    this.#events = events
  }

  /**
   * Delays a command: QUEUED to DELAYED. One that will be late before the delay ends is late then.
   *
   * @param command - New, or failed and to be run again.
   * @param delayMs - How long.
   */
  delay(command: Command, delayMs: number): void {
    // A subscriber to its submit or its retry may have ended it.
    if (command.isSettled) return
    command.delay()
    this.#set(command, Math.min(nowMs() + delayMs, command.latestStartMs))
  }

  /**
   * Queues a command, and watches its latest start.
   *
   * @param command - QUEUED, and new to the backlog.
   */
  place(command: Command): void {
    if (this.watch(command)) this.#events.place(command)
  }

  /**
   * Rejects a command at its latest start, if it has one and has not started by then.
   *
   * @param command - WAITING or QUEUED.
   * @returns False if it is late by now and was rejected.
   */
  watch(command: Command): boolean {
    if (!command.isTimed || command.isSettled) return true
    const atMs = command.latestStartMs
    if (atMs === Number.POSITIVE_INFINITY) return true
    if (atMs <= nowMs()) {
      command.manager.recovery.late(command)
      return false
    }
    this.#set(command, atMs)
    return true
  }

  cancel(command: Command): void {
    this.#heap.remove(command)
    command.extras!.timer = undefined
  }

  /** Cancels everything and gives back the commands, in the order of their moments. */
  takeAll(): Command[] {
    this.#alarm.clear()
    const commands: Command[] = []
    for (let next = this.#heap.pop(); next !== undefined; next = this.#heap.pop()) {
      next.extras!.timer = undefined
      commands.push(next)
    }
    return commands
  }

  #set(command: Command, dueMs: number): void {
    command.extras ??= noExtras()
    const { extras } = command
    // One that failed and runs again may have a timer for its latest start.
    if (extras.timer !== undefined) this.cancel(command)
    extras.timer = { dueMs, sequence: command.sequence, place: -1 }
    this.#heap.put(command)
    if (this.#heap.peek() === command) this.#alarm.set(dueMs)
  }

  #due(command: Command): void {
    if (command.state === CommandState.DELAYED) {
      command.enqueue()
      startableNow(command)
      const refusal = this.#events.refusal(command.home)
      if (refusal === undefined) this.place(command)
      else command.fail(refusal, command.home)
    } else if (command.revoke()) command.manager.recovery.late(command)
  }

  #wake(): void {
    const now = nowMs()
    const sliceEndsMs = now + SLICE_MS
    let hasActed = false
    for (let next = this.#heap.peek(); next !== undefined; next = this.#heap.peek()) {
      const { dueMs } = next.extras!.timer!
      if (dueMs > now || (hasActed && nowMs() > sliceEndsMs)) {
        this.#alarm.set(dueMs)
        break
      }
      this.cancel(next)
      hasActed = true
      this.#due(next)
    }
    if (hasActed) this.#events.acted()
  }
}

/** Whether one command comes before another; of two at the same moment the older. */
function isEarlier(a: Command, b: Command): boolean {
  const one = a.extras!.timer!
  const other = b.extras!.timer!
  return one.dueMs < other.dueMs || (one.dueMs === other.dueMs && one.sequence < other.sequence)
}
