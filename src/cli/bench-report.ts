// Bench report: the comparison as a table, as JSON and as a page with charts.

import type { StrategyFigures } from './bench-verdict.ts'

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
  ['least', 'perSecondMin', 0],
  ['most', 'perSecondMax', 0],
  ['wait p50 ms', 'waitP50', 2],
  ['wait p99 ms', 'waitP99', 2],
  ['run p50 ms', 'runP50', 3],
  ['run p99 ms', 'runP99', 3],
  ['imbalance', 'imbalance', 2],
  ['out of order', 'outOfOrder', 0],
] as const

/** The comparison as text for a terminal. */
export function asText(report: StrategyReport): string {
  return `${report.header.join('\n')}\n${tables(report, true)}`
}

/** The figures of each workload, and what follows from them. */
function tables({ workloads }: StrategyReport, withVerdicts: boolean): string {
  const lines: string[] = []
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
    if (withVerdicts) lines.push(`  ${verdict}`)
  }
  return `${lines.join('\n')}\n`
}

/** Keeps text of the user's from ending a script or a tag. */
function safe(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}

const CHARTS = [
  ['Throughput, commands per second', 'perSecond', 0],
  ['Wait of the slowest 1 %, milliseconds', 'waitP99', 2],
  ['Busiest partition over the mean', 'imbalance', 2],
] as const

/** One figure of every strategy and workload, as bars of one scale. */
function chart(
  workloads: StrategyReport['workloads'],
  [title, member, digits]: (typeof CHARTS)[number],
) {
  const all = workloads.flatMap(({ figures }) => Object.values(figures).map((row) => row[member]))
  const most = Math.max(...all) || 1
  const rows = workloads.flatMap(({ name, figures }) =>
    Object.entries(figures).map(([strategy, row], index, entries) => {
      const value = row[member]
      const heading = index === 0 ? `<th rowspan="${entries.length}">${safe(name)}</th>` : ''
      const figure = value.toLocaleString('en-US', { maximumFractionDigits: digits })
      const width = ((value / most) * 100).toFixed(1)
      const bar = `<td class="bar"><i class="s${index}" style="width: ${width}%"></i></td>`
      return `<tr>${heading}<td>${safe(strategy)}</td>${bar}<td class="figure">${figure}</td></tr>`
    }),
  )
  return `<h2>${title}</h2>\n<table>\n${rows.join('\n')}\n</table>`
}

/** The comparison as one page, without scripts and without a network. */
export function asPage(report: StrategyReport): string {
  const verdicts = report.workloads.map(({ verdict }) => `<li>${safe(verdict)}</li>`).join('\n')
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>corelane: partition strategies</title>
<style>
:root { color-scheme: light dark; --text: #1b1f24; --back: #ffffff; --line: #d0d7de; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --back: #0d1117; --line: #30363d; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
pre { overflow-x: auto; border: 1px solid var(--line); padding: 1rem; font-size: 13px; }
table { width: 100%; border-collapse: collapse; font-size: 14px; margin-bottom: 2rem; }
th, td { padding: 1px 8px; text-align: left; vertical-align: top; white-space: nowrap; }
th { border-top: 1px solid var(--line); }
td.bar { width: 100%; min-width: 3rem; vertical-align: middle; }
td.figure { text-align: right; font-variant-numeric: tabular-nums; }
@media (max-width: 40rem) {
  body { font-size: 14px; padding: 0 0.5rem; }
  table { font-size: 12px; }
  th { white-space: normal; }
  th, td { padding: 1px 4px; }
}
li, p { overflow-wrap: anywhere; }
i { display: block; height: 12px; min-width: 1px; }
.s0 { background: #8250df; } .s1 { background: #bf8700; } .s2 { background: #1a7f37; } .s3 { background: #0969da; }
</style>
<h1>Partition strategies</h1>
<p>${report.header.map(safe).join('<br>')}</p>
<ul>
${verdicts}
</ul>
${CHARTS.map((one) => chart(report.workloads, one)).join('\n')}
<h2>All figures</h2>
<pre>${safe(tables(report, false))}</pre>
</html>
`
}
