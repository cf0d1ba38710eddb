// Nesting campaign: random trees of nested commands over strategies, limits and lanes, in small
// rings, while callers abort, read streams, pause lanes, change limits and reload, and threads end.
// Goal: every tree settles within a bound, whatever its handlers wait for; a node runs, is refused,
// or fails as it was asked to. Seeded.

import { setTimeout as sleep } from 'node:timers/promises'
import {
  type LaneOptions,
  PartitionConfig,
  type QueueManager,
  type QueueManagerOptions,
  RateLimitConfig,
  type RetryOptions,
} from 'corelane'
import { expect, test } from 'vitest'
import { randomFrom } from '../../build/base/random.js'
import { until, within } from '../support/deadline.ts'
import { fixture, open } from '../support/managers.ts'
import { range } from '../support/range.ts'

const SEED = Number(process.env.CORELANE_SEED ?? 20261124)
const TREES = 16
const KEYS = ['a', 'b', 'c', 'd', 'e']
const GROUPS = ['g', 'h']
const NAMES = ['one', 'two', 'free', 'other', 'rated', 'turns']
const MANY = 100_000
const REFUSED = 'CORELANE_NESTED_WAIT'

type Lanes = Record<string, LaneOptions>
type Options = Record<string, unknown>

interface Child {
  readonly lane: string
  readonly options: Readonly<Options>
  readonly isLeft: boolean
  /** Whether it is aborted with its parent. */
  readonly follows: boolean
  readonly node: Tree
}

interface Tree {
  readonly ms: number
  readonly isSequence: boolean
  readonly children: readonly Child[]
  readonly ends?: 'thread' | 'badly' | undefined
}

interface Sum {
  readonly ran: number
  readonly codes: readonly string[]
}

/** What a case is made of, by chance. */
class Plan {
  readonly #random: () => number
  readonly #hasKeys: boolean
  /** Commands have time-outs, deadlines, delays and retries. */
  readonly isTimed: boolean
  /** Handlers fail, and threads end. */
  readonly isDeadly: boolean
  /** Lanes are paused and their limits changed; handlers are loaded anew. */
  readonly isMeddled: boolean
  readonly hasStreams: boolean

  constructor(seed: number, hasKeys: boolean) {
    this.#random = randomFrom(seed)
    this.#hasKeys = hasKeys
    this.isTimed = this.percent(30)
    this.isDeadly = this.percent(20)
    this.isMeddled = this.percent(40)
    this.hasStreams = this.percent(40)
  }

