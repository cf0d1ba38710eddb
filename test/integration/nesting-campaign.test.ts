// Nesting campaign: random trees of nested commands over strategies, limits and lanes, in small
// rings, while callers abort and broadcasts run. Goal: every tree settles within a bound, whatever
// its handlers wait for; a node either runs, is refused, or is aborted with its tree. Seeded.

import { type LaneOptions, PartitionConfig, type QueueManager, RateLimitConfig } from 'corelane'
import { expect, test } from 'vitest'
import { randomFrom } from '../../build/base/random.js'
import { until, within } from '../support/deadline.ts'
import { open } from '../support/managers.ts'
import { range } from '../support/range.ts'

const SEED = Number(process.env.CORELANE_SEED ?? 20261124)
const TREES = 25
const KEYS = ['a', 'b', 'c', 'd', 'e']
const GROUPS = ['g', 'h']
const NAMES = ['one', 'two', 'free', 'other', 'rated', 'turns']

type Lanes = Record<string, LaneOptions>

/** Lanes of which each is limited in its own way, and some in others as well. */
function lanesOf(chance: () => number): Lanes {
  const below = (count: number) => Math.floor(chance() * count)
  const maybe = (percent: number, more: () => LaneOptions) =>
    chance() * 100 < percent ? more() : {}
  const each = (): LaneOptions => ({
    ...maybe(50, () => ({ priority: below(3) })),
    ...maybe(20, () => ({ minConcurrency: 1 })),
    ...maybe(20, () => ({ groupConcurrency: 1 + below(2), groupWeights: { g: 3 } })),
    ...maybe(15, () => ({ groupRateLimit: RateLimitConfig.perSecond(2_000) })),
  })
  const own: Lanes = {
    one: { maxConcurrency: 1 },
    two: { maxConcurrency: 2 },
    free: {},
    other: { maxPending: 3 },
    // Its tokens never run out; it is limited all the same, so its commands wait at the gate.
    rated: { rateLimit: RateLimitConfig.perSecond(100_000) },
    turns: { maxConcurrency: 4, groupConcurrency: 1 },
  }
  return Object.fromEntries(NAMES.map((name) => [name, { ...each(), ...own[name] }]))
}

interface Child {
  readonly lane: string
  readonly options: Readonly<Record<string, unknown>>
  readonly isLeft: boolean
  readonly node: Tree
}

interface Tree {
  readonly ms: number
  readonly isSequence: boolean
  readonly children: readonly Child[]
}

interface Sum {
  readonly ran: number
  readonly refused: number
}

/** Makes trees. */
class Forest {
  readonly #chance: () => number
  readonly #hasKeys: boolean

  constructor(seed: number, hasKeys: boolean) {
    this.#chance = randomFrom(seed)
    this.#hasKeys = hasKeys
  }

  #pick<T>(from: readonly T[]): T {
    return from[Math.floor(this.#chance() * from.length)]!
  }

  /** Where a command goes. */
  place(): { lane: string; options: Record<string, unknown> } {
    const lane = this.#pick(NAMES)
    const hasKey = this.#hasKeys && this.#chance() < 0.7
    return {
      lane,
      options: {
        ...(hasKey ? { key: this.#pick(KEYS) } : {}),
        ...(this.#chance() < 0.3 ? { group: this.#pick(GROUPS) } : {}),
      },
    }
  }

  tree(depth: number): Tree {
    const count = depth === 0 ? 0 : Math.floor(this.#chance() * 4)
    const children = range(count).map((): Child => {
      const { lane, options } = this.place()
      if (this.#chance() < 0.1) options.wait = false
      if (this.#chance() < 0.2) options.priority = Math.floor(this.#chance() * 256)
      return { lane, options, isLeft: this.#chance() < 0.1, node: this.tree(depth - 1) }
    })
    return { ms: this.#chance() < 0.3 ? 1 : 0, isSequence: this.#chance() < 0.4, children }
  }
}

function sizeOf({ children }: Tree): number {
  return children.reduce((sum, { node }) => sum + sizeOf(node), 1)
}

const strategies = [
  ['single', PartitionConfig.single(), true],
  ['balanced', PartitionConfig.balanced(2), false],
  ['roundRobin', PartitionConfig.roundRobin(2), false],
  ['hash', PartitionConfig.hash(2), true],
] as const

/** Waits for all trees. */
async function growTrees(manager: QueueManager, forest: Forest): Promise<void> {
  let ran = 0
  for (const batch of [1, 4, TREES - 5]) {
    const runs = range(batch).map(async () => {
      const tree = forest.tree(4)
      const { lane, options } = forest.place()
      const sum = (await manager.submit(lane, 'tree', tree, options)) as Sum
      expect(sum.ran + sum.refused).toBeLessThanOrEqual(sizeOf(tree))
      ran += sum.ran
    })
    await within(Promise.all(runs), `${batch} trees`, 10_000)
  }
  expect(ran).toBeGreaterThanOrEqual(TREES)
  const isIdle = ({ queued, running } = manager.stats()) => queued + running === 0
  await until(isIdle, 'the end of what nobody waited for')
}

/** Aborts some trees while they run or wait, and broadcasts; one that was aborted is settled. */
async function abortTrees(manager: QueueManager, seed: number, hasKeys: boolean): Promise<void> {
  const forest = new Forest(seed, hasKeys)
  const chance = randomFrom(seed)
  const broadcasts: Promise<unknown>[] = []
  const runs = range(TREES * 2).map(async (index) => {
    const tree = forest.tree(3)
    const { lane, options } = forest.place()
    const controller = new AbortController()
    const isAborted = chance() < 0.4
    if (isAborted) setTimeout(() => controller.abort(), chance() * 20)
    if (index % 10 === 0) broadcasts.push(manager.broadcast('echo', index))
    const run = manager.submit(lane, 'tree', tree, { ...options, signal: controller.signal })
    await run.catch((error) => {
      if (!isAborted || error.code !== 'CORELANE_ABORTED') throw error
    })
  })
  await within(Promise.all([...runs, ...broadcasts]), 'trees and broadcasts', 10_000)
  await within(manager.drain(), 'drain')
  const { queued, running } = manager.stats()
  expect([queued, running]).toEqual([0, 0])
}

const cases = strategies.flatMap(([name, partitions, hasKeys]) =>
  [1, 2, 5].map((concurrency) => ({ name, partitions, hasKeys, concurrency })),
)

test.each(cases)(
  `every tree settles under $name with $concurrency at a time, also beside aborts (seed ${SEED})`,
  async ({ name, partitions, hasKeys, concurrency }) => {
    const own = SEED + name.length * 41 + concurrency
    const manager = await open('nesting.js', {
      lanes: lanesOf(randomFrom(own)),
      defaultLane: 'free',
      partitions,
      concurrencyPerPartition: concurrency,
      ringBytes: 16_384,
    })
    await growTrees(manager, new Forest(SEED + name.length * 31 + concurrency, hasKeys))
    await abortTrees(manager, SEED + name.length * 37 + concurrency, hasKeys)
  },
)
