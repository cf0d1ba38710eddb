// Run: the benchmark. See README.md for what it measures and how.
// Usage: npm run bench -- --help
// @ts-check

import { fileURLToPath } from 'node:url'
import { readCommandLine, USAGE } from './support/command-line.js'
import { installPeers } from './support/install-peers.js'
import { describeMachine, headerLines, loadAverage } from './support/machine.js'
import { writeHeadline, writeReadme } from './support/markdown.js'
import { writePage } from './support/page.js'
import { readReport, writeReport } from './support/report-file.js'
import { outputOf, startRows } from './support/start-rows.js'
import { microLines, rowLines } from './support/terminal.js'
import { SMOKE_SYSTEMS, SYSTEMS, systemNamed } from './systems/table.js'
import { ROWS } from './workloads/table.js'

/** @typedef {import('./support/contract.js').Report} Report */
/** @typedef {ReturnType<typeof readCommandLine>} Options */

const MICRO = fileURLToPath(new URL('./micro.bench.js', import.meta.url))
const RESULTS = fileURLToPath(new URL('./results/', import.meta.url))

/** @param {readonly string[]} lines */
function print(...lines) {
  console.log(lines.join('\n'))
}

/**
 * Names of the systems to compare; says which are left out.
 *
 * @param {Options} options
 */
function chooseSystems({ systems, isQuick }) {
  const usual = isQuick ? SMOKE_SYSTEMS : SYSTEMS.map(({ name }) => name)
  const wanted = systems.length > 0 ? [...new Set([...systems, 'ideal'])] : usual
  if (!isQuick) installPeers((line) => print(line))
  return wanted.filter((name) => {
    const reason = systemNamed(name).missing?.()
    if (reason !== undefined) print(`${name} is left out: ${reason}`)
    return reason === undefined
  })
}

/**
 * Measures; prints each row and writes the results so far when it is done, so that a run that is
 * interrupted was not for nothing.
 *
 * @param {Options} options
 * @returns {Promise<Report>}
 */
async function measure(options) {
  const { only, settings, isQuick } = options
  const systems = chooseSystems(options)
  const machine = await describeMachine()
  print(...headerLines(machine))
  const rows = []
  /** @type {string[]} */
  const failures = []
  const ids = ROWS.map(({ id }) => id).filter((id) => only.test(id))
  // A smoke shares pools among rows; a measurement gives each row a fresh process.
  const jobs = isQuick ? [ids] : ids.map((id) => [id])
  for (const job of jobs.filter(({ length }) => length > 0)) {
    try {
      for (const row of await startRows(job, systems, settings)) {
        rows.push(row)
        print('', ...rowLines(row))
        for (const [name, reason] of Object.entries(row.left)) {
          if (reason.startsWith('failed')) failures.push(`${row.id}, ${name}: ${reason}`)
        }
      }
    } catch (error) {
      failures.push(`${job.join(', ')}: ${/** @type {Error} */ (error).message}`)
    }
    save(options, { machine, settings, rows, micro: [], failures })
  }
  /** @type {import('./support/contract.js').MicroResult[]} */
  let micro = []
  try {
    if (only.test('micro')) micro = await measureParts(isQuick)
  } catch (error) {
    failures.push(`micro: ${/** @type {Error} */ (error).message}`)
  }
  return {
    machine: { ...machine, loadAfter: loadAverage() },
    settings,
    rows,
    micro,
    failures,
  }
}

/**
 * Measures the single-thread parts.
 *
 * @param {boolean} isQuick
 * @returns {Promise<import('./support/contract.js').MicroResult[]>}
 */
async function measureParts(isQuick) {
  const words = isQuick ? ['--json', '--quick'] : ['--json']
  const micro = JSON.parse(await outputOf(MICRO, words))
  print('', ...microLines(micro))
  return micro
}

/**
 * Where a run leaves its results by itself; undefined if it does not.
 *
 * @param {Options} options
 * @param {Report} report
 */
function resultsPath({ json, isPartial, isQuick, from }, { machine }) {
  if (json !== undefined) return json
  if (isPartial || isQuick || from !== undefined) return undefined
  const major = machine.node.replace(/^v|\..*/g, '')
  return `${RESULTS}${machine.date.slice(0, 10)}-node-${major}.json`
}

/**
 * Writes the results, if they are to be kept.
 *
 * @param {Options} options
 * @param {Report} report
 */
function save(options, report) {
  const path = resultsPath(options, report)
  if (path !== undefined) writeReport(path, report)
  return path
}

const options = readCommandLine(process.argv.slice(2))
if (options.isHelp) print(USAGE)
else if (options.isList) {
  print('rows:', ...ROWS.map(({ id, title }) => `  ${id}: ${title}`))
  print('systems:', ...SYSTEMS.map(({ name, modes }) => `  ${name}, ${modes.length} modes`))
} else {
  const report = options.from === undefined ? await measure(options) : readReport(options.from)
  if (options.from !== undefined) {
    print(...headerLines(report.machine), ...report.rows.flatMap((row) => ['', ...rowLines(row)]))
  }
  const path = save(options, report)
  if (path !== undefined) print('', `results: ${path}`)
  const page = options.html ?? (options.json === undefined && path?.replace(/json$/, 'html'))
  if (page) {
    writePage(page, report)
    print(`page: ${page}`)
  }
  if (options.isMarkdown) {
    writeReadme(report)
    writeHeadline(report)
  }
  if (report.failures.length > 0) {
    print('', 'failed:', ...report.failures.map((line) => `  ${line}`))
    process.exitCode = 1
  }
}
