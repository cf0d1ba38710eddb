// Bare ring worker: takes commands off its ring, runs them, writes their results.
// Thread: one of the bare ring's.   Owns: its end of both rings.
// @ts-check

import { parentPort, workerData } from 'node:worker_threads'
import { Bell, loadMsgpackr, RingReader, RingWriter } from './bare-ring-memory.js'
import { callHandler, loadHandlers } from './handlers-url.js'

/** Commands taken before their results are shown. */
const BATCH = 256

const { names, byName } = await loadHandlers()
const handlers = names.map((name) => byName[name])
const { packr, unpackr } = await loadMsgpackr()
const commands = new RingReader(workerData.commands, unpackr)
const results = new RingWriter(
  workerData.results,
  packr,
  new Bell(new Int32Array(workerData.bell), 0),
)

/** Results that found no room. @type {{ id: number, value: unknown }[]} */
const outbox = []
let waiting = 0

/** @param {number} id @param {unknown} value */
function send(id, value) {
  if (outbox.length > 0 || !results.write(id, 0, value)) outbox.push({ id, value })
}

/** @param {number} id @param {Promise<unknown>} promise */
async function sendLater(id, promise) {
  waiting++
  send(id, await promise)
  results.publish()
  waiting--
}

/** @param {number} id @param {number} type @param {unknown} payload */
function execute(id, type, payload) {
  const value = callHandler(handlers[type], payload)
  if (value instanceof Promise) void sendLater(id, value)
  else send(id, value)
}

async function emptyOutbox() {
  results.publish()
  while (outbox.length > 0) {
    const { id, value } = /** @type {{ id: number, value: unknown }} */ (outbox[0])
    if (results.write(id, 0, value)) outbox.shift()
    else await new Promise((resolve) => setImmediate(resolve))
    results.publish()
  }
}

// A pending waitAsync does not keep a thread alive.
setInterval(() => {}, 2 ** 30)
parentPort?.postMessage('ready')
for (;;) {
  if (commands.read(execute, BATCH) > 0) {
    if (outbox.length > 0) await emptyOutbox()
    results.publish()
    if (waiting > 0) await new Promise((resolve) => setImmediate(resolve))
    continue
  }
  commands.bell.announce()
  if (!commands.isEmpty) commands.bell.awake()
  else if (waiting === 0) commands.bell.sleep()
  else await commands.bell.sleepAsync()
}
