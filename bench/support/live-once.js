// Live once: starts a system in a process of its own, and receives what it measured.
// Thread: main.   Owns: nothing.
// @ts-check

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const TIMEOUT_MS = 60_000

/**
 * @typedef {object} Life
 * @property {number} firstResultMs
 * @property {number} firstResultCpuMs
 * @property {number} residentMiB
 * @property {number} idlePercent
 */

/**
 * Lives one life.
 *
 * @param {string} system - Its name.
 * @param {string} mode - Its mode.
 * @param {number} threads
 * @param {number} idleMs - How long to look at it idle; 0 for not at all.
 * @returns {Promise<Life>}
 */
export async function liveOnce(system, mode, threads, idleMs) {
  return runAlone('live-once-process.js', system, mode, threads, idleMs)
}

/**
 * Runs a program of this folder in a process of its own.
 *
 * @param {string} program - Its file.
 * @param {...(string | number)} words - Its arguments.
 * @returns {Promise<any>} What it prints, parsed.
 */
export async function runAlone(program, ...words) {
  const file = fileURLToPath(new URL(program, import.meta.url))
  const args = [...process.execArgv, file, ...words.map(String)]
  const { stdout } = await run(process.execPath, args, { timeout: TIMEOUT_MS })
  return JSON.parse(stdout)
}
