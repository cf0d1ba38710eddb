// Life cycle: the state of a manager from its making to its end, the calls that wait for its
// threads, and those that wait until all is done.
// Owns: the state, which changes by the methods below alone, and never back.
// Must not: start or end threads (runtime).
//
// ```
// created ── begin ──► starting ── ready ──► running ── shutDown ──► shutdown ── close ──► closed
//   │                     │ │                                          ▲                     ▲
//   └── shutDown ─────────┴─┼──────────────────────────────────────────┘                     │
//                           └── close: the start has failed ─────────────────────────────────┘
// ```
//
// | state | a call | a handler's command | left by |
// |---|---|---|---|
// | created | waits, and begins the start | | begin, shutDown, close |
// | starting | waits; made one by one as threads become ready | taken | ready, shutDown, close |
// | running | made | taken | shutDown, close |
// | shutdown | refused; those that wait are made once all threads are ready | taken | close |
// | closed | refused; those that wait are rejected | refused | |
//
// A call that is made may do anything, since options and payloads have getters: it may submit,
// shut down or close. Calls that it makes while the manager starts wait behind the others.

import type { Abortable, AbortListeners } from '../base/abort-listeners.ts'
import { Alarm } from '../base/alarm.ts'
import { CallContext } from '../base/async-context.ts'
import { nowMs, whenUnanswered } from '../base/clock.ts'
import { Deque } from '../base/deque.ts'
import { invariant, laneError } from '../base/errors.ts'
import { COMMAND_RULES, type CommandOptions } from '../model/command.ts'
import { patienceOf } from './command-extras.ts'
import { type LaneTable, openCountOf } from './lane-table.ts'

/** Where a queue manager is in its life. */
export type ManagerState = 'created' | 'starting' | 'running' | 'shutdown' | 'closed'

/** Makes a call; it takes when the call came, monotonic milliseconds. */
export type LateCall<T> = (calledAtMs: number) => Promise<T>

/** A call that waits for the threads. */
interface EarlyCall extends Abortable {
  /** Whether it submits one command, for which one thread will do. */
  readonly isOne: boolean
  readonly make: () => void
  readonly fail: (reason: unknown) => void
  /** Whether it was made or has failed. */
  isOver: boolean
}

export class LifeCycle {
  readonly #lanes: LaneTable
  readonly #signals: AbortListeners
  #state: ManagerState = 'created'
  /** In the order in which they came. Those that were aborted stay until they are the first. */
  readonly #early = new Deque<EarlyCall>()
  /** Those of them that wait, and the one that is being made. */
  #earlyCount = 0
  #isCalling = false
  /** Ends the waiting of each that waits until all is done. */
  readonly #drains = new Set<() => void>()

  /** @param signals - Listen to the signals of calls. */
  constructor(lanes: LaneTable, signals: AbortListeners) {
    this.#lanes = lanes
    this.#signals = signals
  }

  get state(): ManagerState {
    return this.#state
  }

  /** Whether it takes no calls any more. */
  get isEnding(): boolean {
    return this.#state === 'shutdown' || this.#state === 'closed'
  }

