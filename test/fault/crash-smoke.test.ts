// Crash smoke: the crash campaign (`npm run test:fault`) in small. Goal: no law of the campaign is
// broken by any kind of death, under any strategy, concurrency and recovery. Method: the same
// program with a fixed seed, in a process of its own, since it counts threads and memory.

import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const ROOT = join(import.meta.dirname, '../..')
const SCRIPT = join(ROOT, 'test/campaign/crash-campaign.js')
const SEED = 20_241
const DEATHS = 100
const COMMANDS = 9_600
const LIMIT_MS = 240_000

const run = promisify(execFile)

/** Runs the campaign; a broken law is part of what it prints, and of the failure. */
async function campaign(...words: string[]): Promise<string> {
  const options = { cwd: ROOT, timeout: LIMIT_MS, killSignal: 'SIGKILL' } as const
  try {
    return (await run(process.execPath, [SCRIPT, ...words], options)).stdout
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string }
    throw new Error(`the campaign failed:\n${stdout.slice(-6_000)}\n${stderr}`, { cause: error })
  }
}

test(
  `threads that die in every way cost only what they ran (seed ${SEED})`,
  async () => {
    const numbers = ['--seed', SEED, '--deaths', DEATHS, '--commands', COMMANDS].map(String)
    const printed = await campaign(...numbers)
    expect(printed).toContain(`PASS: no law was broken (seed ${SEED})`)
    const rows = [...printed.matchAll(/^(\S.*?) +(\d+) +(\d+) .* pass$/gm)]
    const deaths = new Map(rows.map(([, kind, , died]) => [kind!.trim(), Number(died)]))
    // 18 kinds and the sum.
    expect(deaths.size).toBe(19)
    expect([...deaths].filter(([, died]) => died === 0)).toEqual([])
    expect(deaths.get('all, and what they hit')).toBeGreaterThanOrEqual(DEATHS)
  },
  LIMIT_MS + 10_000,
)

test('a campaign refuses numbers that are none', async () => {
  await expect(campaign('--seed', 'x')).rejects.toThrow('--seed is x; allowed: an integer from 0')
})
