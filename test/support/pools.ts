// Pools: queues, worker pools and submitters that are closed after each test, before the managers.

import {
  type DistributedQueue,
  LocalDistributedQueue,
  type LocalQueueOptions,
  PartitionConfig,
  type PartitionOptions,
  type QueueIncident,
  type QueueManager,
  type QueueManagerOptions,
  Submitter,
  type SubmitterOptions,
  WorkerPool,
  type WorkerPoolOptions,
} from 'corelane'
import { afterEach } from 'vitest'
import { within } from './deadline.ts'
import { Ledger } from './ledger.ts'
import { open as openManager, share } from './managers.ts'

const opened: { close(): Promise<void> }[] = []

/** Keeps something that is closed after the test, the last opened first. */
export function keep<T extends { close(): Promise<void> }>(closeable: T): T {
  opened.push(closeable)
  return closeable
}

/** A queue in this process. */
export function openQueue(
  partitions: PartitionOptions,
  options?: LocalQueueOptions,
): LocalDistributedQueue {
  return keep(new LocalDistributedQueue(partitions, options))
}

/** A started pool, with what it tells of, but for how busy the machine is. */
export async function openPool(
  queue: DistributedQueue,
  manager: QueueManager,
  options: WorkerPoolOptions = {},
): Promise<WorkerPool & { readonly incidents: QueueIncident[] }> {
  const incidents: QueueIncident[] = []
  const onIncident = (incident: QueueIncident) => {
    if (incident.what !== 'loop-held-up') incidents.push(incident)
  }
  const pool = keep(new WorkerPool(queue, manager, { onIncident, ...options }))
  await within(pool.start(), 'start of a pool')
  return Object.assign(pool, { incidents })
}

/** A submitter. */
export function openSubmitter(queue: DistributedQueue, options?: SubmitterOptions): Submitter {
  return keep(new Submitter(queue, options))
}

/** A manager of the handlers in test/fixtures/distributed.js. */
export function openWorkers(
  workerData: unknown,
  options: Parameters<typeof openManager>[1] = {},
): Promise<QueueManager> {
  return openManager('distributed.js', { workerData, ...options })
}

interface WorkerOptions extends QueueManagerOptions {
  /** Default: one of its own, for a thousand commands. */
  readonly ledger?: Ledger
  readonly pool?: WorkerPoolOptions
}

/** A started pool with a manager of one partition, whose handlers write down their runs. */
export async function openWorker(queue: DistributedQueue, options: WorkerOptions = {}) {
  const { ledger = new Ledger(1000), pool: poolOptions, ...others } = options
  const partitions = PartitionConfig.single()
  const manager = await openWorkers(ledger.workerData, { partitions, ...others })
  return { ledger, manager, pool: await openPool(queue, manager, poolOptions) }
}

/**
 * One manager for the tests of a file, each of which leaves it as it was: gives each of them a pool
 * of its own, and the ledger without what the tests before wrote.
 */
export function shareWorkers(options: QueueManagerOptions = {}) {
  const ledger = new Ledger(1000)
  const { workerData } = ledger
  const partitions = PartitionConfig.single()
  const shared = share('distributed.js', { workerData, partitions, ...options })
  return async (queue: DistributedQueue, pool?: WorkerPoolOptions) => {
    const manager = shared()
    ledger.clear()
    return { ledger, manager, pool: await openPool(queue, manager, pool) }
  }
}

export interface Stage extends WorkerOptions {
  /** Default: round robin over two partitions. */
  readonly queue?: LocalDistributedQueue
  /** What the worker has instead of the queue itself. */
  readonly through?: DistributedQueue
  /** From `shareWorkers`. Default: a manager of its own. */
  readonly worker?: ReturnType<typeof shareWorkers>
}

/** A queue of this process with such a worker and a submitter. */
export async function openStage({
  queue = openQueue(PartitionConfig.roundRobin(2)),
  through = queue,
  worker,
  ...options
}: Stage = {}) {
  const open = worker === undefined ? openWorker(through, options) : worker(through, options.pool)
  return { queue, submitter: openSubmitter(queue), ...(await open) }
}

/** The same queue, or part of one, some of whose members do otherwise. */
export function withFaults<Q extends object>(queue: Q, faults: Partial<Q>): Q {
  return new Proxy(queue, {
    get(target, name) {
      if (Object.hasOwn(faults, name)) return faults[name as keyof Q]
      const member: unknown = Reflect.get(target, name, target)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
}

afterEach(async () => {
  for (const closeable of opened.splice(0).reverse()) {
    await within(closeable.close(), 'close after the test')
  }
})
