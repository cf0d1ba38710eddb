// Deaths in groups: a thread ends while a group is at its limit. Goal: what the group held is given
// back exactly once, no bound is broken before, during or after, and what waits goes on. Method:
// many deaths, runs that outlive their commands, threads that are given up, waits inside handlers.

import { type LaneOptions, PartitionConfig, QueueManager } from 'corelane'
import { expect, test } from 'vitest'
import { failure, until, within } from '../support/deadline.ts'
import { moduleOf, open } from '../support/managers.ts'

const [GATE, RUNNING, MOST] = [0, 1, 2]
const wordsOf = () => new Int32Array(new SharedArrayBuffer(16))

function openGate(words: Int32Array): void {
  Atomics.store(words, GATE, 1)
  Atomics.notify(words, GATE)
}

test.each(
  ['exit', 'throw in a timer'].flatMap((how) => [false, true].map((isHash) => ({ how, isHash }))),
)(
  'after ten deaths by $how each with a slot in hand a group reaches its maximum, keyed: $isHash',
  async ({ how, isHash }) => {
    const words = wordsOf()
    const manager = await open('lanes-handlers.js', {
      partitions: isHash ? PartitionConfig.hash(2) : PartitionConfig.balanced(2),
      concurrencyPerPartition: 2,
      lanes: { api: { groupConcurrency: 2 } },
      workerData: { words: words.buffer },
    })
    const options = (i: number) => ({ group: 'a', ...(isHash ? { key: `k${i}` } : {}) })
    const waiting: Promise<unknown>[] = []
    for (let i = 0; i < 10; i++) {
      const deadly = manager.submit('api', 'die', how, options(i))
      // Bound beside it or waiting for its turn; run elsewhere or later.
      waiting.push(manager.submit('api', 'place', i, options(i + 100)))
      waiting.push(manager.submit('api', 'place', i, options(i + 200)))
      const lost = await failure(deadly, `death ${i}`)
      expect(lost).toMatchObject({ code: 'CORELANE_PARTITION_LOST', started: true })
    }
    const ends = await within(Promise.allSettled(waiting), 'what waited')
    expect(ends.length).toBe(20)
    const held = Array.from({ length: 10 }, (_, i) => manager.submit('api', 'gate', i, options(i)))
    await until(() => Atomics.load(words, RUNNING) === 2, 'two run at once')
    openGate(words)
    await within(Promise.all(held), 'the held commands')
    expect(Atomics.load(words, MOST)).toBe(2)
  },
)

test('a lost command that runs again takes a slot and a token of its group again', async () => {
  const manager = await open('lanes-handlers.js', {
    partitions: PartitionConfig.balanced(2),
    lanes: {
      api: {
        groupConcurrency: 1,
        groupRateLimit: { limit: 3, windowMs: 300, algorithm: 'sliding-window' },
        retry: { retries: 0, retryLost: true },
      },
    },
    maxCrashes: 2,
  })
  const startedAt = performance.now()
  const lost = failure(manager.submit('api', 'die', 'exit', { group: 'a' }), 'the deadly one')
  const others = [0, 1].map(() => manager.submit('api', 'startedAt', 0, { group: 'a' }))
  expect(await lost).toMatchObject({ code: 'CORELANE_PARTITION_LOST' })
  await within(Promise.all(others), 'others')
  // Two runs of the one and two of the others: the fourth start is in the next window.
  expect(performance.now() - startedAt).toBeGreaterThan(300)
})

test('a run that outlives its command holds the slot of its group until it has ended', async () => {
  const words = wordsOf()
  const manager = await open('lanes-handlers.js', {
    partitions: PartitionConfig.balanced(2),
    concurrencyPerPartition: 4,
    lanes: { api: { groupConcurrency: 1 } },
    timeoutGraceMs: 10_000,
    workerData: { words: words.buffer },
  })
  const slow = manager.submit('api', 'rest', 300, { group: 'a', timeoutMs: 20 })
  const next = manager.submit('api', 'rest', 1, { group: 'a' })
  expect(await failure(slow, 'the slow one')).toMatchObject({ code: 'CORELANE_TIMEOUT' })
  await within(next, 'the next')
  expect(Atomics.load(words, MOST)).toBe(1)
})

test('the slot of a thread that is given up comes back once it has exited', async () => {
  const words = wordsOf()
  const manager = await open('lanes-handlers.js', {
    partitions: PartitionConfig.single(),
    lanes: { api: { groupConcurrency: 1 } },
    timeoutGraceMs: 1,
    workerData: { words: words.buffer },
  })
  for (let i = 0; i < 5; i++) {
    const stuck = manager.submit('api', 'burn', 5000, { group: 'a', timeoutMs: 20 })
    const next = manager.submit('api', 'place', i, { group: 'a' })
    expect(await failure(stuck, 'the stuck one')).toMatchObject({ code: 'CORELANE_TIMEOUT' })
    await within(next, `the next of round ${i}`)
  }
})

const nested = `
  export const outer = (group, context) => context.submit('api', 'inner', 0, { group })
  export const inner = () => 'done'
`

