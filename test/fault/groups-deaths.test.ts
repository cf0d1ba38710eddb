// Deaths in groups: a thread ends while a group is at its limit. Goal: what the group held is given
// back exactly once, no bound is broken before, during or after, and what waits goes on. Method:
// many deaths, runs that outlive their commands, threads that are given up, waits inside handlers.

import { type LaneOptions, PartitionConfig, type QueueManagerOptions } from 'corelane'
import { expect, test } from 'vitest'
import { failure, refused, until, within } from '../support/deadline.ts'
import { Floor, openFloor } from '../support/floor.ts'
import { moduleOf, open } from '../support/managers.ts'
import { range } from '../support/range.ts'

const openModule = (text: string, options: QueueManagerOptions) =>
  open('values.js', { handlers: moduleOf(text), ...options })

test.each([false, true])(
  'after four deaths each with a slot in hand a group reaches its maximum, keyed: %s',
  async (isHash) => {
    const { floor, manager } = await openFloor({
      partitions: isHash ? PartitionConfig.hash(2) : PartitionConfig.balanced(2),
      concurrencyPerPartition: 2,
      lanes: { api: { groupConcurrency: 2 } },
    })
    const options = (i: number) => ({ group: 'a', ...(isHash ? { key: `k${i}` } : {}) })
    const waiting: Promise<unknown>[] = []
    for (let i = 0; i < 4; i++) {
      const how = i % 2 === 0 ? 'exit' : 'throw in a timer'
      const deadly = manager.submit('api', 'die', how, options(i))
      // Bound beside it or waiting for its turn; run elsewhere or later.
      waiting.push(manager.submit('api', 'place', i, options(i + 100)))
      waiting.push(manager.submit('api', 'place', i, options(i + 200)))
      const lost = await failure(deadly, `death ${i}`)
      expect(lost).toMatchObject({ code: 'CORELANE_PARTITION_LOST', started: true })
    }
    const ends = await within(Promise.allSettled(waiting), 'what waited')
    expect(ends.length).toBe(8)
    const held = range(10).map((i) => manager.submit('api', 'gate', i, options(i)))
    await until(() => floor.running === 2, 'two run at once')
    floor.openGate()
    await within(Promise.all(held), 'the held commands')
    expect(floor.most).toBe(2)
  },
)

