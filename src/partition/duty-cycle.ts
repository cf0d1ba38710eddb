// Duty cycle: the partition's loop: read, choose, run, send; and park when there is nothing.
// Thread: partition.   Owns: when the thread works and when it sleeps.
// Must not: decide the order (window), load code (handlers) or encode (outbox).

import { Alarm } from '../base/alarm.ts'
import { nowMs, timers } from '../base/clock.ts'
import { Deque } from '../base/deque.ts'
import { count } from '../memory/counters.ts'
import { Bell } from '../memory/doorbell.ts'
import type { LaneGate } from '../memory/lane-gate.ts'
import { Counter, SLOT_COUNT } from '../memory/layout.ts'
import type { PartitionEnd } from '../memory/region.ts'
import type { Admission } from '../schedule/scheduler.ts'
import { ResultStatus } from '../wire/record-kind.ts'
import { CommandServices } from './command-services.ts'
import type { CommandSpin } from './command-spin.ts'
import type { HandlerTable } from './handlers.ts'
import type { HeapGauge } from './heap-gauge.ts'
import type { NestedSubmits } from './nested-submits.ts'
import type { Outbox } from './outbox.ts'
import { RunContext, RunningSignals, type RunServices } from './run-context.ts'
import { StreamRuns } from './stream-runs.ts'
import type { Window, WindowEntry } from './window.ts'

/**
 * After so long the cycle lets the event loop turn: timers, sockets and control calls are served.
 */
const TURN_MS = 2

/** The gate was not asked, or its lane keeps no account. */
const NOT_ENTERED = -2

/** What the duty cycle works with. */
export interface DutyCycleParts {
  readonly end: PartitionEnd
  readonly gate: LaneGate
  readonly table: HandlerTable
  readonly window: Window
  readonly outbox: Outbox
  readonly nested: NestedSubmits
  readonly spin: CommandSpin
  readonly heap: HeapGauge
  /** By lane: its name, and whether it has limits. */
  readonly lanes: readonly { readonly name: string; readonly isGated: boolean }[]
  /** Index of the partition. */
  readonly partition: number
  /** Handlers that may run at once. */
  readonly concurrency: number
}

/** A command from its start to its end. Copied: the window reuses its entries. */
interface Run {
  readonly id: number
  readonly laneIndex: number
  readonly key: string | undefined
  readonly slot: number
  readonly startedAtMs: number
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as PromiseLike<unknown>).then === 'function'
  )
}

/** Runs commands, as many at once as it is allowed to. */
export class DutyCycle implements Admission<WindowEntry> {
  /** What the contexts of commands do for their handlers. */
  readonly services: RunServices
  readonly #parts: DutyCycleParts
  readonly #signals = new RunningSignals()
  readonly #streams: StreamRuns
  /** Calls of `between` and `idle` that wait for the running commands to end. */
  readonly #waiting = new Deque<() => void>()
  #running = 0
  /** Something else than commands runs, and no command may. */
  #isReserved = false
  #isStopped = false
  /** A turn is queued on the event loop, so none needs to be queued again. */
  #isTurnQueued = false
  #turnEndsMs = 0
  /** The last reading of the clock: a command's end is the next one's start. */
  #clockMs = 0
  /** Whether the gate let the last admitted command in. */
  #hasEntered = false
  /** When a lane that has no token may have one. */
  readonly #due = new Alarm(() => this.turn())

  constructor(parts: DutyCycleParts) {
    this.#parts = parts
    const { end, outbox, nested } = parts
    this.#streams = new StreamRuns(end.slots, outbox, () => this.#queueTurn())
    this.services = new CommandServices(end.slots, outbox, nested, this.#signals, () =>
      this.#queueTurn(),
    )
  }

  /** Looks for work now; called when the coordinator rings and after an own turn was queued. */
  readonly turn = (): void => {
    this.#isTurnQueued = false
    this.#clockMs = nowMs()
    this.#turnEndsMs = this.#clockMs + TURN_MS
    this.#parts.heap.look(this.#clockMs)
    this.#work()
  }

  /**
   * Runs something between two commands, and no command while it runs.
   *
   * @param run - Called once no command runs.
   * @returns What `run` gives.
   */
  async between<T>(run: () => Promise<T> | T): Promise<T> {
    if (this.#running === 0 && !this.#isReserved) {
      this.#isReserved = true
      this.#parts.gate.leaveWaiters()
    } else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    try {
      return await run()
    } finally {
      this.#isReserved = false
      this.#goOn()
    }
  }

