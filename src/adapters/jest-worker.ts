// Jest worker: the class of jest-worker, over the runtime.
// Thread: main; `messageParent` is for threads.
// Owns: its runtime, and the streams that carry the output of its threads.

import { createRequire } from 'node:module'
import { availableParallelism, totalmem } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { PassThrough, type Readable } from 'node:stream'
import type { ResourceLimits } from 'node:worker_threads'
import type { LaneError } from '../base/errors.ts'
import type { Runtime } from '../coordinator/runtime.ts'
import type { CommandContext } from '../model/command.ts'
import { PARTITION_COUNT_MAX } from '../model/partition-config.ts'
import { stableHash } from '../schedule/hash.ts'
import { isErrorValue } from '../wire/families.ts'
import {
  CustomMessages,
  Farm,
  FifoQueue,
  type PromiseWithCustomMessage,
  type SendCall,
  type TaskQueue,
} from './jest-queues.ts'
import { openPool, pathOf, planPool } from './pool-runtime.ts'

/** How long threads may take to end. */
const END_MS = 500

/** A call that has lost its thread goes before the others. */
const AGAIN_PRIORITY = 0

const NO_RETRY = Object.freeze({ retries: 0, retryLost: false })

/** Kind of a message from a process to its parent. */
const CUSTOM_MESSAGE = 3

/** The context of the call that runs in this thread; the program of threads sets it. */
const RUNNING = Symbol.for('corelane.jestCall')

/** Options of a farm, as jest-worker's. */
export interface FarmOptions {
  /** Default: the exports of the module that do not begin with `_`. */
  readonly exposedMethods?: readonly string[] | undefined
  /** Default: one less than there are cores. */
  readonly numWorkers?: number | undefined
  /** There are threads in any case; the error after the last retry is of the kind asked for. */
  readonly enableWorkerThreads?: boolean | undefined
  /** Calls with the same key run on the same thread. */
  readonly computeWorkerKey?: ((method: string, ...args: unknown[]) => string | null) | undefined
  /** Arguments of the module's `setup`. */
  readonly setupArgs?: readonly unknown[] | undefined
  /** `execArgv` and `env` of it are used. */
  readonly forkOptions?:
    | { readonly execArgv?: string[]; readonly env?: NodeJS.ProcessEnv }
    | undefined
  /** Limits of a thread, as those of `Worker`. Default: none. */
  readonly resourceLimits?: ResourceLimits | undefined
  /** With a queue or a pool of your own; without, a call goes where it starts soonest. */
  readonly workerSchedulingPolicy?: 'round-robin' | 'in-order' | undefined
  /**
   * Heap past which a thread is replaced: in bytes, or up to 1 as a share of the machine's memory.
   */
  readonly idleMemoryLimit?: number | undefined
  /** Threads that a call may end before it rejects, less one. Default 3. */
  readonly maxRetries?: number | undefined
  /** How long `end` waits for threads, in milliseconds. Default 500. */
  readonly workerGracefulExitTimeout?: number | undefined
  /** Decides which call a thread runs next. Default: the lanes' backlog, first in, first out. */
  readonly taskQueue?: TaskQueue | undefined
  /** Takes the place of corelane's threads. */
  readonly WorkerPool?:
    | (new (
        workerPath: string,
        options: WorkerPoolOptions,
      ) => WorkerPoolInterface)
    | undefined
}

/** What a pool of the user's is made with. */
export interface WorkerPoolOptions {
  readonly setupArgs: readonly unknown[]
  readonly forkOptions: object
  readonly resourceLimits: ResourceLimits
  /** As in {@link FarmOptions}, filled in. */
  readonly maxRetries: number
  /** How many workers to start. */
  readonly numWorkers: number
  readonly enableWorkerThreads: boolean
  /** In bytes, or up to 1 as a share; undefined: none. */
  readonly idleMemoryLimit: number | undefined
  /** In milliseconds; undefined: 500. */
  readonly workerGracefulExitTimeout: number | undefined
}

