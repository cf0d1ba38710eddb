// Local queue: the distributed queue of one process, in memory: the embedded default.
// Owns: the service that all its workers share.

import { laneError } from '../../base/errors.ts'
import { PartitionConfig, type PartitionOptions } from '../../model/partition-config.ts'
import type { LeasedQueue } from '../contract/distributed-queue.ts'
import { checkName } from '../contract/envelope.ts'
import { type LocalQueueOptions, planLocalQueue } from './local-plan.ts'
import { LocalService } from './local-service.ts'
import { LocalWorker } from './local-worker.ts'

/**
 * A distributed queue in the memory of this process: the same promises as on a broker, but for
 * outliving the process. Payloads and results are passed on as they are, not copied: hand them
 * over.
 */
export class LocalDistributedQueue extends LocalWorker {
  readonly #workers = new Set<LeasedQueue>()

  /**
   * @param partitions - How many partitions, and how envelopes find theirs: a
   * {@link PartitionConfig} or its plain form. `custom` is refused: submitters could not follow it.
   * Default: `balanced`, one for each core that this process may use.
   * @param options - All have defaults.
   * @throws ConfigError `CORELANE_INVALID_OPTION`.
   */
  constructor(partitions?: PartitionOptions, options?: LocalQueueOptions) {
    const plan = planLocalQueue(partitions, options)
    super(new LocalService(plan), plan.workerId)
  }

  /**
   * A queue with a partition for each core that this process may use.
   *
   * @param options - As for the constructor.
   */
  static auto(options?: LocalQueueOptions): LocalDistributedQueue {
    return new LocalDistributedQueue(PartitionConfig.auto(), options)
  }

  /**
   * The same queue for another worker, with a `workerId` of its own. Closing it ends this worker
   * only.
   *
   * @param workerId - Unique among the workers of the queue.
   * @throws ConfigError `CORELANE_INVALID_ENVELOPE` for a bad name; ClosedError `CORELANE_CLOSED`.
   */
  asWorker(workerId: string): LeasedQueue {
    if (this.isClosed) throw laneError('CORELANE_CLOSED', { state: 'closed' })
    checkName('workerId', workerId)
    const worker = new LocalWorker(this.service, workerId)
    this.#workers.add(worker)
    return worker
  }

  /** Ends the queue with all its workers. Commands in it are gone. */
  override async close(): Promise<void> {
    await super.close()
    for (const worker of this.#workers) await worker.close()
    this.service.close()
  }
}
