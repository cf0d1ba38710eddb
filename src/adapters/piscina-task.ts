// Piscina task: one call of run, what it moves, and how it settles.
// Thread: any.   Owns: its settlement.

import { AsyncResource } from 'node:async_hooks'
import { types } from 'node:util'
import { MessageChannel } from 'node:worker_threads'
import { nowMs } from '../base/clock.ts'
import { LaneError } from '../base/errors.ts'
import type { Command } from '../coordinator/command.ts'
import { Rejection, type Settler } from '../coordinator/settlement.ts'
import type { CommandOptions } from '../model/command.ts'
import { queueOptionsSymbol, type Task } from './piscina-queues.ts'

/** Under this symbol a transferable has the object to transfer. */
export const transferableSymbol: unique symbol = Symbol.for('Piscina.transferable') as never
/** Under this symbol a transferable has the value to send. */
export const valueSymbol: unique symbol = Symbol.for('Piscina.valueOf') as never
/** On what {@link move} has returned. Threads know it. */
const movableSymbol: unique symbol = Symbol.for('corelane.movable') as never

/** An object that names the value to send and the object to transfer. */
export interface Transferable {
  readonly [transferableSymbol]: object
  readonly [valueSymbol]: object
}

/** A signal of the platform or of an event emitter that emits `abort`. */
export interface AbortSignalAny {
  readonly aborted?: boolean
  readonly reason?: unknown
  addEventListener?(name: 'abort', listener: () => void, options?: { once?: boolean }): void
  removeEventListener?(name: 'abort', listener: () => void): void
  once?(name: 'abort', listener: () => void, options?: object): unknown
  removeListener?(name: 'abort', listener: () => void): unknown
}

/** Why a task ended that was given up. */
export class AbortError extends Error {
  constructor(reason?: unknown) {
    super('The task has been aborted', { cause: reason })
  }

  override get name(): string {
    return 'AbortError'
  }
}

function isTransferable(value: object): value is Transferable {
  return transferableSymbol in value && valueSymbol in value
}

/**
 * Marks a value so that its memory is moved instead of copied, as a task or as a result.
 *
 * @param value - An array buffer, a view of one, a port, or a {@link Transferable}.
 */
export function move<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value
  let movable: object = value
  if (!isTransferable(value)) {
    const transferred = types.isArrayBufferView(value) ? value.buffer : value
    movable = Object.create(null, {
      [transferableSymbol]: { value: transferred },
      [valueSymbol]: { value },
    })
  }
  Object.defineProperty(movable, movableSymbol, { value: true, configurable: true, writable: true })
  return movable as T
}

/** A task, as balancers see it. */
export interface PiscinaTask extends Task {
  /** Its number in the process. */
  readonly taskId: number
  readonly filename: string
  readonly name: string
  /** When it was submitted, milliseconds of `performance.now()`. */
  readonly created: number
  readonly isAbortable: boolean
}

/** Where a task is to run and how; beyond Piscina's own options. */
export interface LaneRunOptions
  extends Pick<CommandOptions, 'priority' | 'group' | 'deadlineMs' | 'timeoutMs'> {
  /** Name of its lane. */
  readonly lane?: string | undefined
  /** Tasks with the same key run one at a time, in order. */
  readonly key?: string | undefined
}

/** Options of one task: Piscina's, and where it is to run. */
export interface RunOptions extends LaneRunOptions {
  /** Objects to move instead of copy. Default: none. */
  transferList?: readonly object[] | undefined
  /** Module of this task. Default: that of the pool. */
  filename?: string | null | undefined
  /** Its abort ends the task, and its thread if it runs. Default: none. */
  signal?: AbortSignalAny | null | undefined
  /** Export that runs. Default: that of the pool. */
  name?: string | null | undefined
}

const LANE_OPTIONS = ['lane', 'priority', 'key', 'group', 'deadlineMs', 'timeoutMs'] as const

/** Own members alone, so that nothing comes from a polluted prototype. */
export function ownOptions(options: RunOptions | undefined): RunOptions {
  // A spread of frozen defaults takes Node 20 five times as long as a literal.
  return {
    transferList: undefined,
    filename: null,
    signal: null,
    name: null,
    lane: undefined,
    priority: undefined,
    key: undefined,
    group: undefined,
    deadlineMs: undefined,
    timeoutMs: undefined,
    ...options,
  }
}

let taskCount = 0

// A promise's resolver is taken without a closure per task.
let resolver!: (value: unknown) => void
function capture(resolve: (value: unknown) => void): void {
  resolver = resolve
}

/** Takes the ends of the commands of tasks; the pool. */
export interface TaskOwner {
  ended(task: PoolTask, ...end: Parameters<Settler['settled']>): void
}

