// Urgent: one command that matters, behind many that do not. What has no lanes runs it last.
// @ts-check

import { iterationsFor } from '../support/spin-rate.js'

const QUEUED = 500
const HANDLER_US = 1_000
const AT_WORK_MS = 5

/** @type {readonly import('../support/contract.js').PoolRow[]} */
export const rows = [
  {
    id: 'urgent-behind-500',
    title: `an urgent command behind ${QUEUED} of 1 ms: until it starts`,
    threads: 2,
    columns: [
      { metric: 'startMs', title: 'ms to start', better: 'less', digits: 3 },
      { metric: 'perSecond', title: 'per second', better: 'more', digits: 0 },
    ],
    async measure(pool, _ms, { queuedMax }) {
      const iterations = iterationsFor(HANDLER_US)
      const startedAt = performance.now()
      const queued = Array.from({ length: Math.min(QUEUED, queuedMax) }, () =>
        pool.run('long', iterations),
      )
      // The queue must be at work before something overtakes it.
      await new Promise((resolve) => setTimeout(resolve, AT_WORK_MS))
      const submittedAt = performance.timeOrigin + performance.now()
      const urgent = await (pool.runUrgent ?? pool.run)('short', 1)
      await Promise.all(queued)
      const tookMs = performance.now() - startedAt
      return {
        startMs: Math.max(0, /** @type {number} */ (urgent) - submittedAt),
        perSecond: ((queued.length + 1) / tookMs) * 1000,
      }
    },
  },
]
