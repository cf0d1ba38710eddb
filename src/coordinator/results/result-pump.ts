// Result pump: takes results off the rings and settles their commands, and sleeps in between.
// Owns: the coordinator's bell, its timer, and what keeps the process alive.
// Must not: know lanes or partitions beyond draining them.
//
// States: turning (a turn is queued on the event loop), dozing (a turn comes within a moment; only
// a partition about to park rings), asleep (every result rings).

import { nowMs, timers } from '../../base/clock.ts'
import { type AwakeThreads, SpinHabit } from '../../memory/awake-threads.ts'
import type { CoordinatorCommons } from '../../memory/commons.ts'
import { Bell, type BellSleeper } from '../../memory/doorbell.ts'
import type { ManagerEvents } from '../manager-events.ts'
import { DOZE_MS_YOUNG } from './horizon.ts'

/**
 * Turns in a row that find nothing before the pump stops looking, where results come in numbers.
 */
const QUIET_TURNS = 4

/** Fewer results in a turn than this are not worth looking again and again for the next. */
const FLOW_COUNT = 8

/**
 * So long a lone short command's result is waited for without leaving the caller's turn: to be
 * woken by it would cost this thread 40 µs.
 */
const SPIN_MS = 0.1

/**
 * The same where the partition slept: a thread that has not begun in 25 µs waits, as a rule, for
 * the core that this one spins on.
 */
const SPIN_MS_SLEPT = 0.04

/** After so long the event loop must turn before the pump spins again: it serves everybody else. */
const SPIN_TURN_MS = 1

export interface ResultRing {
  /** Whether a result has come that was not taken. */
  readonly hasResults: boolean
  /** Takes what the ring holds, up to a bound; answers how many records. */
  drain(): number
}

/** Something that has such a ring while its thread lives. */
export interface ResultSource {
  readonly results: ResultRing | undefined
}

type PumpEvents = Pick<ManagerEvents, 'progressed' | 'isBusy' | 'idled' | 'doze' | 'hasYounger'>

/** The coordinator's loop. */
export class ResultPump {
  readonly #sources: readonly ResultSource[]
  readonly #events: PumpEvents
  readonly #bell: BellSleeper
  /** Ref'd while commands are in flight: a pending `waitAsync` does not keep a process alive. */
  readonly #keepAlive: NodeJS.Timeout
  #isHeld = false
  /** The turn that is queued on the event loop. */
  #queued: NodeJS.Immediate | undefined
  /** It sleeps until it is rung, and looks at nothing before. */
  #isAsleep = false
  #quietTurns = 0
  #hasDozed = false
  /** Results were taken, and the manager has not acted on them. */
  #hasProgressed = false
  #dozeTimer: NodeJS.Timeout | undefined
  /** It dozes for longer than a young command's result may lie unread. */
  #isLongDoze = false
  #isStopped = false
  readonly #awake: AwakeThreads
  readonly #spins = new SpinHabit()
  /** When spinning began since the event loop last turned; 0 if it has not. */
  #spinningSinceMs = 0

  /**
   * @param awake - Knows whether there is a core to spin on.
   * @param sources - Have the rings; undefined while there is none.
   */
  constructor(
    commons: CoordinatorCommons,
    awake: AwakeThreads,
    sources: readonly ResultSource[],
    events: PumpEvents,
  ) {
    this.#sources = sources
    this.#events = events
    this.#awake = awake
    this.#bell = commons.sleeper(this.#turn)
    this.#keepAlive = timers.setInterval(() => {}, 2 ** 30).unref()
  }

