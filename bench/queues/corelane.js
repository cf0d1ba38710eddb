// corelane: its queue on Redis, worker pools in processes of their own, and a submitter.
// Thread: main.   Owns: nothing.
// @ts-check

import { readFileSync } from 'node:fs'
import { Submitter } from 'corelane'
import { RedisDistributedQueue } from 'corelane/redis'
import { forkWorkers } from '../support/fork-workers.js'

const PROCESS = new URL('./corelane-process.js', import.meta.url)

/** Handlers at once in the one thread of a worker process. */
const CONCURRENCIES = [1, 100]

/** @type {import('./contract.js').QueueSystem} */
export const corelane = {
  name: 'corelane',
  version: () =>
    JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version,
  missing: () => undefined,
  modes: CONCURRENCIES.map((concurrency) => ({
    name: `concurrency ${concurrency}`,
    open: (place) => open(place, concurrency),
  })),
}

/**
 * @param {import('./contract.js').Place} place
 * @param {number} concurrency
 * @returns {Promise<import('../support/contract.js').Pool>}
 */
async function open({ redis, name, workers }, concurrency) {
  const options = { url: redis.url, queue: name }
  const queue = await RedisDistributedQueue.open(options)
  const submitter = new Submitter(queue)
  const end = await forkWorkers(PROCESS, { options, concurrency }, workers)
  return {
    run: (type, payload) => submitter.submit('query', type, payload),
    close: async () => {
      await submitter.close()
      await end()
      await queue.close()
    },
  }
}
