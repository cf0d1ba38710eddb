// Meta: what was fixed when a queue was first opened, and must be the same for all who open it.
// Thread: main.   Owns: nothing.

import { laneError } from '../../base/errors.ts'
import type { RedisIncident } from './incident.ts'
import { FORMAT_VERSION, type QueueKeys } from './keys.ts'
import type { RedisQueuePlan } from './options.ts'
import { META } from './side-scripts.ts'

/**
 * Fixes what a queue is, or compares it with what it was made as.
 *
 * @param send - Sends a command.
 * @param keys - Names of the queue.
 * @param plan - How it is opened.
 * @param report - Where the queue was open before: told if Redis has forgotten it.
 * @throws ConfigError `CORELANE_QUEUE_MISMATCH`.
 */
export async function fixMeta(
  send: (args: readonly string[]) => Promise<unknown>,
  keys: QueueKeys,
  plan: RedisQueuePlan,
  report?: (kind: RedisIncident['kind'], detail: string) => void,
): Promise<void> {
  const given = [String(FORMAT_VERSION), String(plan.numPartitions), plan.strategy]
  const [isNew, ...found] = (await send(['EVAL', META.source, '1', keys.meta, ...given])) as [
    number,
    ...Buffer[],
  ]
  for (const [i, option] of ['format', 'partitions', 'strategy'].entries()) {
    const expected = String(found[i])
    if (expected !== given[i]) {
      const received = given[i]
      throw laneError('CORELANE_QUEUE_MISMATCH', { queue: plan.queue, option, expected, received })
    }
  }
  if (isNew === 1 && report !== undefined) {
    report('data-lost', `queue ${plan.queue}: Redis knew nothing of it any more`)
  }
}
