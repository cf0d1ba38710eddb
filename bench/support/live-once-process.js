// Live once, the process: opens one system, gets a first result, rests, and prints what it cost.
// Usage: node live-once-process.js <system> <mode> <threads> <idle ms>
// @ts-check

import { systemNamed } from '../systems/table.js'
import { cpuSince, readCpu } from './cpu-clock.js'
import { collectGarbage } from './garbage.js'
import { smallObject } from './payloads.js'

/** Enough that every thread has run some and grown its buffers. */
const COMMANDS = 2_000
const SETTLE_MS = 100

const [name = '', modeName = '', threads, idle] = process.argv.slice(2)
const mode = systemNamed(name).modes.find((one) => one.name === modeName)
if (mode === undefined) throw new RangeError(`${name} has no mode "${modeName}"`)

/** @param {number} ms */
const rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

const before = readCpu()
const startedAt = performance.now()
const pool = await mode.open(Number(threads))
await pool.run('echo', 1)
const firstResultMs = performance.now() - startedAt
const firstResultCpuMs = cpuSince(before).processUs / 1000
await pool.start?.()

await Promise.all(Array.from({ length: COMMANDS }, (_, id) => pool.run('echo', smallObject(id))))
await rest(SETTLE_MS)
collectGarbage()
const residentMiB = process.memoryUsage.rss() / 2 ** 20

let idlePercent = 0
if (Number(idle) > 0) {
  const resting = readCpu()
  const idleAt = performance.now()
  await rest(Number(idle))
  idlePercent = cpuSince(resting).processUs / 10 / (performance.now() - idleAt)
}
// Not every peer's pool can be closed on every version of Node.
const figures = JSON.stringify({ firstResultMs, firstResultCpuMs, residentMiB, idlePercent })
process.stdout.write(figures, () => process.exit())
