// The door of queues on Redis. It needs the package redis, 6.2 or newer.
// Thread: main.   Owns: nothing.

export type { RedisIncident } from './distributed/redis/incident.ts'
export type { RedisClientLike, RedisQueueOptions } from './distributed/redis/options.ts'
export { RedisDistributedQueue } from './distributed/redis/redis-queue.ts'
