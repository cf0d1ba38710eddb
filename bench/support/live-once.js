// Live once: starts a system in a process of its own, and hears what that cost.
// Thread: main.   Owns: nothing.
// @ts-check

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const PROGRAM = fileURLToPath(new URL('./live-once-process.js', import.meta.url))
const TIMEOUT_MS = 60_000

/** @typedef {{ firstResultMs: number, residentMiB: number, idlePercent: number }} Life */

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
  const words = [PROGRAM, system, mode, String(threads), String(idleMs)]
  const { stdout } = await run(process.execPath, words, { timeout: TIMEOUT_MS })
  return JSON.parse(stdout)
}
