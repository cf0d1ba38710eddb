// Intake: turns a submit into a pending command.
// Thread: main.   Owns: the numbering of commands.
// Must not: choose what is bound where (binder), or wait for room (room).

import { nowMs } from '../base/clock.ts'
import { laneError } from '../base/errors.ts'
import { checkGiven, checkOptions } from '../base/options.ts'
import { COMMAND_RULES, type CommandOptions } from '../model/command.ts'
import { rankOf } from '../model/lane.ts'
import { takesKeys } from '../model/partition-config.ts'
import { mayRetry, RETRY_RULES, type RetryOptions, type RetryPlan } from '../model/retry.ts'
import type { AbortListeners } from './abort-listeners.ts'
import { type CommandExtras, type CommandWishes, isTimed } from './command-extras.ts'
import type { Lane, LaneTable } from './lane-table.ts'
import type { ManagerPlan } from './options.ts'
import { createPlacer, type Placer } from './partitioners.ts'
import { PendingCommand } from './pending-command.ts'
import type { Room } from './room.ts'
import type { StreamReader } from './stream-reader.ts'
import { type CommandType, TypeTable } from './type-table.ts'

const DEFAULT_PRIORITY = COMMAND_RULES.priority.default as number

// A promise's resolver is captured without a closure per command.
let captured: (value: unknown) => void
function capture(resolve: (value: unknown) => void): void {
  captured = resolve
}

/** What the intake works with. */
export interface IntakeParts {
  readonly plan: ManagerPlan
  readonly lanes: LaneTable
  readonly room: Room
  readonly signals: AbortListeners
  /** Throws unless commands are taken now. */
  readonly refuseUnlessRunning: () => void
  /** Throws if commands of this home can never run. */
  readonly refuseFailed: (home: number) => void
  /** Takes a new command on. */
  readonly accept: (command: PendingCommand, delayMs: number) => void
}

/** Everything about a command that the caller said. */
export interface Order {
  readonly lane: Lane
  readonly type: CommandType
  readonly payload: unknown
  readonly priority: number
  readonly home: number
  readonly delayMs: number
  readonly extras: CommandExtras | undefined
  /** What was made of it; undefined until it is accepted. */
  command: PendingCommand | undefined
}

/** How a command is let in. */
export interface OrderTerms {
  /** Whether it must find room, or wait for it where its lane says so. Default true. */
  readonly needsRoom?: boolean
  /** Called if it had to wait for room and was not accepted after all. */
  readonly onRefused?: () => void
}

/** Checks submits and makes commands of them. */
export class Intake {
  /** The handlers, once they are known. */
  readonly types = new TypeTable()
  readonly #parts: IntakeParts
  readonly #place: Placer
  readonly #takesKeys: boolean
  readonly #isBounded: boolean
  #sequence = 0

  /**
   * @param parts - What it works with.
   */
  constructor(parts: IntakeParts) {
    this.#parts = parts
    this.#place = createPlacer(parts.plan)
    this.#takesKeys = takesKeys(parts.plan.strategy)
    this.#isBounded = parts.room.isBounded
  }

  /**
   * Submits a command.
   *
   * @param lane - Name of its lane.
   * @param type - Name of its handler.
   * @param payload - Its payload.
   * @param options - Its options.
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
      return this.submitOrder(this.order(lane, type, payload, options, isDetailed, stream))
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /**
   * Submits a command that was checked.
   *
   * @param order - Everything about it.
   * @param terms - How it is let in.
   * @returns The result.
   * @throws QueueFullError if there is no room and its lane does not let it wait.
   */
  submitOrder(order: Order, { needsRoom = true, onRefused }: OrderTerms = {}): Promise<unknown> {
    const bytes = order.extras?.bytes ?? 0
    if (!this.#isBounded || !needsRoom || this.#parts.room.admits(order.lane, bytes)) {
      return this.#accept(order)
    }
    return new Promise<unknown>((resolve, reject) => {
      const { room, signals } = this.#parts
      const signal = order.extras?.wishes?.signal
      const waiter = {
        abort: (reason: unknown) => {
          leave()
          onRefused?.()
          reject(laneError('CORELANE_ABORTED', { stage: 'waiting for room' }, reason))
        },
      }
      const end = () => signal && signals.remove(signal, waiter)
      const accept = () => {
        end()
        try {
          // Its partition may have been given up while it waited.
          this.#parts.refuseFailed(order.home)
          resolve(this.#accept(order))
        } catch (error) {
          onRefused?.()
          reject(error)
        }
      }
      const refuse = (reason: unknown) => {
        end()
        onRefused?.()
        reject(reason)
      }
      const leave = room.wait(order.lane, { bytes, accept, refuse })
      if (signal !== undefined) signals.add(signal, waiter)
    })
  }

  /**
   * Waits until a lane has room.
   *
   * @param name - Name of the lane.
   */
  async roomIn(name: string): Promise<void> {
    this.#parts.refuseUnlessRunning()
    const lane = this.#parts.lanes.get(name)
    const { room } = this.#parts
    if (!room.isFull(lane)) return
    await new Promise<void>((resolve, reject) => {
      room.wait(lane, { bytes: 0, accept: resolve, refuse: reject })
    })
  }

  /**
   * Checks a command.
   *
   * @param laneName - Name of its lane.
   * @param typeName - Name of its handler.
   * @param payload - Its payload.
   * @param options - Its options.
   * @param isDetailed - Whether its promise gives an outcome.
   * @param stream - Takes the values of its handler, if it gives them one by one.
   * @throws ConfigError, ClosedError, PartitionLostError, AbortError: why it is not taken.
   */
  order(
    laneName: string,
    typeName: string,
    payload: unknown,
    options: CommandOptions | undefined,
    isDetailed: boolean,
    stream?: StreamReader,
  ): Order {
    this.#parts.refuseUnlessRunning()
    const lane = this.#parts.lanes.get(laneName)
    const type = this.types.get(typeName)
    let priority = DEFAULT_PRIORITY
    let delayMs = 0
    let wishes: CommandWishes | undefined
    if (options !== undefined) {
      checkGiven('command', options, COMMAND_RULES)
      priority = options.priority ?? DEFAULT_PRIORITY
      delayMs = options.delayMs ?? 0
      wishes = wishesOf(lane, options, stream)
    } else if (stream !== undefined) wishes = wishesOf(lane, NO_OPTIONS, stream)
    const extras = this.#extras(lane, payload, options, isDetailed, wishes)
    const home = this.#place(lane, type, options?.key, payload)
    this.#parts.refuseFailed(home)
    return { lane, type, payload, priority, home, delayMs, extras, command: undefined }
  }

  #accept(order: Order): Promise<unknown> {
    const { lane, type, payload, priority, home, delayMs, extras } = order
    const promise = new Promise<unknown>(capture)
    const rank = rankOf(lane.plan.priority, priority)
    const command = new PendingCommand(
      rank,
      this.#sequence++,
      type,
      lane,
      payload,
      home,
      extras,
      captured,
    )
    order.command = command
    const wishes = extras?.wishes
    if (wishes?.signal !== undefined) this.#parts.signals.add(wishes.signal, command)
    this.#parts.accept(command, delayMs)
    wishes?.stream?.attach(command)
    return promise
  }

