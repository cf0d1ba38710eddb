// Demo: the same commands on one partition and on all cores; also an example of the public API.
// Run it with scripts/demo. Its handlers are in examples/compress.js.
// @ts-check

import { createHash } from 'node:crypto'
import { loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import cliProgress from 'cli-progress'
import { PartitionConfig, QueueManager } from 'corelane'
import { findFiles, pickFiles } from './demo-files.mjs'

/** @typedef {import('./demo-files.mjs').DemoFile} DemoFile */
/** @typedef {typeof import('../examples/compress.js')} Handlers */
/** @typedef {{ partitions: number, seconds: number, bytes: number, compressedBytes: number, digest: string }} Run */

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const HANDLERS = new URL('../examples/compress.js', import.meta.url)
const LANE = 'prompt'
/** How long the run on one partition should take; the other one takes less. */
const SECONDS = 15
const PROBE_BYTES = 512 * 1024
const BYTES_MIN = 256 * 1024
const MEBIBYTE = 2 ** 20
/** Programs waiting for a core, on average of the last minute, above which times say little. */
const LOAD_MAX = 0.5

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
    let [bytes, compressedBytes] = [0, 0]
    const startedAt = performance.now()
    await Promise.all(
      files.map(async (file, index) => {
        const result = await manager.submit(LANE, 'compress', { path: file.path })
        digests[index] = result.sha256
        bytes += result.bytes
        compressedBytes += result.compressedBytes
        compressed?.(file)
      }),
    )
    const seconds = (performance.now() - startedAt) / 1000
    // One digest for all: it differs if any file's does.
    const digest = createHash('sha256').update(digests.join('\n')).digest('hex')
    return {
      partitions: manager.stats().partitions.length,
      seconds,
      bytes,
      compressedBytes,
      digest,
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
      format: `${name.padEnd(14)} [{bar}] {percentage}% | {done}/{count} files | ETA {eta_formatted}`,
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

async function main() {
  const [load] = loadavg()
  if (load > LOAD_MAX) {
    console.log(
      `Other programs keep this machine busy (load ${load.toFixed(1)}); the speed-up suffers`,
    )
  }
  const found = findFiles(ROOT)
  // A slow machine gets fewer files, so that the demo takes about as long everywhere. The first run
  // is not counted: it also warms the caches of the file system.
  const probed = pickFiles(found, PROBE_BYTES)
  const probe = await compressAll(PartitionConfig.none(), probed)
  const bytesMax = Math.max(BYTES_MIN, (probe.bytes / probe.seconds) * SECONDS)
  const files = pickFiles(found, bytesMax)
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  console.log(`${files.length} of ${found.length} text files of this clone and its node_modules,`)
  console.log(`${inMebibytes(bytes)}, each a command: brotli at quality 11 and a SHA-256`)

  const one = await show('one partition', PartitionConfig.none(), files)
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
  console.log(`${inMebibytes(one.bytes)} became ${inMebibytes(one.compressedBytes)}`)
  console.log(`Both runs gave the same bytes: SHA-256 ${one.digest}`)
}

await main()
