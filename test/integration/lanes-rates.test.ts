// Rates: no more commands start than a lane's limit allows, over all partitions together, and
// hardly fewer while work waits. Method: every handler gives back the stamp it was started with,
// and only the stamps are judged. The bound is exact and has no tolerance. What is used of it is
// read off the median time in which the limit's number of starts follow one another: a moment in
// which the machine had other things to do does not move a median.

import { PartitionConfig, type QueueManager, RateLimitConfig } from 'corelane'
import { expect, test } from 'vitest'
import { until, within } from '../support/deadline.ts'
import { openFloor } from '../support/floor.ts'
import { open, share } from '../support/managers.ts'
import { range } from '../support/range.ts'
import { keyOf } from '../support/strategies.ts'

type Algorithm = 'token-bucket' | 'sliding-window'

/** Stamps in ascending order, in whole nanoseconds as the limit counts them. */
function ascending(stampsMs: readonly unknown[]): number[] {
  return stampsMs.map((ms) => Math.floor((ms as number) * 1e6)).sort((a, b) => a - b)
}

/**
 * How far stamps go beyond a limit: the starts too many in the worst interval of a token bucket,
 * or in
 * the worst window.
 */
function excess(
  ns: readonly number[],
  limit: number,
  windowMs: number,
  algorithm: Algorithm,
): number {
  let worst = 0
  if (algorithm === 'sliding-window') {
    const windowNs = windowMs * 1e6
    let from = 0
    for (let to = 0; to < ns.length; to++) {
      while (ns[to]! - ns[from]! >= windowNs) from++
      worst = Math.max(worst, to - from + 1 - limit)
    }
    return worst
  }
  // At most limit + d / interval starts in every interval d: as a level that never overflows.
  const interval = Math.ceil((windowMs * 1e6) / limit)
  let latest = Number.NEGATIVE_INFINITY
  for (let i = 0; i < ns.length; i++) {
    const rest = ns[i]! - i * interval
    latest = Math.max(latest, rest)
    worst = Math.max(worst, Math.ceil((latest - rest) / interval) + 1 - limit)
  }
  return worst
}

/** Windows that the starts of a test last. */
const ROUNDS = 4

/**
 * The window over the median time in which `limit` starts follow one another, in the best of the
 * windows: what costs starts by design costs them in every one, a busy machine does not.
 */
function utilisation(
  ns: readonly number[],
  limit: number,
  windowMs: number,
  algorithm: Algorithm,
): number {
  // A bucket starts full: its first `limit` starts cost no time.
  const first = algorithm === 'token-bucket' ? 2 * limit : limit
  let best = 0
  for (let from = first; from + limit <= ns.length; from += limit) {
    const times = range(limit).map((i) => ns[from + i]! - ns[from + i - limit]!)
    times.sort((a, b) => a - b)
    best = Math.max(best, (windowMs * 1e6) / times[limit >> 1]!)
  }
  return best
}

interface Limit {
  readonly limit: number
  readonly windowMs: number
  readonly algorithm: Algorithm
}

function lanesOf(limits: readonly Limit[]): Record<string, { rateLimit: RateLimitConfig }> {
  const named = limits.map(({ limit, windowMs, algorithm }) => [
    `${algorithm} ${limit}`,
    { rateLimit: RateLimitConfig.per(limit, windowMs, { algorithm }) },
  ])
  return Object.fromEntries(named)
}

const algorithms: readonly Algorithm[] = ['token-bucket', 'sliding-window']
const slow = algorithms.flatMap((algorithm): Limit[] => [
  { limit: 10, windowMs: 1000, algorithm },
  { limit: 500, windowMs: 500, algorithm },
])

/** 200,000 a second, by windows so short that the machine reaches the bound in each. */
const fast = algorithms.flatMap((algorithm): Limit[] => [
  { limit: 2_000, windowMs: 10, algorithm },
  { limit: 200, windowMs: 1, algorithm },
])

interface Spread {
  readonly name: string
  readonly partitions: PartitionConfig
  /** Options of the i-th command. */
  readonly to: (i: number) => { key?: string }
}

