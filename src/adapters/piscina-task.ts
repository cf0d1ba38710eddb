// Piscina task: one call of run, what it moves, and how it settles.
// Thread: any.   Owns: its settlement.

import { AsyncResource } from 'node:async_hooks'
import { MessageChannel } from 'node:worker_threads'
import { LaneError } from '../base/errors.ts'
import type { Command } from '../coordinator/command.ts'
import { Rejection, type Settler } from '../coordinator/settlement.ts'
import type { CommandOptions } from '../model/command.ts'
import { movedBy, transferableSymbol, valueSymbol } from '../model/transferable.ts'
import { queueOptionsSymbol, type Task } from './task-queues.ts'

/** A signal of the platform or of an event emitter that emits `abort`. */
interface AbortSignalAny extends Partial<Pick<AbortSignal, 'aborted' | 'reason'>> {
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

/** Options of one task: Piscina's, and where it is to run. */
export interface RunOptions
  extends Pick<CommandOptions, 'priority' | 'group' | 'deadlineMs' | 'timeoutMs'> {
  /** Name of its lane. Default: that of a queue manager. */
  readonly lane?: string | undefined
  /** Tasks with the same key run one at a time, in order. Default: none. */
  readonly key?: string | undefined
  /** Objects to move instead of copy. Default: none. */
  transferList?: readonly object[] | undefined
  /** Module of this task. Default: that of the pool. */
  filename?: string | null | undefined
  /** Its abort ends the task, and its thread if it runs. Default: none. */
  signal?: AbortSignalAny | null | undefined
  /** Export that runs. Default: that of the pool. */
  name?: string | null | undefined
}

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

/** Takes the end of the command of a task; the pool. The rest is as for {@link Settler.settled}. */
export type TaskEnd = (
  task: PoolTask,
  isOk: boolean,
  value: unknown,
  startedAtMs?: number,
  durationMs?: number,
  partition?: number,
) => void

/** One task. Custom queues hold these. */
export class PoolTask extends AsyncResource implements PiscinaTask, Settler {
  task: unknown
  readonly transferList: readonly object[] | undefined
  readonly filename: string
  readonly name: string
  readonly taskId: number = taskCount++
  readonly abortSignal: AbortSignalAny | null
  readonly created: number
  /** Where it is to run, if it says so. */
  readonly lanes: RunOptions | undefined
  /** The promise of its result. */
  readonly result: Promise<unknown> = new Promise(capture)
  #resolve: ((value: unknown) => void) | undefined = resolver
  readonly #ended: TaskEnd
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
   * @param created - In milliseconds; 0 where that does not matter.
   * @param triggerAsyncId - Of the pool.
   */
  constructor(
    ended: TaskEnd,
    task: unknown,
    filename: string,
    name: string,
    options: RunOptions,
    created: number,
    triggerAsyncId: number,
  ) {
    super('Piscina.Task', triggerAsyncId)
    const { transferList, signal, lane, priority, key, group, deadlineMs, timeoutMs } = options
    const moved = movedBy(task)
    this.#ended = ended
    this.task = moved === undefined ? task : moved[valueSymbol]
    this.transferList = moved ? [...(transferList ?? []), moved[transferableSymbol]] : transferList
    this.filename = filename
    this.name = name
    this.abortSignal = signal ?? null
    this.created = created
    const isPlain = lane === undefined && priority === undefined && key === undefined
    const isTimeless = deadlineMs === undefined && timeoutMs === undefined
    this.lanes =
      isPlain && group === undefined && isTimeless
        ? ((this[queueOptionsSymbol] as RunOptions | null) ?? undefined)
        : options
  }

  get [queueOptionsSymbol](): object | null {
    const { task } = this
    if (typeof task !== 'object' || task === null) return null
    return (task as Partial<Task>)[queueOptionsSymbol] ?? null
  }

  get isAbortable(): boolean {
    return this.abortSignal !== null
  }

  /** Whether its promise is settled. */
  get isDone(): boolean {
    return this.#resolve === undefined
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

  settled(
    _place: number,
    isOk: boolean,
    value: unknown,
    startedAtMs: number,
    durationMs: number,
    partition: number,
  ): void {
    this.#ended(this, isOk, value, startedAtMs, durationMs, partition)
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

  /**
   * Whether it was lost only because another was aborted that ran beside it.
   *
   * @param error - Of its command.
   */
  isBystander(error: unknown): boolean {
    if (!(error instanceof LaneError) || error.code !== 'CORELANE_PARTITION_LOST') return false
    const { cause } = error
    const isAborted = cause instanceof LaneError && cause.code === 'CORELANE_ABORTED'
    return isAborted && this.transferList === undefined
  }

  /**
   * The reason that Piscina would reject with.
   *
   * @param error - Of its command.
   */
  reasonOf(error: unknown): unknown {
    if (!(error instanceof LaneError)) return error
    const { code, cause, details } = error
    if (code === 'CORELANE_PARTITION_LOST') {
      return cause ?? new Error(`worker exited with code: ${details.exitCode}`)
    }
    if (code !== 'CORELANE_UNSERIALIZABLE' || details.role !== 'payload') return error
    // The very error that a port gives.
    const { port1 } = new MessageChannel()
    try {
      port1.postMessage(this.task, [...(this.transferList ?? [])] as ArrayBuffer[])
      return error
    } catch (refusal) {
      return refusal
    } finally {
      port1.close()
    }
  }
}
