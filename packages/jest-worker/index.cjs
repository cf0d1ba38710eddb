// The classes by their names, as jest-worker exports them.
'use strict'

const { FifoQueue, messageParent, PriorityQueue, Worker } = require('corelane/jest-worker')

module.exports = { FifoQueue, PriorityQueue, Worker, default: Worker, messageParent }
Object.defineProperty(module.exports, '__esModule', { value: true })