  /** Settles once nothing runs; no command runs after it either if the cycle was stopped. */
  async idle(): Promise<void> {
    if (this.#running === 0 && !this.#isReserved) return
    await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  /**
   * Aborts the signal of a running command.
   *
   * @param id - The command's id in its ring.
   * @param reason - What the signal reports.
   */
  abort(id: number, reason: unknown): void {
    this.#signals.abort(id, reason)
    // A stream that waits for credit ends.
    if (this.#streams.isStalled) this.turn()
  }

  /**
   * Starts no further command and aborts the signals of the running ones.
   *
   * @param reason - What the signals report.
   */
  stop(reason: unknown): void {
    this.#isStopped = true
    this.#signals.abortAll(reason)
    // Nobody rings for a stream that waits for credit: it is aborted in its slot word alone.
    if (this.#streams.isStalled) this.turn()
  }

  isUnderMin(laneIndex: number): boolean {
    return this.#parts.gate.isUnderMin(laneIndex)
  }

  admits(entry: WindowEntry): boolean {
    const { lanes, end, window, gate } = this.#parts
    this.#hasEntered = false
    if (!lanes[entry.laneIndex]!.isGated) return true
    // These do not start, so they must not take what a lane has to give.
    if (end.slots.isRevoked(entry.id)) return true
    if (entry.latestStartMs <= this.#clockMs) return true
    if (entry.key !== undefined && window.isBusy(entry.key)) return true
    this.#hasEntered = gate.enter(entry.laneIndex)
    return this.#hasEntered
  }

  #work(): void {
    const { end, gate, outbox } = this.#parts
    end.bell.stayAwake()
    this.#streams.resume()
    while (this.#mayStart()) {
      const entry = this.#look()
      if (entry === undefined) {
        if (this.#park()) return
        continue
      }
      this.#begin(entry)
      if (this.#clockMs >= this.#turnEndsMs) {
        this.#queueTurn()
        return
      }
    }
    // Whoever does not look must not keep the wakes that it was given, nor a lane's timer.
    gate.leaveWaiters()
    // What was sent before may wait for a wake that only a parking partition gives.
    end.coordinatorBell.ring(true)
    if (this.#streams.isStalled || !outbox.isClear) this.#awaitCoordinator()
  }

  /**
   * Sleeps until a stream may go on or what is kept has room: no command may start, and the
   * handlers that run may run for long, or wait for what is kept.
   */
  #awaitCoordinator(): void {
    const { end, outbox } = this.#parts
    const wasClear = outbox.isClear
    end.bell.announce(Bell.ASLEEP)
    if (!outbox.flush()) {
      end.wantSpace()
      // Room that came before the wish rings nobody.
      outbox.flush()
    }
    if (!this.#streams.resume() && outbox.isClear === wasClear) {
      end.bell.wait()
      return
    }
    end.bell.stayAwake()
    this.#queueTurn()
  }

  /** Whether another command may start now; if not, something that is under way goes on later. */
  #mayStart(): boolean {
    const { outbox, concurrency } = this.#parts
    if (this.#isStopped || this.#isReserved) return false
    if (this.#running >= concurrency || (this.#running > 0 && this.#waiting.length > 0))
      return false
    return outbox.flush() || this.#hasRoomNow()
  }

  /** Takes the command that runs next, if there is one. */
  #look(): WindowEntry | undefined {
    const { end, window, gate } = this.#parts
    if (end.commands.read(window, SLOT_COUNT) > 0) this.#clockMs = nowMs()
    gate.beginLook()
    return window.next(this, this.#clockMs)
  }

  /** Starts a command, unless it was taken back, is too late, or another of its key runs. */
  #begin(entry: WindowEntry): void {
    const { end, gate, window, outbox, concurrency } = this.#parts
    const { id, key, laneIndex } = entry
    const hasEntered = this.#hasEntered
    if (key !== undefined && window.isBusy(key)) {
      window.hold(entry)
      return
    }
    const startedAtMs = hasEntered ? gate.startedAtMs : this.#clockMs
    // The coordinator sees to it as well, unless it is busy, or the process stood still.
    const isLate = entry.latestStartMs <= startedAtMs
    if (isLate || !end.slots.start(id, startedAtMs)) {
      if (hasEntered) gate.leave(laneIndex, gate.slot)
      entry.payload = undefined
      outbox.send(id, isLate ? ResultStatus.LATE : ResultStatus.REVOKED, undefined, 0, 0)
      return
    }
    gate.leaveWaiters()
    count(end.views, Counter.STARTED)
    if (key !== undefined && concurrency > 1) window.begin(key)
    const slot = hasEntered ? gate.slot : NOT_ENTERED
    if (gate.hasListeners) outbox.send(id, ResultStatus.STARTED, undefined, startedAtMs, 0)
    this.#run(entry, { id, laneIndex, key, slot, startedAtMs })
  }

  /** Enters the handler, and finishes the command now or when the handler's promise settles. */
  #run(entry: WindowEntry, run: Run): void {
    const { table, lanes, partition } = this.#parts
    const { typeIndex, payload } = entry
    try {
      if (entry.problem !== undefined) throw entry.problem
      const context = new RunContext(
        entry.name ?? entry.sequence,
        {
          lane: lanes[run.laneIndex]!.name,
          type: table.types[typeIndex]!,
          key: run.key,
          attempt: entry.attempt,
          deadlineAtMs:
            entry.deadlineMs === undefined ? undefined : entry.submittedAtMs + entry.deadlineMs,
          startedAtMs: run.startedAtMs,
          partition,
          slotId: run.id,
        },
        this.services,
      )
      let result = table.call(typeIndex, payload, context)
      if (entry.isStream) result = this.#streams.run(run.id, table.types[typeIndex]!, result)
      if (!isThenable(result)) {
        this.#finish(run, ResultStatus.DONE, result)
        return
      }
      this.#running++
      this.#clockMs = nowMs()
      // A thenable of the user's may call back at once or twice; a promise does neither.
      void Promise.resolve(result).then(
        (value) => this.#settled(run, ResultStatus.DONE, value),
        (error) => this.#settled(run, ResultStatus.FAILED, error),
      )
    } catch (error) {
      this.#finish(run, ResultStatus.FAILED, error)
    } finally {
      entry.payload = undefined
      entry.problem = undefined
    }
  }

  #settled(run: Run, status: 0 | 1, value: unknown): void {
    this.#running--
    this.#finish(run, status, value)
    this.#goOn()
  }

  /** Goes on after something asynchronous ended. */
  #goOn(): void {
    if (this.#waiting.length > 0) {
      if (this.#running > 0) {
        // A handler that runs may wait for what could not be sent.
        if (!this.#parts.outbox.isClear) this.#queueTurn()
        return
      }
      // It enters before any command: nothing else runs until its microtask.
      this.#isReserved = !this.#isStopped
      this.#waiting.shift()!()
      return
    }
    if (this.#clockMs < this.#turnEndsMs) this.#work()
    else this.#queueTurn()
  }

  #finish(run: Run, status: 0 | 1, value: unknown): void {
    const { outbox, gate, window, concurrency } = this.#parts
    const { id, key, laneIndex, slot, startedAtMs } = run
    this.#clockMs = nowMs()
    this.#signals.end(id)
    outbox.send(id, status, value, startedAtMs, this.#clockMs - startedAtMs)
    if (slot !== NOT_ENTERED) gate.leave(laneIndex, slot)
    if (key !== undefined && concurrency > 1) window.end(key, this.#clockMs)
  }

  #queueTurn(): void {
    if (this.#isTurnQueued) return
    this.#isTurnQueued = true
    timers.setImmediate(this.turn)
  }

  /** Sleeps until a command comes or a lane opens; false if there is something to run by now. */
  #park(): boolean {
    const { end, gate, spin } = this.#parts
    end.coordinatorBell.ring(true)
    // Handlers that run go on in this thread's event loop.
    if (this.#running === 0 && spin.hasFound()) return false
    end.bell.announce(Bell.ASLEEP)
    const dueMs = gate.joinWaiters()
    const entry = this.#look()
    if (entry !== undefined || !gate.hasJoinedAll || this.#streams.resume()) {
      end.bell.stayAwake()
      if (entry !== undefined) this.#begin(entry)
      return false
    }
    this.#due.set(dueMs)
    count(end.views, Counter.PARKED)
    end.bell.wait()
    return true
  }

  /** Sleeps until the result ring has room, unless it has some by now. */
  #hasRoomNow(): boolean {
    const { end, outbox } = this.#parts
    end.bell.announce(Bell.ASLEEP)
    end.wantSpace()
    if (outbox.flush()) {
      end.bell.stayAwake()
      return true
    }
    count(end.views, Counter.STALLED)
    end.bell.wait()
    return false
  }
}
