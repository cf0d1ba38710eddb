// Types of a submitter and a worker pool: compiled, never run. A line under @ts-expect-error must
// fail to compile, and tsc complains if it does not.

import {
  type CommandEnvelope,
  type Dashboard,
  type Enqueued,
  type FoundCommand,
  type LaneLimits,
  type LeasedQueue,
  LocalDistributedQueue,
  type QueueCounts,
  QueueManager,
  type QueueWorker,
  Submitter,
  serveDashboard,
  WorkerPool,
  type WorkerPoolStats,
} from 'corelane'

const handlers = {
  double: (n: number) => n * 2,
  nothing: async () => 'no payload',
}
type Module = typeof handlers

const queue = LocalDistributedQueue.auto()
const submitter = new Submitter<Module>(queue, { name: 'me' })

submitter.submit('a', 'double', 5, { key: 'k', group: 'tenant' }) satisfies Promise<number>
submitter.submit('a', 'nothing') satisfies Promise<string>
submitter.enqueue('a', 'double', 5) satisfies Promise<Enqueued>
submitter.submit('a', 'double', 5, {
  delayMs: 5,
  timeoutMs: 5,
  retry: { retries: 2, backoff: 'fixed' },
}) satisfies Promise<number>
submitter.submit('a', 'double', 5, { onProgress: (value) => value satisfies unknown })
submitter.cancel('id') satisfies Promise<'cancelled' | 'stopping' | 'ended' | 'unknown'>
queue.commands.find('id') satisfies Promise<FoundCommand | undefined>
// @ts-expect-error a function cannot travel
submitter.submit('a', 'double', 5, { retry: { retryable: () => true } })
// @ts-expect-error a payload of another type
submitter.submit('a', 'double', 'five')
// @ts-expect-error no such handler
submitter.submit('a', 'triple', 5)
// @ts-expect-error an option that only managers take
submitter.submit('a', 'double', 5, { kill: true })

// Without a module everything goes, and results are unknown.
new Submitter(queue).submit('a', 'whatever', { at: 5 }) satisfies Promise<unknown>
new Submitter(queue).submit('a', 'whatever', queue as unknown) satisfies Promise<unknown>
// @ts-expect-error a function cannot travel
new Submitter(queue).submit('a', 'whatever', () => 5)

// A manager of any module will do.
const typed = QueueManager.create<Module>({ handlers: './module.js' })
const pool = new WorkerPool(queue, typed, { globalConcurrency: { a: 2 } })
pool.stats() satisfies WorkerPoolStats
// @ts-expect-error an option of another kind
new WorkerPool(queue, typed, { lanes: 'a' })

// Limits of lanes over all workers.
queue.lanes.setConcurrency('a', 2) satisfies Promise<void>
queue.lanes.setConcurrency('a', undefined) satisfies Promise<void>
queue.lanes.setRateLimit('a', { limit: 5, windowMs: 100 }) satisfies Promise<void>
queue.lanes.setRateLimit('a', undefined) satisfies Promise<void>
queue.lanes.limits() satisfies Promise<readonly LaneLimits[]>
// @ts-expect-error a limit that is no number
queue.lanes.setConcurrency('a', '2')
// @ts-expect-error a rate without a limit is none, and has no such member
queue.lanes.setRateLimit('a', { perSecond: 5 })

// A trace goes with its envelope.
declare const envelope: CommandEnvelope
envelope.options?.trace satisfies Readonly<Record<string, string>> | undefined
queue.enqueue({ ...envelope, options: { trace: { traceparent: '00-1-2-01' } } })
// @ts-expect-error fields of a trace are texts
queue.enqueue({ ...envelope, options: { trace: { traceparent: 5 } } })

// Any engine is shown on a dashboard, beside a manager or alone.
declare const engine: LeasedQueue
queue.workers.list() satisfies Promise<readonly QueueWorker[]>
queue.counts() satisfies Promise<QueueCounts>
serveDashboard({ queue: engine, readOnly: true }) satisfies Promise<Dashboard>
typed.serveDashboard({ queue }) satisfies Promise<Dashboard>
// @ts-expect-error a dashboard of nothing
serveDashboard({ port: 0 })
// @ts-expect-error a queue without counts
serveDashboard({ queue: { numPartitions: 1, workerId: 'w' } })
