// Leased queue of: any queue as an engine; the least queue is lifted once.
// Owns: which queues were lifted.

import { type DistributedQueue, isLeased, type LeasedQueue } from '../contract/distributed-queue.ts'
import { liftQueue } from './lifted-queue.ts'

/** A submitter and a worker of the same object share what was lifted: so results arrive. */
const lifted = new WeakMap<DistributedQueue, LeasedQueue>()

/** The engine that a queue is, or is made into. */
export function leasedQueueOf(queue: DistributedQueue): LeasedQueue {
  if (isLeased(queue)) return queue
  let engine = lifted.get(queue)
  if (engine === undefined) {
    engine = liftQueue(queue)
    lifted.set(queue, engine)
  }
  return engine
}
