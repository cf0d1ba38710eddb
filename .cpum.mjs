// main-thread CPU per command for work of <us>; node cpum.mjs us inflight seconds
import { PartitionConfig, QueueManager } from 'corelane'
import fs from 'fs'
const stat = () => { const o = {}; for (const t of fs.readdirSync('/proc/self/task')) { try { o[t] = [Number(fs.readFileSync(`/proc/self/task/${t}/schedstat`, 'utf8').split(' ')[0]) / 1000, Number((fs.readFileSync(`/proc/self/task/${t}/status`,'utf8').match(/^voluntary_ctxt_switches:\s+(\d+)/m)||[])[1])] } catch {} } return o }
const us = +process.argv[2], inFlight = +process.argv[3] || 1000, secs = +process.argv[4] || 2
const spin = (n) => { let x = 1; for (let i = 0; i < n; i++) x = (x * 1664525 + 1013904223) | 0; return x }
let best = 1e9; for (let t = 0; t < 9; t++) { const a = performance.now(); spin(3e6 + t); best = Math.min(best, performance.now() - a) }
const n = Math.round(us / (best * 1000) * 3e6)
const manager = QueueManager.create({ handlers: 'data:text/javascript,export const spin=' + encodeURIComponent(String(spin)), partitions: PartitionConfig.balanced(2) })
await manager.start()
let late = []
async function go(ms) { const end = performance.now() + ms; let c = 0; const loop = async () => { while (performance.now() < end) { await manager.submit('query', 'spin', n); c++ } }; await Promise.all(Array.from({ length: inFlight }, loop)); return c }
await go(2500)
const out = []
for (let i = 0; i < 4; i++) { const a = stat(), w = performance.now(); const c = await go(secs * 1000); const b = stat(); const wall = performance.now() - w
 const rows = Object.keys(b).map(t => [t, ((b[t][0] - (a[t]?.[0] ?? 0)) / 1000), b[t][1] - (a[t]?.[1] ?? 0)]).filter(r => r[1] > 1).sort((x, y) => y[1] - x[1])
 const main = rows.find(r => r[0] == process.pid)
 out.push(`c ${c} share ${(c * us / 1000 / wall / 2).toFixed(3)} main us/cmd ${(main[1] * 1000 / c).toFixed(2)} wakes/s ${(main[2] / wall * 1000).toFixed(0)} threads ms/cmd ${(rows.filter(r => r !== main).reduce((s, r) => s + r[1], 0) / c * 1000).toFixed(1)}us`) }
console.log(out.join('\n'))
await manager.close()
