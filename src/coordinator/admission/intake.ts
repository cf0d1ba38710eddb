// Intake: turns a submit into a command, and admits it once there is room.
// Owns: the numbering of commands.
// Must not: choose what is bound where (dispatcher), or count pending commands (backpressure).

import { type AbortListeners, refuseAborted } from '../../base/abort-listeners.ts'
import { CallContext } from '../../base/async-context.ts'
import { nowMs } from '../../base/clock.ts'
import { type LaneError, laneError } from '../../base/errors.ts'
import { checkGiven } from '../../base/options.ts'
import { COMMAND_RULES, type CommandOptions, isOrdinary } from '../../model/command.ts'
import { rankOf } from '../../model/lane.ts'
import {
  KEYED_STRATEGIES,
  type PartitionStrategy,
  takesKeys,
} from '../../model/partition-config.ts'
import {
  checkRetry,
  mayRetry,
  RETRY_RULES,
  type RetryOptions,
  type RetryPlan,
} from '../../model/retry.ts'
import { GroupSeat } from '../../schedule/group-ring.ts'
import { Command, type CommandManager } from '../command.ts'
import { type CommandExtras, type GivenOptions, isTimed } from '../command-extras.ts'
import type { CommandTimers } from '../command-timers.ts'
import type { Dispatcher } from '../dispatch/dispatcher.ts'
import type { Lane, LaneTable } from '../lane-table.ts'
import type { LifeCycle } from '../life-cycle.ts'
import type { ManagerEvents } from '../manager-events.ts'
import { MeteredManager, SHARED_MOMENT } from '../metered-manager.ts'
import type { ManagerPlan } from '../options.ts'
import type { StreamReader } from '../results/stream-reader.ts'
import type { Batch, Settler } from '../settlement.ts'
import { TypeTable } from '../type-table.ts'
import type { Backpressure } from './backpressure.ts'
import { createPlacer, type Placer } from './partitioners.ts'

const DEFAULT_PRIORITY = COMMAND_RULES.priority.default as number

// A promise's resolver is captured without a closure per command.
let captured: ((value: unknown) => void) | undefined
function capture(resolve: (value: unknown) => void): void {
  captured = resolve
}

/** How a command is let in. */
export interface AdmissionTerms {
  /** Whether it must find room, or wait for it where its lane says so. Default true. */
  readonly needsRoom?: boolean
  /** Called if it had to wait for room and was settled there. */
  readonly onRefused?: () => void
}

type IntakeEvents = Pick<ManagerEvents, 'whenStarted' | 'onceStarted' | 'define' | 'admitted'>

/** Checks submits and makes commands of them. */
export class Intake {
  /** The handlers, once they are known. */
  readonly types: TypeTable
  readonly #plan: ManagerPlan
  readonly #manager: CommandManager
  readonly #life: Pick<LifeCycle, 'refuseUnlessRunning'>
  readonly #lanes: LaneTable
  readonly #backpressure: Backpressure
  readonly #dispatcher: Pick<Dispatcher, 'place' | 'refusal'>
  readonly #timers: CommandTimers
  readonly #signals: AbortListeners
  readonly #events: IntakeEvents
  readonly #place: Placer
  readonly #takesKeys: boolean
  readonly #isBounded: boolean
  readonly #isMetered: boolean
  /** The manager as commands hold it: with metrics, at the moment of their submit. */
  #held: CommandManager
  /** The command from whose number on they hold another; Infinity without metrics. */
  #renewsAt: number
  #sequence = 0
  /** The last checked options that may be shared, their lane, and what was made of them. */
  #lastOptions: CommandOptions | undefined
  #lastLane: Lane | undefined
  #lastGiven: GivenOptions | undefined

  /**
   * @param manager - The manager, as its commands see it.
   * @param life - Says whether commands are taken.
   * @param backpressure - Bounds what is pending.
   * @param dispatcher - Takes admitted commands.
   * @param timers - Take delayed commands, and watch latest starts.
   * @param signals - Listen to the signals of commands.
   */
  constructor(
    plan: ManagerPlan,
    manager: CommandManager,
    life: Pick<LifeCycle, 'refuseUnlessRunning'>,
    lanes: LaneTable,
    backpressure: Backpressure,
    dispatcher: Pick<Dispatcher, 'place' | 'refusal'>,
    timers: CommandTimers,
    signals: AbortListeners,
    events: IntakeEvents,
  ) {
    this.#plan = plan
    this.#manager = manager
    this.#life = life
    this.#lanes = lanes
    this.#backpressure = backpressure
    this.#dispatcher = dispatcher
    this.#timers = timers
    this.#signals = signals
    this.#events = events
    this.types = new TypeTable(events)
    this.#place = createPlacer(plan)
    this.#takesKeys = takesKeys(plan.strategy)
    this.#isBounded = backpressure.isBounded
    this.#isMetered = plan.metrics !== undefined
    this.#held = manager
    this.#renewsAt = this.#isMetered ? 0 : Number.POSITIVE_INFINITY
  }

