// Jest worker: the class of jest-worker, over the runtime.
// Thread: main.   Owns: its runtime, and the streams that carry the output of its threads.

import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { PassThrough, type Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { ResourceLimits } from 'node:worker_threads'
import { outside } from '../base/async-context.ts'
import { LaneError } from '../base/errors.ts'
import { planManager } from '../coordinator/options.ts'
import { Runtime } from '../coordinator/runtime.ts'
import type { CommandOptions } from '../model/command.ts'
import { stableHash } from '../schedule/hash.ts'
import { isErrorValue } from '../wire/families.ts'

/** Threads in a row that a call may end before it rejects. */
const CRASHES_MAX = 4

/** How long threads may take to end. */
const END_MS = 500

/** Options of a farm, as jest-worker's. */
export interface FarmOptions {
  /** Default: the exports of the module that do not begin with `_`. */
  readonly exposedMethods?: readonly string[] | undefined
  /** Default: one less than there are cores. */
  readonly numWorkers?: number | undefined
  /** Accepted: there are threads in any case. */
  readonly enableWorkerThreads?: boolean | undefined
  /** Calls with the same key run on the same thread. */
  readonly computeWorkerKey?: ((method: string, ...args: unknown[]) => string | null) | undefined
  /** Arguments of the module's `setup`. */
  readonly setupArgs?: readonly unknown[] | undefined
  /** `execArgv` and `env` of it are used. */
  readonly forkOptions?:
    | { readonly execArgv?: string[]; readonly env?: NodeJS.ProcessEnv }
    | undefined
  readonly resourceLimits?: ResourceLimits | undefined
  /** Accepted: a call goes where it starts soonest. */
  readonly workerSchedulingPolicy?: 'round-robin' | 'in-order' | undefined
  /** Heap in bytes past which a thread is replaced. */
  readonly idleMemoryLimit?: number | undefined
}

const OWN = new Set(['getStdout', 'getStderr', 'start', 'end', 'forceExit'])

/** A farm of threads, whose methods are the exports of a module. */
export class Worker {
  // biome-ignore lint/suspicious/noExplicitAny: the methods are those of the user's module
  readonly [method: string]: any
  readonly #runtime: Runtime
  readonly #lane: string
  readonly #setupArgs: readonly unknown[]
  readonly #stdout = new PassThrough()
  readonly #stderr = new PassThrough()
  #chosen = 0
  #isEnded = false

  /**
   * @param workerPath - Path or file: URL of the module.
   * @param options - As jest-worker's.
   */
  constructor(workerPath: string | URL, options: FarmOptions = {}) {
    const { numWorkers, computeWorkerKey, setupArgs = [], forkOptions, idleMemoryLimit } = options
    const count = numWorkers ?? Math.max(availableParallelism() - 1, 1)
    this.#setupArgs = setupArgs
    const plan = planManager({
      handlers: 'data:,',
      partitions: { count },
      floatingRejections: 'end',
      deadLetterCapacity: 0,
      maxCrashes: CRASHES_MAX,
      closeTimeoutMs: END_MS,
      env: forkOptions?.env,
      execArgv: forkOptions?.execArgv,
      resourceLimits: options.resourceLimits,
      ...(idleMemoryLimit && { maxHeapMb: Math.ceil(idleMemoryLimit / 2 ** 20) }),
    })
    this.#lane = plan.defaultLane
    const own = {
      ...plan,
      handlers: undefined,
      fileStyle: 'jest' as const,
      elastic: { min: count, idleTimeoutMs: Number.POSITIVE_INFINITY },
      ...(computeWorkerKey && { strategy: 'custom' as const, choose: () => this.#chosen }),
    }
    const quiet = () => {}
    this.#runtime = outside(
      () =>
        new Runtime(own, {
          spawned: quiet,
          loaded: quiet,
          exited: quiet,
          printed: (_, { stream, text }) => {
            const to = stream === 'stdout' ? this.#stdout : this.#stderr
            to.write(text)
            return true
          },
        }),
    )
    this.#runtime.open()
    const file = pathOf(workerPath)
    const common = Object.freeze({ file, retry: Object.freeze({ retries: 0, retryLost: true }) })
    for (const name of options.exposedMethods ?? methodsOf(file)) {
      if (name.startsWith('_')) continue
      if (OWN.has(name)) throw new TypeError(`Cannot define a method called ${name}`)
      Object.defineProperty(this, name, {
        value: (...args: unknown[]) => {
          if (computeWorkerKey !== undefined) this.#choose(computeWorkerKey(name, ...args), count)
          return this.#call(name, args, common)
        },
        enumerable: true,
        configurable: true,
        writable: true,
      })
    }
  }

  /** What the threads have printed; it is printed nowhere else. */
  getStdout(): Readable {
    return this.#stdout
  }

  /** The same for errors. */
  getStderr(): Readable {
    return this.#stderr
  }

  /** The threads start when the farm is made. */
  async start(): Promise<void> {}

  /**
   * Tears the threads down and ends them.
   *
   * @returns Whether one had to be ended.
   */
  async end(): Promise<{ forceExited: boolean }> {
    this.#refuseIfEnded()
    this.#isEnded = true
    const isBusy = this.#runtime.isBusy()
    // A teardown that fails ends its thread all the same.
    await this.#runtime.close().catch(() => {})
    this.#stdout.end()
    this.#stderr.end()
    return { forceExited: isBusy }
  }

  /** Ends the threads. */
  async forceExit(): Promise<void> {
    await this.end()
  }

  #refuseIfEnded(): void {
    if (this.#isEnded) throw new Error('Farm is ended, no more calls can be done to it')
  }

  #choose(key: string | null, count: number): void {
    this.#chosen = (key === null ? this.#chosen + 1 : stableHash(key)) % count
  }

  #call(name: string, args: readonly unknown[], options: CommandOptions): Promise<unknown> {
    this.#refuseIfEnded()
    const payload = { args, setupArgs: this.#setupArgs }
    const result = this.#runtime.intake.submit(this.#lane, name, payload, options, false)
    return result.catch((error: unknown) => {
      throw reasonOf(error)
    })
  }
}

/** What jest-worker would reject with. */
function reasonOf(error: unknown): unknown {
  if (error instanceof LaneError && error.code === 'CORELANE_PARTITION_LOST') {
    const message = `Jest worker encountered ${CRASHES_MAX} child process exceptions, exceeding retry limit`
    return new Error(message, { cause: error })
  }
  if (isErrorValue(error) && Object.isExtensible(error)) {
    Object.assign(error, { type: error.constructor.name })
  }
  return error
}

function pathOf(path: string | URL): string {
  const place = String(path)
  return place.startsWith('file:') ? fileURLToPath(place) : place
}

/** The exports of a module that are functions. */
function methodsOf(file: string): string[] {
  const module: unknown = createRequire(join(process.cwd(), 'x'))(file)
  if (typeof module === 'function') return ['default']
  const isMethod = ([, one]: [string, unknown]) => typeof one === 'function'
  return Object.entries(module as object)
    .filter(isMethod)
    .map(([name]) => name)
}
