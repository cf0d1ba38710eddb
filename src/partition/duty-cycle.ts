// Duty cycle: the partition's loop: read, choose, run, send; and park when there is nothing.
// Owns: when the thread works and when it sleeps.
// Must not: decide the order (window), load code (handlers) or encode (outbox).

import { Alarm } from '../base/alarm.ts'
import { nowMs, timers, whenSettled } from '../base/clock.ts'
import { count } from '../memory/counters.ts'
import { Bell } from '../memory/doorbell.ts'
import type { LaneGate } from '../memory/lane-gate.ts'
import { Counter, SLOT_COUNT } from '../memory/layout.ts'
import type { PartitionEnd } from '../memory/region.ts'
import { slotOf } from '../memory/slots.ts'
import type { Admission } from '../schedule/scheduler.ts'
import { ResultStatus } from '../wire/record-kind.ts'
import { CommandServices } from './command-services.ts'
import type { CommandSpin } from './command-spin.ts'
import type { HandlerTable } from './handlers.ts'
import type { HeapGauge } from './heap-gauge.ts'
import type { NestedSubmits } from './nested-submits.ts'
import type { Outbox } from './outbox.ts'
import { RunContext, RunningSignals, type RunServices } from './run-context.ts'
import { type StreamRun, StreamRuns } from './stream-runs.ts'
import type { Window, WindowEntry } from './window.ts'

/**
 * After so long the cycle lets the event loop turn: timers, sockets and control calls are served.
 */
const TURN_MS = 2

/** Time between reads of the command ring while something can run: each costs a cache miss. */
const READ_MS = 0.01

/** The gate was not asked, or its lane keeps no account. */
const NOT_ENTERED = -2

/** What the duty cycle works with. */
interface DutyCycleParts {
  readonly end: PartitionEnd
  readonly gate: LaneGate
  readonly table: HandlerTable
  readonly window: Window
  readonly outbox: Outbox
  readonly nested: NestedSubmits
  readonly spin: CommandSpin
  readonly heap: HeapGauge
  /** By lane: its name, the deadline of its boost, and whether it has limits. */
  readonly lanes: readonly {
    readonly name: string
    readonly deadlineMs: number | undefined
    readonly isGated: boolean
  }[]
  readonly partition: number
  /** Handlers that may run at once. */
  readonly concurrency: number
}

/** A command from its start to its end. Copied: the window reuses its entries. */
interface Run extends StreamRun {
  readonly laneIndex: number
  readonly key: string | undefined
  /** Whether other commands of its key wait for its end. */
  readonly holdsKey: boolean
  /** The slot of its lane that it holds, as the gate gave it; `NOT_ENTERED` if there is none. */
  readonly slot: number
  /** Commands that its handler waits for. */
  waits: number
}

/** A broadcast that has not begun. */
interface Request {
  readonly begin: () => void
  readonly refuse: (reason: unknown) => void
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
  /** What has started and not ended, by the slot of its id. */
  readonly #runs: (Run | undefined)[] = new Array(SLOT_COUNT).fill(undefined)
  /** How many of those hold a run: asynchronous handlers, but for streams that rest. */
  #running = 0
  /** How many are streams that rest. */
  #resting = 0
  /** A free run goes to a stream and to the next command alternately; whether it is a stream's. */
  #isStreamsTurn = false
  /** Broadcasts that wait for handlers to come to rest, in order, by id. */
  readonly #requests = new Map<string, Request>()
  /** The broadcast that keeps commands from starting, if one does. */
  #reservedFor: string | undefined
  /** Broadcasts that have begun and not ended. */
  #broadcasting = 0
  /** Calls of `idle` that wait. */
  readonly #idles: (() => void)[] = []
  #isStopped = false
  /** A turn is queued on the event loop, so none needs to be queued again. */
  #isTurnQueued = false
  #turnEndsMs = 0
  /** The last reading of the clock: a command's end is the next one's start. */
  #clockMs = 0
  /** While there is something to run, when the command ring is read again. */
  #readsAtMs = 0
  /** Whether the gate let the last admitted command in. */
  #hasEntered = false
  /** When a lane that has no token may have one. */
  readonly #due = new Alarm(() => this.turn())

