// Meta: what was fixed when a queue was first opened, and must be the same for all who open it.
// Thread: main.   Owns: nothing.

import { laneError, show } from '../../base/errors.ts'
import { PARTITION_COUNT_MAX, STRATEGIES } from '../../model/partition-config.ts'
import type { QueuePartitions } from '../contract/queue-partitions.ts'
import type { RedisIncident } from './incident.ts'
import { FORMAT_VERSION, metaKey } from './keys.ts'
import type { RedisQueuePlan } from './options.ts'
import { META } from './scripts/meta.ts'

/**
 * Makes a queue if it is new, and compares it with what it must be.
 *
 * @param plan - How it is opened: its partitions are those of a new queue.
 * @param report - Where the queue was open before: called if Redis has forgotten it.
 * @returns The partitions that the queue has.
 * @throws ConfigError `CORELANE_QUEUE_MISMATCH`; `CORELANE_QUEUE_REFUSED` if its record is damaged.
 */
export async function fixMeta(
  send: (args: readonly string[]) => Promise<unknown>,
  plan: Pick<RedisQueuePlan, 'queue' | 'required' | keyof QueuePartitions>,
  report?: (kind: RedisIncident['kind'], detail: string) => void,
): Promise<QueuePartitions> {
  const { queue, required } = plan
  const given = [String(FORMAT_VERSION), String(plan.numPartitions), plan.strategy]
  const reply = await send(['EVAL', META.source, '1', metaKey(queue), ...given])
  const [isNew, ...found] = reply as [number, ...(Buffer | null)[]]
  const [format, partitions, strategy] = found.map(String)
  compare('format', format, String(FORMAT_VERSION))
  compare('partitions', partitions, required.numPartitions?.toString())
  compare('strategy', strategy, required.strategy)
  const numPartitions = Number(partitions)
  const known = STRATEGIES.find((name) => name === strategy)
  const isWhole = Number.isInteger(numPartitions)
  if (known === undefined || !isWhole || numPartitions < 1 || numPartitions > PARTITION_COUNT_MAX) {
    const reason = `its record has ${show(partitions)} partitions, strategy ${show(strategy)}`
    throw laneError('CORELANE_QUEUE_REFUSED', { queue, reason })
  }
  if (isNew === 1) report?.('data-lost', `queue ${queue}: Redis knew nothing of it any more`)
  return { numPartitions, strategy: known }

  function compare(option: string, expected: string | undefined, received: string | undefined) {
    if (received === undefined || expected === received) return
    throw laneError('CORELANE_QUEUE_MISMATCH', {
      queue,
      option,
      expected: String(expected),
      received,
    })
  }
}
