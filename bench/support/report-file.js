// Report file: a run as JSON.
// Thread: any.   Owns: nothing.
// @ts-check

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/** @typedef {import('./contract.js').Report} Report */

const SIGNIFICANT_DIGITS = 5

/**
 * Writes a report; a sample a line, numbers to as many digits as mean something.
 *
 * @param {string} path
 * @param {Report} report
 */
export function writeReport(path, report) {
  const text = JSON.stringify(report, (_, value) => rounded(value), 1)
  mkdirSync(dirname(path), { recursive: true })
  const compact = text.replace(/\{[^{}[\]]*\}/g, (object) => object.replace(/\n\s*/g, ' '))
  writeFileSync(path, `${compact}\n`)
}

/**
 * Reads a report.
 *
 * @param {string} path
 * @returns {Report}
 */
export function readReport(path) {
  return JSON.parse(readFileSync(path, 'utf8'))
}

/** @param {unknown} value */
function rounded(value) {
  if (typeof value !== 'number' || Number.isInteger(value)) return value
  return Number(value.toPrecision(SIGNIFICANT_DIGITS))
}