test('a lost command that runs again takes a slot and a token of its group again', async () => {
  const { manager } = await openFloor({
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
  const { floor, manager } = await openFloor({
    partitions: PartitionConfig.balanced(2),
    concurrencyPerPartition: 4,
    lanes: { api: { groupConcurrency: 1 } },
    timeoutGraceMs: 10_000,
  })
  const slow = manager.submit('api', 'rest', 300, { group: 'a', timeoutMs: 20 })
  const next = manager.submit('api', 'rest', 1, { group: 'a' })
  await refused(slow, 'CORELANE_TIMEOUT')
  await within(next, 'the next')
  expect(floor.most).toBe(1)
})

test('the slot of a thread that is given up comes back once it has exited', async () => {
  const { manager } = await openFloor({
    partitions: PartitionConfig.single(),
    lanes: { api: { groupConcurrency: 1 } },
    timeoutGraceMs: 1,
  })
  for (let i = 0; i < 3; i++) {
    const stuck = manager.submit('api', 'burn', 5000, { group: 'a', timeoutMs: 20 })
    const next = manager.submit('api', 'place', i, { group: 'a' })
    await refused(stuck, 'CORELANE_TIMEOUT')
    await within(next, `the next of round ${i}`)
  }
})

const nested = `
  export const outer = (group, context) => context.submit('api', 'inner', 0, { group })
  export const inner = () => 'done'
`

test('a handler that waits for a command of its own full group is refused, others are not', async () => {
  const manager = await openModule(nested, {
    partitions: PartitionConfig.balanced(2),
    concurrencyPerPartition: 4,
    lanes: { api: { groupConcurrency: 1 } },
  })
  await refused(manager.submit('api', 'outer', 'a', { group: 'a' }), 'CORELANE_NESTED_WAIT')
  const other = manager.submit('api', 'outer', 'b', { group: 'a' })
  expect(await within(other, 'another group')).toBe('done')
})

test.each(['balanced', 'hash'] as const)(
  'what is bound behind a handler that waits keeps no slot from the command it waits for: %s',
  async (strategy) => {
    const manager = await openModule(nested, {
      partitions: PartitionConfig[strategy](2),
      concurrencyPerPartition: 2,
      lanes: { api: { groupConcurrency: 3 } },
    })
    for (let round = 0; round < 20; round++) {
      const runs = range(12).map((i) => {
        const key = strategy === 'hash' ? { key: `k${i % 5}` } : {}
        return manager.submit('api', i % 3 === 0 ? 'outer' : 'inner', 'a', { group: 'a', ...key })
      })
      const ends = await within(Promise.allSettled(runs), `round ${round}`)
      for (const end of ends) {
        if (end.status === 'rejected') expect(end.reason.code).toBe('CORELANE_NESTED_WAIT')
      }
    }
  },
)

const LOADS = 1
const keyed = `
  import { workerData } from 'node:worker_threads'
  const words = new Int32Array(workerData.words)
  // The third thread waits until the gate is open.
  if (Atomics.add(words, ${LOADS}, 1) >= 2) Atomics.wait(words, 0, 0, 20_000)
  export const where = (_, context) => context.partition
  export const die = () => new Promise((resolve) => setTimeout(() => process.exit(1), 20))
  export const rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
  export const outer = async (key, context) => {
    await rest(60)
    return await context.submit('api', 'where', 0, { group: 'a', key })
  }
`

/** A manager of two partitions, and many keys of each. */
async function openKeyed(lane: LaneOptions, { workerData } = new Floor()) {
  const manager = await openModule(keyed, {
    partitions: PartitionConfig.hash(2),
    lanes: { api: lane, other: {} },
    workerData,
  })
  const keys: [string[], string[]] = [[], []]
  for (let i = 0; i < 40; i++) {
    const home = (await manager.submit('other', 'where', 0, { key: `k${i}` })) as 0 | 1
    keys[home].push(`k${i}`)
  }
  return { manager, keys }
}

test('what waits for a partition without a thread keeps no slot and no token of its group', async () => {
  const floor = new Floor()
  const limits = {
    groupConcurrency: 1,
    groupRateLimit: { limit: 2, windowMs: 10, algorithm: 'sliding-window' },
  } as const
  const { manager, keys } = await openKeyed(limits, floor)
  const [here, there] = keys
  const deadly = refused(
    manager.submit('other', 'die', 0, { key: here[0]! }),
    'CORELANE_PARTITION_LOST',
  )
  // The first is bound behind it and comes back, the second comes when there is no thread.
  const bound = manager.submit('api', 'where', 0, { group: 'a', key: here[1]! })
  await deadly
  const next = manager.submit('api', 'where', 0, { group: 'a', key: here[2]! })
  for (const key of there.slice(0, 5)) {
    expect(await within(manager.submit('api', 'where', 0, { group: 'a', key }), 'one')).toBe(1)
  }
  floor.openGate()
  expect(await within(Promise.all([bound, next]), 'those of the partition')).toEqual([0, 0])
})

test.each<[string, LaneOptions, number]>([
  ['the token of what is bound behind it', { groupRateLimit: { limit: 1, windowMs: 10 } }, 0],
  ['the slot of what is next there', { groupConcurrency: 2 }, 1],
])('a handler that waits for a command of its group gets %s', async (_, lane, long) => {
  const { manager, keys } = await openKeyed(lane)
  const [here, there] = keys
  // A long one fills the window, and what is next waits in the order.
  for (let i = 0; i < 5; i++) await manager.submit('other', 'rest', 20, { key: here[0]! })
  const outer = manager.submit('api', 'outer', there[0]!, { group: 'a', key: here[0]! })
  const others = here.slice(1, 2 + long).map((key, at) => {
    return manager.submit('api', 'rest', 20, { group: at < long ? 'b' : 'a', key })
  })
  expect(await within(outer, 'the handler that waits')).toBe(1)
  await within(Promise.all(others), 'the others')
})
