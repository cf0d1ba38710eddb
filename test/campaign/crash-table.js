// Crash table: what a campaign prints in the end.

import { KINDS } from './crash-kinds.js'

const COLUMNS = [
  ['death', 30],
  ['commands', 9],
  ['deaths', 7],
  ['per min', 8],
  ['share', 7],
  ['runs lost', 10],
  ['per death', 10],
  ['next p50 ms', 12],
  ['max ms', 8],
  ['', 6],
]

/** A row; the first cell is a name. */
function line(cells) {
  return cells
    .map((cell, at) => (at === 0 ? cell.padEnd(COLUMNS[0][1]) : cell.padStart(COLUMNS[at][1])))
    .join('')
    .trimEnd()
}

function rowOf({ name, commands, deaths, lost, replacedMs, seconds, all, isWrong }) {
  const sorted = replacedMs.toSorted((a, b) => a - b)
  const median = sorted[sorted.length >> 1]
  return line([
    name,
    String(commands),
    String(deaths),
    ((deaths * 60) / seconds).toFixed(1),
    `${((100 * deaths) / Math.max(1, all)).toFixed(1)}%`,
    String(lost),
    (lost / Math.max(1, deaths)).toFixed(2),
    median === undefined ? '-' : median.toFixed(0),
    median === undefined ? '-' : sorted.at(-1).toFixed(0),
    isWrong ? 'FAIL' : 'pass',
  ])
}

/**
 * Prints a table of the kinds of death and the sums.
 *
 * @param {object} campaign
 */
export function printTable({ rows, violations, seconds, deaths, totals, deadLetters, memory }) {
  console.log(`\n${line(COLUMNS.map(([title]) => title))}`)
  const common = { seconds, all: deaths }
  const sum = { commands: 0, deaths, lost: 0, replacedMs: [] }
  for (const { name, index } of KINDS) {
    const isWrong = violations.some(({ kind }) => kind === name)
    console.log(rowOf({ name, ...rows[index], ...common, isWrong }))
    sum.commands += rows[index].commands
    sum.lost += rows[index].lost
    sum.replacedMs.push(...rows[index].replacedMs)
  }
  const isWrong = violations.length > 0
  console.log(rowOf({ name: 'all, and what they hit', ...sum, ...common, isWrong }))
  const { rounds, commands, completed, failed, retried, timedOut } = totals
  const rss = Math.max(...memory.map((sample) => sample.rss))
  console.log(
    `\n${rounds} rounds, ${commands} commands in ${seconds.toFixed(0)} s: ${completed} completed, ` +
      `${failed} failed, ${retried} runs again, ${timedOut} timed out, ${deadLetters} dead letters; ` +
      `rss at most ${rss.toFixed(0)} MiB`,
  )
}
