// Deaths under limits: a thread ends with slots and tokens in its hands. Goal: what it held is
// given back exactly once, whoever waited is woken, and no bound is broken before, during or after.
// Method: many deaths in a row, in the handler and from a timer; then the maximum must be reached
// again and not passed, and the stamps of those that started, survivors and victims, keep the
// limit.

import { commandInfo, PartitionConfig, RateLimitConfig } from 'corelane'
import { expect, test } from 'vitest'
import { failure, refused, until, within } from '../support/deadline.ts'
import { openFloor } from '../support/floor.ts'
import { open } from '../support/managers.ts'
import { range } from '../support/range.ts'
import { keyOf } from '../support/strategies.ts'

const deaths = ['exit', 'throw in a timer']

test('after more deaths in a lane than it has slots its maximum is reached and not passed', async () => {
  const maximums = [1, 3]
  const { floor, manager } = await openFloor({
    partitions: PartitionConfig.balanced(2),
    concurrencyPerPartition: 2,
    lanes: Object.fromEntries(maximums.map((max) => [max, { maxConcurrency: max }])),
  })
  for (const max of maximums) {
    for (const how of max === 1 ? deaths : [...deaths, ...deaths]) {
      const lost = await failure(manager.submit(String(max), 'die', how), `a death by ${how}`)
      expect(lost).toMatchObject({ code: 'CORELANE_PARTITION_LOST', started: true })
    }
  }
  for (const max of maximums) {
    floor.forget()
    for (const rounds of [1, 2]) {
      floor.closeGate()
      const held = range(10).map((i) => manager.submit(String(max), 'gate', i))
      const reached = () => floor.running === max
      await until(reached, `${max} run at once in round ${rounds}`)
      floor.openGate()
      await within(Promise.all(held), 'the held commands')
      expect(floor.most).toBe(max)
    }
  }
})

test('a partition that waits for a slot gets that of a dead one', async () => {
  const { manager } = await openFloor({
    partitions: PartitionConfig.hash(2),
    lanes: { limited: { maxConcurrency: 1 } },
    concurrencyPerPartition: 2,
  })
  const keys = [keyOf(0, 2), keyOf(1, 2)]
  for (let round = 0; round < 4; round++) {
    // Both partitions die in both ways.
    const how = deaths[round >> 1]!
    const lost = failure(
      manager.submit('limited', 'die', how, { key: keys[round % 2]! }),
      'the deadly command',
    )
    const waiting = [0, 1].map((partition) =>
      manager.submit('limited', 'rest', 0, { key: keys[partition]! }),
    )
    await within(Promise.all([lost, ...waiting]), `round ${round}`)
  }
  expect(manager.stats().partitions.map(({ incarnations }) => incarnations)).toEqual([3, 3])
})

test('a partition that dies while it waits for a slot or was woken for it keeps it from nobody', async () => {
  const { manager } = await openFloor({
    partitions: PartitionConfig.hash(3),
    lanes: { limited: { maxConcurrency: 1 }, open: { priority: 0 } },
    concurrencyPerPartition: 2,
  })
  const key = (partition: number) => ({ key: keyOf(partition, 3) })
  for (let round = 0; round < 6; round++) {
    const all: Promise<unknown>[] = [manager.submit('limited', 'rest', 3, key(0))]
    for (const partition of [1, 2]) all.push(manager.submit('limited', 'rest', 0, key(partition)))
    // It ends at about the moment when the slot is handed to it: its command runs on the next
    // thread.
    const delayMs = round
    all.push(failure(manager.submit('open', 'die', 'exit', { ...key(1), delayMs }), 'the death'))
    await within(Promise.all(all), `round ${round}`)
  }
})