  constructor(parts: DutyCycleParts) {
    this.#parts = parts
    const { end, outbox, nested } = parts
    this.#streams = new StreamRuns(end.slots, outbox, {
      isRestWanted: () => this.#requests.size > 0,
      rested: () => {
        this.#running--
        this.#resting++
        this.#clockMs = nowMs()
        this.#goOn()
      },
      resumed: () => {
        this.#running++
        this.#resting--
      },
      stalled: () => this.#queueTurn(),
    })
    this.services = new CommandServices(end.slots, outbox, nested, this.#signals, {
      isRunning: (id) => this.#runs[slotOf(id)]?.id === id,
      kept: () => this.#queueTurn(),
      waits: (id, change) => this.#waits(id, change),
    })
  }

  /** Looks for work now; called when the coordinator rings, and for a turn queued by the cycle. */
  readonly turn = (): void => {
    this.#isTurnQueued = false
    this.#clockMs = nowMs()
    this.#turnEndsMs = this.#clockMs + TURN_MS
    this.#work()
    this.#parts.heap.look(this.#clockMs)
  }

  /**
   * Runs a broadcast while no handler executes: each that has started has ended, waits for a
   * command of its own, or is a stream that rests. No command starts, and no stream goes on, until
   * the broadcast has ended or is withdrawn.
   *
   * @param id - Its own.
   * @param run - Called then.
   * @returns What `run` gives.
   * @throws The reason it was withdrawn for, if it had not begun.
   */
  async between<T>(id: string, run: () => Promise<T> | T): Promise<T> {
    await new Promise<void>((begin, refuse) => {
      this.#requests.set(id, { begin, refuse })
      this.#admitRequest()
    })
    try {
      return await run()
    } finally {
      this.#broadcasting--
      if (this.#reservedFor === id) this.#reservedFor = undefined
      this.#clockMs = nowMs()
      this.#goOn()
    }
  }

  /**
   * Withdraws a broadcast: one that has not begun never does, and one that runs no longer keeps
   * commands from starting.
   *
   * @param id - Its own.
   */
  withdraw(id: string, reason: unknown): void {
    this.#requests.get(id)?.refuse(reason)
    this.#requests.delete(id)
    if (this.#reservedFor === id) this.#reservedFor = undefined
    this.#queueTurn()
  }

  /** Ring id of the one run that does not rest; undefined if there is none, or more than one. */
  get soleRun(): number | undefined {
    const [run, other] = this.#runs.filter((each) => each !== undefined && !each.isResting)
    return other === undefined ? run?.id : undefined
  }

  /** Settles once nothing runs and all results are sent; if the cycle was stopped nothing will. */
  async idle(): Promise<void> {
    if (!this.#isIdle) await new Promise<void>((resolve) => this.#idles.push(resolve))
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
    if (this.#streams.isWaiting) this.turn()
  }

  /**
   * Starts no further command and aborts the signals of the running ones.
   *
   * @param reason - What the signals report.
   */
  stop(reason: unknown): void {
    this.#isStopped = true
    this.#signals.abortAll(reason)
    // No bell rings for a stream that waits for credit: it is aborted in its slot word alone.
    if (this.#streams.isWaiting) this.turn()
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
    if (this.#streams.isWaiting) this.#streams.look()
    this.#admitRequest()
    while (this.#mayStart()) {
      if (this.#isStreamsTurn && this.#streams.isReady && this.#resumeStream()) continue
      const entry = this.#look()
      if (entry === undefined) {
        if (!this.#resumeStream() && this.#park()) return
        continue
      }
      this.#isStreamsTurn = true
      this.#begin(entry)
      if (this.#clockMs >= this.#turnEndsMs) {
        this.#endTurn()
        return
      }
    }
    if (this.#idles.length > 0 && this.#isIdle) for (const idle of this.#idles.splice(0)) idle()
    // A thread that does not look must not keep the wakes that it was given, nor a lane's timer.
    gate.leaveWaiters()
    // Records sent before may wait for a wake that only a parking partition gives.
    end.coordinatorBell.ring(true)
    if (this.#streams.isWaiting || !outbox.isClear) this.#awaitCoordinator()
  }

  /** Lets the next stream in turn have the run that is free; false if none may go on. */
  #resumeStream(): boolean {
    if (!this.#streams.resumeNext()) return false
    this.#isStreamsTurn = false
    return true
  }

  /** Begins the next broadcast, unless another runs or a handler executes. */
  #admitRequest(): void {
    if (this.#requests.size === 0 || this.#reservedFor !== undefined) return
    if (this.#runs.some((run) => run !== undefined && run.waits === 0 && !run.isResting)) return
    for (const [id, { begin }] of this.#requests) {
      this.#requests.delete(id)
      // No command starts between here and the microtask in which it runs.
      this.#reservedFor = id
      this.#broadcasting++
      this.#parts.gate.leaveWaiters()
      begin()
      return
    }
  }

  get #isIdle(): boolean {
    const isUnused = this.#running === 0 && this.#resting === 0 && this.#parts.outbox.isClear
    return isUnused && this.#broadcasting === 0 && this.#requests.size === 0
  }

  /** Notes that a handler waits for a command of its own, or no longer does. */
  #waits(id: number, change: 1 | -1): void {
    const run = this.#runs[slotOf(id)]
    // A context may be used after its handler's end.
    if (run?.id !== id) return
    run.waits += change
    if (this.#requests.size > 0) this.#queueTurn()
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
      // Room that came before the wish rings no bell.
      outbox.flush()
    }
    if (!this.#streams.look() && outbox.isClear === wasClear) {
      end.bell.wait()
      return
    }
    end.bell.stayAwake()
    this.#queueTurn()
  }

  /**
   * Whether another command may start now. If not, something that is under way goes on later, or
   * the bell rings once the result ring has room.
   */
  #mayStart(): boolean {
    const { outbox, concurrency } = this.#parts
    if (this.#isStopped || this.#reservedFor !== undefined || this.#requests.size > 0) return false
    if (this.#running >= concurrency) return false
    return outbox.flush() || this.#sleepUnlessRoom()
  }

  /** Takes the command that runs next, if there is one. */
  #look(): WindowEntry | undefined {
    const { end, window, gate } = this.#parts
    if (this.#clockMs >= this.#readsAtMs || window.isEmpty) {
      if (end.commands.read(window, SLOT_COUNT) > 0) {
        this.#clockMs = nowMs()
        if (window.isSweepDue) this.#sweep()
      }
      this.#readsAtMs = this.#clockMs + READ_MS
    }
    gate.beginLook()
    return window.next(this, this.#clockMs)
  }

  /** Drops the commands that were revoked, lest they keep slots that others could have. */
  #sweep(): void {
    const { end, outbox, window } = this.#parts
    for (const id of window.sweep((each) => end.slots.isRevoked(each), this.#clockMs)) {
      outbox.send(id, ResultStatus.REVOKED, undefined, 0, 0)
    }
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
    // The coordinator checks this too, but it may be busy, or the process may have stood still.
    const isLate = entry.latestStartMs <= startedAtMs
    if (isLate || !end.slots.start(id, startedAtMs)) {
      if (hasEntered) gate.leave(laneIndex, gate.slot)
      entry.payload = undefined
      outbox.send(id, isLate ? ResultStatus.LATE : ResultStatus.REVOKED, undefined, 0, 0)
      return
    }
    gate.leaveWaiters()
    count(end.views, Counter.STARTED)
    // With one run at a time only a stream that rests lets another command start beside it.
    const holdsKey = key !== undefined && (concurrency > 1 || entry.isStream)
    if (holdsKey) window.begin(key)
    const slot = hasEntered ? gate.slot : NOT_ENTERED
    if (gate.hasListeners) outbox.send(id, ResultStatus.STARTED, undefined, startedAtMs, 0)
    const run: Run = {
      id,
      laneIndex,
      key,
      holdsKey,
      slot,
      startedAtMs,
      pausedMs: 0,
      isResting: false,
      waits: 0,
    }
    this.#runs[slotOf(id)] = run
    this.#run(entry, run)
  }

  /** Enters the handler, and finishes the command now or when the handler's promise settles. */
  #run(entry: WindowEntry, run: Run): void {
    const { table, lanes, partition } = this.#parts
    const { typeIndex, payload } = entry
    const lane = lanes[run.laneIndex]!
    const deadlineMs = entry.deadlineMs ?? lane.deadlineMs
    try {
      if (entry.problem !== undefined) throw entry.problem
      const context = new RunContext(
        entry.name ?? entry.sequence,
        {
          lane: lane.name,
          // One of a module that commands name sets it when it is called.
          type: table.types[typeIndex] ?? '',
          key: run.key,
          attempt: entry.attempt,
          deadlineAtMs: deadlineMs === undefined ? undefined : entry.submittedAtMs + deadlineMs,
          startedAtMs: run.startedAtMs,
          partition,
          slotId: run.id,
        },
        this.services,
      )
      let result = table.call(typeIndex, payload, context, entry.isStream)
      if (entry.isStream) result = this.#streams.run(run, context.type, result)
      if (!isThenable(result)) {
        this.#finish(run, ResultStatus.DONE, result)
        return
      }
      this.#await(run, result)
    } catch (error) {
      this.#finish(run, ResultStatus.FAILED, error)
    } finally {
      entry.payload = undefined
      entry.problem = undefined
    }
  }

  /** Apart from `#run`: a function that makes closures allocates for them at each call. */
  #await(run: Run, result: PromiseLike<unknown>): void {
    // A thenable of the user's may throw, call back at once or twice; this does none of it.
    void whenSettled(
      result,
      (value) => this.#settled(run, ResultStatus.DONE, value),
      (error) => this.#settled(run, ResultStatus.FAILED, error),
    )
    this.#running++
    this.#clockMs = nowMs()
  }

  #settled(run: Run, status: 0 | 1, value: unknown): void {
    this.#running--
    this.#finish(run, status, value)
    this.#goOn()
  }

  /** Goes on after something asynchronous ended. */
  #goOn(): void {
    if (this.#clockMs < this.#turnEndsMs) this.#work()
    else this.#endTurn()
  }

  /** Lets the event loop turn, and goes on after it. */
  #endTurn(): void {
    // A handler that is under way may go on for long before that: it keeps nothing from others.
    if (this.#isBusy) this.#parts.gate.leaveWaiters()
    this.#queueTurn()
  }

  /** Whether handlers are under way, so that this thread may not look for long, rung or not. */
  get #isBusy(): boolean {
    return this.#running > 0 || this.#broadcasting > 0
  }

  #finish(run: Run, status: 0 | 1, value: unknown): void {
    const { end, outbox, gate, window } = this.#parts
    const { id, key, laneIndex, slot, startedAtMs, pausedMs } = run
    this.#clockMs = nowMs()
    this.#signals.end(id)
    this.#runs[slotOf(id)] = undefined
    const durationMs = this.#clockMs - startedAtMs - pausedMs
    const isSent = outbox.send(id, status, value, startedAtMs, durationMs)
    // It has ended, however long its outcome waits for room.
    if (!isSent) end.slots.pause(id, durationMs)
    if (slot !== NOT_ENTERED) gate.leave(laneIndex, slot)
    if (run.holdsKey) window.end(key!, this.#clockMs)
  }

  #queueTurn(): void {
    if (this.#isTurnQueued) return
    this.#isTurnQueued = true
    timers.setImmediate(this.turn)
  }

  /** Sleeps until a command comes or a lane opens; false if there is something to run by now. */
  #park(): boolean {
    const { end, gate, spin } = this.#parts
    this.#readsAtMs = 0
    end.coordinatorBell.ring(true)
    // Handlers that run go on in this thread's event loop.
    if (this.#running === 0 && spin.hasFound()) return false
    end.bell.announce(Bell.ASLEEP)
    const dueMs = gate.joinWaiters(this.#isBusy)
    const entry = this.#look()
    const mayGoOn = this.#streams.isWaiting && (this.#streams.look() || this.#streams.isReady)
    if (entry !== undefined || !gate.hasJoinedAll || mayGoOn) {
      end.bell.stayAwake()
      if (entry !== undefined) this.#begin(entry)
      return false
    }
    this.#due.set(dueMs)
    count(end.views, Counter.PARKED)
    end.bell.wait()
    return true
  }

  /** True if the result ring has room by now; if not, sleeps until it has. */
  #sleepUnlessRoom(): boolean {
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
