// Redis moves: what tests of the engine on Redis are made of.

import { PartitionConfig } from 'corelane'
import { RedisDistributedQueue, type RedisQueueOptions } from 'corelane/redis'
import { createClient } from 'redis'
import { afterEach, beforeAll, expect } from 'vitest'
import { keep } from '../../support/pools.ts'
import { range } from '../../support/range.ts'
import type { RedisOptions, RedisProcess } from '../../support/redis-process.js'
import { startRedis } from '../../support/redis-server.ts'

export type Delivery = Awaited<ReturnType<RedisDistributedQueue['lease']>>[number]

/** Queues of one test: each test of a block has a queue of its own, which is closed after it. */
export class RedisQueues {
  /** Name of the queue of the present test. */
  queue = 'test-0'
  redis!: RedisProcess
  /** For what the engine has no call for. */
  admin!: ReturnType<typeof newClient>
  #count = 0

  /** Starts a Redis for the tests of a block. */
  setUp(options?: RedisOptions): void {
    beforeAll(async () => {
      this.redis = await startRedis(options)
      this.admin = newClient(this.redis.url)
      await this.admin.connect()
      return () => this.admin.destroy()
    })
    afterEach(() => {
      this.queue = `test-${++this.#count}`
    })
  }

  /** Opens the queue of the test there, unless the options lead elsewhere. */
  readonly start = async (options: RedisQueueOptions = {}): Promise<RedisDistributedQueue> => {
    const isElsewhere = options.client !== undefined || options.connection !== undefined
    const one = await RedisDistributedQueue.open({
      ...(isElsewhere ? {} : { url: this.redis.url }),
      queue: this.queue,
      partitions: PartitionConfig.roundRobin(2),
      durability: 'ignore',
      ...options,
    })
    return keep(one)
  }

  /** Commands that no other test knows. */
  envelopes(howMany: number, members: object = {}) {
    return range(howMany).map(() => ({
      id: `${this.queue}.${++this.#count}`,
      commandType: 'work',
      laneId: 'lane',
      partitionId: 0,
      payload: { count: this.#count },
      retryCount: 0,
      createdAt: Date.now(),
      version: 1,
      ...members,
    }))
  }
}

/** A client for what the engine has no call for. */
export function newClient(url: string) {
  const client = createClient({ url, RESP: 2 })
  client.on('error', () => {})
  return client
}

/** Leases once. */
export function take(from: RedisDistributedQueue, max = 1000, waitMs = 5000): Promise<Delivery[]> {
  const partitions = range(from.numPartitions)
  const lanes = [{ laneId: 'lane', max, priority: 5, boost: [] }]
  return from.lease({ partitions, lanes, max, waitMs })
}

/** Leases until so many came. */
export async function takeAll(from: RedisDistributedQueue, howMany: number): Promise<Delivery[]> {
  const all: Delivery[] = []
  const endMs = performance.now() + 15_000
  while (all.length < howMany && performance.now() < endMs) {
    all.push(...(await take(from, howMany - all.length)))
  }
  expect(all.length).toBe(howMany)
  return all
}

/** A success. */
export function completion(delivery: Delivery, by: RedisDistributedQueue, value: unknown = null) {
  const { id: commandId, partitionId, retryCount } = delivery.envelope
  const { workerId } = by
  const times = { durationMs: 1, completedAt: Date.now() }
  return {
    delivery,
    result: { commandId, partitionId, workerId, success: true, value, retryCount, ...times },
  }
}

/** Completes with success. */
export function complete(by: RedisDistributedQueue, deliveries: readonly Delivery[]) {
  return by.completeMany(deliveries.map((delivery) => completion(delivery, by)))
}
