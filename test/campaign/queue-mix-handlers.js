// Handlers of the queue-mix campaign: all ways to end and to wait. Each run is written down in
// shared memory: how many of a kind run at once, and in which order commands started.

import { setTimeout as sleep } from 'node:timers/promises'
import { workerData } from 'node:worker_threads'

const { words, starts } = workerData

/** Words of the first command: its runs, and the place of its first start among all starts. */
const FIRST = 64
const PLACE = 62
const STARTS = 63

/** Counts one more that runs at a word; the next word has the most that ever did. */
function more(at) {
  const running = Atomics.add(words, at, 1) + 1
  for (let most = Atomics.load(words, at + 1); running > most; ) {
    const seen = Atomics.compareExchange(words, at + 1, most, running)
    if (seen === most) return
    most = seen
  }
}

/** Runs something as a command, which says at which words it counts. */
const noted =
  (run) =>
  async ({ index, counters, isPaced, given }, context) => {
    Atomics.add(words, FIRST + 2 * index, 1)
    const place = Atomics.add(words, PLACE, 1) + 1
    Atomics.compareExchange(words, FIRST + 2 * index + 1, 0, place)
    if (isPaced) {
      const at = Atomics.add(words, STARTS, 1) % starts.length
      starts[at] = performance.timeOrigin + context.startedAt
    }
    for (const at of counters) more(at)
    try {
      return await run(given, context)
    } finally {
      for (const at of counters) Atomics.sub(words, at, 1)
    }
  }

export const echo = noted((given) => given)
export const nap = noted((ms) => sleep(ms, ms))
export const politeNap = noted((ms, { signal }) => sleep(ms, ms, { signal }))

export const busy = noted((ms) => {
  const endMs = performance.now() + ms
  while (performance.now() < endMs);
  return ms
})

export const fail = noted(() => {
  throw new RangeError('queue-mix: it fails')
})

/** Fails in its first runs. */
export const flaky = noted((failures, { attempt }) => {
  if (attempt <= failures) throw new TypeError('queue-mix: not yet')
  return attempt
})

export const report = noted(async (count, context) => {
  for (let i = 0; i < count; i++) {
    context.progress({ i })
    await sleep(1)
  }
  return count
})

export const uncloneable = noted(() => ({ method() {} }))
export const exit = noted((code) => process.exit(code))

export const loop = noted(() => {
  for (;;);
})

/** Waits for a command of its own manager, which counts as none of the queue's. */
export const call = noted((lane, context) =>
  context.submit(lane, 'echo', { index: 0, counters: [], isPaced: false, given: lane }),
)
