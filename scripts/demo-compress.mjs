// Demo: the same commands on one partition and on all cores; also an example of the public API.
// Run it with scripts/demo. Its handlers are in examples/compress.js.
// @ts-check

import { createHash } from 'node:crypto'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import cliProgress from 'cli-progress'
import { PartitionConfig, QueueManager } from 'corelane'
import { findFiles, pickFiles } from './demo-files.mjs'

/** @typedef {import('./demo-files.mjs').DemoFile} DemoFile */
/** @typedef {typeof import('../examples/compress.js')} Handlers */
/** @typedef {{ ahead: number, seconds: number }} Overtaking */
/** @typedef {{ partitions: number, seconds: number, bytes: number, compressedBytes: number, digest: string, urgent: Overtaking }} Run */

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const HANDLERS = new URL('../examples/compress.js', import.meta.url)
const LANE = 'prompt'
const URGENT_LANE = 'system'
/** How long the run on one partition should take; the other one takes less. */
const SECONDS = 15
const PROBE_BYTES = 512 * 1024
const BYTES_MIN = 256 * 1024
const MEBIBYTE = 2 ** 20
/** Cores that other programs may use before times say little. */
const BUSY_MAX = 0.2

/**
 * Compresses files and tells how long that took.
 *
 * @param {PartitionConfig} partitions
 * @param {readonly DemoFile[]} files
 * @param {(file: DemoFile) => void} [compressed] - Told after each.
 * @returns {Promise<Run>}
 */
async function compressAll(partitions, files, compressed) {
  /** @type {QueueManager<Handlers>} */
  const manager = QueueManager.create({ handlers: HANDLERS, partitions })
  await manager.start()
  try {
    /** @type {string[]} */
    const digests = []
    let [bytes, compressedBytes, done] = [0, 0, 0]
    const startedAt = performance.now()
    const all = files.map(async (file, index) => {
      const result = await manager.submit(LANE, 'compress', { path: file.path })
      digests[index] = result.sha256
      bytes += result.bytes
      compressedBytes += result.compressedBytes
      done++
      compressed?.(file)
    })
    await Promise.race(all)
    const submittedAt = performance.now()
    await manager.submit(URGENT_LANE, 'compress', { path: files.at(-1)?.path ?? '' })
    const urgent = { ahead: files.length - done, seconds: (performance.now() - submittedAt) / 1000 }
    await Promise.all(all)
    const seconds = (performance.now() - startedAt) / 1000
    // One digest for all: it differs if any file's does.
    const digest = createHash('sha256').update(digests.join('\n')).digest('hex')
    return {
      partitions: manager.stats().partitions.length,
      seconds,
      bytes,
      compressedBytes,
      digest,
      urgent,
    }
  } finally {
    await manager.close()
  }
}

/**
 * Shows a run's progress on stderr.
 *
 * @param {string} name
 * @param {PartitionConfig} partitions
 * @param {readonly DemoFile[]} files
 */
async function show(name, partitions, files) {
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0)
  const bar = new cliProgress.SingleBar(
    {
      format: `${name.padEnd(14)} [{bar}] {percentage}% of the bytes, {done} of {count} files, {eta_formatted} left`,
      etaBuffer: 100,
      noTTYOutput: true,
      notTTYSchedule: 5000,
    },
    cliProgress.Presets.rect,
  )
  const count = files.length
  let [bytes, done] = [0, 0]
  bar.start(total, 0, { done, count })
  try {
    return await compressAll(partitions, files, (file) => {
      bytes += file.bytes
      bar.update(bytes, { done: ++done, count })
    })
  } finally {
    bar.stop()
  }
}

/** @param {number} bytes */
function inMebibytes(bytes) {
  return `${(bytes / MEBIBYTE).toFixed(1)} MiB`
}

/**
 * @param {number} commands
 * @param {readonly Run[]} runs - The first is what the others are compared with.
 */
function printTable(commands, runs) {
  const rows = runs.map(({ partitions, seconds, bytes }) => {
    const speedUp = runs[0].seconds / seconds
    return [
      String(partitions),
      String(commands),
      inMebibytes(bytes),
      seconds.toFixed(2),
      `${speedUp.toFixed(2)}x`,
      `${((100 * speedUp) / partitions).toFixed(0)} %`,
    ]
  })
  const table = [
    ['partitions', 'commands', 'bytes', 'seconds', 'speed-up', 'of the ideal'],
    ...rows,
  ]
  const widths = table[0].map((_, column) => Math.max(...table.map((row) => row[column].length)))
  for (const row of table) {
    console.log(row.map((cell, column) => cell.padStart(widths[column])).join('   '))
  }
}

/** Processor time that other programs have used, in milliseconds. */
function usedByOthers() {
  const { user, system } = process.cpuUsage()
  const all = cpus().map(({ times }) => times.user + times.nice + times.sys + times.irq)
  return all.reduce((sum, ms) => sum + ms, 0) - (user + system) / 1000
}

async function main() {
  const found = findFiles(ROOT)
  // A slow machine gets fewer files, so that the demo takes about as long everywhere. The first run
  // is not counted: it also warms the caches of the file system.
  const probed = pickFiles(found, PROBE_BYTES)
  const [startedAt, usedBefore] = [performance.now(), usedByOthers()]
  const probe = await compressAll(PartitionConfig.single(), probed)
  const busy = (usedByOthers() - usedBefore) / (performance.now() - startedAt)
  if (busy > BUSY_MAX) {
    const cores = `${busy.toFixed(1)} of ${cpus().length} cores`
    console.log(`Other programs use ${cores}: the speed-up suffers`)
  }
  const bytesMax = Math.max(BYTES_MIN, (probe.bytes / probe.seconds) * SECONDS)
  const files = pickFiles(found, bytesMax)
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  console.log(
    `${files.length} files of this clone and its node_modules, ${inMebibytes(bytes)} of text.`,
  )
  console.log('Each file is a command: brotli at quality 11, then a SHA-256')

  const one = await show('one partition', PartitionConfig.single(), files)
  const all = await show('all cores', PartitionConfig.auto(), files)

  console.log()
  printTable(files.length, [one, all])
  console.log()
  if (one.digest !== all.digest) {
    console.error(`The results differ: ${one.digest} on one partition, ${all.digest} on all cores`)
    process.exitCode = 1
    return
  }
  if (all.partitions === 1) {
    console.log('This process may use one core only, so there was nothing to gain')
  }
  const { ahead, seconds } = all.urgent
  console.log(
    `A command in the more urgent lane "${URGENT_LANE}", submitted after all of them, had`,
  )
  console.log(
    `its result ${seconds.toFixed(2)} s later, before ${ahead} of the ${files.length} others`,
  )
  console.log(`${inMebibytes(one.bytes)} became ${inMebibytes(one.compressedBytes)} in both runs`)
  console.log(`Their SHA-256 are the same: ${one.digest}`)
}

await main()
