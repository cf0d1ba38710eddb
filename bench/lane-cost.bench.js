// Lane cost: what each promise of a lane costs, what a million queued commands do, and how fast a
// stream of a million values is, in one run.
// Thread: main.   Owns: the managers it makes.
// @ts-check
//
// No-op commands, 1,000 in flight, two partitions of four: the same commands through a bare lane,
// through one with a single promise each, and through one with all of them, in turn. The maximum of
// 4 is below what could run, so every start takes a slot; it never has to wait for one. Three more
// lanes get commands of 10,000 groups in turn, two of them with a maximum or a rate for each.
// Multiples are medians of the ratios round by round. `--only groups,groups-max` compares these with
// the bare one and measures nothing else.

import {
  LaneConfig,
  PartitionConfig,
  PriorityBoostConfig,
  QueueManager,
  RateLimitConfig,
  RetryPolicy,
} from 'corelane'
import { cpuSince, readCpu } from './support/cpu-clock.js'
import { describeMachine, headerLines } from './support/machine.js'
import { summarize } from './support/statistics.js'

const isQuick = process.argv.includes('--quick')
const only = process.argv[process.argv.indexOf('--only') + 1 || Number.POSITIVE_INFINITY]
const ROUNDS = isQuick ? 1 : 9
const COMMANDS = isQuick ? 500 : 150_000
const QUEUED = isQuick ? 5_000 : 1_000_000
const STREAMED = isQuick ? 10_000 : 1_000_000

const RATE = RateLimitConfig.perSecond(100_000_000)
const BOOST = PriorityBoostConfig.standard(60_000)

const LANES = {
  bare: new LaneConfig(),
  slots: new LaneConfig(0, 4),
  minimum: new LaneConfig(1),
  rate: new LaneConfig().withRateLimit(RATE),
  boost: new LaneConfig().withPriorityBoost(BOOST),
  recovery: new LaneConfig().withTimeout(60_000).withRetryPolicy(RetryPolicy.exponential(3)),
  bound: new LaneConfig().withMaxPending(1_000_000),
  groups: new LaneConfig(),
  'groups-max': new LaneConfig().withGroupConcurrency(4),
  'groups-rate': new LaneConfig().withGroupRateLimit(RATE),
  all: new LaneConfig(1, 4).withRateLimit(RATE).withPriorityBoost(BOOST).withMaxPending(1_000_000),
}

const GROUPS = Array.from({ length: 10_000 }, (_, i) => ({ group: `tenant-${i}` }))

const PAYLOADS = { number: 1, object: { id: 1, name: 'abc', tags: [1, 2, 3] } }

const MEASURED = only === undefined ? Object.keys(LANES) : ['bare', ...only.split(',')]

/** @typedef {{ rate: number, processUs: number, mainUs: number }} Sample */

/**
 * Commands per second with so many in flight, and processor time of each, of all threads and of the
 * main one.
 *
 * @param {import('corelane').QueueManager} manager - Started.
 * @param {string} lane - Name of the lane.
 * @param {unknown} payload - Of every command.
 * @returns {Promise<Sample>}
 */
async function throughput(manager, lane, payload) {
  let left = COMMANDS
  const startedMs = performance.now()
  const startedCpu = readCpu()
  const options = lane.startsWith('groups') ? GROUPS : [undefined]
  const loop = async () => {
    while (left-- > 0) await manager.submit(lane, 'echo', payload, options[left % options.length])
  }
  await Promise.all(Array.from({ length: 1000 }, loop))
  const { processUs, mainUs } = cpuSince(startedCpu)
  const rate = (COMMANDS / (performance.now() - startedMs)) * 1000
  return { rate, processUs: processUs / COMMANDS, mainUs: mainUs / COMMANDS }
}

/** Makes a manager for the fixtures of the benchmark. */
async function open() {
  const manager = QueueManager.create({
    handlers: new URL('./support/handlers.js', import.meta.url),
    partitions: PartitionConfig.balanced(2),
    concurrencyPerPartition: 4,
    lanes: LANES,
    drainTimeoutMs: 120_000,
  })
  await manager.start()
  return manager
}

