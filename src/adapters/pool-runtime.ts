// Pool runtime: the runtime under the interfaces of other pools, whose calls name their modules.
// Owns: nothing.

import { outside } from '../base/async-context.ts'
import { type ManagerPlan, planManager, type QueueManagerOptions } from '../coordinator/options.ts'
import { Runtime } from '../coordinator/runtime.ts'
import type { ThreadObserver } from '../coordinator/threads/incarnation.ts'

/**
 * Plans it. It keeps no dead letters, and a rejection that no handler handles ends its thread.
 *
 * @param options - Of a manager; `partitions` is the most threads.
 * @param fileCall - How handlers are called.
 * @param elastic - How many threads stay.
 * @param choose - Gives the partition of a call. Default: a call goes where it starts soonest.
 */
export function planPool(
  options: QueueManagerOptions,
  fileCall: NonNullable<ManagerPlan['fileCall']>,
  elastic: NonNullable<ManagerPlan['elastic']>,
  choose: (() => number) | undefined,
): ManagerPlan {
  const plan = planManager({
    handlers: 'data:,',
    floatingRejections: 'end',
    deadLetterCapacity: 0,
    ...options,
  })
  const custom = choose && { strategy: 'custom' as const, choose }
  return { ...plan, handlers: undefined, fileCall, elastic, ...custom }
}

/**
 * Opens it, outside of the request of its caller.
 *
 * @param observer - Watches its threads; the first are started before this returns.
 */
export function openPool(plan: ManagerPlan, observer: ThreadObserver): Runtime {
  const runtime = outside(() => new Runtime(plan, observer))
  runtime.open()
  return runtime
}
