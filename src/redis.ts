// The door of queues on Redis. It needs the package redis, 6.2 or newer.
// Thread: main.

export type {
  RedisClientLike,
  RedisIncident,
  RedisQueueOptions,
} from './distributed/redis/options.ts'
export { RedisDistributedQueue } from './distributed/redis/redis-queue.ts'
