// Metrics cost: no-op commands with metrics on, with OpenTelemetry's API and no SDK, and with a
// dashboard that a client reads, against the same without, in turn; then the memory of a process
// with metrics over ten million commands.
// Thread: main.   Owns: a process for each, since V8 would compile one path for both in one.
// Run: node bench/metrics-cost.bench.js [--quick] [--only on,memory]
// @ts-check
//
// 10,000 groups on one lane against a bare lane are in lane-cost.bench.js.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { PartitionConfig, QueueManager, QueueMetrics } from 'corelane'
import { instrument } from 'corelane/opentelemetry'
import { describeMachine, headerLines } from './support/machine.js'
import { summarize } from './support/statistics.js'

const isQuick = process.argv.includes('--quick')
const ROUNDS = isQuick ? 1 : 6
/** Processes of one kind differ by 5 %, by the choices of V8's compilers: so each has several. */
const PROCESSES = isQuick ? 1 : 6
/** A trial lasts about a third of a second: shorter ones were noise. */
const COMMANDS = isQuick ? 500 : 400_000
const IN_FLIGHT = 1000
/** Memory is read after each. */
const SPAN = isQuick ? 500 : 1_000_000
const SPANS = 10
/** Four times as often as by default, so that each trial has news in it. */
const NEWS_MS = 250

/** Kinds, and what each is compared with. */
const BASES = /** @type {const} */ ({ on: 'off', telemetry: 'off', dashboard: 'on' })

/** @typedef {{ ms: number, cpuUs: number }} Trial */
/** @typedef {{ heap: number, buffers: number, resident: number }} Memory */

/**
 * Runs so many commands.
 *
 * @param {QueueManager} manager - Started.
 * @param {number} commands
 */
async function run(manager, commands) {
  let left = commands
  const loop = async () => {
    while (left-- > 0) await manager.run('echo', 1)
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, loop))
}

/**
 * Time of all commands, and processor time of one, all threads together.
 *
 * @param {QueueManager} manager - Started.
 * @returns {Promise<Trial>}
 */
async function trial(manager) {
  const cpu = process.cpuUsage()
  const startedMs = performance.now()
  await run(manager, COMMANDS)
  const { user, system } = process.cpuUsage(cpu)
  return { ms: performance.now() - startedMs, cpuUs: (user + system) / COMMANDS }
}

/** @param {string} kind */
async function open(kind) {
  const handlers = new URL('./support/handlers.js', import.meta.url)
  if (kind === 'telemetry') instrument()
  const metrics = kind === 'off' || kind === 'telemetry' ? undefined : QueueMetrics.local()
  const partitions = PartitionConfig.balanced(2)
  const manager = QueueManager.create({ handlers, partitions, metrics })
  await manager.start()
  return manager
}

/** @param {string} kind */
async function serve(kind) {
  const manager = await open(kind)
  if (kind === 'dashboard') {
    process.send?.((await manager.serveDashboard({ intervalMs: NEWS_MS })).url)
  }
  process.on('message', async () => process.send?.(await trial(manager)))
  process.on('disconnect', () => manager.close())
}

/**
 * Reads the news of a dashboard, as a page does, in this process. The first have come.
 *
 * @param {string} url - With its token.
 * @returns {Promise<() => number>} How many bytes have come.
 */
async function read(url) {
  const authorization = `Bearer ${new URL(url).hash.slice('#token='.length)}`
  const { body } = await fetch(new URL('/api/events', url), { headers: { authorization } })
  const reader = /** @type {ReadableStream<Uint8Array>} */ (body).getReader()
  let bytes = 0
  const next = async () => {
    const { done, value } = await reader.read()
    bytes += value?.length ?? 0
    return !done
  }
  const follow = async () => {
    while (await next());
  }
  await next()
  // It ends with the process of the dashboard.
  follow().catch(() => {})
  return () => bytes
}

/** @returns {Memory} */
function readMemory() {
  globalThis.gc?.()
  globalThis.gc?.()
  const { heapUsed, arrayBuffers, rss } = process.memoryUsage()
  return { heap: heapUsed / 2 ** 20, buffers: arrayBuffers / 2 ** 20, resident: rss / 2 ** 20 }
}

async function keep() {
  const manager = await open('on')
  for (let span = 0; span < SPANS; span++) {
    await run(manager, SPAN)
    process.send?.(readMemory())
  }
  await manager.close()
  process.disconnect()
}

/** @param {readonly number[]} values */
const median = (values) => summarize(values).median

/** @param {readonly string[]} args */
const child = (...args) =>
  fork(fileURLToPath(import.meta.url), [...args, ...process.argv.slice(2)], {
    execArgv: ['--expose-gc'],
  })

