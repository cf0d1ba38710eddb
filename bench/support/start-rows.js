// Start rows: runs a row process and hears its results.
// Thread: main.   Owns: the process.
// @ts-check

import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** @typedef {import('./contract.js').RowResult} RowResult */

const PROGRAM = fileURLToPath(new URL('./row-process.js', import.meta.url))

/**
 * Measures rows in one process.
 *
 * @param {readonly string[]} rows - Ids.
 * @param {readonly string[]} systems - Names.
 * @param {import('./contract.js').Settings} settings
 * @returns {Promise<RowResult[]>} Rejects if the process failed.
 */
export async function startRows(rows, systems, settings) {
  const job = JSON.stringify({ rows, systems, settings })
  return JSON.parse(await outputOf(PROGRAM, [job]))
}

/**
 * Runs a program of Node and gives what it prints.
 *
 * @param {string} program - Its path.
 * @param {readonly string[]} words - Its arguments.
 * @returns {Promise<string>} Rejects if it fails.
 */
export function outputOf(program, words) {
  const child = spawn(process.execPath, [program, ...words], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    text += chunk
  })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => {
      if (code === 0) resolve(text)
      else reject(new Error(`${program} ended with ${signal ?? `exit code ${code}`}`))
    })
  })
}