  get next(): number {
    return this.#sequence
  }

  /** The turn has ended: with metrics the next command reads the clock. */
  endTurn(): void {
    if (this.#isMetered) this.#renewsAt = 0
  }

  /**
   * Submits a command.
   *
   * @param isDetailed - Whether the promise gives an outcome instead of the bare result.
   * @param stream - Takes the values of its handler, if it gives them one by one.
   * @returns The result; rejects with whatever is wrong.
   */
  submit(
    lane: string,
    type: string,
    payload: unknown,
    options: CommandOptions | undefined,
    isDetailed: boolean,
    stream?: StreamReader,
  ): Promise<unknown> {
    try {
      this.#life.refuseUnlessRunning()
      return this.admit(this.make(lane, type, payload, options, isDetailed, stream))
    } catch (error) {
      return this.#refused(error, lane, type, payload, options, isDetailed, stream)
    }
  }

  /** Apart from `submit`: a function that makes a closure allocates for it at each call. */
  async #refused(error: unknown, ...given: Parameters<Intake['submit']>): Promise<unknown> {
    const [lane, type, payload, options, isDetailed, stream] = given
    const call = (calledAtMs: number) =>
      this.admit(this.make(lane, type, payload, options, isDetailed, stream, false, calledAtMs))
    const later = this.#events.whenStarted(call, true, lane, options)
    if (later === undefined) throw error
    return later
  }

  /**
   * Admits a command, or lets it wait for room.
   *
   * @param command - Made by {@link Intake.make}.
   * @param terms - How it is let in.
   * @returns The result.
   * @throws QueueFullError if there is no room and its lane does not let it wait.
   */
  admit(command: Command, { needsRoom = true, onRefused }: AdmissionTerms = {}): Promise<unknown> {
    const hasRoom = !needsRoom || this.#hasRoom(command)
    const promise = new Promise<unknown>(capture)
    command.open(captured!)
    // Its promise would stay, and with it the request in which it was made.
    captured = undefined
    this.#enter(command, hasRoom, onRefused)
    return promise
  }

  /**
   * Submits a command whose result goes to a batch, and so does whatever is wrong.
   *
   * @param calledAtMs - When it was called, if it has waited for the threads.
   */
  submitInto(
    batch: Batch,
    lane: string,
    type: string,
    payload: unknown,
    options: CommandOptions | undefined,
    calledAtMs: number | undefined,
  ): void {
    try {
      this.#life.refuseUnlessRunning(calledAtMs !== undefined)
      const command = this.make(lane, type, payload, options, false, undefined, false, calledAtMs)
      const hasRoom = this.#hasRoom(command)
      command.join(batch)
      this.#enter(command, hasRoom, undefined)
    } catch (error) {
      batch.fail(error)
    }
  }