  /**
   * Commands are in flight, or about to be: stays alive until they are settled. Call it before the
   * partitions see them: one that answers before the pump sleeps need not ring.
   *
   * @param isLone - Whether it is a single one; then call {@link ResultPump.waitForOne} next.
   */
  expect(isLone: boolean): void {
    const wasHeld = this.#isHeld
    if (!wasHeld) {
      this.#isHeld = true
      this.#keepAlive.ref()
    }
    if (isLone || !wasHeld) this.#bell.stayAwake()
    if (isLone) return
    if (this.#isLongDoze && this.#events.hasYounger()) this.#dozeFor(DOZE_MS_YOUNG)
    // Commands bound behind a long one may have to move, and no bell rings for that.
    if (this.#isAsleep || !wasHeld) this.#queueTurn()
  }

  /**
   * Waits for the result of the only command in flight: asleep, since nothing else can come. The
   * result of a short one is looked for first, for a moment, without leaving the caller's turn.
   */
  waitForOne(isShort: boolean): void {
    // A partition that was woken on this thread's core has often run before its waker goes on.
    if (this.#takesLone()) return
    if (isShort && this.#looksFor(this.#awake.isMainAlone ? SPIN_MS_SLEPT : SPIN_MS)) return
    if (this.#isStopped) return
    timers.clearImmediate(this.#queued)
    this.#queued = undefined
    this.#sleep(Bell.ASLEEP)
  }

  /** Looks for a lone command's result for a time, if that pays; whether it came. */
  #looksFor(ms: number): boolean {
    if (!this.#spins.isWorthTrying() || !this.#awake.hasCoreToSpare) return false
    const startedMs = nowMs()
    if (this.#spinningSinceMs === 0) this.#spinningSinceMs = startedMs
    else if (startedMs - this.#spinningSinceMs > SPIN_TURN_MS) return false
    return this.#spins.spin(startedMs + ms, this.#takesLone)
  }

  /** Takes a lone command's result, if it has come. */
  readonly #takesLone = (): boolean => {
    if (!this.#hasResults()) return false
    this.#drain()
    // Its end lets nothing else be bound: its caller goes on before the manager.
    this.#queueTurn()
    return true
  }

  /** Looks at the rings soon: a thread that died may have been about to ring. */
  look(): void {
    if (!this.#isStopped) this.#queueTurn()
  }

  /** Ends the pump for good. */
  stop(): void {
    this.#isStopped = true
    timers.clearInterval(this.#keepAlive)
    timers.clearTimeout(this.#dozeTimer)
    this.#bell.retire()
  }

  readonly #turn = (): void => {
    const wasAsleep = this.#isAsleep
    this.#queued = undefined
    this.#isAsleep = false
    this.#isLongDoze = false
    this.#spinningSinceMs = 0
    if (this.#isStopped) return
    this.#bell.stayAwake()
    if (wasAsleep && this.#drain() > 0) {
      // Their callers go on before the manager does: all of it is cold after a sleep.
      this.#queueTurn()
      return
    }
    const count = this.#takeResults()
    if (count >= FLOW_COUNT || (count > 0 && this.#hasResults())) this.#queueTurn()
    else if (count > 0) this.#doze()
    if (count > 0) return
    if (!this.#events.isBusy()) this.#release()
    else if (this.#quietTurns++ < QUIET_TURNS) this.#queueTurn()
    else if (!this.#hasDozed || this.#events.idled(nowMs())) this.#doze()
    else this.#sleep(Bell.ASLEEP)
  }

  #queueTurn(): void {
    this.#queued ??= timers.setImmediate(this.#turn)
  }

  /** Sleeps for a moment: results that come meanwhile cost one wake instead of one each. */
  #doze(): void {
    this.#hasDozed = true
    if (this.#sleep(Bell.DOZING)) this.#dozeFor(this.#events.doze(nowMs()))
  }

  #dozeFor(ms: number): void {
    this.#isLongDoze = ms > DOZE_MS_YOUNG
    timers.clearTimeout(this.#dozeTimer)
    this.#dozeTimer = timers.setTimeout(this.#turn, ms).unref()
  }

  /** Sleeps unless a result came in the meantime. */
  #sleep(state: 1 | 2): boolean {
    this.#bell.announce(state)
    if (this.#takeResults() > 0) {
      this.#bell.stayAwake()
      this.#queueTurn()
      return false
    }
    this.#isAsleep = state === Bell.ASLEEP
    this.#bell.wait()
    return true
  }

  /** Takes what the rings hold, and lets the manager go on; answers how many records. */
  #takeResults(): number {
    const count = this.#drain()
    if (!this.#hasProgressed) return 0
    this.#hasProgressed = false
    this.#events.progressed(nowMs())
    return count
  }

  #drain(): number {
    let count = 0
    for (const { results } of this.#sources) count += results?.drain() ?? 0
    if (count === 0) return 0
    this.#quietTurns = count < FLOW_COUNT ? QUIET_TURNS : 0
    this.#hasDozed = false
    this.#hasProgressed = true
    return count
  }

  #hasResults(): boolean {
    for (const { results } of this.#sources) if (results?.hasResults === true) return true
    return false
  }

  #release(): void {
    this.#quietTurns = 0
    this.#isHeld = false
    this.#keepAlive.unref()
    this.#sleep(Bell.ASLEEP)
  }
}
