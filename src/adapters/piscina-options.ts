// Piscina options: Piscina's options, its defaults and the messages of its checks.
// Owns: the defaults.

import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { anything, isObject, type OptionRule, type OptionRules } from '../base/options.ts'
import type { QueueManagerOptions } from '../coordinator/options.ts'
import type { PiscinaTask, RunOptions } from './piscina-task.ts'
import type { PiscinaWorker } from './piscina-worker.ts'
import { ArrayTaskQueue, isTaskQueue, type TaskQueue } from './task-queues.ts'

/** Chooses the thread of a task, or none. */
export type PiscinaLoadBalancer = (
  task: PiscinaTask,
  workers: PiscinaWorker[],
) => PiscinaWorker | null

type Shared = Pick<QueueManagerOptions, 'env' | 'execArgv' | 'lanes' | 'resourceLimits'>
type ThreadOptions = { -readonly [K in keyof Shared]: Shared[K] }

/** Options of a pool: Piscina's, and lanes that tasks may name. */
export interface Options extends ThreadOptions {
  /** Path or file: URL of the module. Default: none, each call names its own. */
  filename?: string | null | undefined
  /** Export that runs. Default `'default'`. */
  name?: string | undefined
  /** Threads that stay. Default: half as many as there are cores, at least 1. */
  minThreads?: number | undefined
  /** Most threads. Default: 1.5 for each core. */
  maxThreads?: number | undefined
  /**
   * How long a thread above `minThreads` stays idle, in milliseconds. Default 0; Infinity: for
   * ever.
   */
  idleTimeout?: number | undefined
  /** Tasks that may wait. Default: no bound; `'auto'`: the square of `maxThreads`. */
  maxQueue?: number | 'auto' | undefined
  /** Tasks that may run at once in a thread. Default 1. */
  concurrentTasksPerWorker?: number | undefined
  /** Accepted; threads wait in one way. */
  atomics?: 'sync' | 'async' | 'disabled' | undefined
  /** Added to `process.argv` of threads. Default: nothing. */
  argv?: string[] | undefined
  /** What `Piscina.workerData` gives in threads. Default: undefined. */
  // biome-ignore lint/suspicious/noExplicitAny: as Piscina's
  workerData?: any
  /** Decides which task is next. Default: first in, first out. */
  taskQueue?: TaskQueue | undefined
  /** Accepted; threads keep the priority of the process. */
  niceIncrement?: number | undefined
  /** Whether files that a thread leaves open are closed at its end. Default true. */
  trackUnmanagedFds?: boolean | undefined
  /** How long `close` waits for tasks, in milliseconds. Default 30,000. */
  closeTimeout?: number | undefined
  /** Whether waits and runs are counted in `histogram`. Default true. */
  recordTiming?: boolean | undefined
  /** Whether a task that found no thread keeps its place in a `taskQueue`. Default false. */
  stricterFIFO?: boolean | undefined
  /** Chooses the thread of a task. Default: the least busy one. */
  loadBalancer?: PiscinaLoadBalancer | undefined
  /** Whether each thread has a histogram of its own. Default false. */
  workerHistogram?: boolean | undefined
}

type Optional = keyof ThreadOptions | 'argv' | 'loadBalancer' | 'workerData'

/** Options with everything filled in. */
export type FilledOptions = Pick<Options, Optional> & {
  [K in Exclude<keyof Options, Optional>]: Exclude<Options[K], undefined | 'auto'>
}

const PARALLELISM = availableParallelism()
const LEAST_NICE = process.platform === 'win32' ? Number.NEGATIVE_INFINITY : 0

/** In the order in which Piscina checks them. */
const POOL_RULES: OptionRules = {
  filename: anything(null, 'must be a string or null', isTextOrNull),
  name: anything('default', 'must be a string or null', isTextOrNull),
  minThreads: atLeast(0, Math.max(Math.floor(PARALLELISM / 2), 1)),
  maxThreads: atLeast(1, PARALLELISM * 1.5),
  idleTimeout: atLeast(0, 0),
  maxQueue: atLeast(0, Number.POSITIVE_INFINITY, 'auto'),
  concurrentTasksPerWorker: atLeast(1, 1),
  atomics: anything('sync', 'should be a value of sync, sync or disabled.', (value) =>
    ['sync', 'async', 'disabled', null].includes(value as string),
  ),
  resourceLimits: anything(undefined, 'must be an object', isObject),
  taskQueue: anything(new ArrayTaskQueue(), 'must be a TaskQueue object', isTaskQueue),
  niceIncrement: anything(
    0,
    'must be a non-negative integer on Unix systems',
    (value) => typeof value === 'number' && !(value < LEAST_NICE),
  ),
  trackUnmanagedFds: flag(true, ' value'),
  closeTimeout: atLeast(0, 30_000),
  recordTiming: anything(true, '', () => true),
  loadBalancer: anything(
    undefined,
    'must be a function with at least two args',
    (value) => typeof value === 'function' && value.length >= 1,
  ),
  workerHistogram: flag(false),
  stricterFIFO: flag(false),
}

function isTextOrNull(value: unknown): boolean {
  return typeof value === 'string' || value === null
}

function atLeast(least: 0 | 1, fallback: number, word?: string): OptionRule {
  const kind = least === 0 ? 'non-negative' : 'positive'
  const fits = (value: unknown) => typeof value === 'number' && !(value < least)
  const accepts = (value: unknown) => fits(value) || value === word
  return anything(fallback, `must be a ${kind} integer`, accepts)
}

function flag(fallback: boolean, noun = ''): OptionRule {
  return anything(fallback, `must be a boolean${noun}`, (value) => typeof value === 'boolean')
}

/**
 * Checks options as Piscina does, and fills them in.
 *
 * @param given - Own members alone.
 * @throws TypeError or RangeError with Piscina's message.
 */
export function fillPoolOptions(given: Options): FilledOptions {
  const { minThreads, maxThreads, maxQueue } = given
  const filled = Object.create(null)
  for (const [name, { accepts, allowed, default: fallback }] of Object.entries(POOL_RULES)) {
    const value = given[name as keyof Options]
    if (value !== undefined && !accepts(value)) throw new TypeError(`options.${name} ${allowed}`)
    if (fallback !== undefined) filled[name] = fallback
  }
  if (minThreads !== undefined && maxThreads !== undefined && minThreads > maxThreads) {
    throw new RangeError('options.minThreads and options.maxThreads must not conflict')
  }
  for (const [name, value] of Object.entries(given)) {
    if (value !== undefined) filled[name] = value
  }
  filled.filename = filled.filename ? pathOf(filled.filename) : null
  if (maxThreads !== undefined) filled.minThreads = Math.min(filled.minThreads, maxThreads)
  if (minThreads !== undefined) filled.maxThreads = Math.max(filled.maxThreads, minThreads)
  if (maxQueue === 'auto') filled.maxQueue = filled.maxThreads ** 2
  return filled
}

/** The path of a module that is named by its path or its file: URL. */
export function pathOf(filename: string): string {
  return filename.startsWith('file:') ? fileURLToPath(filename) : filename
}

/** What Piscina says of the options of a task; undefined if they fit. */
export function runMisfit(options: RunOptions): string | undefined {
  const { transferList, filename, name, signal } = options
  const isList = transferList === undefined || Array.isArray(transferList)
  if (!isList) return 'transferList argument must be an Array'
  if (typeof (filename ?? '') !== 'string') return 'filename argument must be a string'
  if (typeof (name ?? '') !== 'string') return 'name argument must be a string'
  return typeof (signal ?? null) === 'object' ? undefined : 'signal argument must be an object'
}
