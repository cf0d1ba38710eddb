// Uses of Redis: apart, since checking the types of the package redis takes as long as all others.

import { type DistributedQueue, Submitter } from 'corelane'
import { type RedisClientLike, RedisDistributedQueue } from 'corelane/redis'

export async function open(client: RedisClientLike): Promise<DistributedQueue> {
  const queue = await RedisDistributedQueue.open({ client, queue: 'numbers' })
  const submitter = new Submitter(queue)
  await submitter.submit('query', 'double', 2)
  await queue[Symbol.asyncDispose]()
  return queue
}
