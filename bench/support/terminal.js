// Terminal: a row as a table of text.
// Thread: any.   Owns: nothing.
// @ts-check

import { systemNamed } from '../systems/table.js'
import { REFERENCES, ratioOf, show, showRatio, spreadOf } from './figures.js'

/** @typedef {import('./contract.js').RowResult} RowResult */

/**
 * A row: the median of each figure, the quartiles of the headline, and the headline as a multiple of
 * Piscina's and of the bare ring's.
 *
 * @param {RowResult} row
 */
export function rowLines(row) {
  const [headline] = row.columns
  if (headline === undefined) return []
  const head = ['', headline.title, 'p25 – p75']
  for (const name of REFERENCES) head.push(`× ${systemNamed(name).title}`)
  for (const column of row.columns.slice(1)) head.push(column.title)
  const table = [[...head, 'mode']]
  for (const entry of row.entries) {
    const { median, p25, p75 } = spreadOf(entry, headline)
    const cells = [systemNamed(entry.system).title, show(median, headline.digits)]
    cells.push(`${show(p25, headline.digits)} – ${show(p75, headline.digits)}`)
    for (const name of REFERENCES) cells.push(showRatio(ratioOf(row, entry.system, name)))
    for (const column of row.columns.slice(1)) {
      cells.push(show(spreadOf(entry, column).median, column.digits))
    }
    table.push([...cells, entry.mode])
  }
  const left = Object.entries(row.left).map(([name, reason]) => `  ${name}: ${reason}`)
  const threads = `${row.threads} thread${row.threads === 1 ? '' : 's'}`
  return [`${row.id}: ${row.title}, ${threads}`, ...aligned(table), ...left]
}

/**
 * Cells in columns: the first and the last to the left, figures to the right.
 *
 * @param {readonly (readonly string[])[]} table
 */
function aligned(table) {
  const last = (table[0]?.length ?? 0) - 1
  const widths = Array.from({ length: last + 1 }, (_, index) =>
    Math.max(...table.map((cells) => cells[index]?.length ?? 0)),
  )
  return table.map((cells) => {
    const padded = cells.map((cell, index) =>
      index === 0 || index === last
        ? cell.padEnd(widths[index] ?? 0)
        : cell.padStart(widths[index] ?? 0),
    )
    return `  ${padded.join('  ')}`.trimEnd()
  })
}

/**
 * The micro benchmarks.
 *
 * @param {readonly import('./contract.js').MicroResult[]} results
 */
export function microLines(results) {
  const rows = results.map(({ name, medianNs, p75Ns, p99Ns, samples }) => [
    name,
    show(medianNs, 1),
    show(p75Ns, 1),
    show(p99Ns, 1),
    show(samples, 0),
    '',
  ])
  const head = ['', 'median ns', 'p75 ns', 'p99 ns', 'samples', '']
  return ['micro: single-thread parts, per operation', ...aligned([head, ...rows])]
}
