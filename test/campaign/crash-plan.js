// Crash plan: what one round of the campaign does, from a seed alone: the manager's options and
// every command. Nothing here depends on the machine or on time.

import { GRACE_MS, KINDS, TIMEOUT_MS } from './crash-kinds.js'
import { Generator } from './generator.js'

export const STRATEGIES = ['hash', 'balanced', 'roundRobin']
export const CONCURRENCIES = [1, 8]
export const KEYS = 40
const LANES = ['plain', 'narrow', 'minimal', 'strict']

/** Retry policies by name. */
export const RECOVERIES = {
  none: {},
  retry: { retries: 2, delayMs: 4, maxDelayMs: 30, jitter: 0.5, retryTimeouts: true },
  lost: { retryLost: true },
  both: { retries: 2, backoff: 'fixed', delayMs: 5, retryTimeouts: true, retryLost: true },
}

/** Every combination, in a fixed order. */
export const SETTINGS = STRATEGIES.flatMap((strategy) =>
  CONCURRENCIES.flatMap((concurrency) =>
    Object.keys(RECOVERIES).map((recovery) => ({ strategy, concurrency, recovery })),
  ),
)

/** Threads that a command of a kind kills under a policy, if nothing else happens to it. */
export function deathsOf({ isTimed, isKilled, settles }, { retries = 0, retryLost }, maxCrashes) {
  if (isKilled || settles) return 1
  if (isTimed) return 1 + retries
  return retryLost ? maxCrashes : 1
}

/**
 * A round.
 *
 * @param {number} seed
 * @param {{ strategy: string, concurrency: number, recovery: string }} setting
 * @param {number} count - Commands.
 * @param {number} deaths - About so many.
 * @param {() => number} deal - Gives the index of the next kind.
 */
export function planRound(seed, setting, count, deaths, deal) {
  const random = new Generator(seed)
  const { strategy, concurrency } = setting
  const retry = RECOVERIES[setting.recovery]
  const maxCrashes = random.between(1, 3)
  const partitions = random.between(2, 3)
  const capacity = partitions * concurrency
  const options = {
    partitions: { strategy, count: partitions },
    concurrencyPerPartition: concurrency,
    lanes: {
      plain: { priority: 5, retry },
      narrow: {
        priority: random.between(3, 8),
        maxConcurrency: random.between(1, capacity),
        retry,
      },
      minimal: { priority: 6, minConcurrency: 1, retry },
      strict: { priority: 5, onDeadline: 'reject', retry },
    },
    ringBytes: random.oneOf([2 ** 14, 2 ** 20]),
    resourceLimits: { maxOldGenerationSizeMb: 24, maxYoungGenerationSizeMb: 4 },
    floatingRejections: 'end',
    timeoutGraceMs: GRACE_MS,
    maxCrashes,
    terminatingMax: random.between(0, 2),
    deadLetterCapacity: 1_000_000,
    closeTimeoutMs: 500,
    ...(random.percent(30) ? { maxCommandsPerThread: random.between(200, 800) } : {}),
  }
  const deadly = new Map()
  for (let expected = 0; expected < deaths && deadly.size < count / 2; ) {
    const index = random.below(count)
    if (deadly.has(index)) continue
    const kind = KINDS[deal()]
    deadly.set(index, kind)
    expected += deathsOf(kind, retry, maxCrashes)
  }
  const commands = Array.from({ length: count }, (_, index) =>
    planCommand(index, deadly.get(index), { random, strategy, retry, count }),
  )
  return {
    ...setting,
    seed,
    options,
    commands,
    deathsPlanned: deaths,
    /** Commands in flight at most. */
    openMax: random.between(20, 400),
    burst: random.between(5, 150),
    hearsStarts: random.percent(50),
    /** Whether the manager is closed with commands in flight. */
    closesEarly: random.percent(12),
    /** Whether it is closed while threads may be starting. */
    closesAtOnce: random.percent(50),
  }
}

function planCommand(index, kind, { random, strategy, retry }) {
  const isKeyed = strategy === 'hash'
  const key = isKeyed ? random.below(KEYS) : -1
  const lane = LANES[isKeyed ? key % LANES.length : random.below(LANES.length)]
  const own = random.percent(10) ? RECOVERIES[random.oneOf(Object.keys(RECOVERIES))] : undefined
  const options = {
    ...(isKeyed ? { key: `key ${key}` } : {}),
    ...(!isKeyed && random.percent(30) ? { priority: random.below(256) } : {}),
    ...(!isKeyed && random.percent(5) ? { delayMs: random.between(1, 200) } : {}),
    ...(lane === 'strict' && random.percent(30) ? { deadlineMs: random.between(20, 3_000) } : {}),
    ...(own === undefined ? {} : { retry: own }),
    ...(kind?.isTimed ? { timeoutMs: TIMEOUT_MS } : {}),
    ...(kind === undefined && random.percent(20) ? { timeoutMs: 60_000 } : {}),
  }
  const size = random.below(1000)
  const text = 'x'.repeat(size < 700 ? 0 : size < 997 ? random.below(1_500) : 70_000)
  const payload = { index, key, us: random.percent(10) ? random.below(2_000) : 0, text }
  const common = { index, kind, key, lane, payload, options, retry: own ?? retry }
  const isDetailed = random.percent(50)
  if (kind !== undefined) {
    Object.assign(payload, { how: kind.name, kind: kind.index, ms: random.below(4) })
    payload.sleeps = random.percent(50)
    return { ...common, type: kind.type, isDetailed }
  }
  const dice = random.below(100)
  if (dice < 5) {
    payload.times = random.between(1, 4)
    return { ...common, type: 'flaky', isDetailed }
  }
  return { ...common, type: dice < 60 ? 'work' : 'later', isDetailed }
}
