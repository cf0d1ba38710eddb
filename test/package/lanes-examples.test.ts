// Examples: every code block of docs/lanes.md does what the page says. Method: the blocks are cut
// out of the page and run as they stand; each has a name, and each name a check here, so neither
// can drift.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { LaneConfig, PartitionConfig, PriorityBoostConfig, QueueManager } from 'corelane'
import { beforeAll, expect, test } from 'vitest'
import { within } from '../support/deadline.ts'
import { describeWithTools } from '../support/locked-packages.ts'
import { moduleOf } from '../support/managers.ts'
import { PAGE_TOOLS } from '../support/pages.ts'
import { range } from '../support/range.ts'

let corelane: typeof import('corelane')

const page = readFileSync(new URL('../../docs/lanes.md', import.meta.url), 'utf8')
const blocks = [...page.matchAll(/^```(\w*) ?(\S*)\n([\s\S]*?)^```$/gm)].map(
  ([, language, name, code]) => ({ language: language!, name: name!, code: code! }),
)
const examples = blocks.filter(({ language }) => language === 'ts')
const handlers = moduleOf(blocks.find(({ name }) => name === 'handlers.mjs')!.code)

type Names = Record<string, unknown>

/** Runs a block with what it imports, and gives what it declares. */
async function run(code: string): Promise<Names> {
  const declared = [...code.matchAll(/^const (?:(\w+)|\{([^}]+)\}) =/gm)].flatMap(
    ([, one, many]) => (one === undefined ? many!.split(',').map((word) => word.trim()) : [one]),
  )
  const body = code
    .replaceAll(/^import \{([^}]+)\} from 'corelane'$/gm, '')
    .replaceAll("new URL('./handlers.mjs', import.meta.url)", 'handlers')
  const AsyncFunction = (async () => {}).constructor as FunctionConstructor
  const given: Names = { ...corelane, handlers }
  const names = Object.keys(given)
  const call = new AsyncFunction(...names, `${body}\nreturn { ${declared.join(', ')} }`)
  return within(call(...names.map((name) => given[name])), 'the example') as Promise<Names>
}

/** Runs some commands through a lane and gives when they started. */
async function startsOf(lane: unknown, count: number): Promise<number[]> {
  const lanes = { lane: lane as LaneConfig }
  const manager = corelane.QueueManager.create({ handlers, lanes, partitions: 1 })
  try {
    await within(manager.start(), 'start')
    const all = range(count).map(() => manager.submit('lane', 'stamp'))
    const starts = (await within(Promise.all(all), 'the commands')) as number[]
    return starts.sort((a, b) => a - b)
  } finally {
    await manager.close()
  }
}

type Check = (names: Names, manager: QueueManager) => Promise<void> | void

/** The lane has the boost that the page names. */
const boosted =
  (make: (forms: typeof PriorityBoostConfig) => PriorityBoostConfig): Check =>
  async ({ lane }) => {
    expect((lane as LaneConfig).priorityBoost).toEqual(make(corelane.PriorityBoostConfig))
    expect(await startsOf(lane, 10)).toHaveLength(10)
  }

