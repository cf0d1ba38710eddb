import { PartitionConfig, QueueManager } from 'corelane'
import { createRequire } from 'node:module'
import { Worker } from 'node:worker_threads'
import { setTimeout as sleep } from 'node:timers/promises'
import fs from 'fs'
const require = createRequire('/tmp/work/core/bench/peers/package.json')
const { Piscina } = require('piscina'); const workerpool = require('workerpool')
const manager = QueueManager.create({ handlers: 'data:text/javascript,export const echo=(x)=>x', partitions: PartitionConfig.balanced(2) })
await manager.start()
fs.writeFileSync('/tmp/work/echo-cjs.cjs', 'module.exports=(x)=>x')
const pis = new Piscina({ filename: '/tmp/work/echo-cjs.cjs', minThreads: 2, maxThreads: 2 })
fs.writeFileSync('/tmp/work/wp.cjs', `require('${require.resolve('workerpool')}').worker({echo:(x)=>x})`)
const wp = workerpool.pool('/tmp/work/wp.cjs', { minWorkers: 2, maxWorkers: 2, workerType: 'thread' })
const w = new Worker("require('worker_threads').parentPort.on('message',(x)=>require('worker_threads').parentPort.postMessage(x))", { eval: true })
let got; w.on('message', (x) => got(x))
const S = { corelane: () => manager.submit('query', 'echo', 1), piscina: () => pis.run(1), workerpool: () => wp.exec('echo', [1]), post: () => new Promise(r => { got = r; w.postMessage(1) }) }
const names = Object.keys(S), r = Object.fromEntries(names.map(n => [n, []]))
for (const n of names) for (let i = 0; i < 20000; i++) await S[n]()
for (let b = 0; b < 12; b++) for (const n of names) { await sleep(30); for (let i = 0; i < 100; i++) { await sleep(2); const t = performance.now(); await S[n](); if (b > 1) r[n].push((performance.now() - t) * 1000) } }
for (const n of names) { const x = r[n].sort((a, b) => a - b); console.log(n.padEnd(11), 'p10', x[100].toFixed(1), 'p25', x[250].toFixed(1), 'p50', x[500].toFixed(1), 'p75', x[750].toFixed(1)) }
process.exit()
