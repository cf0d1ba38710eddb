// Piscina options: Piscina's options, its defaults and the messages of its checks.
// Owns: the defaults.

import { availableParallelism } from 'node:os'
import { anything, isObject, type OptionRule, type OptionRules } from '../base/options.ts'
import type { QueueManagerOptions } from '../coordinator/options.ts'
import type { PiscinaTask, PiscinaWorker, RunOptions } from './piscina-task.ts'
import { pathOf } from './pool-runtime.ts'
import { ArrayTaskQueue, isTaskQueue, type TaskQueue } from './task-queues.ts'

/** Chooses the thread of a task, or none. */
export type PiscinaLoadBalancer = (
  task: PiscinaTask,
  workers: PiscinaWorker[],
) => PiscinaWorker | null

type Shared = Pick<QueueManagerOptions, 'env' | 'execArgv' | 'lanes' | 'resourceLimits'>
type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/** Options of a pool: Piscina's, and lanes that tasks may name. */
export interface Options extends Mutable<Shared> {
  /** Path or file: URL of the module. Default: none, each call names its own. */
  filename?: string | null | undefined
  /** Export that runs. Default `'default'`. */
  name?: string | undefined
  /** Threads that stay. Default: half as many as there are cores, at least 1. */
  minThreads?: number | undefined
  /** Most threads. Default: 1.5 for each core. */
  maxThreads?: number | undefined
  /** Milliseconds that a thread above `minThreads` stays idle. Default 0; Infinity: for ever. */
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

type Optional = keyof Shared | 'argv' | 'loadBalancer' | 'workerData'

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
  niceIncrement: atLeast(LEAST_NICE, 0, undefined, ' on Unix systems'),
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

const NO_OPTIONS: RunOptions = Object.freeze(Object.create(null))

function isTextOrNull(value: unknown): boolean {
  return typeof value === 'string' || value === null
}

function atLeast(least: number, fallback: number, word?: string, where = ''): OptionRule {
  const kind = least > 0 ? 'positive' : 'non-negative'
  const accepts = (one: unknown) => one === word || (typeof one === 'number' && !(one < least))
  return anything(fallback, `must be a ${kind} integer${where}`, accepts)
}

function flag(fallback: boolean, noun = ''): OptionRule {
  return anything(fallback, `must be a boolean${noun}`, (value) => typeof value === 'boolean')
}

/** Checks options, of which there are own members alone, as Piscina does, and fills them in. */
export function fillPoolOptions(given: Options): FilledOptions {
  const { minThreads, maxThreads, maxQueue } = given
  const filled = {} as Record<string, unknown> & Mutable<FilledOptions>
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
  // Reading an object that was made without a prototype takes longer.
  return Object.setPrototypeOf(filled, null)
}

/** Checks the options of a task as Piscina does, and gives their own members. */
export function checkRun(options: RunOptions | undefined): RunOptions {
  if (options === undefined) return NO_OPTIONS
  if (typeof (options ?? 0) !== 'object') throw new TypeError('options must be an object')
  const own: RunOptions = Object.setPrototypeOf({ ...options }, null)
  const { transferList, filename, name, signal } = own
  const isList = transferList === undefined || Array.isArray(transferList)
  if (!isList) throw new TypeError('transferList argument must be an Array')
  if (typeof (filename ?? '') !== 'string')
    throw new TypeError('filename argument must be a string')
  if (typeof (name ?? '') !== 'string') throw new TypeError('name argument must be a string')
  if (typeof (signal ?? null) !== 'object') throw new TypeError('signal argument must be an object')
  return own
}
