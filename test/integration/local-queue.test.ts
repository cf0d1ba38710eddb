// Goal: the engine of this process keeps the contract of distributed queues. Method: the published
// suite, each case on a queue of its own, whose workers are views of one object.

import { LocalDistributedQueue } from 'corelane'
import { type OpenQueue, queueContract } from 'corelane/testing'
import { expect, test } from 'vitest'

/** Opens workers of one queue: the first call makes it. */
function localQueues(): OpenQueue {
  const queues = new Map<string, LocalDistributedQueue>()
  return async ({ queue: name, workerId, strategy, numPartitions, ...options }) => {
    const queue =
      queues.get(name) ?? new LocalDistributedQueue({ strategy, count: numPartitions }, options)
    queues.set(name, queue)
    return queue.asWorker(workerId)
  }
}

const { capabilities } = new LocalDistributedQueue({ strategy: 'hash', count: 4 })
const cases = queueContract({ open: localQueues(), capabilities, carriesClones: true })

test('the suite has a case for every sentence', () => {
  expect(cases.length).toBeGreaterThan(60)
  expect(new Set(cases.map(({ name }) => name)).size).toBe(cases.length)
})

for (const { name, run } of cases) test.concurrent(name, run)