  /**
   * Throws unless commands are taken now.
   *
   * @param isLetIn - Whether its caller was let in before: a handler, or a call that has waited.
   * @throws ClosedError `CORELANE_CLOSED`.
   */
  refuseUnlessRunning(isLetIn = false): void {
    if (this.#state === 'running' || (isLetIn && this.#state !== 'closed')) return
    throw laneError('CORELANE_CLOSED', { state: this.#state })
  }

  // ── Transitions ──────────────────────────────────────────────────────────────────────────────

  /**
   * Created to starting.
   *
   * @throws ClosedError `CORELANE_CLOSED` after `shutDown` or `close`.
   */
  begin(): void {
    if (this.isEnding) throw laneError('CORELANE_CLOSED', { state: this.#state })
    invariant(this.#state === 'created', 'a manager starts once')
    this.#state = 'starting'
  }

  /** Starting to running, unless it ends; makes all calls that wait. */
  ready(): void {
    invariant(this.#state === 'starting' || this.isEnding, 'what becomes ready was starting')
    if (!this.isEnding) this.#state = 'running'
    while (this.#early.length > 0) this.callNext()
  }

  /**
   * To shutdown.
   *
   * @returns False if it ends already.
   */
  shutDown(): boolean {
    if (this.isEnding) return false
    this.#state = 'shutdown'
    return true
  }

  /**
   * To closed, from any state.
   *
   * @param reason - Rejects the calls that wait.
   */
  close(reason: unknown): void {
    this.#state = 'closed'
    while (this.#early.length > 0) this.#early.shift()!.fail(reason)
  }

  // ── Calls that wait for the threads ──────────────────────────────────────────────────────────

  /** How many wait. */
  get earlyCount(): number {
    return this.#earlyCount
  }

  /**
   * Lets a call wait.
   *
   * @param call - Made later, in the async context of now.
   * @param isOne - Whether it submits one command.
   * @param lane - The lane of the commands that it submits, if it does.
   * @param options - Theirs. Their signal and their latest start end the waiting; otherwise they
   * are checked when the call is made.
   * @returns What the call gives.
   */
  wait<T>(call: LateCall<T>, isOne: boolean, lane?: string, options?: CommandOptions): Promise<T> {
    const context = new CallContext()
    const calledAtMs = nowMs()
    const given = options?.signal
    const signal = COMMAND_RULES.signal.accepts(given) ? given : undefined
    const patienceMs = this.#patienceMs(lane, options)
    return new Promise<T>((resolve, reject) => {
      let alarm: Alarm | undefined
      const end = (act: () => void) => {
        if (one.isOver) return
        one.isOver = true
        alarm?.stop()
        if (signal !== undefined) this.#signals.remove(signal, one)
        act()
        this.#earlyCount--
      }
      const fail = (reason: unknown) => end(() => reject(reason))
      const make = () => {
        try {
          resolve(context.call(call, calledAtMs))
        } catch (error) {
          reject(error)
        }
      }
      const abort = (reason: unknown) => {
        fail(laneError('CORELANE_ABORTED', { stage: 'waiting' }, reason))
        this.settled()
      }
      const one: EarlyCall = {
        isOne,
        make: () => end(make),
        fail,
        abort,
        isOver: false,
        isBound: false,
      }
      this.#earlyCount++
      if (signal?.aborted) abort(signal.reason)
      else {
        if (signal !== undefined) this.#signals.add(signal, one)
        this.#early.push(one)
        if (patienceMs === Number.POSITIVE_INFINITY) return
        alarm = new Alarm(() => {
          const waitedMs = Math.round(nowMs() - calledAtMs)
          const details = { lane: lane!, waitedMs, deadlineMs: patienceMs }
          fail(laneError('CORELANE_DEADLINE_EXCEEDED', details))
          this.settled()
        })
        alarm.set(calledAtMs + patienceMs)
      }
    })
  }

  /** How long a command may wait for its start, if its options are right as far as that goes. */
  #patienceMs(lane: string | undefined, options: CommandOptions | undefined): number {
    const plan = this.#lanes.all.find(({ name }) => name === lane)?.plan
    if (plan === undefined) return Number.POSITIVE_INFINITY
    const { onDeadline } = options ?? {}
    const ms = (name: 'startWithinMs' | 'deadlineMs') => {
      const given = options?.[name]
      return COMMAND_RULES[name].accepts(given) ? given : undefined
    }
    const rejectsLate = onDeadline === undefined ? undefined : onDeadline === 'reject'
    return patienceOf(plan, ms('startWithinMs'), rejectsLate, ms('deadlineMs'))
  }

  /** Whether the next one can be made though some threads still start: it submits one command. */
  isNextForOne(): boolean {
    if (this.#state !== 'starting' || this.#isCalling) return false
    while (this.#early.first?.isOver) this.#early.shift()
    return this.#early.first?.isOne === true
  }

  /** Makes the call that has waited longest. */
  callNext(): void {
    this.#isCalling = true
    this.#early.shift()!.make()
    this.#isCalling = false
  }

  // ── Until all is done ────────────────────────────────────────────────────────────────────────

  /**
   * Waits until every command is settled and no call waits.
   *
   * @param timeoutMs - How long to wait.
   * @throws LaneError `CORELANE_DRAIN_TIMEOUT`.
   */
  async drained(timeoutMs: number): Promise<void> {
    if (this.#isDrained) return
    let finish!: () => void
    let forget!: () => void
    const isDrained = await new Promise<boolean>((resolve) => {
      finish = () => resolve(true)
      forget = whenUnanswered(() => resolve(false), timeoutMs)
      this.#drains.add(finish)
    })
    forget()
    this.#drains.delete(finish)
    if (isDrained || this.#isDrained) return
    const left = this.#lanes.all.filter((lane) => openCountOf(lane) > 0)
    const lanes = Object.fromEntries(left.map((lane) => [lane.name, openCountOf(lane)]))
    const words = left.map((lane) => `${openCountOf(lane)} in ${lane.name}`)
    if (this.#earlyCount > 0) words.push(`${this.#earlyCount} before the start`)
    throw laneError('CORELANE_DRAIN_TIMEOUT', { timeoutMs, left: words.join(', '), lanes })
  }

  /** Commands were settled: perhaps they were the last. */
  settled(): void {
    if (this.#drains.size === 0 || !this.#isDrained) return
    for (const finish of this.#drains) finish()
  }

  get #isDrained(): boolean {
    return this.#lanes.openCount === 0 && this.#earlyCount === 0
  }
}
