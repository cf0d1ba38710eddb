// Figures: the numbers of a report, ready to print.
// Thread: any.   Owns: nothing.
// @ts-check

import { medianRatio, summarize } from './statistics.js'

/** @typedef {import('./contract.js').RowResult} RowResult */
/** @typedef {import('./contract.js').Entry} Entry */
/** @typedef {import('./contract.js').Column} Column */

/** Systems that others are compared with. */
export const REFERENCES = /** @type {const} */ (['piscina', 'bare-ring'])

/**
 * A number for people.
 *
 * @param {number} value
 * @param {number} digits - After the point.
 */
export function show(value, digits) {
  if (!Number.isFinite(value)) return '–'
  return value.toLocaleString('en', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  })
}

/**
 * A ratio for people; the smaller, the more digits.
 *
 * @param {number} ratio
 */
export function showRatio(ratio) {
  return Math.abs(ratio) < 0.1 ? show(ratio, 4) : show(ratio, 2)
}

/**
 * The values of a figure, round by round.
 *
 * @param {Entry} entry
 * @param {string} metric
 */
function valuesOf({ samples }, metric) {
  return samples.map((sample) => sample[metric] ?? Number.NaN)
}

/**
 * A figure's median and quartiles.
 *
 * @param {Entry} entry
 * @param {Column} column
 */
export function spreadOf(entry, { metric }) {
  return summarize(valuesOf(entry, metric))
}

/**
 * The headline of one system as a multiple of another's.
 *
 * @param {RowResult} row
 * @param {string} ours
 * @param {string} theirs
 * @returns NaN if one of them took no part.
 */
export function ratioOf(row, ours, theirs) {
  const metric = row.columns[0]?.metric ?? ''
  const [our, their] = [ours, theirs].map((name) =>
    row.entries.find(({ system }) => system === name),
  )
  if (our === undefined || their === undefined) return Number.NaN
  return medianRatio(valuesOf(our, metric), valuesOf(their, metric))
}
