// Ideal worker: runs the same command again and again.
// Thread: one of the ideal split's.   Owns: nothing.
// @ts-check

import { parentPort } from 'node:worker_threads'
import { callHandler, loadHandlers } from './handlers-url.js'

const port = /** @type {import('node:worker_threads').MessagePort} */ (parentPort)
const { byName } = await loadHandlers()

port.on('message', ({ type, payload, count }) => {
  const handler = byName[type]
  let sum = 0
  for (let i = 0; i < count; i++) sum = (sum + callHandler(handler, payload)) | 0
  port.postMessage(sum)
})
port.postMessage('ready')
