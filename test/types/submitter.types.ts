// Types of a submitter and a worker pool: compiled, never run. A line under @ts-expect-error must
// fail to compile, and tsc complains if it does not.

import {
  type Enqueued,
  type FoundCommand,
  LocalDistributedQueue,
  QueueManager,
  Submitter,
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
