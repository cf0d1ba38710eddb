// Factorial: the comparison that poolifier publishes, factorial(1000) submitted all at once.
// It takes 100,000; so do ten samples.
// @ts-check

import { closedLoop } from '../support/closed-loop.js'
import { factorial } from '../support/handlers.js'
import { metered, RATE_COLUMNS } from '../support/metered.js'

const COMMANDS = 10_000
const N = 1000

/** @type {readonly import('../support/contract.js').PoolRow[]} */
export const rows = [
  {
    id: 'factorial-1000',
    title: `${COMMANDS.toLocaleString('en')} times factorial(${N}), all queued at once`,
    threads: 2,
    columns: RATE_COLUMNS,
    measure(pool, ms, { queuedMax }) {
      const expected = factorial(N)
      const commands = Math.min(COMMANDS, queuedMax)
      return metered(() =>
        closedLoop(pool, {
          type: 'factorial',
          values: [N],
          digest: (value) => (value === expected ? 1 : 0),
          expected: () => 1,
          inFlight: commands,
          ms,
          commands,
        }),
      )
    },
  },
]
