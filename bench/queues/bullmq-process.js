// BullMQ process: a worker process of BullMQ.
// Thread: main.   Owns: its worker.
// @ts-check

import { loadPeer } from '../peers/load-peer.js'
import * as handlers from '../support/handlers.js'

const CLOSE_MS = 5_000

const { connection, name, concurrency } = JSON.parse(process.argv[2] ?? '{}')
const { Worker } = await loadPeer('bullmq')

/** @type {Record<string, (payload: any) => unknown>} */
const byName = { echo: handlers.echo, spin: handlers.spin }
/** Spread, so that Maglev does not inline the handler's loop: see `short` of the handlers. */
const run = async (/** @type {any} */ job) => byName[job.name]?.(...[job.data])
const worker = new Worker(name, run, { connection, concurrency })
await worker.waitUntilReady()
process.on('disconnect', () => {
  // Without its Redis it would wait for ever.
  setTimeout(() => process.exit(1), CLOSE_MS).unref()
  void worker.close().then(() => process.exit(0))
})
process.send?.('ready')
