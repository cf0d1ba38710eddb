// corelane process: a worker process of corelane.
// Thread: main.   Owns: its pool.
// @ts-check

import { PartitionConfig, QueueManager, WorkerPool } from 'corelane'
import { RedisDistributedQueue } from 'corelane/redis'

const CLOSE_MS = 5_000

const { options, concurrency } = JSON.parse(process.argv[2] ?? '{}')
const queue = await RedisDistributedQueue.open(options)
const manager = QueueManager.create({
  handlers: new URL('../support/handlers.js', import.meta.url),
  partitions: PartitionConfig.balanced(1),
  concurrencyPerPartition: concurrency,
})
const pool = new WorkerPool(queue, manager)
await pool.start()
process.on('disconnect', async () => {
  setTimeout(() => process.exit(1), CLOSE_MS).unref()
  await pool.close()
  await manager.close()
  await queue.close()
  process.exit(0)
})
process.send?.('ready')
