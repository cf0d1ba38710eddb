// Goal: the engine on Redis keeps the whole contract of distributed queues.
// Method: the suite that is published for all engines, on a real Redis; cases run side by side,
// each on a queue of its own.

import { PartitionConfig } from 'corelane'
import { RedisDistributedQueue } from 'corelane/redis'
import { leftOutOfContract, type QueueContractOptions, queueContract } from 'corelane/testing'
import { beforeAll, describe, expect, test } from 'vitest'
import type { RedisProcess } from '../support/redis-process.js'
import { describeWithRedis, startRedis } from '../support/redis-server.ts'

const MAX_BYTES = 65_536

describeWithRedis('the engine on Redis', () => {
  let redis: RedisProcess
  beforeAll(async () => {
    redis = await startRedis()
  })

  const options: QueueContractOptions = {
    open: ({ numPartitions, strategy, ...settings }) =>
      RedisDistributedQueue.open({
        ...settings,
        url: redis.url,
        partitions:
          strategy === 'single' ? PartitionConfig.single() : { strategy, count: numPartitions },
        maxBytes: MAX_BYTES * 4,
        durability: 'ignore',
      }),
    capabilities: {
      delivery: 'at-least-once',
      keyOrder: true,
      ownership: true,
      lanePriority: true,
      commandPriority: false,
      boost: 'lane',
      globalRate: ['token-bucket'],
      globalConcurrency: true,
      groups: true,
      delay: true,
      results: true,
      ages: true,
      lanes: true,
      commands: true,
      durable: true,
    },
    maxBytes: MAX_BYTES * 4,
  }

  describe.concurrent('contract', () => {
    for (const { name, run } of queueContract(options)) test(name, run)
  })

  test('nothing is left out but priorities of commands and what no broker carries', () => {
    const needs = leftOutOfContract(options).flatMap((one) => one.needs)
    expect(new Set(needs)).toEqual(new Set(['commandPriority', 'commandBoost', 'clones']))
  })
})
