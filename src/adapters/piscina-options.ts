// Piscina options: Piscina's options, its defaults and the messages of its checks.
// Owns: the defaults.

import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { ResourceLimits, SHARE_ENV } from 'node:worker_threads'
import { anything, type OptionRule, type OptionRules } from '../base/options.ts'
import type { LaneOptions } from '../model/lane.ts'
import { ArrayTaskQueue, isTaskQueue, type TaskQueue } from './piscina-queues.ts'
import type { PiscinaTask } from './piscina-task.ts'
import type { PiscinaWorker } from './piscina-worker.ts'

/** Chooses the thread of a task, or none. */
export type PiscinaLoadBalancer = (
  task: PiscinaTask,
  workers: PiscinaWorker[],
) => PiscinaWorker | null

/** Options of a pool, as Piscina's. */
export interface Options {
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
  /** Limits of a thread, as those of `Worker`. Default: none. */
  resourceLimits?: ResourceLimits | undefined
  /** Added to `process.argv` of threads. Default: nothing. */
  argv?: string[] | undefined
  /** Options of Node for threads. Default: those of the process. */
  execArgv?: string[] | undefined
  /** Environment of threads. Default: a copy of `process.env`. */
  env?: NodeJS.ProcessEnv | typeof SHARE_ENV | undefined
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
  /** Lanes that tasks may name. Default: those of a queue manager. */
  lanes?: Readonly<Record<string, LaneOptions>> | undefined
}

/** Options with everything filled in. */
export interface FilledOptions extends Options {
  filename: string | null
  name: string
  minThreads: number
  maxThreads: number
  idleTimeout: number
  maxQueue: number
  concurrentTasksPerWorker: number
  taskQueue: TaskQueue
  niceIncrement: number
  closeTimeout: number
  recordTiming: boolean
  stricterFIFO: boolean
  workerHistogram: boolean
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
  resourceLimits: anything(
    undefined,
    'must be an object',
    (value) => typeof value === 'object' && value !== null,
  ),
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

/** Of `run`. */
export const RUN_RULES: OptionRules = {
  transferList: anything(undefined, 'argument must be an Array', Array.isArray),
  filename: anything(null, 'argument must be a string', isTextOrNull),
  name: anything(null, 'argument must be a string', isTextOrNull),
  signal: anything(null, 'argument must be an object', (value) => typeof value === 'object'),
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
 * What Piscina says of the first option that does not fit.
 *
 * @param options - Own members alone.
 * @param prefix - Of names.
 * @returns Undefined if all fit.
 */
export function misfit(options: object, rules: OptionRules, prefix = ''): TypeError | undefined {
  for (const name in rules) {
    const value = (options as Record<string, unknown>)[name]
    const { accepts, allowed } = rules[name]!
    if (value !== undefined && !accepts(value)) {
      return new TypeError(`${prefix}${name} ${allowed}`)
    }
  }
  return undefined
}

/**
 * Checks options as Piscina does, and fills them in.
 *
 * @param given - Own members alone.
 * @throws TypeError or RangeError with Piscina's message.
 */
export function fillPoolOptions(given: Options): FilledOptions {
  const { minThreads, maxThreads, maxQueue } = given
  const wrong = misfit(given, POOL_RULES, 'options.')
  if (wrong !== undefined) throw wrong
  if (minThreads !== undefined && maxThreads !== undefined && minThreads > maxThreads) {
    throw new RangeError('options.minThreads and options.maxThreads must not conflict')
  }
  const filled = Object.create(null)
  for (const [name, { default: value }] of Object.entries(POOL_RULES)) {
    if (value !== undefined) filled[name] = value
  }
  for (const [name, value] of Object.entries(given)) {
    if (value !== undefined) filled[name] = value
  }
  filled.filename ||= null
  if (filled.filename?.startsWith('file:')) filled.filename = fileURLToPath(filled.filename)
  if (maxThreads !== undefined) filled.minThreads = Math.min(filled.minThreads, maxThreads)
  if (minThreads !== undefined) filled.maxThreads = Math.max(filled.maxThreads, minThreads)
  if (maxQueue === 'auto') filled.maxQueue = filled.maxThreads ** 2
  return filled
}