  #hasRoom({ lane, extras }: Command): boolean {
    return !this.#isBounded || this.#backpressure.admits(lane, extras?.bytes ?? 0)
  }

  /**
   * Admits a command without a promise.
   *
   * @param command - Made by {@link Intake.make}.
   * @param settle - Takes its result, or its end.
   * @param isWatched - False if its caller ends it at its latest start. Default true.
   * @throws QueueFullError if there is no room and its lane does not let it wait.
   */
  enter(command: Command, settle: ((value: unknown) => void) | Settler, isWatched = true): void {
    const hasRoom = this.#hasRoom(command)
    command.open(settle)
    this.#enter(command, hasRoom, undefined, isWatched)
  }

  #enter(
    command: Command,
    hasRoom: boolean,
    onRefused: (() => void) | undefined,
    isWatched = true,
  ): void {
    const { extras } = command
    if (extras?.options?.signal !== undefined) {
      this.#signals.add(extras.options.signal, command)
    }
    if (hasRoom) this.#admit(command, isWatched)
    else this.#wait(command, onRefused)
    extras?.options?.stream?.attach(command)
  }

  /**
   * Waits until a lane has room.
   *
   * @param name - Name of the lane.
   */
  roomIn(name: string): Promise<void> {
    return this.#events.onceStarted(async () => {
      const lane = this.#lanes.get(name)
      const backpressure = this.#backpressure
      if (!backpressure.isFull(lane)) return
      await new Promise<void>((resolve, reject) => {
        backpressure.wait(lane, { bytes: 0, accept: resolve, refuse: reject })
      })
    })
  }

  /**
   * Checks a submit and makes its command, which is WAITING. Callers see that the manager runs.
   *
   * @param isDetailed - Whether its promise gives an outcome.
   * @param stream - Takes the values of its handler, if it gives them one by one.
   * @param isChecked - Whether the options keep to their rules and do not change, so that commands
   * of a lane may share them. Default false.
   * @param now - The present moment, monotonic milliseconds. Default: the clock is read.
   * @throws ConfigError, PartitionLostError, AbortError: why it is not taken.
   */
  make(
    laneName: string,
    typeName: string,
    payload: unknown,
    options: CommandOptions | undefined,
    isDetailed: boolean,
    stream?: StreamReader,
    isChecked = false,
    now?: number,
  ): Command {
    const lane = this.#lanes.get(laneName)
    const isPlain = options === undefined || (!isChecked && isOrdinary(options))
    // First: threads learn at once of the module that options name.
    if (!isPlain && !isChecked) checkGiven('command', options, COMMAND_RULES)
    const file = isPlain ? undefined : options.file
    const type = file === undefined ? this.types.get(typeName) : this.types.ofFile(file, typeName)
    let given: GivenOptions | undefined
    if (!isPlain) {
      given = isChecked ? this.#givenAgain(lane, options) : givenOf(lane, options, stream)
    } else if (stream !== undefined || lane.plan.retry.retryable !== undefined) {
      given = givenOf(lane, NO_OPTIONS, stream)
    }
    const extras = this.#extras(lane, payload, options, isDetailed, given, now)
    const home = this.#place(lane, type, options?.key, payload)
    const refusal = this.#dispatcher.refusal(home)
    if (refusal !== undefined) throw refusal
    // A getter of the payload or the partitioner may have aborted it.
    refuseAborted(given?.signal)
    const rank = rankOf(lane.plan.priority, options?.priority ?? DEFAULT_PRIORITY)
    const sequence = this.#sequence++
    if (sequence >= this.#renewsAt) {
      this.#renewsAt = sequence + SHARED_MOMENT
      this.#held = new MeteredManager(this.#manager)
    }
    const group = options?.group
    const seat = group === undefined ? undefined : new GroupSeat(group)
    return new Command(this.#held, rank, sequence, type, lane, payload, home, extras, seat)
  }

  /** Options that commands of a lane may share. */
  #givenAgain(lane: Lane, options: CommandOptions): GivenOptions | undefined {
    if (options === this.#lastOptions && lane === this.#lastLane) return this.#lastGiven
    const given = givenOf(lane, options, undefined)
    // The context in which functions of the caller's are called is that of one command.
    this.#lastOptions = given?.context === undefined ? options : undefined
    this.#lastLane = lane
    this.#lastGiven = given
    return given
  }

  #admit(command: Command, isWatched = true): void {
    const timers = this.#timers
    const delayMs = command.extras?.delayMs ?? 0
    command.admit()
    if (delayMs > 0) timers.delay(command, delayMs)
    else if (!isWatched || timers.watch(command)) this.#dispatcher.place(command)
    this.#events.admitted()
  }

  #wait(command: Command, onRefused: (() => void) | undefined): void {
    const { lane, home } = command
    // Subscribers to its start are called for its caller.
    const context = this.#manager.events.hasListeners ? new CallContext() : undefined
    const leave = this.#backpressure.wait(lane, {
      bytes: command.extras?.bytes ?? 0,
      accept: () => {
        // The abort event of its signal has not reached it yet.
        if (command.isOver) {
          command.abort(command.signal?.reason)
          return
        }
        // Its partition may have been given up while it waited.
        const refusal = this.#dispatcher.refusal(home)
        if (refusal === undefined) {
          if (context === undefined) this.#admit(command)
          else context.call((admitted) => this.#admit(admitted), command)
        } else command.fail(refusal, home)
      },
      refuse: (reason) => command.fail(reason, home),
    })
    command.waitForRoom({ leave, onRefused })
    this.#timers.watch(command)
  }

  #extras(
    lane: Lane,
    payload: unknown,
    options: CommandOptions | undefined,
    isDetailed: boolean,
    given: GivenOptions | undefined,
    now: number | undefined,
  ): CommandExtras | undefined {
    const backpressure = this.#backpressure
    const isBare = options === undefined && given === undefined
    if (isBare && !isDetailed && !lane.isTimed && !backpressure.countsBytes) return undefined
    const { id, key, transferList, deadlineMs, delayMs } = options ?? NO_OPTIONS
    if (key !== undefined && !this.#takesKeys) throw keyRefused(this.#plan.strategy)
    const readsClock = isTimed(lane, deadlineMs, given)
    const isPlain = key === undefined && transferList === undefined && !readsClock && !delayMs
    if (
      isPlain &&
      id === undefined &&
      !isDetailed &&
      given === undefined &&
      !backpressure.countsBytes
    )
      return undefined
    return {
      name: id,
      key,
      transferList,
      isDetailed,
      submittedAtMs: readsClock ? (now ?? nowMs()) : 0,
      deadlineMs,
      bytes: backpressure.bytesOf(payload),
      delayMs: delayMs ?? 0,
      options: given,
      history: undefined,
      timer: undefined,
      room: undefined,
    }
  }
}

