// Markdown: a report as the results section of bench/README.md.
// Thread: any.   Owns: what lies between the marks of that file.
// @ts-check

import { readFileSync, writeFileSync } from 'node:fs'
import { systemNamed } from '../systems/table.js'
import { ratioOf, show, showRatio, spreadOf } from './figures.js'
import { headerLines } from './machine.js'

/** @typedef {import('./contract.js').Report} Report */
/** @typedef {import('./contract.js').RowResult} RowResult */

const README = new URL('../README.md', import.meta.url)
const START = '<!-- results: written by npm run bench -- --markdown -->'
const END = '<!-- end of results -->'

/**
 * The results section.
 *
 * @param {Report} report
 */
function markdownOf(report) {
  const { rows, micro, machine, settings } = report
  const lines = [...headerLines(machine).map((line) => `${line}.  `), '']
  lines.push(
    `Median of ${settings.samples} samples; in brackets, that system's multiple of Piscina's figure.`,
    '',
  )
  lines.push(...headlineTable(rows))
  for (const row of rows) lines.push('', ...rowTable(row))
  if (micro.length > 0) {
    lines.push('', '### micro', '', '| part | median ns | p75 ns | p99 ns |', '|---|--:|--:|--:|')
    for (const { name, medianNs, p75Ns, p99Ns } of micro) {
      lines.push(`| ${name} | ${show(medianNs, 1)} | ${show(p75Ns, 1)} | ${show(p99Ns, 1)} |`)
    }
  }
  return lines.join('\n')
}

/** @param {readonly RowResult[]} rows */
function headlineTable(rows) {
  const names = ['corelane', 'piscina', 'post-message', 'bare-ring']
  const lines = [
    `| row | figure | ${names.map((name) => systemNamed(name).title).join(' | ')} |`,
    `|---|---|${names.map(() => '--:').join('|')}|`,
  ]
  for (const row of rows) {
    const [headline] = row.columns
    if (headline === undefined) continue
    const cells = names.map((name) => {
      const entry = row.entries.find(({ system }) => system === name)
      if (entry === undefined) return '–'
      const text = show(spreadOf(entry, headline).median, headline.digits)
      const ratio = ratioOf(row, name, 'piscina')
      return name === 'piscina' || Number.isNaN(ratio) ? text : `${text} (${showRatio(ratio)})`
    })
    lines.push(`| ${row.id} | ${headline.title} | ${cells.join(' | ')} |`)
  }
  return lines
}

/** @param {RowResult} row */
function rowTable(row) {
  const [headline, ...others] = row.columns
  if (headline === undefined) return []
  const titles = [headline.title, 'p25 – p75', ...others.map(({ title }) => title)]
  const lines = [
    `### ${row.id}`,
    '',
    `${row.title}, ${row.threads} thread${row.threads === 1 ? '' : 's'}.`,
    '',
    `| | ${titles.join(' | ')} | mode |`,
    `|---|${titles.map(() => '--:').join('|')}|---|`,
  ]
  for (const entry of row.entries) {
    const { median, p25, p75 } = spreadOf(entry, headline)
    const cells = [
      show(median, headline.digits),
      `${show(p25, headline.digits)} – ${show(p75, headline.digits)}`,
      ...others.map((column) => show(spreadOf(entry, column).median, column.digits)),
    ]
    lines.push(`| ${systemNamed(entry.system).title} | ${cells.join(' | ')} | ${entry.mode} |`)
  }
  for (const [name, reason] of Object.entries(row.left)) lines.push('', `${name}: ${reason}.`)
  return lines
}

/**
 * Puts the results section into bench/README.md.
 *
 * @param {Report} report
 */
export function writeReadme(report) {
  const text = readFileSync(README, 'utf8')
  const [start, end] = [text.indexOf(START), text.indexOf(END)]
  if (start < 0 || end < start) throw new Error(`bench/README.md lacks ${START} or ${END}`)
  const before = text.slice(0, start + START.length)
  writeFileSync(README, `${before}\n\n${markdownOf(report)}\n\n${text.slice(end)}`)
}
