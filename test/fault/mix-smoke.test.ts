// Mix smoke: the mix campaign (`npm run test:fault -- mix`) in small. Goal: whatever is used beside
// whatever else, all that was begun ends. Method: the same program with a fixed seed, in a process
// of its own, since it watches what that throws.

import { expect, test } from 'vitest'
import { campaign } from '../support/campaigns.ts'

const SEED = 20_272
const ROUNDS = 3
const LIMIT_MS = 240_000

test(
  `everything that a manager offers is used at once, and all of it ends (seed ${SEED})`,
  async () => {
    const numbers = ['--seed', SEED, '--rounds', ROUNDS].map(String)
    const printed = await campaign('mix', LIMIT_MS, numbers)
    const last = /^mix campaign, seed 20272: 3 rounds, (\d+) calls: PASS$/m.exec(printed)
    expect(Number(last?.[1])).toBeGreaterThan(50)
  },
  LIMIT_MS + 10_000,
)
