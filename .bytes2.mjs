import { PartitionConfig, QueueManager } from 'corelane'
import { Worker } from 'node:worker_threads'
import fs from 'fs'
const KB = +process.argv[2] || 32, only = process.argv[3]
const stat = () => { const o = {}; for (const t of fs.readdirSync('/proc/self/task')) { try { o[t] = Number(fs.readFileSync(`/proc/self/task/${t}/schedstat`, 'utf8').split(' ')[0]) / 1000 } catch {} } return o }
const S = {}
if (only !== 'post') { const manager = QueueManager.create({ handlers: 'data:text/javascript,export const echo=(x)=>x', partitions: PartitionConfig.balanced(2) }); await manager.start(); S.corelane = (x) => manager.submit('query', 'echo', x) }
if (only !== 'corelane') {
const ws = [0, 1].map(() => { const w = new Worker("require('worker_threads').parentPort.on('message',([i,x])=>require('worker_threads').parentPort.postMessage([i,x]))", { eval: true }); w.p = new Map(); w.on('message', ([i, x]) => { const r = w.p.get(i); w.p.delete(i); r(x) }); return w }); let k = 0
S.post = (x) => new Promise(r => { const w = ws[k++ & 1]; w.p.set(k, r); w.postMessage([k, x]) }) }
const payload = new Uint8Array(KB * 1024).fill(7)
async function go(n, f) { let left = n; const a = stat(), w0 = performance.now(); const loop = async () => { while (left-- > 0) await f(payload) }; await Promise.all(Array.from({ length: 100 }, loop)); const b = stat(); globalThis.gc?.(); const main = b[process.pid] - a[process.pid]; let all = 0; for (const t in b) all += b[t] - (a[t] ?? 0); return [all / n, main / n, n / (performance.now() - w0)] }
for (let r = 0; r < 3; r++) for (const n in S) await go(10000, S[n])
const res = {}; for (let r = 0; r < 7; r++) for (const n in S) (res[n] ??= []).push(await go(10000, S[n]))
for (const n in res) console.log(n.padEnd(10), 'cpu/cmd', res[n].map(x => x[0]).sort((a, b) => a - b)[2].toFixed(1), 'main', res[n].map(x => x[1]).sort((a, b) => a - b)[2].toFixed(1), 'k/s', res[n].map(x => x[2]).sort((a, b) => b - a)[2].toFixed(1))
process.exit()