/** One task. Custom queues hold these. */
export class PoolTask extends AsyncResource implements Task, Settler {
  task: unknown
  transferList: readonly object[] | undefined
  readonly filename: string
  readonly name: string
  readonly taskId: number = taskCount++
  readonly abortSignal: AbortSignalAny | null
  readonly created: number = nowMs()
  started = 0
  aborted = false
  /** Options given to `run` that say where it is to run; those of the task are looked up. */
  readonly #lanes: LaneRunOptions | undefined
  readonly #owner: TaskOwner
  #resolve: ((value: unknown) => void) | undefined = undefined
  /** Takes its listener off the signal. */
  #unlisten: (() => void) | undefined = undefined
  command: Command | undefined = undefined
  /** Where it was given by name. */
  worker: { readonly tasks: Set<PoolTask> } | undefined = undefined
  /** Its place among the open tasks of the pool. */
  place = 0

  /**
   * @param task - What the handler is called with.
   * @param options - Of the task, each a member.
   * @param triggerAsyncId - Of the pool.
   */
  constructor(
    owner: TaskOwner,
    task: unknown,
    filename: string,
    name: string,
    options: RunOptions,
    triggerAsyncId: number,
  ) {
    super('Piscina.Task', { requireManualDestroy: true, triggerAsyncId })
    const { transferList, signal } = options
    const moved =
      typeof task === 'object' && task !== null && movableSymbol in task
        ? (task as object as Transferable)
        : undefined
    this.#owner = owner
    this.task = moved === undefined ? task : moved[valueSymbol]
    this.transferList =
      moved === undefined ? transferList : [...(transferList ?? []), moved[transferableSymbol]]
    this.filename = filename
    this.name = name
    this.abortSignal = signal ?? null
    this.#lanes = LANE_OPTIONS.some((one) => options[one] !== undefined) ? options : undefined
  }

  get [queueOptionsSymbol](): object | null {
    const { task } = this
    if (typeof task !== 'object' || task === null) return null
    return (task as Partial<Task>)[queueOptionsSymbol] ?? null
  }

  /** Where it is to run, if it says so. */
  get lanes(): LaneRunOptions | undefined {
    return this.#lanes ?? (this[queueOptionsSymbol] as LaneRunOptions | null) ?? undefined
  }

  /** Whether its promise is settled. */
  get isDone(): boolean {
    return this.#resolve === undefined
  }

  /** What balancers see. */
  get interface(): PiscinaTask {
    const { taskId, filename, name, created, abortSignal } = this
    const isAbortable = abortSignal !== null
    const own = { [queueOptionsSymbol]: this[queueOptionsSymbol] }
    return { taskId, filename, name, created, isAbortable, ...own }
  }

  /** The promise of its result; once. */
  open(): Promise<unknown> {
    const promise = new Promise(capture)
    this.#resolve = resolver
    return promise
  }

  /**
   * Calls back when the signal aborts.
   *
   * @param onAbort - Called once at most.
   */
  listen(onAbort: () => void): void {
    const signal = this.abortSignal!
    const isTarget = typeof signal.addEventListener === 'function'
    signal[isTarget ? 'addEventListener' : 'once']!('abort', onAbort, { once: true })
    const off = isTarget ? 'removeEventListener' : 'removeListener'
    this.#unlisten = () => signal[off]!('abort', onAbort)
  }

  settled(...end: Parameters<Settler['settled']>): void {
    this.#owner.ended(this, ...end)
  }

  /**
   * Settles its promise, in the context in which it was made; once.
   *
   * @param isOk - Whether it has a result.
   * @param value - The result, or why there is none.
   */
  settle(isOk: boolean, value: unknown): void {
    const resolve = this.#resolve!
    this.#resolve = undefined
    this.task = undefined
    this.runInAsyncScope(resolve, undefined, isOk ? value : new Rejection(value))
    this.emitDestroy()
    this.#unlisten?.()
  }
}

/**
 * Whether a task was lost only because another was aborted that ran beside it.
 *
 * @param error - Of its command.
 */
export function isBystander(error: unknown, task: PoolTask): boolean {
  if (!(error instanceof LaneError) || error.code !== 'CORELANE_PARTITION_LOST') return false
  const { cause } = error
  const isAborted = cause instanceof LaneError && cause.code === 'CORELANE_ABORTED'
  return isAborted && task.transferList === undefined
}

/**
 * The reason that Piscina would reject with.
 *
 * @param error - Of its command.
 */
export function reasonOf(error: unknown, task: PoolTask): unknown {
  if (!(error instanceof LaneError)) return error
  const { code, cause, details } = error
  if (code === 'CORELANE_PARTITION_LOST') {
    return cause ?? new Error(`worker exited with code: ${details.exitCode}`)
  }
  if (code === 'CORELANE_UNSERIALIZABLE' && details.role === 'payload') {
    // The very error that a port gives.
    const { port1 } = new MessageChannel()
    try {
      port1.postMessage(task.task, [...(task.transferList ?? [])] as ArrayBuffer[])
    } catch (refusal) {
      return refusal
    } finally {
      port1.close()
    }
  }
  return error
}
