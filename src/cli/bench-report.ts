// Bench report: the comparison as a table, as JSON and as a page with charts.
// Thread: main.   Owns: nothing.

import { readFileSync } from 'node:fs'
import type { StrategyFigures } from './bench-verdict.ts'

/** One workload with its figures. */
export interface WorkloadReport {
  readonly name: string
  readonly about: string
  readonly figures: StrategyFigures
  readonly verdict: string
}

/** The whole comparison. */
export interface StrategyReport {
  /** Machine, Node and settings, a line each. */
  readonly header: readonly string[]
  readonly workloads: readonly WorkloadReport[]
}

const COLUMNS = [
  ['commands/s', 'perSecond', 0],
  ['wait p50 ms', 'waitP50', 2],
  ['wait p99 ms', 'waitP99', 2],
  ['run p50 ms', 'runP50', 3],
  ['run p99 ms', 'runP99', 3],
  ['imbalance', 'imbalance', 2],
  ['out of order', 'outOfOrder', 0],
] as const

/**
 * The comparison as text for a terminal.
 *
 * @param report - The comparison.
 */
export function asText({ header, workloads }: StrategyReport): string {
  const lines = [...header]
  for (const { name, about, figures, verdict } of workloads) {
    lines.push('', `${name}: ${about}`)
    lines.push(`  ${'strategy'.padEnd(11)}${COLUMNS.map(([title]) => title.padStart(13)).join('')}`)
    for (const [strategy, row] of Object.entries(figures)) {
      const cells = COLUMNS.map(([, member, digits]) =>
        row[member]
          .toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
          .padStart(13),
      )
      lines.push(`  ${strategy.padEnd(11)}${cells.join('')}`)
      if (row.failure !== undefined) lines.push(`    failed: ${row.failure}`)
    }
    lines.push(`  ${verdict}`)
  }
  return `${lines.join('\n')}\n`
}

function asset(name: string): string {
  return readFileSync(new URL(name, import.meta.resolve('uplot')), 'utf8')
}

/** Keeps text of the user's from ending a script or a tag. */
function safe(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}

/**
 * The comparison as one page that needs nothing from a network.
 *
 * @param report - The comparison.
 */
export function asPage(report: StrategyReport): string {
  const data = JSON.stringify(report).replaceAll('<', '\\u003c')
  const verdicts = report.workloads.map(({ verdict }) => `<li>${safe(verdict)}</li>`).join('\n')
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>corelane: partition strategies</title>
<style>${asset('uPlot.min.css')}
:root { color-scheme: light dark; --text: #1b1f24; --back: #ffffff; --line: #d0d7de; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --back: #0d1117; --line: #30363d; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
pre { overflow-x: auto; border: 1px solid var(--line); padding: 1rem; font-size: 13px; }
.chart { margin: 1rem 0 2rem; overflow-x: auto; }
</style>
<h1>Partition strategies</h1>
<p>${report.header.map(safe).join('<br>')}</p>
<ul>
${verdicts}
</ul>
<h2>Throughput, commands per second</h2>
<div class="chart" data-member="perSecond"></div>
<h2>Wait of the slowest 1 %, milliseconds</h2>
<div class="chart" data-member="waitP99"></div>
<h2>Busiest partition over the mean</h2>
<div class="chart" data-member="imbalance"></div>
<h2>All figures</h2>
<pre>${safe(asText(report))}</pre>
<script>${asset('uPlot.iife.min.js')}</script>
<script>
const report = ${data}
const strategies = [...new Set(report.workloads.flatMap((one) => Object.keys(one.figures)))]
const colors = ['#8250df', '#bf8700', '#1a7f37', '#0969da']
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name)
function draw() {
  for (const box of document.querySelectorAll('.chart')) {
    box.textContent = ''
    const names = report.workloads.map((one) => one.name)
    const wide = strategies.length + 1
    const places = names.flatMap((_, i) => strategies.map((_, j) => i * wide + j))
    const series = strategies.map((strategy, j) =>
      places.map((place) =>
        place % wide === j
          ? report.workloads[Math.floor(place / wide)].figures[strategy]?.[box.dataset.member] ?? null
          : null))
    const axis = { stroke: style('--text'), grid: { stroke: style('--line') } }
    new uPlot({
      width: Math.max(480, box.clientWidth), height: 320,
      scales: { x: { time: false, range: [-1, names.length * wide - 1] }, y: { range: (u, min, max) => [0, max * 1.1 || 1] } },
      axes: [
        { ...axis, grid: { show: false }, splits: () => names.map((_, i) => i * wide + (strategies.length - 1) / 2), values: () => names },
        { ...axis, size: 80 },
      ],
      series: [{}, ...strategies.map((label, j) => ({
        label, fill: colors[j % colors.length], stroke: colors[j % colors.length],
        paths: uPlot.paths.bars({ size: [1, 60] }), points: { show: false },
      }))],
    }, [places, ...series], box)
  }
}
draw()
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw)
</script>
</html>
`
}
