// Queue smoke: the campaigns of queues (`npm run test:fault -- queue` and `queue-mix`) in small.
// Goal: nothing that was acknowledged is lost, nothing completes twice, and keys keep their order,
// while workers are killed and frozen, Redis is restarted and connections are cut, or while all
// that a queue offers is used at once. Method: the same programs with a fixed seed, in a process of
// their own.

import { expect, test } from 'vitest'
import { campaign } from '../support/campaigns.ts'
import { describeWithRedis } from '../support/redis-server.ts'

const SEED = 20_247
/** A round with keys and without deaths, whose leases outlast a busy machine. */
const MIX_SEED = 20_263
const LIMIT_MS = 120_000

describeWithRedis('the queue campaign', () => {
  test(
    `workers, connections and Redis fail, and no promise is broken (seed ${SEED})`,
    async () => {
      const printed = await campaign('queue', LIMIT_MS, ['--seed', String(SEED), '--quick'])
      expect(printed).toContain(`PASS: no law was broken (seed ${SEED})`)
      const counts = new Map(
        [...printed.matchAll(/^(\S.*?) +(\d+)$/gm)].map(([, what, count]) => [what, Number(count)]),
      )
      const faults = ['kill', 'freeze', 'redis', 'cut', 'cut all', 'poison', 'undecodable']
      expect(faults.map((kind) => counts.get(kind))).toEqual([1, 1, 1, 1, 1, 1, 1])
      expect(counts.get('keyed')).toBeGreaterThan(50)
      // A process that is killed or frozen has something that another one runs again.
      expect(counts.get('again')).toBeGreaterThan(0)
    },
    LIMIT_MS + 10_000,
  )
})

test(
  `everything that a queue offers is used at once, and all of it ends (seed ${MIX_SEED})`,
  async () => {
    const words = ['--seed', String(MIX_SEED), '--rounds', '1', '--local']
    const printed = await campaign('queue-mix', LIMIT_MS, words)
    const last = /^queue-mix campaign, seed 20263: 1 rounds, (\d+) commands: PASS$/m.exec(printed)
    expect(Number(last?.[1])).toBeGreaterThan(50)
  },
  LIMIT_MS + 10_000,
)
