// Thread plan: what the threads of a manager are made with, and how one is made of it.
// Owns: nothing; a reload changes the plan.

import {
  getEnvironmentData,
  setEnvironmentData,
  Worker,
  type WorkerOptions,
} from 'node:worker_threads'
import { VERSION } from '../../base/version.ts'
import { awakeMemory } from '../../memory/awake-threads.ts'
import type { CoordinatorCommons } from '../../memory/commons.ts'
import { PARTITION_MARKER, PROGRAM_MARKER } from '../../model/command.ts'
import type { FileCall, FileHandler } from '../../model/handler-module.ts'
import { usableCores } from '../cores.ts'
import type { ManagerPlan } from '../options.ts'
import type { TallyBook } from '../tally-book.ts'
import type { ThreadProgram } from './thread-program.ts'
import type { WindowPlan } from './window-limits.ts'

/** What every incarnation of a manager is made with. */
export interface ThreadPlan extends WindowPlan {
  /** What the threads run; found before the first of them starts. */
  program: ThreadProgram | undefined
  readonly commons: CoordinatorCommons
  /** Counts runs, and has a block for each thread; undefined without metrics. */
  readonly tallies: TallyBook | undefined
  readonly partitions: number
  /** URL of the handler module, if there is one; a reload may change it. */
  handlers: string | undefined
  /** Handlers that commands name by their ids. */
  readonly files: FileHandler[]
  /** How those are called. */
  readonly fileCall: FileCall
  /** Names of handlers in the order of their indices, once they are known. */
  types: readonly string[] | undefined
  /** Whether an unhandled rejection is reported; if not, it ends the thread. */
  readonly reportsRejections: boolean
  /** Bytes of each of the two rings. */
  readonly ringBytes: number
  /** Passed on to the thread as they are. */
  readonly worker: ManagerPlan['worker']
}

/**
 * What the threads of a manager are made with.
 *
 * @param commons - Memory that all its threads share.
 * @param tallies - Take what is counted, if it has metrics.
 */
export function planThreads(
  plan: ManagerPlan,
  commons: CoordinatorCommons,
  tallies: TallyBook | undefined,
): ThreadPlan {
  const { handlers, lanes, concurrency, ringBytes, worker, reportsRejections } = plan
  return {
    program: undefined,
    commons,
    tallies,
    partitions: plan.partitionCount,
    handlers,
    files: [],
    fileCall: plan.fileCall ?? 'context',
    types: undefined,
    reportsRejections,
    lanes,
    concurrency,
    ringBytes,
    inlineBytesMax: ringBytes >> 2,
    worker,
  }
}

/** What the boot messages of all threads that start now have in common. */
export function plannedFields(plan: ThreadPlan) {
  return {
    version: VERSION,
    commons: plan.commons.memory,
    partitions: plan.partitions,
    awake: awakeMemory(),
    cores: usableCores(),
    handlers: plan.handlers,
    files: plan.files,
    fileCall: plan.fileCall,
    lanes: plan.lanes.map(({ retry: _, groups: __, ...shared }) => shared),
    types: plan.types,
    reportsRejections: plan.reportsRejections,
    concurrency: plan.concurrency,
    inlineBytesMax: plan.inlineBytesMax,
  }
}

/**
 * Makes a worker that knows from its first moment that it is a partition's: modules preloaded by
 * `--import` run in it before its own program, and a manager made there would start threads without
 * end. Threads that the user's code starts in it inherit that.
 */
export function startWorker(partition: number, source: string, options: WorkerOptions): Worker {
  const own = getEnvironmentData(PARTITION_MARKER)
  setEnvironmentData(PARTITION_MARKER, partition)
  if (!options.eval) setEnvironmentData(PROGRAM_MARKER, true)
  try {
    // Node reads inherited members too: nothing comes from a polluted prototype.
    return new Worker(source, Object.setPrototypeOf(options, null))
  } finally {
    setEnvironmentData(PARTITION_MARKER, own)
    setEnvironmentData(PROGRAM_MARKER, undefined)
  }
}