test.each(['token-bucket', 'sliding-window'] as const)(
  'a %s holds through deaths between the token and the end of the handler, and goes on by itself',
  async (algorithm) => {
    const limit = 10
    const windowMs = 200
    const { manager } = await openFloor({
      partitions: PartitionConfig.balanced(2),
      lanes: { limited: { rateLimit: RateLimitConfig.per(limit, windowMs, { algorithm }) } },
    })
    const started: number[] = []
    const all = range(8 * limit).map(async (i) => {
      if (i % 13 === 3) {
        // A dead thread tells no stamp; its token is spent all the same.
        await refused(manager.submit('limited', 'die', deaths[i % 2]), 'CORELANE_PARTITION_LOST')
        return
      }
      started.push((await manager.submit('limited', 'startedAt')) as number)
    })
    await within(Promise.all(all), 'all commands')
    const ns = started.map((ms) => Math.floor(ms * 1e6)).sort((a, b) => a - b)
    const intervalNs = (windowMs * 1e6) / limit
    for (let from = 0; from + limit < ns.length; from++) {
      for (let to = from + limit; to < ns.length; to++) {
        const least =
          algorithm === 'token-bucket'
            ? (to - from + 1 - limit) * intervalNs
            : Math.floor((to - from) / limit) * windowMs * 1e6
        expect(ns[to]! - ns[from]!).toBeGreaterThanOrEqual(least)
      }
    }
  },
)

test('the partition that waits for the next token dies, and another waits for it instead', async () => {
  const { manager } = await openFloor({
    partitions: PartitionConfig.hash(2),
    lanes: { limited: { rateLimit: RateLimitConfig.per(1, 150) }, open: {} },
  })
  const key = (partition: number) => ({ key: keyOf(partition, 2) })
  for (let round = 0; round < 4; round++) {
    const victim = round % 2
    const all: Promise<unknown>[] = [0, 1, 0, 1].map((partition) =>
      manager.submit('limited', 'startedAt', undefined, key(partition)),
    )
    await within(all[0]!, 'a first token')
    all.push(failure(manager.submit('open', 'die', 'exit', key(victim)), 'the death'))
    await within(Promise.all(all), `round ${round}`)
  }
})

test('a command that died with its thread names where it ran and that it had started', async () => {
  const { manager } = await openFloor({
    partitions: PartitionConfig.single(),
    lanes: { limited: { maxConcurrency: 1, rateLimit: RateLimitConfig.perSecond(1000) } },
    concurrencyPerPartition: 2,
  })
  const lost = await failure(manager.submit('limited', 'die', 'exit'), 'the death')
  expect((lost as unknown as Record<symbol, unknown>)[commandInfo]).toMatchObject({
    lane: 'limited',
    type: 'die',
    partition: 0,
  })
})

test('submits that wait for room are refused when their partition is given up, and none hangs', async () => {
  const words = new Int32Array(new SharedArrayBuffer(16))
  const text = `
    import { workerData } from 'node:worker_threads'
    if (Atomics.load(new Int32Array(workerData.words), 3) === 1) throw new Error('it does not load')
    export const die = () => process.exit(7)
    export const echo = (payload) => payload`
  const manager = await open('lanes-handlers.js', {
    handlers: `data:text/javascript,${encodeURIComponent(text)}`,
    partitions: PartitionConfig.hash(2),
    lanes: { bounded: { maxPending: 2 } },
    workerData: { words: words.buffer },
  })
  Atomics.store(words, 3, 1)
  const first = failure(manager.submit('bounded', 'die', 0, { key: keyOf(0, 2) }), 'the death')
  const others = range(12).map((i) =>
    failure(manager.submit('bounded', 'echo', i, { key: keyOf(0, 2) }), `command ${i}`),
  )
  for (const lost of await within(Promise.all([first, ...others]), 'all of them')) {
    expect(lost).toMatchObject({ name: expect.stringMatching(/PartitionLost|Config/) })
  }
  expect(manager.stats().partitions[0]).toMatchObject({ state: 'failed' })
  expect(manager.stats()).toMatchObject({ queued: 0, running: 0 })
})
