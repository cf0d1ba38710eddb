// Intake: turns a submit into a pending command.
// Thread: main.   Owns: the numbering of commands.
// Must not: choose what is bound where (binder), or wait for room (room).

import { nowMs } from '../base/clock.ts'
import { laneError } from '../base/errors.ts'
import { checkGiven } from '../base/options.ts'
import { COMMAND_RULES, type CommandOptions } from '../model/command.ts'
import { rankOf } from '../model/lane.ts'
import type { Lane, LaneTable } from './lane-table.ts'
import type { ManagerPlan } from './options.ts'
import { createPlacer, type Placer, takesKeys } from './partitioners.ts'
import { type CommandExtras, PendingCommand } from './pending-command.ts'
import type { Room } from './room.ts'
import type { CommandType, TypeTable } from './type-table.ts'

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
  /** Throws unless commands are taken now. */
  readonly refuseUnlessRunning: () => void
  /** Throws if commands of this home can never run. */
  readonly refuseFailed: (home: number) => void
  /** Takes a new command on. */
  readonly accept: (command: PendingCommand, delayMs: number) => void
}

/** Everything about a command that the caller said. */
interface Order {
  readonly lane: Lane
  readonly type: CommandType
  readonly payload: unknown
  readonly priority: number
  readonly home: number
  readonly delayMs: number
  readonly extras: CommandExtras | undefined
}

/** Checks submits and makes commands of them. */
export class Intake {
  /** The handlers, once they are known. */
  types: TypeTable
  readonly #parts: IntakeParts
  readonly #place: Placer
  readonly #takesKeys: boolean
  readonly #isBounded: boolean
  #sequence = 0

  /**
   * @param parts - What it works with.
   * @param types - No handlers yet.
   */
  constructor(parts: IntakeParts, types: TypeTable) {
    this.#parts = parts
    this.types = types
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
   * @returns The result; rejects with whatever is wrong.
   */
  submit(
    lane: string,
    type: string,
    payload: unknown,
    options: CommandOptions | undefined,
    isDetailed: boolean,
  ): Promise<unknown> {
    try {
      const order = this.#order(lane, type, payload, options, isDetailed)
      const bytes = order.extras?.bytes ?? 0
      if (!this.#isBounded || this.#parts.room.admits(order.lane, bytes)) return this.#accept(order)
      return new Promise<unknown>((resolve, reject) => {
        const accept = () => {
          try {
            // Its partition may have been given up while it waited.
            this.#parts.refuseFailed(order.home)
            resolve(this.#accept(order))
          } catch (error) {
            reject(error)
          }
        }
        this.#parts.room.wait(order.lane, { bytes, accept, refuse: reject })
      })
    } catch (error) {
      return Promise.reject(error)
    }
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

  #order(
    laneName: string,
    typeName: string,
    payload: unknown,
    options: CommandOptions | undefined,
    isDetailed: boolean,
  ): Order {
    this.#parts.refuseUnlessRunning()
    const lane = this.#parts.lanes.get(laneName)
    const type = this.types.get(typeName)
    let priority = DEFAULT_PRIORITY
    let delayMs = 0
    if (options !== undefined) {
      checkGiven('command', options, COMMAND_RULES)
      priority = options.priority ?? DEFAULT_PRIORITY
      delayMs = options.delayMs ?? 0
    }
    const extras = this.#extras(lane, payload, options, isDetailed)
    const home = this.#place(lane, type, options?.key, payload)
    this.#parts.refuseFailed(home)
    return { lane, type, payload, priority, home, delayMs, extras }
  }

  #accept({ lane, type, payload, priority, home, delayMs, extras }: Order): Promise<unknown> {
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
    this.#parts.accept(command, delayMs)
    return promise
  }

  #extras(
    lane: Lane,
    payload: unknown,
    options: CommandOptions | undefined,
    isDetailed: boolean,
  ): CommandExtras | undefined {
    const { room } = this.#parts
    if (options === undefined && !isDetailed && !lane.isTimed && !room.countsBytes) return undefined
    const { key, transferList, deadlineMs, delayMs } = options ?? NO_OPTIONS
    if (key !== undefined && !this.#takesKeys) {
      throw laneError('CORELANE_INVALID_COMMAND', {
        field: 'key',
        received: `given under the strategy "${this.#parts.plan.strategy}"`,
        allowed: 'a key under "hash", "custom" or "none", which keep its commands together',
      })
    }
    const isTimed = lane.isTimed || deadlineMs !== undefined
    const isPlain = key === undefined && transferList === undefined && !isTimed && !delayMs
    if (isPlain && !isDetailed && !room.countsBytes) return undefined
    return {
      key,
      transferList,
      isDetailed,
      submittedAtMs: isTimed ? nowMs() : 0,
      deadlineMs,
      bytes: room.bytesOf(payload),
      isPlaced: delayMs === undefined || delayMs === 0,
      appointment: undefined,
      holder: undefined,
      slot: 0,
      isSettled: false,
    }
  }
}

const NO_OPTIONS: CommandOptions = Object.freeze({})