const skewed = (count: number): Spread => ({
  name: `${count} partitions by hash, nine of ten commands on one`,
  partitions: PartitionConfig.hash(count),
  to: (i) => ({ key: keyOf(i % 10 === 0 ? 1 + ((i / 10) % (count - 1)) : 0, count) }),
})
const spreads = [
  { name: '1 partition', partitions: PartitionConfig.single(), to: () => ({}) },
  { name: '2 partitions, balanced', partitions: PartitionConfig.balanced(2), to: () => ({}) },
  { name: '4 partitions, balanced', partitions: PartitionConfig.balanced(4), to: () => ({}) },
  skewed(2),
  skewed(4),
].map((spread: Spread) => {
  const lanes = lanesOf([...slow, ...fast])
  return {
    ...spread,
    manager: share('lanes-handlers.js', { partitions: spread.partitions, lanes }),
  }
})

function submitAll(
  manager: QueueManager,
  lane: string,
  count: number,
  to: Spread['to'],
): Promise<unknown[]> {
  const all = range(count).map((i) => {
    return manager.submit(lane, 'startedAt', undefined, to(i))
  })
  return within(Promise.all(all), `${count} commands of ${lane}`)
}

/**
 * Rounds of starts until one window was used as it may be: a fault of the design costs starts in
 * every window, and a busy machine does not.
 */
async function startsOf(
  submit: (count: number) => Promise<unknown[]>,
  { limit, windowMs, algorithm }: Limit,
): Promise<{ ns: number[]; used: number }> {
  const ns: number[] = []
  let used = 0
  for (let tries = 0; tries < 5 && used < 0.98; tries++) {
    const more = ascending(await submit(ROUNDS * limit))
    used = Math.max(used, utilisation(more, limit, windowMs, algorithm))
    ns.push(...more)
  }
  return { ns, used }
}

test('ten and a thousand a second start exactly as often as both algorithms allow, however spread', async () => {
  const runs = spreads.map(async ({ name, manager, to }) => {
    const ofLanes = slow.map(async (limit) => {
      const lane = `${limit.algorithm} ${limit.limit}`
      const submit = (count: number) => submitAll(manager(), lane, count, to)
      return { lane, name, limit, ...(await startsOf(submit, limit)) }
    })
    return Promise.all(ofLanes)
  })
  for (const { lane, name, limit, ns, used } of (await Promise.all(runs)).flat()) {
    const place = `${lane} on ${name}`
    expect([place, excess(ns, limit.limit, limit.windowMs, limit.algorithm)]).toEqual([place, 0])
    expect(used, `share of ${place} that was used`).toBeGreaterThanOrEqual(0.98)
  }
})

test.each(spreads)(
  'a limit of 2000 per 10 ms or of 200 per 1 ms is not broken by a start on $name',
  async ({ manager, to }) => {
    for (const { limit, windowMs, algorithm } of fast) {
      const lane = `${algorithm} ${limit}`
      const ns = ascending(await submitAll(manager(), lane, 2_000 + 2 * limit, to))
      expect([lane, excess(ns, limit, windowMs, algorithm)]).toEqual([lane, 0])
    }
  },
)

test('with scope "partition" every partition has a limit of its own, and uses it to the full', async () => {
  const limit = 20
  const lanes = algorithms.map((algorithm) => {
    const rateLimit = RateLimitConfig.perSecond(limit, { algorithm, scope: 'partition' })
    return [algorithm, { rateLimit }]
  })
  const manager = await open('lanes-handlers.js', {
    partitions: PartitionConfig.hash(3),
    lanes: Object.fromEntries(lanes),
  })
  const runs = algorithms.map(async (algorithm) => {
    const own = { limit, windowMs: 1000, algorithm }
    const ofPartitions = [0, 1, 2].map(async (partition) => {
      const key = keyOf(partition, 3)
      return startsOf((count) => submitAll(manager, algorithm, count, () => ({ key })), own)
    })
    return { algorithm, ofPartitions: await Promise.all(ofPartitions) }
  })
  for (const { algorithm, ofPartitions } of await Promise.all(runs)) {
    for (const { ns, used } of ofPartitions) {
      expect([algorithm, excess(ns, limit, 1000, algorithm)]).toEqual([algorithm, 0])
      expect(used, algorithm).toBeGreaterThanOrEqual(0.98)
    }
    // Together they start three times what one may.
    const together = ofPartitions.flatMap(({ ns }) => ns).sort((a, b) => a - b)
    expect(excess(together, limit, 1000, algorithm)).toBeGreaterThan(0)
  }
})

