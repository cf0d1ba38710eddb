// Goal: a server in Cluster mode does if it has all slots, and is refused if it has not.
// Method: real servers in Cluster mode: one alone, and two that share the slots.

import { setTimeout as sleep } from 'node:timers/promises'
import { PartitionConfig } from 'corelane'
import { RedisDistributedQueue } from 'corelane/redis'
import { expect, test } from 'vitest'
import { within } from '../support/deadline.ts'
import { keep, openSubmitter, openWorker } from '../support/pools.ts'
import { range } from '../support/range.ts'
import { describeWithRedis, startRedis } from '../support/redis-server.ts'
import { newClient } from './support/redis-moves.ts'

const SLOTS = 16_384

/** Servers that share the slots. */
async function startCluster(count: number) {
  const args = ['--cluster-enabled', 'yes']
  const servers = await Promise.all(range(count).map(() => startRedis({ args })))
  const [first] = servers
  const clients: ReturnType<typeof newClient>[] = []
  for (const [i, { url }] of servers.entries()) {
    const client = newClient(url)
    await client.connect()
    const [from, to] = [i, i + 1].map((at) => Math.floor((at * SLOTS) / count))
    await client.sendCommand(['CLUSTER', 'ADDSLOTSRANGE', `${from}`, `${to! - 1}`])
    if (i > 0) await client.sendCommand(['CLUSTER', 'MEET', first!.host, `${first!.port}`])
    clients.push(client)
  }
  for (const client of clients) {
    let info = ''
    while (!info.includes('cluster_state:ok')) {
      await sleep(20)
      info = String(await client.sendCommand(['CLUSTER', 'INFO']))
    }
    client.destroy()
  }
  return servers
}

describeWithRedis('the engine on Redis in Cluster mode', () => {
  test('a server that has all slots does for every strategy', async () => {
    const [server] = await startCluster(1)
    for (const partitions of [PartitionConfig.hash(4), PartitionConfig.balanced(4)]) {
      const queue = keep(
        await RedisDistributedQueue.open({
          url: server!.url,
          queue: partitions.strategy,
          partitions,
          durability: 'ignore',
        }),
      )
      const { pool } = await openWorker(queue)
      const submitter = openSubmitter(queue)
      const keyed = partitions.strategy === 'hash'
      const all = range(20).map((i) =>
        submitter.submit('query', 'mark', i, keyed ? { key: `key-${i}` } : {}),
      )
      await within(Promise.all(all), 'results')
      expect(pool.incidents).toEqual([])
      expect(pool.stats().ownedPartitions).toBe(keyed ? 4 : undefined)
      await pool.close()
    }
  })

  test('one of several servers is refused, wherever the record of the queue lies', async () => {
    const servers = await startCluster(2)
    for (const { url } of servers) {
      for (const queue of ['one', 'two', 'three', 'four']) {
        const opened = RedisDistributedQueue.open({ url, queue, durability: 'ignore' })
        await expect(opened).rejects.toMatchObject({
          code: 'CORELANE_QUEUE_UNAVAILABLE',
          message: expect.stringContaining('MOVED'),
        })
      }
    }
  })
})
