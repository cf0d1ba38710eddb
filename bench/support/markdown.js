// Markdown: a report as the results section of bench/README.md, its headline in README.md.
// Thread: any.   Owns: what lies between the marks of those files.
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
const FRONT = new URL('../../README.md', import.meta.url)
const HEADLINE_START = '<!-- headline: written by npm run bench -- --markdown -->'
const HEADLINE_END = '<!-- end of headline -->'

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

/** Rows of the headline in its order, with what they are called there: work first, then no-ops. */
const HEADLINE = Object.freeze({
  'cpu-100-us': '100 µs of work, 1,000 in flight',
  'cpu-1-ms': '1 ms of work, 1,000 in flight',
  'mixed-lanes': '10 µs among 10 ms, in a lane of their own',
  'urgent-behind-500': 'an urgent command behind 500 of 1 ms',
  'echo-number': 'a number, 1,000 in flight',
  'echo-small-object': 'a small object, 1,000 in flight',
  'serial-number': 'one call at a time',
})

/**
 * The headline: a chart that is drawn where this is read, and a table.
 *
 * @param {Report} report
 */
function headlineOf({ rows, machine }) {
  const drawn = Object.keys(HEADLINE).flatMap((id) => rows.find((row) => row.id === id) ?? [])
  const work = drawn.find(({ id }) => id === 'cpu-100-us')
  const column = work?.columns.find(({ metric }) => metric === 'perSecond')
  const systems = (work?.entries ?? []).map(({ system }) => system)
  const bars = systems.map((name) => {
    const entry = work?.entries.find(({ system }) => system === name)
    return entry === undefined || column === undefined ? 0 : spreadOf(entry, column).median
  })
  const lines = [
    '```mermaid',
    'xychart-beta horizontal',
    '  title "Commands of 100 µs of work per second, 2 threads on 2 cores"',
    `  x-axis [${systems.map((name) => `"${systemNamed(name).title}"`).join(', ')}]`,
    `  bar [${bars.map((bar) => Math.round(bar)).join(', ')}]`,
    '```',
    '',
    '| | corelane | Piscina | |',
    '|---|--:|--:|--:|',
  ]
  for (const row of drawn) {
    const [headline] = row.columns
    if (headline === undefined) continue
    const [ours, theirs] = ['corelane', 'piscina'].map((name) => {
      const entry = row.entries.find(({ system }) => system === name)
      return entry === undefined ? '–' : show(spreadOf(entry, headline).median, headline.digits)
    })
    const ratio = ratioOf(row, 'corelane', 'piscina')
    const times = show(headline.better === 'less' ? 1 / ratio : ratio, 2)
    const about = HEADLINE[/** @type {keyof typeof HEADLINE} */ (row.id)]
    lines.push(`| ${about}, ${headline.title} | ${ours} | ${theirs} | ${times} × |`)
  }
  lines.push('', `${headerLines(machine).slice(0, 3).join('; ')}.`)
  return lines.join('\n')
}

/**
 * Puts the results section into bench/README.md.
 *
 * @param {Report} report
 */
export function writeReadme(report) {
  put(README, START, END, markdownOf(report))
}

/**
 * Puts the headline into README.md.
 *
 * @param {Report} report
 */
export function writeHeadline(report) {
  put(FRONT, HEADLINE_START, HEADLINE_END, headlineOf(report))
}

/** @param {URL} file @param {string} start @param {string} end @param {string} content */
function put(file, start, end, content) {
  const text = readFileSync(file, 'utf8')
  const [from, to] = [text.indexOf(start), text.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`${file.pathname} lacks ${start} or ${end}`)
  const before = text.slice(0, from + start.length)
  writeFileSync(file, `${before}\n\n${content}\n\n${text.slice(to)}`)
}