/** @param {readonly string[]} kinds */
async function takeTurns(kinds) {
  const systems = []
  for (const kind of kinds) {
    const process = child('--child', kind)
    const bytes = kind === 'dashboard' ? await read((await once(process, 'message'))[0]) : undefined
    systems.push({ kind, process, bytes, trials: /** @type {Trial[]} */ ([]) })
  }
  // The first rounds warm up.
  for (let round = isQuick ? -1 : -4; round < ROUNDS; round++) {
    for (const { process, trials } of round % 2 === 0 ? systems : [...systems].reverse()) {
      process.send('go')
      const [measured] = await once(process, 'message')
      if (round >= 0) trials.push(measured)
    }
  }
  return systems.map(({ kind, process, bytes, trials }) => {
    process.disconnect()
    return { kind, trials, bytes: bytes?.() }
  })
}

/** @param {readonly string[]} kinds */
async function compare(kinds) {
  /** @type {Awaited<ReturnType<typeof takeTurns>>} */
  const taken = []
  for (let i = 0; i < PROCESSES; i++) taken.push(...(await takeTurns(kinds)))
  const systems = kinds.map((kind) => {
    const own = taken.filter((one) => one.kind === kind)
    return { kind, trials: own.flatMap(({ trials }) => trials), bytes: own[0]?.bytes }
  })
  for (const { kind, bytes, trials } of systems) {
    const rate = Math.round((COMMANDS / median(trials.map(({ ms }) => ms))) * 1000)
    const cpuUs = median(trials.map((one) => one.cpuUs))
    const perSecond = rate.toLocaleString('en-US').padStart(11)
    const news = bytes === undefined ? '' : `, ${Math.ceil(bytes / 1024)} KiB of news read`
    console.log(`${kind.padEnd(9)}${perSecond}/s  ${cpuUs.toFixed(2)} µs of processor time${news}`)
  }
  for (const [kind, base] of Object.entries(BASES)) {
    const trials = systems.find((one) => one.kind === kind)?.trials
    const bases = systems.find((one) => one.kind === base)?.trials
    if (trials === undefined || bases === undefined) continue
    const times = median(trials.map(({ ms }, i) => ms / (bases[i]?.ms ?? ms)))
    const cpus = median(trials.map(({ cpuUs }, i) => cpuUs / (bases[i]?.cpuUs ?? cpuUs)))
    const ratios = `time ${times.toFixed(3)}, processor time ${cpus.toFixed(3)}`
    console.log(`${kind} : ${base}`.padEnd(17), ratios)
  }
}

async function watchMemory() {
  const process = child('--child', 'memory')
  /** @type {Memory[]} */
  const all = []
  process.on('message', (memory) => all.push(/** @type {Memory} */ (memory)))
  await once(process, 'disconnect')
  for (const [span, { heap, buffers, resident }] of all.entries()) {
    const commands = ((span + 1) * SPAN).toLocaleString('en-US').padStart(10)
    const [ofHeap, ofBuffers, ofAll] = [heap, buffers, resident].map((mib) => mib.toFixed(1))
    console.log(
      `${commands} commands: heap ${ofHeap}, array buffers ${ofBuffers}, resident ${ofAll} MiB`,
    )
  }
  // In the first half V8's young generations grow, with metrics and without.
  const early = all[SPANS / 2]
  const late = all.at(-1)
  if (early === undefined || late === undefined) throw new Error('the process has ended early')
  const [ofHeap, ofBuffers, ofAll] = [
    late.heap / early.heap,
    late.buffers / early.buffers,
    late.resident / early.resident,
  ].map((ratio) => ratio.toFixed(3))
  console.log(
    `last : sixth      heap ${ofHeap}, array buffers ${ofBuffers}, resident memory ${ofAll}`,
  )
}

/** @param {string} flag */
function argumentOf(flag) {
  const at = process.argv.indexOf(flag)
  return at < 0 ? undefined : (process.argv[at + 1] ?? '')
}

const kind = argumentOf('--child')
const only = argumentOf('--only')?.split(',')
if (kind === 'memory') await keep()
else if (kind !== undefined) await serve(kind)
else {
  for (const line of headerLines(await describeMachine())) console.log(line)
  const measured = Object.keys(BASES).filter((one) => only?.includes(one) ?? true)
  const bases = measured.map((one) => BASES[/** @type {keyof typeof BASES} */ (one)])
  if (measured.length > 0) await compare([...new Set([...bases, ...measured])])
  if (only?.includes('memory') ?? true) await watchMemory()
}
