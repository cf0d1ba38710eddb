// Completion: how long after a long handler has returned its caller is told.
// @ts-check

import { summarize } from '../support/statistics.js'

const HANDLER_MS = 50
/** A multiple of the span of a sample. */
const COMMANDS = 5

/** @type {readonly import('../support/contract.js').PoolRow[]} */
export const rows = [
  {
    id: 'completion-50-ms',
    title: `a handler of ${HANDLER_MS} ms, one at a time: from its return to its caller`,
    threads: 2,
    columns: [
      { metric: 'errorMs', title: 'median ms late', better: 'less', digits: 3 },
      { metric: 'worstMs', title: 'worst ms late', better: 'less', digits: 3 },
    ],
    async measure(pool, ms) {
      const errors = []
      const handlerMs = Math.min(HANDLER_MS, ms)
      for (let i = 0; i < COMMANDS; i++) {
        const endedAt = /** @type {number} */ (await pool.run('burn', handlerMs))
        errors.push(Math.max(0, performance.timeOrigin + performance.now() - endedAt))
      }
      return { errorMs: summarize(errors).median, worstMs: Math.max(...errors) }
    },
  },
]
