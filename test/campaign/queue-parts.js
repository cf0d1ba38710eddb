// Queue parts: the queue of a round, opened the same way by every process of it.

import { RateLimitConfig, Submitter, stableHash } from 'corelane'
import { RedisDistributedQueue } from 'corelane/redis'
import { createClient } from 'redis'

const HOST = '127.0.0.1'

/** The limit that `queue-rate.js` measures. */
export const RATE = { limit: 100, windowMs: 1_000 }

const RETRY = { retries: 2, backoff: 'fixed', delayMs: 20 }

/** Lanes of the workers. */
export const LANES = {
  fast: { priority: 1, retry: RETRY },
  plain: { priority: 5, retry: RETRY },
  limited: { priority: 3, rateLimit: RateLimitConfig.perSecond(RATE.limit) },
}

/**
 * Opens a queue.
 *
 * @param {{ port: number, name: string, strategy: string, partitions: number, leaseMs: number }}
 * place
 */
export function openQueue({ port, name, strategy, partitions, leaseMs }) {
  return RedisDistributedQueue.open({
    url: `redis://${HOST}:${port}`,
    queue: name,
    partitions: { strategy, count: partitions },
    leaseMs,
    commandTimeoutMs: leaseMs,
    // Faults go on meanwhile, on machines that are busy.
    openTimeoutMs: 60_000,
  })
}

/** Opens a submitter. */
export function openSubmitter(queue) {
  return new Submitter(queue, { sweepMs: 300, unknown: 'wait' })
}

/** A client for what an operator does. It is there again when Redis is. */
export async function openAdmin({ url }) {
  const client = createClient({ url, socket: { reconnectStrategy: 50 } })
  client.on('error', () => {})
  await client.connect()
  return client
}

/**
 * A command as a submitter would put it into an envelope.
 *
 * @param {string} id
 * @param {object} command - Of the plan.
 * @param {object} queue
 */
export function envelopeOf(id, { type, lane, index, us, key }, { strategy, numPartitions }) {
  const keyText = key === undefined ? undefined : `key-${key}`
  const hash = stableHash(keyText ?? type) % numPartitions
  return {
    id,
    commandType: type,
    laneId: lane,
    partitionId: strategy === 'hash' ? hash : index % numPartitions,
    payload: { index, us },
    retryCount: 0,
    createdAt: Date.now(),
    key: keyText,
    version: 1,
  }
}

/** Puts an entry into a lane's stream that no worker can make sense of. */
export async function addGarbage(admin, { name, partitions }, random) {
  const key = `corelane:{${name}:${random.below(partitions)}}:s:plain`
  const value = random.oneOf(['', 'nonsense', ':::', 'x:0:0:\u0000\u0001', 'y:1:0:{"json":true}'])
  await admin.sendCommand(['XADD', key, '*', 'v', value])
}
