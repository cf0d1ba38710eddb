// The class by its name, as jest-worker exports it, and as default.
'use strict'

const { Worker } = require('corelane/jest-worker')

module.exports = { Worker, default: Worker }
Object.defineProperty(module.exports, '__esModule', { value: true })