/** Compares the lanes for each payload. */
async function compareLanes() {
  const manager = await open()
  for (const [kind, payload] of Object.entries(PAYLOADS)) {
    /** @type {Record<string, Sample>[]} */
    const rounds = []
    // The first two rounds warm up.
    for (let round = -2; round < ROUNDS; round++) {
      /** @type {Record<string, Sample>} */
      const samples = {}
      for (const lane of MEASURED) samples[lane] = await throughput(manager, lane, payload)
      if (round >= 0) rounds.push(samples)
    }
    for (const lane of MEASURED) {
      /** @param {keyof Sample} figure */
      const median = (figure) => summarize(rounds.map((one) => one[lane]?.[figure] ?? 0)).median
      /** @param {keyof Sample} figure */
      const multiple = (figure) => {
        const ratios = rounds.map((one) => (one[lane]?.[figure] ?? 0) / (one.bare?.[figure] ?? 0))
        return summarize(ratios).median.toFixed(2)
      }
      const rate = Math.round(median('rate')).toLocaleString('en-US')
      console.log(
        `${kind.padEnd(7)} ${lane.padEnd(10)} ${rate.padStart(11)}/s  ${multiple('rate')} of bare,`,
        `${multiple('processUs')} times its processor time,`,
        `${multiple('mainUs')} on the main thread`,
      )
    }
  }
  await manager.close()
}

/** Queues many commands at once; the results are kept, nobody awaits them one by one. */
async function queueMany() {
  const manager = await open()
  await throughput(manager, 'bare', PAYLOADS.object)
  globalThis.gc?.()
  const heapBefore = process.memoryUsage().heapUsed
  const kept = new Array(QUEUED)
  const startedMs = performance.now()
  for (let i = 0; i < QUEUED; i++) kept[i] = manager.submit('bare', 'echo', i)
  const queuedMs = performance.now()
  globalThis.gc?.()
  const heapEach = (process.memoryUsage().heapUsed - heapBefore) / QUEUED
  const drainingMs = performance.now()
  await manager.drain()
  const drainedMs = performance.now()
  const results = await Promise.all(kept)
  if (!results.every((result, i) => result === i)) throw new Error('a result is wrong')
  const submits = Math.round((QUEUED / (queuedMs - startedMs)) * 1000).toLocaleString('en-US')
  const drained = Math.round((QUEUED / (drainedMs - drainingMs)) * 1000).toLocaleString('en-US')
  const heap = globalThis.gc === undefined ? 'run with --expose-gc' : `${heapEach.toFixed(0)} bytes`
  console.log(
    `${QUEUED.toLocaleString('en-US')} queued: ${submits} submits/s, ${drained} drained/s`,
  )
  console.log(`coordinator heap of each while it waits: ${heap}`)
  await manager.close()
}

/** Reads a stream as fast as it comes, and with a reader that is slower than its generator. */
async function streamMany() {
  const manager = await open()
  for (const handler of ['stream', 'asyncStream']) {
    for await (const _ of manager.stream('bare', handler, STREAMED / 20));
    globalThis.gc?.()
    const before = process.memoryUsage()
    let peak = 0
    let sum = 0
    const startedMs = performance.now()
    for await (const value of manager.stream('bare', handler, STREAMED)) {
      sum += /** @type {number} */ (value)
      if (sum % 65_536 === 0) peak = Math.max(peak, process.memoryUsage().rss)
    }
    const rate = Math.round((STREAMED / (performance.now() - startedMs)) * 1000)
    if (sum !== (STREAMED * (STREAMED - 1)) / 2) throw new Error('a value is missing')
    const grownMb = Math.max(0, peak - before.rss) / 2 ** 20
    console.log(
      `${handler.padEnd(11)} ${rate.toLocaleString('en-US').padStart(11)} values/s,`,
      `resident memory grew by ${grownMb.toFixed(0)} MiB`,
    )
  }
  let sum = 0
  for await (const value of manager.stream('bare', 'stream', STREAMED / 100)) {
    sum += /** @type {number} */ (value)
    if (sum % 97 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
  }
  const count = STREAMED / 100
  if (sum !== (count * (count - 1)) / 2) throw new Error('a slow reader lost a value')
  console.log('a slow reader lost nothing')
  await manager.close()
}

for (const line of headerLines(await describeMachine())) console.log(line)
await compareLanes()
if (only === undefined) {
  await queueMany()
  await streamMany()
}
