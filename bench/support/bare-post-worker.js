// Bare postMessage worker: runs a handler per message.
// Thread: one of the bare postMessage pool's.   Owns: nothing.
// @ts-check

import { parentPort } from 'node:worker_threads'
import { callHandler, loadHandlers } from './handlers-url.js'

const port = /** @type {import('node:worker_threads').MessagePort} */ (parentPort)
const { byName } = await loadHandlers()

/** @param {number} id @param {Promise<unknown>} promise */
async function sendLater(id, promise) {
  port.postMessage({ id, value: await promise })
}

port.on('message', ({ id, type, payload }) => {
  const value = callHandler(byName[type], payload)
  if (value instanceof Promise) void sendLater(id, value)
  else port.postMessage({ id, value })
})
port.postMessage('ready')
