// Metrics cost: no-op commands with metrics on, and with OpenTelemetry's API and no SDK, against the
// same without, in turn.
// Thread: main.   Owns: a process for each, since V8 would compile one path for both in one.
// Run: node bench/metrics-cost.bench.js
// @ts-check

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { PartitionConfig, QueueManager, QueueMetrics } from 'corelane'
import { instrument } from 'corelane/opentelemetry'
import { describeMachine, headerLines } from './support/machine.js'
import { summarize } from './support/statistics.js'

const isQuick = process.argv.includes('--quick')
const ROUNDS = isQuick ? 1 : 41
const COMMANDS = isQuick ? 2_000 : 50_000
const IN_FLIGHT = 1000

/** @typedef {{ ms: number, cpuUs: number }} Trial */

/**
 * Time of all commands, and processor time of one, all threads together.
 *
 * @param {QueueManager} manager - Started.
 * @returns {Promise<Trial>}
 */
async function trial(manager) {
  let left = COMMANDS
  const cpu = process.cpuUsage()
  const startedMs = performance.now()
  const loop = async () => {
    while (left-- > 0) await manager.run('echo', 1)
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, loop))
  const { user, system } = process.cpuUsage(cpu)
  return { ms: performance.now() - startedMs, cpuUs: (user + system) / COMMANDS }
}

/** @param {string} kind */
async function measure(kind) {
  const handlers = new URL('./support/handlers.js', import.meta.url)
  if (kind === 'telemetry') instrument()
  const metrics = kind === 'on' ? QueueMetrics.local() : undefined
  const partitions = PartitionConfig.balanced(2)
  const manager = QueueManager.create({ handlers, partitions, metrics })
  await manager.start()
  process.on('message', async () => process.send?.(await trial(manager)))
  process.on('disconnect', () => manager.close())
}

/** @param {readonly number[]} values */
const median = (values) => summarize(values).median

async function compare() {
  for (const line of headerLines(await describeMachine())) console.log(line)
  const kinds = ['off', 'on', 'telemetry'].map((kind) => {
    const child = fork(fileURLToPath(import.meta.url), ['--child', kind, ...process.argv.slice(2)])
    return { kind, child, trials: /** @type {Trial[]} */ ([]) }
  })
  // The first rounds warm up.
  for (let round = -4; round < ROUNDS; round++) {
    for (const { child, trials } of round % 2 === 0 ? kinds : [...kinds].reverse()) {
      child.send('go')
      const [measured] = await once(child, 'message')
      if (round >= 0) trials.push(measured)
    }
  }
  for (const { kind, child, trials } of kinds) {
    child.disconnect()
    const rate = Math.round((COMMANDS / median(trials.map(({ ms }) => ms))) * 1000)
    const cpuUs = median(trials.map((one) => one.cpuUs))
    const perSecond = rate.toLocaleString('en-US').padStart(11)
    console.log(`metrics ${kind.padEnd(9)}${perSecond}/s  ${cpuUs.toFixed(2)} µs of processor time`)
  }
  const [off, ...others] = kinds
  for (const { kind, trials } of others) {
    const bases = off?.trials ?? []
    const times = median(trials.map(({ ms }, i) => ms / (bases[i]?.ms ?? ms)))
    const cpus = median(trials.map(({ cpuUs }, i) => cpuUs / (bases[i]?.cpuUs ?? cpuUs)))
    const ratios = `time ${times.toFixed(3)}, processor time ${cpus.toFixed(3)}`
    console.log(`${kind} : off`.padEnd(17), ratios)
  }
}

const child = process.argv.indexOf('--child')
if (child < 0) await compare()
else await measure(process.argv[child + 1] ?? '')
