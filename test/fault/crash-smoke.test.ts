// Crash smoke: the crash campaign (`npm run test:fault`) in small. Goal: no law of the campaign is
// broken by any kind of death, under any strategy, concurrency and recovery. Method: the same
// program with a fixed seed, in a process of its own, since it counts threads and memory.

import { expect, test } from 'vitest'
import { campaign } from '../support/campaigns.ts'

const SEED = 20_241
const DEATHS = 80
const COMMANDS = 1_800
const LIMIT_MS = 240_000

test(
  `threads that die in every way cost only what they ran (seed ${SEED})`,
  async () => {
    const numbers = ['--seed', SEED, '--deaths', DEATHS, '--commands', COMMANDS].map(String)
    const printed = await campaign('crash', LIMIT_MS, numbers)
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
  await expect(campaign('crash', LIMIT_MS, ['--seed', 'x'])).rejects.toThrow(
    '--seed is x; allowed: an integer from 0',
  )
})