  #extras(
    lane: Lane,
    payload: unknown,
    options: CommandOptions | undefined,
    isDetailed: boolean,
    wishes: CommandWishes | undefined,
  ): CommandExtras | undefined {
    const { room } = this.#parts
    const isOrdinary = options === undefined && wishes === undefined
    if (isOrdinary && !isDetailed && !lane.isTimed && !room.countsBytes) return undefined
    const { key, transferList, deadlineMs, delayMs } = options ?? NO_OPTIONS
    if (key !== undefined && !this.#takesKeys) {
      throw laneError('CORELANE_INVALID_COMMAND', {
        field: 'key',
        received: `given under the strategy "${this.#parts.plan.strategy}"`,
        allowed: 'a key under "hash", "custom" or "none", which keep its commands together',
      })
    }
    const readsClock = isTimed(lane, deadlineMs, wishes)
    const isPlain = key === undefined && transferList === undefined && !readsClock && !delayMs
    if (isPlain && !isDetailed && wishes === undefined && !room.countsBytes) return undefined
    return {
      key,
      transferList,
      isDetailed,
      submittedAtMs: readsClock ? nowMs() : 0,
      deadlineMs,
      bytes: room.bytesOf(payload),
      wishes,
      history: undefined,
      isPlaced: delayMs === undefined || delayMs === 0,
      appointment: undefined,
      holder: undefined,
      slot: 0,
    }
  }
}

const NO_OPTIONS: CommandOptions = Object.freeze({})

/** Policies that were checked: they are used again and again. */
const PLANS = new WeakMap<RetryOptions, RetryPlan>()

function planRetry(retry: RetryOptions): RetryPlan {
  let plan = PLANS.get(retry)
  if (plan === undefined) {
    plan = checkOptions<RetryPlan>('command.retry', retry, RETRY_RULES)
    // Only what cannot change any more is known by its identity.
    if (Object.isFrozen(retry)) PLANS.set(retry, plan)
  }
  return plan
}

/** What the caller wishes beyond what most do; undefined if nothing. */
function wishesOf(
  lane: Lane,
  options: CommandOptions,
  stream: StreamReader | undefined,
): CommandWishes | undefined {
  const { timeoutMs, retry: given, signal, kill, onProgress, transferList } = options
  const { id: name, attempt, onDeadline, startWithinMs } = options
  if (signal?.aborted) {
    throw laneError('CORELANE_ABORTED', { stage: 'submitted' }, signal.reason)
  }
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
  const isOrdinary =
    timeoutMs === undefined && retry === undefined && signal === undefined && !onProgress
  const isNamed = name !== undefined || attempt !== undefined
  const isPatient = onDeadline === undefined && startWithinMs === undefined
  if (isOrdinary && !isNamed && stream === undefined && isPatient) return undefined
  const rejectsLate = onDeadline === undefined ? undefined : onDeadline === 'reject'
  const kills = kill === true
  return {
    name,
    attempt,
    timeoutMs,
    rejectsLate,
    startWithinMs,
    retry,
    signal,
    kill: kills,
    onProgress,
    stream,
  }
}
