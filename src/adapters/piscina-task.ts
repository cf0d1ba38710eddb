// Piscina task: one call of run, what it moves, and how it settles.
// Thread: any.   Owns: its settlement.

import { AsyncResource } from 'node:async_hooks'
import { types } from 'node:util'
import { nowMs } from '../base/clock.ts'
import type { Command } from '../coordinator/command.ts'
import type { Settler } from '../coordinator/settlement.ts'
import type { PiscinaHistogramSummary } from './piscina-histogram.ts'
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
  once?(name: 'abort', listener: () => void): unknown
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

function isMovable(value: unknown): value is Transferable {
  return typeof value === 'object' && value !== null && movableSymbol in value
}

/** A task, as balancers see it. */
export interface PiscinaTask extends Task {
  readonly taskId: number
  readonly filename: string
  readonly name: string
  readonly created: number
  readonly isAbortable: boolean
}

/** A thread, as balancers and events show it. */
export interface PiscinaWorker {
  readonly id: number
  readonly currentUsage: number
  readonly isRunningAbortableTask: boolean
  readonly histogram: PiscinaHistogramSummary | null
  readonly terminating: boolean
  readonly destroyed: boolean
}

/** Where a task is to run and how; beyond Piscina's own options. */
export interface LaneRunOptions {
  /** Name of its lane. */
  readonly lane?: string | undefined
  /** Urgency within the lane, 0 to 255. */
  readonly priority?: number | undefined
  /** Tasks with the same key run one at a time, in order. */
  readonly key?: string | undefined
  /** Groups of a lane take fair turns, within the limits that the lane sets for each. */
  readonly group?: string | undefined
  /** When it should have started. */
  readonly deadlineMs?: number | undefined
  /** How long it may run. */
  readonly timeoutMs?: number | undefined
}

let taskCount = 0

// A promise's functions are taken without a closure per task.
let resolver!: (value: unknown) => void
let rejecter!: (reason: unknown) => void
function capture(resolve: (value: unknown) => void, reject: (reason: unknown) => void): void {
  resolver = resolve
  rejecter = reject
}

/** Takes the ends of the commands of tasks. */
export interface TaskOwner {
  ended(
    task: PoolTask,
    isOk: boolean,
    value: unknown,
    startedAtMs: number,
    durationMs: number,
    partition: number,
  ): void
}

/** One task. Custom queues hold these. */
export class PoolTask extends AsyncResource implements Task, Settler {
  task: unknown
  transferList: readonly object[] | undefined
  filename: string | null = null
  name: string | null = null
  readonly taskId: number = taskCount++
  abortSignal: AbortSignalAny | null = null
  readonly created: number = nowMs()
  started = 0
  aborted = false
  /** Its result. */
  readonly promise: Promise<unknown> = new Promise(capture)
  readonly #resolve = resolver
  readonly #reject = rejecter
  command: Command | undefined = undefined
  owner: TaskOwner | undefined = undefined
  /** Where it was given by name. */
  worker: { readonly tasks: Set<PoolTask> } | undefined = undefined
  /** Lets the next task of its key go. */
  onEnd: (() => void) | undefined = undefined
  /** Takes its listener off the signal. */
  unlisten: (() => void) | undefined = undefined
  isDone = false
  /** Options given to `run`; those of the queue are looked up. */
  lanes: LaneRunOptions | undefined = undefined

  /**
   * @param task - What the handler is called with.
   * @param triggerAsyncId - Of the pool.
   * @param transferList - Objects of it to move.
   */
  constructor(task: unknown, triggerAsyncId: number, transferList?: readonly object[]) {
    super('Piscina.Task', { requireManualDestroy: true, triggerAsyncId })
    this.task = task
    this.transferList = transferList
    if (isMovable(task)) {
      this.transferList = [...(transferList ?? []), task[transferableSymbol]]
      this.task = task[valueSymbol]
    }
  }

  get [queueOptionsSymbol](): object | null {
    const { task } = this
    if (typeof task !== 'object' || task === null) return null
    return (task as Partial<Task>)[queueOptionsSymbol] ?? null
  }

  /** What balancers see. */
  get interface(): PiscinaTask {
    const { taskId, filename, name, created, abortSignal } = this
    const isAbortable = abortSignal !== null
    const queueOptions = this[queueOptionsSymbol]
    return {
      taskId,
      filename: filename!,
      name: name!,
      created,
      isAbortable,
      [queueOptionsSymbol]: queueOptions,
    }
  }

  /**
   * Calls back when the signal aborts.
   *
   * @param onAbort - Called once at most.
   */
  listen(onAbort: () => void): void {
    const signal = this.abortSignal!
    if (typeof signal.addEventListener === 'function') {
      signal.addEventListener('abort', onAbort, { once: true })
      this.unlisten = () => signal.removeEventListener!('abort', onAbort)
    } else {
      signal.once!('abort', onAbort)
      this.unlisten = () => signal.removeListener!('abort', onAbort)
    }
  }

  settled(
    _: number,
    isOk: boolean,
    value: unknown,
    startedAtMs: number,
    durationMs: number,
    partition: number,
  ): void {
    this.owner!.ended(this, isOk, value, startedAtMs, durationMs, partition)
  }

  /**
   * Settles it, in the context in which it was made; does nothing the second time.
   *
   * @param isOk - Whether it has a result.
   * @param value - The result, or why there is none.
   * @returns Whether it was settled now.
   */
  settle(isOk: boolean, value: unknown): boolean {
    if (this.isDone) return false
    this.isDone = true
    this.task = undefined
    this.runInAsyncScope(isOk ? this.#resolve : this.#reject, undefined, value)
    this.emitDestroy()
    this.unlisten?.()
    return true
  }
}
