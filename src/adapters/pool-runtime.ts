// Pool runtime: the runtime under the interfaces of other pools, whose calls name their modules.
// Owns: nothing.

import { fileURLToPath } from 'node:url'
import { outside } from '../base/async-context.ts'
import {
  CONCURRENCY_PER_PARTITION_MAX,
  type ManagerPlan,
  planManager,
  type QueueManagerOptions,
} from '../coordinator/options.ts'
import { Runtime } from '../coordinator/runtime.ts'
import type { ThreadObserver } from '../coordinator/threads/incarnation.ts'
import { PARTITION_COUNT_MAX } from '../model/partition-config.ts'

/**
 * Plans it. It keeps no dead letters; a rejection that no handler handles ends its thread, and what
 * is lost with a thread that ends for another's sake runs again.
 *
 * @param options - Of a manager.
 * @param fileCall - How handlers are called.
 * @param threads - How many stay, and the most: rounded up, and cut at the most that there can be.
 * @param choose - Gives the partition of a call. Default: a call goes where it starts soonest.
 * @param worker - More options of threads.
 */
export function planPool(
  options: QueueManagerOptions,
  fileCall: NonNullable<ManagerPlan['fileCall']>,
  threads: NonNullable<ManagerPlan['elastic']> & { readonly max: number },
  choose: (() => number) | undefined,
  worker: ManagerPlan['worker'] = {},
): ManagerPlan {
  const { concurrencyPerPartition = 1, env, ...others } = options
  const count = Math.min(Math.ceil(threads.max), PARTITION_COUNT_MAX)
  const plan = planManager({
    handlers: 'data:,',
    floatingRejections: 'end',
    deadLetterCapacity: 0,
    closeTimeoutMs: 0,
    ...others,
    partitions: count,
    concurrencyPerPartition: Math.min(
      Math.ceil(concurrencyPerPartition),
      CONCURRENCY_PER_PARTITION_MAX,
    ),
  })
  const custom = choose && { strategy: 'custom' as const, choose }
  return {
    ...plan,
    handlers: undefined,
    fileCall,
    elastic: { ...threads, min: Math.min(Math.ceil(threads.min), count) },
    rerunsBystanders: true,
    // Node.js makes text of an `env` of other values, and so do those pools.
    worker: { ...plan.worker, ...(env && { env }), ...worker },
    ...custom,
  }
}

/**
 * Opens it, outside of the request of its caller.
 *
 * @param observer - Watches its threads; the first are started before this returns.
 * @throws The error of `new Worker`, if it refuses what it is given.
 */
export function openPool(plan: ManagerPlan, observer: ThreadObserver): Runtime {
  const runtime = outside(() => new Runtime(plan, observer))
  const refused = runtime.open()
  if (refused === undefined) return runtime
  void runtime.close()
  throw refused
}

/** The path of a module that is named by its path or its file: URL. */
export function pathOf(filename: string): string {
  return filename.startsWith('file:') ? fileURLToPath(filename) : filename
}
