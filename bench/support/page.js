// Page: a report as one HTML page with charts, which needs nothing from a network.
// Thread: any.   Owns: nothing.
// @ts-check

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { systemNamed } from '../systems/table.js'
import { ratioOf, show, spreadOf } from './figures.js'
import { headerLines } from './machine.js'

/** @typedef {import('./contract.js').Report} Report */
/** @typedef {import('./contract.js').RowResult} RowResult */

/** Systems in the chart, in this order, with their colors. */
const DRAWN = Object.freeze({
  corelane: '#0969da',
  piscina: '#bf8700',
  tinypool: '#8250df',
  workerpool: '#cf222e',
  poolifier: '#57606a',
  'post-message': '#1a7f37',
  'bare-ring': '#9a6700',
})

/** @param {string} name */
function asset(name) {
  return readFileSync(new URL(name, import.meta.resolve('uplot')), 'utf8')
}

/** @param {string} text */
function safe(text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}

/**
 * How a system's headline compares with Piscina's: above 1 is better, whichever way the figure goes.
 *
 * @param {RowResult} row
 * @param {string} system
 */
function multiple(row, system) {
  const ratio = ratioOf(row, system, 'piscina')
  if (Number.isNaN(ratio)) return null
  return row.columns[0]?.better === 'less' ? 1 / ratio : ratio
}

/** @param {RowResult} row */
function rowTable(row) {
  const head = row.columns.map(({ title }) => `<th>${safe(title)}</th>`).join('')
  const lines = row.entries.map((entry) => {
    const cells = row.columns.map(
      (column) => `<td>${show(spreadOf(entry, column).median, column.digits)}</td>`,
    )
    const name = `<th>${safe(systemNamed(entry.system).title)}</th>`
    return `<tr>${name}${cells.join('')}<td>${safe(entry.mode)}</td></tr>`
  })
  const left = Object.entries(row.left).map(([name, why]) => `<p>${safe(`${name}: ${why}`)}</p>`)
  return `<h3 id="${row.id}">${row.id}</h3>
<p>${safe(row.title)}, ${row.threads} threads</p>
<div class="wide"><table><tr><th></th>${head}<th>mode</th></tr>${lines.join('')}</table></div>
${left.join('')}`
}

/** @param {Report} report */
function pageOf(report) {
  const systems = Object.keys(DRAWN).filter((name) =>
    report.rows.some(({ entries }) => entries.some(({ system }) => system === name)),
  )
  const chart = {
    rows: report.rows.map(({ id }) => id),
    systems: systems.map((name) => ({
      title: systemNamed(name).title,
      color: DRAWN[/** @type {keyof typeof DRAWN} */ (name)],
      multiples: report.rows.map((row) => multiple(row, name)),
    })),
  }
  const data = JSON.stringify(chart).replaceAll('<', '\\u003c')
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>corelane: benchmark</title>
<style>${asset('uPlot.min.css')}
:root { color-scheme: light dark; --text: #1b1f24; --back: #ffffff; --line: #d0d7de; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --back: #0d1117; --line: #30363d; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back);
  max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; }
th, td { border: 1px solid var(--line); padding: 0.2rem 0.6rem; text-align: right; }
th:first-child, td:last-child { text-align: left; }
</style>
<h1>corelane beside other pools</h1>
<p>${headerLines(report.machine).map(safe).join('<br>')}</p>
<h2>Multiples of Piscina's figure</h2>
<p>Above 1 is better, whichever way the figure goes. Logarithmic.</p>
<div class="wide" id="chart"></div>
<h2>All figures</h2>
<p>Medians of ${report.settings.samples} samples.</p>
${report.rows.map(rowTable).join('\n')}
<script>${asset('uPlot.iife.min.js')}</script>
<script>
const chart = ${data}
const box = document.getElementById('chart')
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name)
function draw() {
  box.textContent = ''
  const wide = chart.systems.length + 1
  const places = chart.rows.flatMap((_, i) => chart.systems.map((_, j) => i * wide + j))
  const all = chart.systems.flatMap((one) => one.multiples).filter((value) => value !== null)
  const axis = { stroke: style('--text'), grid: { stroke: style('--line') } }
  new uPlot({
    width: Math.max(640, 28 * places.length / chart.systems.length * 2, box.clientWidth), height: 420,
    scales: {
      x: { time: false, range: [-1, chart.rows.length * wide - 1] },
      y: { distr: 3, log: 10, range: () => [Math.min(0.1, ...all), Math.max(10, ...all) * 1.5] },
    },
    axes: [
      { ...axis, size: 150, rotate: -60, grid: { show: false },
        splits: () => chart.rows.map((_, i) => i * wide + (wide - 2) / 2), values: () => chart.rows },
      { ...axis, size: 60 },
    ],
    series: [{}, ...chart.systems.map(({ title, color }) => ({
      label: title, fill: color, stroke: color, points: { show: false },
      paths: uPlot.paths.bars({ size: [1, 24] }),
    }))],
  }, [places, ...chart.systems.map(({ multiples }, j) =>
    places.map((place) => place % wide === j ? multiples[Math.floor(place / wide)] : null))], box)
}
draw()
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw)
</script>
</html>
`
}

/**
 * Writes a report as a page.
 *
 * @param {string} path
 * @param {Report} report
 */
export function writePage(path, report) {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, pageOf(report))
}
