// Piscina options: Piscina's options, its defaults and the messages of its checks.
// Owns: the defaults.

import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { ResourceLimits, SHARE_ENV } from 'node:worker_threads'
import type { LaneOptions } from '../model/lane.ts'
import { ArrayTaskQueue, isTaskQueue, type TaskQueue } from './piscina-queues.ts'
import type { PiscinaTask, PiscinaWorker } from './piscina-task.ts'

/** Chooses the thread of a task, or none. */
export type PiscinaLoadBalancer = (
  task: PiscinaTask,
  workers: PiscinaWorker[],
) => PiscinaWorker | null

/** Options of a pool, as Piscina's. */
export interface Options {
  filename?: string | null | undefined
  name?: string | undefined
  minThreads?: number | undefined
  maxThreads?: number | undefined
  idleTimeout?: number | undefined
  maxQueue?: number | 'auto' | undefined
  concurrentTasksPerWorker?: number | undefined
  /** Accepted; threads wait in one way. */
  atomics?: 'sync' | 'async' | 'disabled' | undefined
  resourceLimits?: ResourceLimits | undefined
  argv?: string[] | undefined
  execArgv?: string[] | undefined
  env?: NodeJS.ProcessEnv | typeof SHARE_ENV | undefined
  // biome-ignore lint/suspicious/noExplicitAny: as Piscina's
  workerData?: any
  taskQueue?: TaskQueue | undefined
  /** Accepted; threads keep the priority of the process. */
  niceIncrement?: number | undefined
  trackUnmanagedFds?: boolean | undefined
  closeTimeout?: number | undefined
  recordTiming?: boolean | undefined
  stricterFIFO?: boolean | undefined
  loadBalancer?: PiscinaLoadBalancer | undefined
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

const DEFAULTS: FilledOptions = {
  filename: null,
  name: 'default',
  minThreads: Math.max(Math.floor(PARALLELISM / 2), 1),
  maxThreads: PARALLELISM * 1.5,
  idleTimeout: 0,
  maxQueue: Number.POSITIVE_INFINITY,
  concurrentTasksPerWorker: 1,
  atomics: 'sync',
  taskQueue: new ArrayTaskQueue(),
  niceIncrement: 0,
  trackUnmanagedFds: true,
  closeTimeout: 30_000,
  recordTiming: true,
  stricterFIFO: false,
  workerHistogram: false,
}

/** By option that may be undefined: whether a value fits, and what is said of one that does not. */
const CHECKS: Readonly<Record<string, readonly [(value: never) => boolean, string]>> = {
  minThreads: [atLeast(0), 'a non-negative integer'],
  maxThreads: [atLeast(1), 'a positive integer'],
  idleTimeout: [atLeast(0), 'a non-negative integer'],
  maxQueue: [(value) => value === 'auto' || atLeast(0)(value), 'a non-negative integer'],
  concurrentTasksPerWorker: [atLeast(1), 'a positive integer'],
  resourceLimits: [(value) => typeof value === 'object' && value !== null, 'an object'],
  taskQueue: [isTaskQueue, 'a TaskQueue object'],
  niceIncrement: [
    (value) => atLeast(process.platform === 'win32' ? Number.NEGATIVE_INFINITY : 0)(value),
    'a non-negative integer on Unix systems',
  ],
  trackUnmanagedFds: [isBoolean, 'a boolean value'],
  closeTimeout: [atLeast(0), 'a non-negative integer'],
  loadBalancer: [
    (value: unknown) => typeof value === 'function' && value.length >= 1,
    'a function with at least two args',
  ],
  workerHistogram: [isBoolean, 'a boolean'],
  stricterFIFO: [isBoolean, 'a boolean'],
}

function atLeast(least: number) {
  return (value: unknown): boolean => typeof value === 'number' && !(value < least)
}

function isBoolean(value: unknown): boolean {
  return typeof value === 'boolean'
}

/**
 * Own members alone, so that nothing comes from a polluted prototype.
 *
 * @param options - The user's.
 */
export function ownOf<T extends object>(options: T): T {
  return Object.assign(Object.create(null), options)
}

/**
 * Checks options as Piscina does.
 *
 * @param options - Own members alone.
 * @throws TypeError or RangeError with Piscina's message.
 */
export function checkPoolOptions(options: Options): void {
  for (const name of ['filename', 'name'] as const) {
    if (options[name] != null && typeof options[name] !== 'string') {
      throw new TypeError(`options.${name} must be a string or null`)
    }
  }
  for (const [name, [fits, allowed]] of Object.entries(CHECKS)) {
    const value = options[name as keyof Options] as never
    if (value !== undefined && !fits(value)) {
      throw new TypeError(`options.${name} must be ${allowed}`)
    }
    const { minThreads, maxThreads } = options
    if (name === 'maxThreads' && maxThreads !== undefined && minThreads! > maxThreads) {
      throw new RangeError('options.minThreads and options.maxThreads must not conflict')
    }
  }
  if (options.atomics != null && !['sync', 'async', 'disabled'].includes(options.atomics)) {
    throw new TypeError('options.atomics should be a value of sync, sync or disabled.')
  }
}

/**
 * Fills options in.
 *
 * @param options - Checked.
 */
export function fillPoolOptions(options: Options): FilledOptions {
  const { filename, maxQueue } = options
  const path = filename?.startsWith('file:') ? fileURLToPath(filename) : (filename ?? null)
  const given = Object.fromEntries(Object.entries(options).filter(([, one]) => one !== undefined))
  const filled = ownOf({ ...DEFAULTS, ...given, filename: path }) as FilledOptions
  if (options.maxThreads !== undefined && filled.minThreads >= filled.maxThreads) {
    filled.minThreads = filled.maxThreads
  }
  if (options.minThreads !== undefined && filled.maxThreads <= filled.minThreads) {
    filled.maxThreads = filled.minThreads
  }
  filled.maxQueue = maxQueue === 'auto' ? filled.maxThreads ** 2 : (maxQueue ?? DEFAULTS.maxQueue)
  return filled
}