  below(count: number): number {
    return Math.floor(this.#random() * count)
  }

  percent(chance: number): boolean {
    return this.#random() * 100 < chance
  }

  pick<T>(...from: readonly T[]): T {
    return from[this.below(from.length)]!
  }

  maybe<T extends object>(chance: number, more: () => T): Partial<T> {
    return this.percent(chance) ? more() : {}
  }

  /** Options of the manager; each lane is limited in its own way, and some in others as well. */
  manager(): QueueManagerOptions {
    const each = (): LaneOptions => ({
      ...this.maybe(50, () => ({ priority: this.below(3) })),
      ...this.maybe(20, () => ({ minConcurrency: 1 })),
      ...this.maybe(20, () => ({ groupConcurrency: 1 + this.below(2), groupWeights: { g: 3 } })),
      ...this.maybe(15, () => ({ groupRateLimit: RateLimitConfig.perSecond(2_000) })),
      ...this.maybe(15, () => ({ maxPendingBytes: 2_000 })),
      ...this.maybe(15, () => ({ priorityBoost: { deadlineMs: 20 } })),
      ...this.maybe(this.isDeadly ? 50 : 0, () => ({ retry: this.#retry() })),
    })
    const scope = this.pick('global', 'partition')
    const own: Lanes = {
      one: { maxConcurrency: 1 },
      two: { maxConcurrency: 2 },
      free: {},
      other: { maxPending: 3 },
      // Its tokens never run out; it is limited all the same, so its commands wait at the gate.
      rated: { rateLimit: RateLimitConfig.perSecond(MANY, { scope }) },
      turns: { maxConcurrency: 4, groupConcurrency: 1 },
    }
    return {
      lanes: Object.fromEntries(NAMES.map((name) => [name, { ...each(), ...own[name] }])),
      defaultLane: 'free',
      ringBytes: 16_384,
      ...this.maybe(15, () => ({ maxCommandsPerThread: 100 + this.below(200) })),
      ...this.maybe(20, () => ({ maxPending: 5 })),
      ...this.maybe(30, () => ({ timeoutGraceMs: this.pick(0, 50) })),
    }
  }

  /** Where a command goes. */
  place(): { lane: string; options: Options } {
    const hasKey = this.#hasKeys && this.percent(70)
    return {
      lane: this.pick(...NAMES),
      options: {
        ...(hasKey ? { key: this.pick(...KEYS) } : {}),
        ...this.maybe(30, () => ({ group: this.pick(...GROUPS) })),
      },
    }
  }

  root() {
    const { lane, options } = this.place()
    return { lane, options: { ...options, ...this.#timed() } }
  }

  #timed(): Options {
    if (!this.isTimed) return {}
    return {
      ...this.maybe(2, () => ({ timeoutMs: this.pick(1, 10) })),
      ...this.maybe(10, () => ({ delayMs: 1 + this.below(5) })),
      ...this.maybe(10, () => ({ startWithinMs: this.pick(1, 20) })),
      ...this.maybe(10, () => ({
        deadlineMs: this.pick(1, 10),
        onDeadline: this.pick('boost', 'reject'),
      })),
    }
  }

  tree(depth: number): Tree {
    const count = depth === 0 ? 0 : this.below(4)
    const children = range(count).map((): Child => {
      const { lane, options } = this.place()
      Object.assign(
        options,
        this.maybe(10, () => ({ wait: false })),
        this.maybe(20, () => ({ priority: this.below(256) })),
        this.#timed(),
      )
      const isLeft = this.percent(10)
      return { lane, options, isLeft, follows: this.percent(50), node: this.tree(depth - 1) }
    })
    const ends = this.pick('thread', 'badly', 'badly')
    return {
      ms: this.percent(30) ? 1 : 0,
      isSequence: this.percent(40),
      children,
      ...this.maybe(this.isDeadly ? 3 : 0, () => ({ ends })),
    }
  }

  #retry(): RetryOptions {
    return { retries: this.below(3), delayMs: this.below(5), retryLost: this.percent(50) }
  }

  /** Whether a failure was asked for. */
  expects(code: string): boolean {
    const isKilling = this.isDeadly || this.isTimed
    return (
      (this.isTimed && ['CORELANE_TIMEOUT', 'CORELANE_DEADLINE_EXCEEDED'].includes(code)) ||
      (this.isDeadly && code === 'as asked') ||
      (isKilling && ['CORELANE_PARTITION_LOST', 'CORELANE_ABORTED'].includes(code))
    )
  }
}

function sizeOf({ children }: Tree): number {
  return children.reduce((sum, { node }) => sum + sizeOf(node), 1)
}

const { single, balanced, elastic, roundRobin, hash, custom } = PartitionConfig
const byName = custom(3, ({ key, lane }) => (key ?? lane).charCodeAt(0) % 3)

const strategies = [
  ['single', () => single(), true],
  ['balanced', (plan: Plan) => plan.pick(balanced(2), elastic(0, 2, 5)), false],
  ['roundRobin', () => roundRobin(2), false],
  ['hash', (plan: Plan) => plan.pick(hash(2), byName), true],
] as const

/** Runs a tree, or reads it as a stream. */
async function runTree(manager: QueueManager, plan: Plan, tree: Tree, more = {}): Promise<Sum> {
  const { lane, options } = plan.root()
  if (!plan.hasStreams || plan.percent(60)) {
    return (await manager.submit(lane, 'tree', tree, { ...options, ...more })) as Sum
  }
  let ran = 1
  const codes: string[] = []
  const restMs = plan.below(10)
  // More than it may send ahead of its reader.
  const work = { ...tree, values: plan.pick(0, 1_500) }
  for await (const sum of manager.stream(lane, 'treeStream', work, { ...options, ...more })) {
    if (sum === undefined) continue
    ran += (sum as Sum).ran
    codes.push(...(sum as Sum).codes)
    if (restMs > 5) await sleep(restMs)
  }
  return { ran, codes }
}

/** Waits for all trees. */
async function growTrees(manager: QueueManager, plan: Plan): Promise<void> {
  let ran = 0
  let failed = 0
  for (const batch of [1, 4, TREES - 5]) {
    const runs = range(batch).map(async () => {
      const tree = plan.tree(4)
      try {
        const sum = await runTree(manager, plan, tree)
        expect(sum.codes.filter((code) => code !== REFUSED && !plan.expects(code))).toEqual([])
        expect(sum.ran + sum.codes.length).toBeLessThanOrEqual(sizeOf(tree))
        ran += sum.ran
      } catch (error) {
        const { code, message } = error as Error & { code?: string }
        if (!plan.expects(code ?? message)) throw error
        failed++
      }
    })
    await within(Promise.all(runs), `${batch} trees`)
  }
  expect(ran + failed).toBeGreaterThanOrEqual(TREES)
  const isIdle = ({ queued, running } = manager.stats()) => queued + running === 0
  await until(isIdle, 'the end of what nobody waited for')
}

/** Aborts some trees while they run or wait, and broadcasts; one that was aborted is settled. */
async function abortTrees(manager: QueueManager, plan: Plan): Promise<void> {
  const broadcasts: Promise<unknown>[] = []
  const runs = range(TREES * 2).map(async (index) => {
    const tree = plan.tree(3)
    const controller = new AbortController()
    const isAborted = plan.percent(40)
    if (isAborted) setTimeout(() => controller.abort(), plan.below(20))
    const { signal } = controller
    if (index % 10 === 0) {
      broadcasts.push(
        manager.broadcast('echo', index).catch((error) => {
          if (!plan.expects(error.code)) throw error
        }),
      )
    }
    await runTree(manager, plan, tree, { signal }).catch((error) => {
      if (plan.expects(error.code ?? error.message)) return
      if (!isAborted || error.code !== 'CORELANE_ABORTED') throw error
    })
  })
  await within(Promise.all([...runs, ...broadcasts]), 'trees and broadcasts')
  await within(manager.drain(), 'drain')
  const { queued, running } = manager.stats()
  expect([queued, running]).toEqual([0, 0])
}

/** Pauses lanes for a moment, changes limits and reloads once, until it is told to stop. */
async function meddle(manager: QueueManager, plan: Plan, signal: AbortSignal): Promise<void> {
  let reload: Promise<void> | undefined
  while (!signal.aborted) {
    const lane = manager.lane(plan.pick(...NAMES))
    lane.pause()
    await sleep(plan.below(4))
    lane.resume()
    manager.lane('two').setConcurrency(1 + plan.below(2))
    manager.lane('turns').setConcurrency(1 + plan.below(4))
    manager.lane('rated').setRateLimit({ limit: MANY + plan.below(MANY) })
    if (plan.percent(5)) {
      reload ??= manager.reload(fixture('nesting.js')).catch((error) => {
        if (error.code !== 'CORELANE_CLOSED') throw error
      })
    }
    await sleep(plan.below(10))
  }
  await within(Promise.resolve(reload), 'a reload')
}

const cases = strategies.flatMap(([name, partitions, hasKeys]) =>
  [1, 2, 5].map((concurrency) => ({ name, partitions, hasKeys, concurrency })),
)

test.each(cases)(
  `every tree settles under $name with $concurrency at a time, also beside aborts (seed ${SEED})`,
  async ({ name, partitions, hasKeys, concurrency }) => {
    const plan = new Plan(SEED + name.length * 41 + concurrency, hasKeys)
    const manager = await open('nesting.js', {
      ...plan.manager(),
      partitions: partitions(plan),
      concurrencyPerPartition: concurrency === 5 ? 3 + plan.below(3) : concurrency,
    })
    const controller = new AbortController()
    const meddling = plan.isMeddled && meddle(manager, plan, controller.signal)
    try {
      await growTrees(manager, plan)
      await abortTrees(manager, plan)
    } finally {
      controller.abort()
      await meddling
    }
  },
)
