// BullMQ: its queue, its workers in processes of their own, and its events.
// Thread: main.   Owns: nothing.
// @ts-check

import { loadPeer } from '../peers/load-peer.js'
import { forkWorkers } from '../support/fork-workers.js'
import { installedVersion, missingPeer } from '../systems/installed-version.js'

const PROCESS = new URL('./bullmq-process.js', import.meta.url)

/** Jobs that a worker process runs at once. They do not wait for anything, yet it matters. */
const CONCURRENCIES = [1, 20, 100, 300]

/** @type {import('./contract.js').QueueSystem} */
export const bullmq = {
  name: 'bullmq',
  version: () => installedVersion('bullmq'),
  missing: () => missingPeer('bullmq') ?? missingPeer('ioredis'),
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
  const { Queue, QueueEvents } = await loadPeer('bullmq')
  const connection = { host: redis.host, port: redis.port }
  const queue = new Queue(name, { connection })
  const events = new QueueEvents(name, { connection })
  await events.waitUntilReady()
  const end = await forkWorkers(PROCESS, { connection, name, concurrency }, workers)

  /** @type {Map<string, { resolve: (value: unknown) => void, reject: (error: Error) => void }>} */
  const pending = new Map()
  events.on('completed', (/** @type {any} */ { jobId, returnvalue }) => {
    pending.get(jobId)?.resolve(returnvalue)
    pending.delete(jobId)
  })
  events.on('failed', (/** @type {any} */ { jobId, failedReason }) => {
    pending.get(jobId)?.reject(new Error(failedReason))
    pending.delete(jobId)
  })

  let count = 0
  /** @type {object[]} */
  let batch = []
  const flush = () => {
    const jobs = batch
    batch = []
    queue.addBulk(jobs).catch((/** @type {Error} */ error) => {
      for (const { reject } of pending.values()) reject(error)
    })
  }
  return {
    // What is submitted in one turn is added in one call. Its own `waitUntilFinished` asks Redis
    // about each job; the events that it waits for are enough.
    run: (type, payload) =>
      new Promise((resolve, reject) => {
        const jobId = `command-${count++}`
        pending.set(jobId, { resolve, reject })
        if (batch.length === 0) setImmediate(flush)
        batch.push({ name: type, data: payload, opts: { jobId, removeOnComplete: true } })
      }),
    close: async () => {
      await end()
      await queue.obliterate({ force: true })
      await Promise.all([queue.close(), events.close()])
    },
  }
}
