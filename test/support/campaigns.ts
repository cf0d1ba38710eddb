// Campaigns: runs one of test/campaign in a process of its own.

import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'

const ROOT = join(import.meta.dirname, '../..')

const run = promisify(execFile)

/**
 * Runs a campaign; a broken law is part of what it prints, and of the failure.
 *
 * @param name - As `npm run test:fault` has it.
 * @param limitMs - How long it may take.
 * @param words - Its arguments.
 * @returns What it printed.
 */
export async function campaign(name: string, limitMs: number, words: string[]): Promise<string> {
  const script = join(ROOT, `test/campaign/${name}-campaign.js`)
  const options = { cwd: ROOT, timeout: limitMs, killSignal: 'SIGKILL' } as const
  try {
    return (await run(process.execPath, [script, ...words], options)).stdout
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string }
    throw new Error(`the campaign failed:\n${stdout.slice(-6_000)}\n${stderr}`, { cause: error })
  }
}