/** A pool of the user's. */
export interface WorkerPoolInterface {
  /** What its workers print. */
  getStdout(): NodeJS.ReadableStream
  /** The same for errors. */
  getStderr(): NodeJS.ReadableStream
  /** Runs a call on a worker. */
  send: SendCall
  /** Starts its workers. */
  start(): Promise<void>
  /** Ends its workers; tells whether one did not end by itself. */
  end(): Promise<{ forceExited: boolean }>
}

/** Names that a method of the user's cannot have. */
const OWN = new Set(['constructor', 'getStdout', 'getStderr', 'start', 'end'])

type ComputeKey = NonNullable<FarmOptions['computeWorkerKey']>

/** Corelane's threads, as a farm sees them. */
class FarmThreads implements WorkerPoolInterface {
  readonly #options: WorkerPoolOptions
  readonly #file: string
  readonly #runtime: Runtime
  readonly #lane: string
  readonly #stdout = new PassThrough()
  readonly #stderr = new PassThrough()
  #chosen = 0
  /** Whether a call was running that did not end in time. */
  #isForced = false

  /** @param isChosen - Whether each call has a thread of its own, by number. */
  constructor(file: string, options: WorkerPoolOptions, isChosen: boolean) {
    const { numWorkers, forkOptions, resourceLimits, workerGracefulExitTimeout } = options
    const { execArgv, env } = forkOptions as NonNullable<FarmOptions['forkOptions']>
    this.#file = file
    this.#options = options
    const plan = planPool(
      {
        closeTimeoutMs: workerGracefulExitTimeout ?? END_MS,
        env,
        execArgv,
        resourceLimits,
        maxHeapMb: heapMbOf(options.idleMemoryLimit),
        // Of a process, not of a thread, 0 means one call.
        maxCommandsPerThread: isLimitless(options) ? undefined : 1,
      },
      'arguments',
      { min: numWorkers, max: numWorkers, idleTimeoutMs: Number.POSITIVE_INFINITY },
      isChosen ? () => this.#chosen : undefined,
    )
    this.#lane = plan.defaultLane
    this.#runtime = openPool(plan, {
      printed: (_, { stream, text }) => {
        const to = stream === 'stdout' ? this.#stdout : this.#stderr
        to.write(text)
        return true
      },
    })
  }

  getStdout(): Readable {
    return this.#stdout
  }

  getStderr(): Readable {
    return this.#stderr
  }

  async start(): Promise<void> {}

  async end(): Promise<{ forceExited: boolean }> {
    // A teardown that fails ends its thread all the same.
    await this.#runtime.close().catch(() => {})
    this.#stdout.end()
    this.#stderr.end()
    return { forceExited: this.#isForced }
  }

  readonly send: SendCall = (workerId, [, , method, args], onStart, onEnd, onMessage) => {
    onStart({ getWorkerId: () => workerId })
    const end = (error: unknown) => onEnd(error, null)
    this.call(method, args, workerId, onMessage).then((result) => onEnd(null, result), end)
  }

  /**
   * Runs a call.
   *
   * @param workerId - Where; heeded only where threads are chosen.
   * @param onProgress - Takes what the method sends by {@link messageParent}.
   * @param losses - Threads that it has ended.
   */
  call(
    method: string,
    args: readonly unknown[],
    workerId: number,
    onProgress: (message: unknown) => void,
    losses = 0,
  ): Promise<unknown> {
    this.#chosen = workerId
    const options = {
      file: this.#file,
      retry: NO_RETRY,
      onProgress,
      ...(losses > 0 && { priority: AGAIN_PRIORITY }),
    }
    const payload = { args, setupArgs: this.#options.setupArgs }
    return this.#runtime.intake
      .submit(this.#lane, method, payload, options, false)
      .catch((error: unknown) => {
        const { code } = (error ?? {}) as Partial<LaneError>
        const isEnded = code === 'CORELANE_COMMAND_DROPPED'
        if (code !== 'CORELANE_PARTITION_LOST' && !isEnded) throw typed(error)
        this.#isForced ||= isEnded && (error as LaneError).details.stage === 'running'
        const reason = this.#reasonOf(error as LaneError, losses + 1)
        if (reason !== undefined) throw reason
        return this.call(method, args, workerId, onProgress, losses + 1)
      })
  }

  /** Why a call rejects that has lost its thread; undefined if it runs again. */
  #reasonOf(cause: LaneError, losses: number): Error | undefined {
    const { maxRetries, enableWorkerThreads } = this.#options
    const { code } = (cause.cause ?? {}) as { readonly code?: unknown }
    if (code === 'ERR_WORKER_OUT_OF_MEMORY') {
      return new Error('Jest worker ran out of memory and crashed', { cause })
    }
    if (cause.code === 'CORELANE_COMMAND_DROPPED' || cause.details.exitCode === 0) {
      const message =
        'A Jest worker thread exited unexpectedly before finishing tests for an unknown reason. One of the ways this can happen is if process.exit() was called in testing code.'
      return new Error(message, { cause })
    }
    if (losses <= maxRetries) return undefined
    const message = enableWorkerThreads
      ? 'Call retries were exceeded'
      : `Jest worker encountered ${losses} child process exceptions, exceeding retry limit`
    return Object.assign(new Error(message, { cause }), { type: 'WorkerError' })
  }
}

/** A farm of threads, whose methods are the exports of a module. */
export class Worker {
  // biome-ignore lint/suspicious/noExplicitAny: the methods are those of the user's module
  readonly [method: string]: any
  readonly #pool: WorkerPoolInterface
  #isEnded = false

  /**
   * @param workerPath - Absolute path or file: URL of the module.
   * @param options - As jest-worker's.
   */
  constructor(workerPath: string | URL, options: FarmOptions = {}) {
    const { computeWorkerKey, taskQueue, WorkerPool, workerSchedulingPolicy } = options
    const file = absolute(workerPath)
    // Before threads start: what throws here leaves none behind.
    const methods = [...(options.exposedMethods ?? methodsOf(file))]
    const taken = methods.find((name) => OWN.has(name))
    if (taken !== undefined) throw new TypeError(`Cannot define a method called ${taken}`)
    const wanted = options.numWorkers ?? Math.max(availableParallelism() - 1, 1)
    const workers = options.WorkerPool ? wanted : Math.min(wanted, PARTITION_COUNT_MAX)
    const poolOptions: WorkerPoolOptions = {
      enableWorkerThreads: options.enableWorkerThreads ?? false,
      forkOptions: options.forkOptions ?? {},
      idleMemoryLimit: options.idleMemoryLimit,
      maxRetries: options.maxRetries ?? 3,
      numWorkers: workers,
      resourceLimits: options.resourceLimits ?? {},
      setupArgs: options.setupArgs ?? [],
      workerGracefulExitTimeout: options.workerGracefulExitTimeout,
    }
    let call: (method: string, args: unknown[]) => Promise<unknown>
    if (WorkerPool === undefined && taskQueue === undefined) {
      const threads = new FarmThreads(file, poolOptions, computeWorkerKey !== undefined)
      const homeOf = computeWorkerKey && homes(computeWorkerKey, workers)
      this.#pool = threads
      call = (method, args) => {
        const messages = new CustomMessages()
        const home = homeOf?.(method, args) ?? 0
        return messages.of(threads.call(method, args, home, messages.emit))
      }
    } else {
      const pool =
        WorkerPool === undefined
          ? new FarmThreads(file, poolOptions, true)
          : new WorkerPool(file, poolOptions)
      const plan = {
        workers,
        taskQueue: taskQueue ?? new FifoQueue(),
        computeWorkerKey,
        workerSchedulingPolicy,
      }
      const farm = new Farm(plan, pool.send.bind(pool))
      this.#pool = pool
      call = (method, args) => farm.call(method, args)
    }
    for (const name of methods) {
      if (name.startsWith('_')) continue
      Object.defineProperty(this, name, {
        value: (...args: unknown[]): PromiseWithCustomMessage<unknown> => {
          this.#refuseIfEnded()
          return call(name, args)
        },
        enumerable: true,
        configurable: true,
        writable: true,
      })
    }
  }

  /** What the threads have printed; it is printed nowhere else. */
  getStdout(): NodeJS.ReadableStream {
    return this.#pool.getStdout()
  }

  /** The same for errors. */
  getStderr(): NodeJS.ReadableStream {
    return this.#pool.getStderr()
  }

  /** The threads start when the farm is made. */
  start(): Promise<void> {
    return this.#pool.start()
  }

  /**
   * Tears the threads down and ends them.
   *
   * @returns Whether one had to be ended.
   */
  async end(): Promise<{ forceExited: boolean }> {
    this.#refuseIfEnded()
    this.#isEnded = true
    return this.#pool.end()
  }

  /** Ends the threads. */
  async forceExit(): Promise<void> {
    await this.end()
  }

  #refuseIfEnded(): void {
    if (this.#isEnded) throw new Error('Farm is ended, no more calls can be done to it')
  }
}

/** A farm of which the module is known: its methods, each with a promise of its result. */
export type JestWorkerFarm<T extends Record<string, unknown>> = Worker & {
  readonly [K in Exclude<keyof T, 'setup' | 'teardown'> as T[K] extends (
    ...args: never[]
  ) => unknown
    ? K
    : never]: T[K] extends (...args: infer A) => infer R
    ? (...args: A) => Promise<Awaited<R>>
    : never
}

/**
 * Sends a message to the listeners of the call that runs in this thread.
 *
 * @param message - Cloned.
 * @param parentProcess - What sends it where there is no thread. Default: `process`.
 * @throws TypeError outside of a method.
 */
export function messageParent(message: unknown, parentProcess: NodeJS.Process = process): void {
  const { [RUNNING]: context } = globalThis as { readonly [RUNNING]?: CommandContext }
  if (context !== undefined) context.progress(message)
  else if (typeof parentProcess.send === 'function') parentProcess.send([CUSTOM_MESSAGE, message])
  else throw new TypeError('"messageParent" can only be used inside a worker')
}

/** The thread of a call by its key; calls without one go round. */
function homes(computeWorkerKey: ComputeKey, workers: number) {
  let last = 0
  return (method: string, args: readonly unknown[]): number => {
    const key = computeWorkerKey(method, ...args) ?? undefined
    last = (key === undefined ? last + 1 : stableHash(String(key))) % workers
    return last
  }
}

function isLimitless({ enableWorkerThreads, idleMemoryLimit }: WorkerPoolOptions): boolean {
  return enableWorkerThreads || idleMemoryLimit !== 0
}

/** A limit in bytes, or up to 1 as a share of all memory; 0 is none. */
function heapMbOf(limit: number | undefined): number | undefined {
  if (!limit) return undefined
  const bytes = limit <= 1 ? totalmem() * limit : limit
  return Math.max(Math.floor(bytes / 2 ** 20), 1)
}

/** An error of the method has the name of its class, as jest-worker's. */
function typed(error: unknown): unknown {
  if (error == null) return typed(new Error('"null" or "undefined" thrown'))
  const isPlain = isErrorValue(error) && Object.isExtensible(error) && !('type' in error)
  return isPlain ? Object.assign(error, { type: error.constructor.name }) : error
}

function absolute(path: string | URL): string {
  const place = pathOf(String(path))
  if (!isAbsolute(place)) throw new Error(`'workerPath' must be absolute, got '${place}'`)
  return place
}

/** The exports of a module that are functions. */
function methodsOf(file: string): string[] {
  const module: Record<string, unknown> = createRequire(join(process.cwd(), 'x'))(file)
  const names = Object.keys(module).filter((name) => typeof module[name] === 'function')
  return typeof module === 'function' ? [...names, 'default'] : names
}