test('a handler that waits for a command of its own full group is refused, others are not', async () => {
  const manager = QueueManager.create({
    handlers: moduleOf(nested),
    partitions: PartitionConfig.balanced(2),
    concurrencyPerPartition: 4,
    lanes: { api: { groupConcurrency: 1 } },
  })
  try {
    const own = failure(manager.submit('api', 'outer', 'a', { group: 'a' }), 'its own group')
    expect(await own).toMatchObject({ code: 'CORELANE_NESTED_WAIT' })
    const other = manager.submit('api', 'outer', 'b', { group: 'a' })
    expect(await within(other, 'another group')).toBe('done')
  } finally {
    await manager.close()
  }
})

test.each(['balanced', 'hash'] as const)(
  'what is bound behind a handler that waits keeps no slot from the command it waits for: %s',
  async (strategy) => {
    const manager = QueueManager.create({
      handlers: moduleOf(nested),
      partitions: PartitionConfig[strategy](2),
      concurrencyPerPartition: 2,
      lanes: { api: { groupConcurrency: 3 } },
    })
    try {
      for (let round = 0; round < 20; round++) {
        const runs = Array.from({ length: 12 }, (_, i) => {
          const key = strategy === 'hash' ? { key: `k${i % 5}` } : {}
          return manager.submit('api', i % 3 === 0 ? 'outer' : 'inner', 'a', { group: 'a', ...key })
        })
        const ends = await within(Promise.allSettled(runs), `round ${round}`)
        for (const end of ends) {
          if (end.status === 'rejected') expect(end.reason.code).toBe('CORELANE_NESTED_WAIT')
        }
      }
    } finally {
      await manager.close()
    }
  },
)

const LOADS = 1
const keyed = `
  import { workerData } from 'node:worker_threads'
  const words = new Int32Array(workerData.words)
  // The third thread waits until the gate is open.
  if (Atomics.add(words, ${LOADS}, 1) >= 2) Atomics.wait(words, ${GATE}, 0, 20_000)
  export const where = (_, context) => context.partition
  export const die = () => new Promise((resolve) => setTimeout(() => process.exit(1), 20))
  export const rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
  export const outer = async (key, context) => {
    await rest(60)
    return await context.submit('api', 'where', 0, { group: 'a', key })
  }
`

/** A manager of two partitions, and many keys of each. */
async function openKeyed(lane: LaneOptions, words = wordsOf()) {
  const manager = QueueManager.create({
    handlers: moduleOf(keyed),
    partitions: PartitionConfig.hash(2),
    lanes: { api: lane, other: {} },
    workerData: { words: words.buffer },
  })
  await manager.start()
  const keys: [string[], string[]] = [[], []]
  for (let i = 0; i < 40; i++) {
    const home = (await manager.submit('other', 'where', 0, { key: `k${i}` })) as 0 | 1
    keys[home].push(`k${i}`)
  }
  return { manager, keys }
}

test('what waits for a partition without a thread keeps no slot and no token of its group', async () => {
  const words = wordsOf()
  const limits = {
    groupConcurrency: 1,
    groupRateLimit: { limit: 2, windowMs: 10, algorithm: 'sliding-window' },
  } as const
  const { manager, keys } = await openKeyed(limits, words)
  try {
    const [here, there] = keys
    const deadly = failure(manager.submit('other', 'die', 0, { key: here[0]! }), 'the deadly one')
    // The first is bound behind it and comes back, the second comes when there is no thread.
    const bound = manager.submit('api', 'where', 0, { group: 'a', key: here[1]! })
    expect(await deadly).toMatchObject({ code: 'CORELANE_PARTITION_LOST' })
    const next = manager.submit('api', 'where', 0, { group: 'a', key: here[2]! })
    for (const key of there.slice(0, 5)) {
      expect(await within(manager.submit('api', 'where', 0, { group: 'a', key }), 'one')).toBe(1)
    }
    openGate(words)
    expect(await within(Promise.all([bound, next]), 'those of the partition')).toEqual([0, 0])
  } finally {
    openGate(words)
    await manager.close()
  }
})

test.each<[string, LaneOptions, number]>([
  ['the token of what is bound behind it', { groupRateLimit: { limit: 1, windowMs: 10 } }, 0],
  ['the slot of what is next there', { groupConcurrency: 2 }, 1],
])('a handler that waits for a command of its group gets %s', async (_, lane, long) => {
  const { manager, keys } = await openKeyed(lane)
  try {
    const [here, there] = keys
    // A long one fills the window, and what is next waits in the order.
    for (let i = 0; i < 5; i++) await manager.submit('other', 'rest', 20, { key: here[0]! })
    const outer = manager.submit('api', 'outer', there[0]!, { group: 'a', key: here[0]! })
    const others = here.slice(1, 2 + long).map((key, at) => {
      return manager.submit('api', 'rest', 20, { group: at < long ? 'b' : 'a', key })
    })
    expect(await within(outer, 'the handler that waits')).toBe(1)
    await within(Promise.all(others), 'the others')
  } finally {
    await manager.close()
  }
})