const NO_OPTIONS: CommandOptions = Object.freeze({})

/**
 * The error of a key under a strategy that takes none.
 *
 * @param strategy - Of the partitions.
 */
export function keyRefused(strategy: PartitionStrategy): LaneError {
  return laneError('CORELANE_INVALID_COMMAND', {
    field: 'key',
    received: `given under the strategy "${strategy}"`,
    allowed: `a key under ${KEYED_STRATEGIES}, which keep its commands together`,
  })
}

/** Policies that were checked: they are used again and again. */
const PLANS = new WeakMap<RetryOptions, RetryPlan>()

function planRetry(retry: RetryOptions): RetryPlan {
  let plan = PLANS.get(retry)
  if (plan === undefined) {
    plan = checkRetry('command.retry', retry, RETRY_RULES) as RetryPlan
    // Only options that cannot change any more may be recognised by identity.
    if (Object.isFrozen(retry)) PLANS.set(retry, plan)
  }
  return plan
}

/**
 * The options that few callers give.
 *
 * @param options - Each fits its rule.
 * @param stream - Takes the values of the handler, if it gives them one by one.
 * @returns Undefined if none was given.
 * @throws ConfigError for options that do not go together, AbortError.
 */
export function givenOf(
  lane: Pick<Lane, 'plan'>,
  options: CommandOptions,
  stream: StreamReader | undefined,
): GivenOptions | undefined {
  const { timeoutMs, retry: given, signal, kill, onProgress, transferList } = options
  const { attempt, onDeadline, startWithinMs } = options
  refuseAborted(signal)
  const retry = given && planRetry(given)
  if (transferList !== undefined && mayRetry(retry ?? lane.plan.retry)) {
    throw laneError('CORELANE_INVALID_COMMAND', {
      field: 'transferList',
      received: 'given for a command that is to be retried',
      allowed: 'a transfer list with RetryPolicy.none(): what was moved cannot be sent again',
    })
  }
  if (stream !== undefined && retry !== undefined && mayRetry(retry)) {
    throw laneError('CORELANE_INVALID_COMMAND', {
      field: 'retry',
      received: 'given for a stream',
      allowed: 'none: values that were taken cannot be taken back',
    })
  }
  const hasTerms = timeoutMs !== undefined || retry !== undefined || signal !== undefined
  const isPatient = onDeadline === undefined && startWithinMs === undefined
  const { retryable } = retry ?? lane.plan.retry
  const isCalledBack = onProgress !== undefined || retryable !== undefined
  const isPlain = !hasTerms && attempt === undefined && stream === undefined && isPatient
  if (isPlain && !isCalledBack) return undefined
  const rejectsLate = onDeadline === undefined ? undefined : onDeadline === 'reject'
  const kills = kill === true
  return {
    attempt,
    timeoutMs,
    rejectsLate,
    startWithinMs,
    retry,
    signal,
    kill: kills,
    onProgress,
    stream,
    context: isCalledBack ? new CallContext() : undefined,
  }
}
