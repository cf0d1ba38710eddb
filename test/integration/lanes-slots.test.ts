// Slots: at most `maxConcurrency` commands of a lane run at once over all partitions, that many do
// when there is work, and a lane under its minimum goes first. Method: handlers count those that
// run at once in shared memory and keep the greatest count; a gate holds them until as many run as
// may.

import { LaneConfig, PartitionConfig, RateLimitConfig } from 'corelane'
import { expect, test } from 'vitest'
import { until, within } from '../support/deadline.ts'
import { openFloor } from '../support/floor.ts'
import { openLedger } from '../support/managers.ts'
import { range } from '../support/range.ts'
import { keyOf } from '../support/strategies.ts'

const spreads = [
  ['balanced', PartitionConfig.balanced(2)],
  ['hash', PartitionConfig.hash(2)],
] as const

test.each(
  spreads.flatMap(([strategy, partitions]) =>
    [1, 2, 4].map((concurrency) => ({ strategy, partitions, concurrency })),
  ),
)(
  'a maximum of 1, 3 or 7 is reached and never passed under $strategy with $concurrency at once in a partition',
  async ({ strategy, partitions, concurrency }) => {
    const maximums = [1, 3, 7]
    const { floor, manager } = await openFloor({
      partitions,
      concurrencyPerPartition: concurrency,
      lanes: Object.fromEntries(maximums.map((max) => [max, { maxConcurrency: max }])),
    })
    for (const max of maximums) {
      const submit = (type: string, payload: unknown, i: number) => {
        const key = strategy === 'hash' ? { key: keyOf(i % 2, 2, i) } : {}
        return manager.submit(String(max), type, payload, key)
      }
      floor.forget()
      floor.closeGate()
      // Commands that wait at the gate give their slots back only when all that may run do.
      const reachable = Math.min(max, 2 * concurrency)
      const held = range(24).map((i) => submit('gate', i, i))
      await until(() => floor.running === reachable, `${reachable} of ${max} run at once`)
      floor.openGate()
      await within(Promise.all(held), 'the held commands')
      const short = range(60).map((i) => submit('rest', i % 3, i))
      await within(Promise.all(short), 'the short commands')
      expect([max, floor.most, floor.running]).toEqual([max, reachable, 0])
    }
  },
)

test('two lanes with maximums of their own fill up side by side', async () => {
  const { floor, manager } = await openFloor({
    partitions: PartitionConfig.balanced(2),
    concurrencyPerPartition: 4,
    lanes: { a: { maxConcurrency: 3 }, b: { maxConcurrency: 2 } },
  })
  const all = ['a', 'b'].flatMap((lane) => range(10).map((i) => manager.submit(lane, 'gate', i)))
  await until(() => floor.running === 5, 'five commands run at once')
  const { a, b } = manager.stats().lanes
  expect([a!.running, b!.running]).toEqual([3, 2])
  floor.openGate()
  await within(Promise.all(all), 'all commands')
  expect(floor.most).toBe(5)
})

type Report = [payload: unknown, partition: number, startedAt: number, endedAt: number]

test('a slot that is given back on one partition is taken on another that waits, both ways, many times', async () => {
  const { floor, manager } = await openFloor({
    partitions: PartitionConfig.hash(2),
    lanes: { limited: { maxConcurrency: 1 } },
  })
  const keys = [keyOf(0, 2), keyOf(1, 2)]
  for (let round = 0; round < 100; round++) {
    // The second arrives while the first runs, at its end, or just after it.
    const first = manager.submit('limited', 'burn', (round % 10) / 10, { key: keys[round % 2]! })
    const second = manager.submit('limited', 'burn', 0, { key: keys[(round + 1) % 2]! })
    await within(Promise.all([first, second]), `round ${round}`)
  }
  expect(floor.most).toBe(1)
})

test('a partition that is woken for a slot and has other work passes the wake on', async () => {
  const { floor, manager } = await openFloor({
    partitions: PartitionConfig.hash(3),
    lanes: { urgent: { priority: 0 }, limited: { priority: 5, maxConcurrency: 1 } },
  })
  const key = (partition: number) => ({ key: keyOf(partition, 3) })
  for (let round = 0; round < 60; round++) {
    const all = [manager.submit('limited', 'burn', 1, key(0))]
    for (const partition of [1, 2]) all.push(manager.submit('limited', 'burn', 0, key(partition)))
    // Other work comes to the next waiter at about the moment when the slot is handed to it.
    if (round % 2 === 0) await new Promise((resolve) => setImmediate(resolve))
    all.push(manager.submit('urgent', 'burn', 1, key(1)))
    await within(Promise.all(all), `round ${round}`)
  }
  expect(floor.running).toBe(0)
})

