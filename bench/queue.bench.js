// Queue benchmark: commands through Redis to worker processes and their results back, corelane
// beside BullMQ.
// Thread: main.   Owns: the Redis and the processes it starts.
// @ts-check
//
//   npm run bench:queue                  about a minute and a half
//   npm run bench:queue -- --quick       a smoke in seconds; its figures mean nothing
//   npm run bench:queue -- --systems corelane --only no-op
//
// One redis-server (append-only file, written once a second), two worker processes for each system
// with one thread that runs handlers, and a submitter in this process. A command is over when its
// submitter has the result, and every result is checked. Samples of the systems take turns.

import { parseArgs } from 'node:util'
import { findRedis, RedisProcess } from '../test/support/redis-process.js'
import { bullmq } from './queues/bullmq.js'
import { corelane } from './queues/corelane.js'
import { closedLoop } from './support/closed-loop.js'
import { spin } from './support/handlers.js'
import { installPeers } from './support/install-peers.js'
import { describeMachine, headerLines } from './support/machine.js'
import { smallObjects } from './support/payloads.js'
import { iterationsFor } from './support/spin-rate.js'
import { medianRatio, summarize } from './support/statistics.js'

const SYSTEMS = [corelane, bullmq]
const WORKERS = 2

const { values: flags } = parseArgs({
  options: { quick: { type: 'boolean' }, systems: { type: 'string' }, only: { type: 'string' } },
})
const isQuick = flags.quick === true
const SAMPLES = isQuick ? 1 : 7
const SAMPLE_MS = isQuick ? 20 : 2_000
const TRIAL_MS = isQuick ? 100 : 1_000
const WARM_UP_MS = isQuick ? 10 : 1_000

/** @typedef {{ name: string, inFlight: number, load: Omit<import('./support/closed-loop.js').Load, 'ms' | 'inFlight'> }} Row */

/** @returns {Row[]} */
function rows() {
  const iterations = iterationsFor(1_000)
  return [
    { name: 'no-op, small object', inFlight: 1_000, load: { type: 'echo', ...smallObjects() } },
    {
      name: '1 ms of work',
      inFlight: 200,
      load: {
        type: 'spin',
        values: [iterations],
        digest: (value) => value,
        expected: () => spin(iterations),
      },
    },
  ]
}

/**
 * One sample.
 *
 * @param {import('./support/contract.js').Pool} pool
 * @param {Row} row
 * @param {number} ms
 * @param {RedisProcess} redis
 */
async function sample(pool, { load, inFlight }, ms, redis) {
  globalThis.gc?.()
  const cpuBefore = await redis.cpuUs()
  const { commands, ms: took } = await closedLoop(pool, { ...load, inFlight, ms })
  const cpuUs = ((await redis.cpuUs()) - cpuBefore) / commands
  return { perSecond: (commands / took) * 1_000, cpuUs }
}

/**
 * Opens the mode of a system that is the fastest here.
 *
 * @param {import('./queues/contract.js').QueueSystem} system
 * @param {Row} row
 * @param {RedisProcess} redis
 */
async function openBest(system, row, redis) {
  const place = (/** @type {string} */ mode) => ({
    redis,
    name: `${system.name}-${row.load.type}-${mode.replace(/\W+/g, '-')}`,
    workers: WORKERS,
  })
  let best = { mode: system.modes[0], rate: 0 }
  if (system.modes.length > 1 && !isQuick) {
    for (const mode of system.modes) {
      const pool = await mode.open(place(`trial ${mode.name}`))
      await sample(pool, row, TRIAL_MS, redis)
      const { perSecond } = await sample(pool, row, TRIAL_MS, redis)
      await pool.close()
      if (perSecond > best.rate) best = { mode, rate: perSecond }
    }
  }
  const { mode } = best
  if (mode === undefined) throw new Error(`${system.name} has no mode`)
  const pool = await mode.open(place(mode.name))
  await sample(pool, row, WARM_UP_MS, redis)
  return { system, mode: mode.name, pool, rates: /** @type {number[]} */ ([]), cpu: [0] }
}

/**
 * Measures a row and prints it.
 *
 * @param {Row} row
 * @param {readonly import('./queues/contract.js').QueueSystem[]} systems
 * @param {RedisProcess} redis
 */
async function measure(row, systems, redis) {
  const entries = []
  for (const system of systems) entries.push(await openBest(system, row, redis))
  for (const entry of entries) entry.cpu = []
  for (let round = 0; round < SAMPLES; round++) {
    // Each round starts with another system.
    const turn = [
      ...entries.slice(round % entries.length),
      ...entries.slice(0, round % entries.length),
    ]
    for (const entry of turn) {
      const { perSecond, cpuUs } = await sample(entry.pool, row, SAMPLE_MS, redis)
      entry.rates.push(perSecond)
      entry.cpu.push(cpuUs)
    }
  }
  console.log(`\n${row.name}, ${row.inFlight} in flight, ${SAMPLES} samples`)
  const reference = entries.find(({ system }) => system === bullmq)
  for (const { system, mode, rates, cpu } of entries) {
    const { median, p25, p75 } = summarize(rates)
    const ratio =
      reference === undefined ? '' : ` ${medianRatio(rates, reference.rates).toFixed(2)} of BullMQ`
    const figures = [median, p25, p75].map((rate) => Math.round(rate).toLocaleString('en-US'))
    console.log(
      `${system.name.padEnd(9)} ${figures[0]?.padStart(8)}/s (${figures[1]} – ${figures[2]}),` +
        ` Redis ${summarize(cpu).median.toFixed(0)} µs each,${ratio}  [${mode}]`,
    )
  }
  for (const { pool } of entries) await pool.close()
}

async function main() {
  const { missing, version } = findRedis()
  if (missing !== undefined) throw new Error(missing)
  const wanted = flags.systems?.split(',')
  const chosen = SYSTEMS.filter(({ name }) => wanted?.includes(name) ?? true)
  if (chosen.includes(bullmq)) installPeers((line) => console.log(line))
  const systems = chosen.filter(({ name, missing: why }) => {
    const reason = why()
    if (reason !== undefined) console.log(`${name} is left out: ${reason}`)
    return reason === undefined
  })
  for (const line of headerLines(await describeMachine()).slice(0, 3)) console.log(line)
  const versions = systems.map((system) => `${system.name} ${system.version()}`)
  console.log(`Redis ${version}, append-only file once a second; ${versions.join(', ')}`)
  const redis = await RedisProcess.start({ persistence: 'everysec' })
  try {
    for (const row of rows()) {
      if (row.name.includes(flags.only ?? '')) await measure(row, systems, redis)
    }
  } finally {
    await redis.stop()
  }
}

await main()