test('a limited lane holds up no other, also not on the partition where its commands wait', async () => {
  const manager = await open('lanes-handlers.js', {
    partitions: PartitionConfig.balanced(2),
    lanes: {
      limited: { priority: 0, rateLimit: RateLimitConfig.perMinute(1) },
      open: { priority: 9 },
    },
  })
  for (let i = 0; i < 1000; i++) manager.submit('limited', 'startedAt').catch(() => {})
  await submitAll(manager, 'open', 4_000, () => ({}))
  const { limited, open: other } = manager.stats().lanes
  expect(other).toMatchObject({ completed: 4_000 })
  expect(limited).toMatchObject({ completed: 1, queued: 999 })
})

test.each([1, 2])(
  'with %i partitions one starts at each token though none of those that run has ended',
  async (count) => {
    const { floor, manager } = await openFloor({
      partitions: PartitionConfig.balanced(count),
      lanes: { limited: { rateLimit: RateLimitConfig.per(1, 20) } },
      concurrencyPerPartition: 20,
    })
    const all = range(20).map((i) => manager.submit('limited', 'gate', i))
    await until(() => floor.running === 20, 'all run')
    floor.openGate()
    await within(Promise.all(all), 'all commands')
  },
)

test('waiting for tokens costs about one wake for each, not one for each partition', async () => {
  const count = 8
  const manager = await open('lanes-handlers.js', {
    partitions: PartitionConfig.roundRobin(count),
    lanes: { limited: { rateLimit: RateLimitConfig.per(1, 50) } },
  })
  const parked = () => manager.stats().partitions.reduce((sum, one) => sum + one.parked, 0)
  const first = range(2 * count).map(() => manager.submit('limited', 'startedAt'))
  await within(first[0]!, 'the first command')
  const before = parked()
  await within(Promise.all(first), 'all commands')
  // For each token: its partition, the one it hands on to, and what the coordinator has to say.
  expect(parked() - before).toBeLessThanOrEqual(2 * count * 6)
})

test('a partition that waits for a slot of a limited lane sleeps until the slot is free', async () => {
  const manager = await open('lanes-handlers.js', {
    partitions: PartitionConfig.hash(2),
    lanes: { limited: { maxConcurrency: 1, rateLimit: RateLimitConfig.perSecond(1000) } },
    workerData: { words: new SharedArrayBuffer(16) },
    concurrencyPerPartition: 2,
  })
  const keys = [keyOf(0, 2), keyOf(1, 2)]
  const holder = manager.submit('limited', 'rest', 700, { key: keys[0]! })
  await until(() => manager.stats().lanes.limited!.running === 1, 'the first command runs')
  const waiter = manager.submit('limited', 'rest', 0, { key: keys[1]! })
  await within(Promise.all([holder, waiter]), 'both commands')
  for (const { parked } of manager.stats().partitions) expect(parked).toBeLessThan(30)
})

test('a broadcast on the partition that waits for the next token does not keep it from others', async () => {
  const manager = await open('lanes-handlers.js', {
    partitions: PartitionConfig.hash(2),
    lanes: { limited: { rateLimit: RateLimitConfig.per(1, 200) } },
  })
  const keys = [keyOf(0, 2), keyOf(1, 2)]
  const on = (partition: number) =>
    manager.submit('limited', 'startedAt', undefined, { key: keys[partition]! }) as Promise<number>
  await within(on(1), 'the first token')
  const held = on(0)
  // The next token is waited for on partition 0 by now, whatever the broadcast meets there.
  await within(manager.broadcast('echo'), 'a broadcast')
  const others = [on(1), on(1)]
  const broadcast = manager.broadcast('occupy', { partitions: [0], ms: 3000, isBusy: false })
  const begin = performance.now()
  const stamps = await within(Promise.all(others), 'the commands of partition 1')
  expect(Math.max(...stamps) - begin).toBeLessThan(2500)
  await within(Promise.all([held, broadcast]), 'the rest')
})
