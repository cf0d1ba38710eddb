// Duty cycle: the partition's loop: read, choose, run, send; and park when there is nothing.
// Thread: partition.   Owns: when the thread works and when it sleeps.
// Must not: decide the order (window), load code (handlers) or encode (outbox).

import { nowMs, timers } from '../base/clock.ts'
import { count } from '../memory/counters.ts'
import { Bell } from '../memory/doorbell.ts'
import { Counter, SLOT_COUNT } from '../memory/layout.ts'
import type { PartitionEnd } from '../memory/region.ts'
import { ResultStatus } from '../wire/record-kind.ts'
import type { HandlerTable } from './handlers.ts'
import type { Outbox } from './outbox.ts'
import { RunContext, RunningSignals } from './run-context.ts'
import type { Window, WindowEntry } from './window.ts'

/** After so long the cycle lets the event loop turn: timers, sockets and control calls are served. */
const TURN_MS = 2

/** What the duty cycle works with. */
export interface DutyCycleParts {
  readonly end: PartitionEnd
  readonly table: HandlerTable
  readonly window: Window
  readonly outbox: Outbox
  /** Names of the lanes, by index. */
  readonly lanes: readonly string[]
  /** Index of the partition. */
  readonly partition: number
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as PromiseLike<unknown>).then === 'function'
  )
}

/** Runs commands one at a time. */
export class DutyCycle {
  readonly #parts: DutyCycleParts
  readonly #signals = new RunningSignals()
  /** Calls of `between` that wait for the running command to end. */
  readonly #waiting: (() => void)[] = []
  #isRunning = false
  #isStopped = false
  /** A turn is queued on the event loop, so none needs to be queued again. */
  #isTurnQueued = false
  #turnEndsMs = 0
  /** The last reading of the clock: a command's end is the next one's start. */
  #clockMs = 0

  constructor(parts: DutyCycleParts) {
    this.#parts = parts
  }

  /** Looks for work now; called when the coordinator rings and after an own turn was queued. */
  readonly turn = (): void => {
    this.#isTurnQueued = false
    this.#parts.end.bell.stayAwake()
    this.#clockMs = nowMs()
    this.#turnEndsMs = this.#clockMs + TURN_MS
    if (!this.#isRunning && !this.#isStopped) this.#work()
  }

  /**
   * Runs something between two commands, and no command while it runs.
   *
   * @param run - Called once no command runs.
   * @returns What `run` gives.
   */
  async between<T>(run: (signals: RunningSignals) => Promise<T> | T): Promise<T> {
    if (this.#isRunning) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    this.#isRunning = true
    try {
      return await run(this.#signals)
    } finally {
      this.#isRunning = false
      this.#continue()
    }
  }

  /** Settles once no command runs; no command runs after it either if the cycle was stopped. */
  async idle(): Promise<void> {
    if (this.#isRunning) await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  /**
   * Starts no further command and aborts the signals of the running ones.
   *
   * @param reason - What the signals report.
   */
  stop(reason: unknown): void {
    this.#isStopped = true
    this.#signals.abortAll(reason)
  }

  #work(): void {
    const { end, window, outbox } = this.#parts
    while (!this.#isStopped) {
      if (!outbox.flush() && this.#stall()) return
      if (end.commands.read(window, SLOT_COUNT) > 0) this.#clockMs = nowMs()
      const entry = window.next()
      if (entry === undefined) {
        if (this.#park()) return
        continue
      }
      if (!end.slots.start(entry.id)) {
        outbox.send(entry.id, ResultStatus.REVOKED, undefined, 0, 0)
        continue
      }
      count(end.views, Counter.STARTED)
      if (!this.#run(entry)) return
      if (this.#clockMs >= this.#turnEndsMs) {
        this.#queueTurn()
        return
      }
    }
  }

  /** Enters the handler; false if it has not ended and the cycle must wait for it. */
  #run(entry: WindowEntry): boolean {
    const { table, lanes, partition, end } = this.#parts
    const startedAtMs = this.#clockMs
    const { id, typeIndex, payload } = entry
    try {
      if (entry.problem !== undefined) throw entry.problem
      const context = new RunContext(
        entry.sequence,
        {
          lane: lanes[entry.laneIndex]!,
          type: table.types[typeIndex]!,
          key: entry.key,
          attempt: entry.attempt,
          startedAtMs,
          partition,
          slotId: id,
        },
        this.#signals,
      )
      const result: unknown = table.handlers[typeIndex]!(payload, context)
      if (isThenable(result)) {
        this.#isRunning = true
        // A thenable of the user's may call back at once or twice; a promise does neither.
        void Promise.resolve(result).then(
          (value) => this.#settled(id, ResultStatus.DONE, value, startedAtMs),
          (error) => this.#settled(id, ResultStatus.FAILED, error, startedAtMs),
        )
        // What was sent before may wait for a wake that only a parking partition gives.
        end.coordinatorBell.ring(true)
        return false
      }
      this.#finish(id, ResultStatus.DONE, result, startedAtMs)
    } catch (error) {
      this.#finish(id, ResultStatus.FAILED, error, startedAtMs)
    } finally {
      entry.payload = undefined
      entry.problem = undefined
    }
    return true
  }

  #settled(id: number, status: 0 | 1, value: unknown, startedAtMs: number): void {
    this.#isRunning = false
    this.#finish(id, status, value, startedAtMs)
    this.#continue()
  }

  /** Goes on after something asynchronous ended. */
  #continue(): void {
    const next = this.#waiting.shift()
    if (next !== undefined) {
      // It enters before any command: nothing else runs until its microtask.
      this.#isRunning = true
      next()
      return
    }
    if (this.#isStopped) return
    if (this.#clockMs < this.#turnEndsMs) this.#work()
    else this.#queueTurn()
  }

  #finish(id: number, status: 0 | 1, value: unknown, startedAtMs: number): void {
    const { outbox, end } = this.#parts
    this.#clockMs = nowMs()
    this.#signals.end(id)
    outbox.send(id, status, value, startedAtMs, this.#clockMs - startedAtMs)
    end.coordinatorBell.ring(false)
  }

  #queueTurn(): void {
    if (this.#isTurnQueued) return
    this.#isTurnQueued = true
    timers.setImmediate(this.turn)
  }

  /** Sleeps until a command comes; false if one came in the meantime. */
  #park(): boolean {
    const { end } = this.#parts
    end.coordinatorBell.ring(true)
    end.bell.announce(Bell.ASLEEP)
    if (!end.commands.isEmpty) {
      end.bell.stayAwake()
      return false
    }
    count(end.views, Counter.PARKED)
    end.bell.wait()
    return true
  }

  /** Sleeps until the result ring has room; false if it has some by now. */
  #stall(): boolean {
    const { end, outbox } = this.#parts
    end.coordinatorBell.ring(true)
    end.bell.announce(Bell.ASLEEP)
    end.wantSpace()
    if (outbox.flush()) {
      end.bell.stayAwake()
      return false
    }
    count(end.views, Counter.STALLED)
    end.bell.wait()
    return true
  }
}
