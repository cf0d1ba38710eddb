// Queue: a great many commands submitted in one go: what each costs while it waits, and how fast the
// queue drains. The payloads exist before, so only what the system keeps is counted.
// @ts-check

import { collectGarbage } from '../support/garbage.js'
import { smallObject } from '../support/payloads.js'

const COMMANDS = 200_000

/** @type {readonly import('../support/contract.js').PoolRow[]} */
export const rows = [
  {
    id: 'queue-200000',
    title: `${COMMANDS.toLocaleString('en')} small objects queued at once`,
    threads: 2,
    columns: [
      { metric: 'heapBytes', title: 'heap bytes each', better: 'less', digits: 0 },
      { metric: 'submitsPerSecond', title: 'submits/s', better: 'more', digits: 0 },
      { metric: 'drainedPerSecond', title: 'drained/s', better: 'more', digits: 0 },
    ],
    // The others queue as Piscina does, and take minutes.
    systems: ['corelane', 'piscina', 'post-message', 'bare-ring'],
    measure: (pool, _ms, { queuedMax }) => fillAndDrain(pool, Math.min(COMMANDS, queuedMax)),
  },
]

/** @param {import('../support/contract.js').Pool} pool @param {number} count */
async function fillAndDrain(pool, count) {
  const payloads = Array.from({ length: count }, (_, id) => smallObject(id))
  /** @type {Promise<any>[]} */
  const promises = new Array(count)
  const heapBefore = collectGarbage()
  const startedAt = performance.now()
  for (let i = 0; i < count; i++) promises[i] = pool.run('echo', payloads[i])
  const submittedAt = performance.now()
  const heapBytes = (collectGarbage() - heapBefore) / count
  const drainStartedAt = performance.now()
  const results = await Promise.all(promises)
  const drainedAt = performance.now()
  const isRight = results.length === count && results.every(({ id }, index) => id === index)
  if (!isRight) throw new Error('a command was lost or answered for another')
  return {
    heapBytes,
    submitsPerSecond: (count / (submittedAt - startedAt)) * 1000,
    drainedPerSecond: (count / (drainedAt - drainStartedAt)) * 1000,
  }
}
