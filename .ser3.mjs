import { PartitionConfig, QueueManager } from 'corelane'
import { setTimeout as sleep } from 'node:timers/promises'
const notify = Atomics.notify; let t1 = 0; Atomics.notify = function (a, b, c) { t1 = performance.now(); return notify(a, b, c) }
const manager = QueueManager.create({ handlers: 'data:text/javascript,export const now=()=>performance.timeOrigin+performance.now()', partitions: PartitionConfig.balanced(2) })
await manager.start()
for (let i = 0; i < 30000; i++) await manager.submit('query', 'now', 1)
const d = [[], [], [], []]
for (let i = 0; i < 1500; i++) { await sleep(2); const t0 = performance.now(); const h = await manager.submit('query', 'now', 1) - performance.timeOrigin; const t4 = performance.now(); if (t1 < t0) continue; d[0].push(t1 - t0); d[1].push(h - t1); d[2].push(t4 - h); d[3].push(t4 - t0) }
for (const [i, n] of ['submit→notify', 'notify→handler', 'handler→settled', 'all'].entries()) { const x = d[i].sort((a, b) => a - b); console.log(n.padEnd(16), ...[.1, .25, .5, .75].map(p => (x[Math.floor(x.length * p)] * 1000).toFixed(1))) }
await manager.close()
