// Queue rate: whether a limit of 100 starts a second on a lane holds over three processes and is
// used. Commands return when they started; the judge looks at every interval between two starts.

import { setTimeout as sleep } from 'node:timers/promises'
import { QueueLedger } from './queue-ledger.js'
import { openQueue, openSubmitter, RATE } from './queue-parts.js'
import { QueueWorkers } from './queue-workers.js'

const WORKERS = 3
/** Backlog that a worker always finds. */
const OPEN = 150
/** Clocks of processes of one machine agree about as well as this. */
const CLOCK_MS = 1
const USED_MIN = 0.97

/**
 * Submits commands of the limited lane for a while.
 *
 * @param {object} place - As for `openQueue`.
 * @param {string} path - Of the ledger.
 * @param {number} seconds
 * @returns {Promise<{ starts: number, share: number, violations: object[] }>}
 */
export async function measureRate(place, path, seconds) {
  const ledger = new QueueLedger(path)
  const workers = new QueueWorkers(place, ledger, path)
  const stop = () => workers.kill()
  process.once('exit', stop)
  const queue = await openQueue(place)
  const submitter = await openSubmitter(queue)
  const stamps = []
  const violations = []
  let isOver = false
  const loop = async () => {
    while (!isOver) stamps.push(await submitter.submit('limited', 'stamp'))
  }
  try {
    await Promise.all(Array.from({ length: WORKERS }, () => workers.add()))
    const loops = Array.from({ length: OPEN }, loop)
    await sleep(seconds * 1_000)
    isOver = true
    await Promise.all(loops)
  } catch (error) {
    violations.push({ law: 'the rate is measured', what: error.stack })
  }
  await submitter.close()
  await workers.close()
  await queue.close()
  ledger.close()
  process.off('exit', stop)
  for (const what of workers.failures) violations.push({ law: 'workers end as they should', what })
  stamps.sort((a, b) => a - b)
  return { ...judgeStamps(stamps, violations), violations }
}

/** @param {number[]} stamps - Sorted. */
function judgeStamps(stamps, violations) {
  const { limit, windowMs } = RATE
  for (const [first, from] of stamps.entries()) {
    for (let last = first; last < stamps.length; last++) {
      const count = last - first + 1
      const ms = stamps[last] - from + CLOCK_MS
      if (count <= limit + (limit * ms) / windowMs) continue
      const what = `${count} starts in ${ms.toFixed(1)} ms`
      violations.push({ law: 'a limit of a lane holds over processes', what })
      return { starts: stamps.length, share: Number.NaN }
    }
  }
  // What the limit lets through at once in the beginning would flatter the rest.
  const steady = stamps.filter((stamp) => stamp > stamps[0] + 2 * windowMs)
  const flow = (steady.length - 1) / ((steady.at(-1) - steady[0]) / windowMs)
  const share = flow / limit
  if (!(share >= USED_MIN)) {
    const what = `${(share * 100).toFixed(1)} % of it`
    violations.push({ law: 'a limit of a lane is used', what })
  }
  return { starts: stamps.length, share }
}