test.each([2, 8])('one of a key runs at a time, in order, of %i at once', async (concurrency) => {
  const { manager } = await openFloor({
    partitions: PartitionConfig.hash(2),
    concurrencyPerPartition: concurrency,
    lanes: { keyed: {}, limited: { maxConcurrency: 3 } },
  })
  const keys = range(6).map((i) => keyOf(i % 2, 2, i))
  const runs = new Map<string, Report[]>(keys.map((key) => [key, []]))
  const all = range(240).map(async (i) => {
    const key = keys[i % keys.length]!
    const lane = i % 4 === 0 ? 'limited' : 'keyed'
    const payload = i % 3
    const report = (await manager.submit(lane, 'rest', payload, { key })) as Report
    runs.get(key)!.push(report)
  })
  await within(Promise.all(all), 'all commands')
  let overlaps = 0
  const everything: Report[] = []
  for (const own of runs.values()) {
    own.sort((a, b) => a[2] - b[2])
    for (let i = 1; i < own.length; i++) {
      expect(own[i]![2]).toBeGreaterThanOrEqual(own[i - 1]![3] - 1)
    }
    everything.push(...own)
  }
  everything.sort((a, b) => a[2] - b[2])
  for (let i = 1; i < everything.length; i++) {
    if (everything[i]![2] < everything[i - 1]![3]) overlaps++
  }
  expect(overlaps).toBeGreaterThan(0)
})

test.each([
  ['a slot', { maxConcurrency: 1 }, 'secondGate'],
  ['a token', { rateLimit: RateLimitConfig.per(1, 2500) }, 'mark'],
])(
  'an idle partition gets %s though one that waits before it is blocked by the rest of a handler',
  async (_, lane, first) => {
    const { ledger, manager } = await openLedger(4, {
      partitions: PartitionConfig.custom(3, ({ key }) => Number(key![0])),
      concurrencyPerPartition: 2,
      lanes: { limited: lane, other: {} },
    })
    const parks = [0, 0, 0]
    const untilParked = async (partition: number) => {
      const parked = () => manager.stats().partitions[partition]!.parked
      await until(() => parked() > parks[partition]!, `partition ${partition} sleeps`)
      parks[partition] = parked()
    }
    for (const partition of [0, 1, 2]) await untilParked(partition)
    const all: Promise<unknown>[] = []
    const submitTo = async (partition: number, lane: string, type: string) => {
      all.push(manager.submit(lane, type, all.length, { key: `${partition} ${all.length}` }))
      await untilParked(partition)
    }
    // Partition 0 has what there is; 1, with a handler under way, and 2 wait for it in this order.
    await submitTo(0, 'limited', first)
    await submitTo(1, 'other', 'softGateThenBlock')
    await submitTo(1, 'limited', 'mark')
    await submitTo(2, 'limited', 'mark')
    ledger.openGate()
    await until(() => ledger.isBlocked, 'partition 1 is blocked')
    ledger.openSecondGate()
    // Nothing unblocks partition 1 before this.
    await within(all[3]!, 'the command of the idle partition')
    expect(ledger.runs(2)).toBe(0)
    ledger.unblock()
    await within(Promise.all(all), 'the others')
  },
)

test('a lane under its minimum goes before more urgent lanes, and no further than its minimum', async () => {
  const { floor, manager } = await openFloor({
    partitions: PartitionConfig.single(),
    concurrencyPerPartition: 4,
    lanes: { urgent: { priority: 0 }, promised: new LaneConfig(2, 4).withPriority(200) },
  })
  const all = ['urgent', 'promised'].flatMap((lane) =>
    range(20).map((i) => manager.submit(lane, 'gate', i)),
  )
  await until(() => floor.running === 4, 'four commands run at once')
  const { urgent, promised } = manager.stats().lanes
  // The first command of all may have started before there was another.
  expect([urgent!.running, promised!.running]).toEqual([2, 2])
  floor.openGate()
  await within(Promise.all(all), 'all commands')
})

test('a minimum keeps no slot idle: without work of its lane others take all', async () => {
  const { floor, manager } = await openFloor({
    partitions: PartitionConfig.balanced(2),
    concurrencyPerPartition: 2,
    lanes: { other: { priority: 9 }, promised: { minConcurrency: 3 } },
  })
  const all = range(20).map((i) => manager.submit('other', 'gate', i))
  await until(() => floor.running === 4, 'four commands run at once')
  floor.openGate()
  await within(Promise.all(all), 'all commands')
})

test('under permanent higher load a lane with a minimum of 1 starts at the next decision of a partition', async () => {
  const { manager } = await openFloor({
    partitions: PartitionConfig.single(),
    lanes: { urgent: { priority: 0 }, promised: { priority: 255, minConcurrency: 1 } },
  })
  let isLoaded = true
  let completed = 0
  const load = range(50).map(async () => {
    while (isLoaded) {
      await manager.submit('urgent', 'burn', 0.2)
      completed++
    }
  })
  await until(() => completed > 50, 'the load runs')
  for (let i = 0; i < 20; i++) {
    const begin = completed
    await within(manager.submit('promised', 'burn', 0), 'a promised command')
    // What was being run, and what ended while the answer was on its way.
    expect(completed - begin).toBeLessThan(60)
  }
  isLoaded = false
  await within(Promise.all(load), 'the load')
})
