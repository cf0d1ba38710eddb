// Guard: fails when a command costs much more processor time, beside the baselines, than it did.
// Thread: main.   Owns: bench/results/guard.json.
// Usage: npm run bench:guard             compares with what is stored; part of ./scripts/test
//        npm run bench:guard -- --store  measures and stores, in a quiet hour
//
// Rates and times are the machine's, and a busy one spoils them. What a command costs as a multiple
// of what the same command costs a bare ring or a bare postMessage, in the same process and the same
// seconds, hardly changes from machine to machine. The least of the samples counts: what else the
// machine does only adds, and memory that was given back between two samples makes one cost thrice.
// Versions of Node differ: what is stored is stored for each, and a newer one has the last before it.
// @ts-check

import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { startRows } from './support/start-rows.js'

/** Rows, and the baseline of each. */
const GUARDED = Object.freeze({
  'echo-number': 'bare-ring',
  'echo-small-object': 'bare-ring',
  'echo-32-kib-bytes': 'post-message',
})

/** A ratio may grow by so much: a command then has two thirds of its former share. */
const GROWTH_MAX = 1.5

const STORED = fileURLToPath(new URL('./results/guard.json', import.meta.url))

/** @type {import('./support/contract.js').Settings} */
const SETTINGS = {
  samples: 7,
  sampleMs: 150,
  warmUpMs: 150,
  warmUpMaxMs: 2_500,
  // On a busy machine V8's compilers would be at work until the last sample.
  warmUpCpuMs: 2_500,
  inFlightMax: 1e9,
  queuedMax: 1e9,
  isThorough: false,
}

/** @param {string} row @param {string} baseline */
async function measure(row, baseline) {
  const [result] = await startRows([row], ['corelane', baseline], SETTINGS)
  const [ours, theirs] = ['corelane', baseline].map((name) => {
    const entry = result?.entries.find(({ system }) => system === name)
    if (entry === undefined) throw new Error(`${row}: ${name} ${result?.left[name]}`)
    return Math.min(...entry.samples.map(({ cpuUs }) => /** @type {number} */ (cpuUs)))
  })
  return /** @type {number} */ (ours) / /** @type {number} */ (theirs)
}

/** @type {Record<string, number>} */
const measured = {}
for (const [row, baseline] of Object.entries(GUARDED)) {
  measured[row] = Number((await measure(row, baseline)).toPrecision(3))
}
const major = Number.parseInt(process.versions.node, 10)
/** @type {Record<string, Record<string, number>>} */
const all = JSON.parse(readFileSync(STORED, 'utf8'))
if (process.argv[2] === '--store') {
  writeFileSync(STORED, `${JSON.stringify({ ...all, [major]: measured }, undefined, 2)}\n`)
  console.log(`stored in ${STORED}`, measured)
} else {
  const nearest = Math.max(
    ...Object.keys(all)
      .map(Number)
      .filter((one) => one <= major),
  )
  const stored = all[nearest] ?? {}
  for (const [row, baseline] of Object.entries(GUARDED)) {
    const [now, then] = [measured[row] ?? Number.NaN, stored[row] ?? Number.NaN]
    const isKept = now <= then * GROWTH_MAX
    console.log(`${row}: ${now} x the CPU of ${baseline}; stored ${then}${isKept ? '' : ', LOST'}`)
    if (!isKept) process.exitCode = 1
  }
}