const checks: Record<string, Check> = {
  first: ({ thumbnail }) => expect(thumbnail).toEqual({ width: 320, height: 240 }),
  'page-and-report': ({ thumbnail }) => expect(thumbnail).toMatchObject({ height: 240 }),
  partner: ({ pages }) => expect(pages).toEqual(['page of /a', 'page of /b', 'page of /c']),
  tenants: async ({ flood, soon }) => {
    expect(soon).toEqual({ width: 320, height: 240 })
    expect(await flood).toHaveLength(2)
  },
  flood: ({ image }) => expect(image).toMatchObject({ height: 480 }),
  rates: async (names) => {
    const terms = ['perSecond', 'perMinute', 'perHour', 'anyWindow', 'unlimited'].map((name) => {
      const { limit, windowMs, algorithm } = (names[name] as LaneConfig).rateLimit!
      return [limit, windowMs, algorithm]
    })
    expect(terms).toEqual([
      [100, 1000, 'token-bucket'],
      [1000, 60_000, 'token-bucket'],
      [10_000, 3_600_000, 'token-bucket'],
      [5, 250, 'token-bucket'],
      [undefined, 1000, 'token-bucket'],
    ])
    // Five at once, and then one every 50 ms.
    const starts = await startsOf(names.anyWindow, 8)
    expect(starts[7]! - starts[0]!).toBeGreaterThanOrEqual(150 - 1e-5)
    for (const name of ['perSecond', 'perMinute', 'perHour', 'unlimited']) {
      expect(await startsOf(names[name], 20)).toHaveLength(20)
    }
  },
  algorithms: async (_names, manager) => {
    await within(manager.start(), 'start')
    for (const lane of ['smooth', 'quota', 'each']) {
      await within(manager.submitMany(lane, 'stamp', [0, 1, 2]), `commands of ${lane}`)
    }
  },
  concurrency: async (_names, manager) => {
    await within(manager.start(), 'start')
    const pages = range(30).map((i) => `/${i}`)
    const fetched = await within(manager.submitMany('web', 'fetchPage', pages), 'the pages')
    expect(fetched).toEqual(pages.map((path) => `page of ${path}`))
  },
  standard: boosted((forms) => forms.standard(60_000)),
  aggressive: boosted((forms) => forms.aggressive(30_000)),
  custom: boosted((forms) => forms.custom(120_000, [30_000, 60_000, 90_000])),
  deadlines: (_names, manager) => {
    const { live, report } = manager.stats().lanes
    expect([live!.completed, report!.completed]).toEqual([1, 1])
  },
  delays: ({ startedAt }) => expect(startedAt).toBeTypeOf('number'),
  backpressure: (_names, manager) => {
    const { import: imported, web } = manager.stats().lanes
    expect(imported).toMatchObject({ submitted: 500, completed: 500, queued: 0 })
    expect(web).toMatchObject({ submitted: 1 })
  },
  events: ({ ended }) => {
    expect(ended).toMatchObject([{ type: 'resize', durationMs: expect.any(Number) }])
  },
  signals: ({ keepOn }) => {
    expect(process.listenerCount('SIGTERM')).toBeGreaterThan(0)
    const before = process.listenerCount('SIGTERM')
    ;(keepOn as () => void)()
    expect(process.listenerCount('SIGTERM')).toBe(before - 1)
  },
  strategies: async ({ automatic, roundRobin, hash, single }) => {
    const all = [automatic, roundRobin, hash, single] as PartitionConfig[]
    const expected = ['balanced', 'roundRobin', 'hash', 'single']
    expect(all.map(({ strategy }) => strategy)).toEqual(expected)
    for (const partitions of all) {
      const manager = corelane.QueueManager.create({ handlers, partitions })
      await within(manager.start(), 'start')
      expect(await within(manager.run('resize', { width: 4 }), 'a command')).toMatchObject({
        height: 3,
      })
      await manager.close()
    }
  },
  small: async (_names, manager) => {
    await within(manager.start(), 'start')
    expect(Object.keys(manager.stats().lanes)).toEqual(Object.keys(corelane.DEFAULT_LANES))
    await within(manager.run('resize', { width: 4 }), 'a command')
  },
  throughput: ({ completed, queued, running, waiting }) => {
    expect([completed, queued, running, waiting]).toEqual([2, 0, 0, 0])
  },
  cores: async (_names, manager) => {
    await within(manager.start(), 'start')
    await within(manager.run('resize', { width: 4 }), 'a command')
    expect(manager.stats()).toMatchObject({ strategy: 'balanced' })
  },
}

test('every code block of the page has a name of its own and a check here, and every check a block', () => {
  const names = examples.map(({ name }) => name)
  expect(new Set(names).size).toBe(names.length)
  expect(Object.keys(checks).sort()).toEqual([...names].sort())
  expect(blocks.filter(({ language }) => language !== 'ts' && language !== 'js')).toEqual([])
})

describeWithTools(PAGE_TOOLS, () => {
  beforeAll(() => {
    corelane = createRequire(join(PAGE_TOOLS, 'package.json'))('corelane')
  })

  test.each(examples)('the example "$name" does what the page says', async ({ name, code }) => {
    const names = await run(code)
    const manager = names.manager as QueueManager
    try {
      await checks[name]!(names, manager)
    } finally {
      await manager?.close()
    }
  })

  test('the page says what the code calls the events and their members', () => {
    const named = [...page.matchAll(/^\| `(queue\.[a-z._]+)` \|/gm)].map(([, event]) => event)
    expect(named).toHaveLength(21)
    for (const event of named) {
      expect(() =>
        corelane.QueueManager.create({ handlers }).subscribe({ events: [event as never] }),
      ).not.toThrow()
    }
  })
})
