import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, expect, test, vi } from 'vitest'
import { LaneError } from '../../../src/base/errors.ts'
import { checkOptions } from '../../../src/base/options.ts'
import { CORES_VARIABLE, usableCores } from '../../../src/coordinator/cores.ts'
import {
  DRAIN_RULES,
  MANAGER_RULES,
  planManager,
  type QueueManagerOptions,
} from '../../../src/coordinator/options.ts'
import { QueueMetrics } from '../../../src/coordinator/queue-metrics.ts'
import { DEFAULT_LANES, LANE_COUNT_MAX, planLane } from '../../../src/model/lane.ts'
import { PartitionConfig } from '../../../src/model/partition-config.ts'
import { range } from '../../support/range.ts'

const handlers = 'handlers.js'

afterEach(() => {
  vi.unstubAllEnvs()
})

/** What plain JavaScript might pass. */
function plan(options: Record<string, unknown>) {
  return planManager({ handlers, ...options } as QueueManagerOptions)
}

function refusal(options: Record<string, unknown>): LaneError {
  try {
    plan(options)
  } catch (error) {
    expect(error).toBeInstanceOf(LaneError)
    expect(error).toHaveProperty('code', 'CORELANE_INVALID_OPTION')
    return error as LaneError
  }
  throw new Error('it was accepted')
}

test('all but the handlers have defaults', () => {
  expect(plan({})).toEqual({
    handlers: pathToFileURL(handlers).href,
    strategy: 'balanced',
    partitionCount: usableCores(),
    choose: undefined,
    lanes: Object.entries(DEFAULT_LANES).map(([name, options]) => planLane(name, options)),
    defaultLane: 'query',
    concurrency: 1,
    bounds: {
      maxPending: Number.POSITIVE_INFINITY,
      maxPendingBytes: Number.POSITIVE_INFINITY,
      waitsWhenFull: true,
    },
    ringBytes: 2 ** 20,
    startTimeoutMs: 60_000,
    broadcastTimeoutMs: 60_000,
    closeTimeoutMs: 1_000,
    drainTimeoutMs: 30_000,
    maxCrashes: 2,
    deadLetterCapacity: 1000,
    timeoutGraceMs: 50,
    terminatingMax: 2,
    reportsRejections: true,
    wear: {
      maxCommandsPerThread: Number.POSITIVE_INFINITY,
      maxHeapMb: Number.POSITIVE_INFINITY,
    },
    allowNested: false,
    worker: { workerData: undefined },
  })
})

test('a plan cannot be changed', () => {
  expect(Object.isFrozen(plan({}))).toBe(true)
  expect(plan({ lanes: { a: {} } }).lanes.every(Object.isFrozen)).toBe(true)
})

test('handlers are a URL as it is, or a path from the working directory', () => {
  const url = new URL('file:///somewhere/handlers.js?version=2')
  expect(plan({ handlers: url }).handlers).toBe(url.href)
  expect(plan({ handlers: url.href }).handlers).toBe(url.href)
  for (const given of ['data:text/javascript,export const a = 1', 'node:path', 'https://a.b']) {
    expect(plan({ handlers: given }).handlers).toBe(given)
  }
  for (const path of ['a b/ä#?.js', './x.js', join(process.cwd(), 'y.js')]) {
    expect(plan({ handlers: path }).handlers).toBe(pathToFileURL(path).href)
  }
})

test('handlers must be given, and nothing else will do', () => {
  expect(refusal({ handlers: undefined }).message).toBe(
    'QueueManager.handlers is missing; allowed: a URL or a path of a module',
  )
  for (const wrong of ['', 7, {}, null, () => {}]) {
    expect(refusal({ handlers: wrong }).message).toContain('QueueManager.handlers is')
  }
})

test('an unknown option is refused by name', () => {
  expect(refusal({ partition: 4 }).message).toContain('QueueManager.partition is not an option')
  expect(refusal({ lanes: { a: { prioritee: 1 } } }).message).toContain(
    'lanes.a.prioritee is not an option',
  )
  expect(refusal({ partitions: { cuont: 1 } }).message).toContain(
    'PartitionConfig.cuont is not an option',
  )
})

test('partitions may be a config or its plain form', () => {
  const expected = { strategy: 'hash', partitionCount: 3, choose: undefined }
  expect(plan({ partitions: PartitionConfig.hash(3) })).toMatchObject(expected)
  expect(plan({ partitions: { strategy: 'hash', count: 3 } })).toMatchObject(expected)
})

test('without a count there are as many partitions as usable cores', () => {
  vi.stubEnv(CORES_VARIABLE, '5')
  for (const partitions of [undefined, {}, PartitionConfig.auto(), PartitionConfig.hash()]) {
    expect(plan({ partitions }).partitionCount).toBe(5)
  }
})

test('the strategy single has one partition and no other count', () => {
  expect(plan({ partitions: PartitionConfig.single() }).partitionCount).toBe(1)
  expect(plan({ partitions: { strategy: 'single' } }).partitionCount).toBe(1)
  expect(plan({ partitions: { strategy: 'none' } }).strategy).toBe('single')
  expect(refusal({ partitions: { strategy: 'single', count: 2 } }).message).toBe(
    'PartitionConfig.count is 2; allowed: 1 where the strategy is "single"',
  )
})

test('a partitioner is needed for custom and refused for anything else', () => {
  const choose = () => 0
  expect(plan({ partitions: PartitionConfig.custom(2, choose) }).choose).toBe(choose)
  expect(refusal({ partitions: { strategy: 'custom', count: 2 } }).message).toBe(
    'PartitionConfig.choose is undefined; allowed: a function',
  )
  expect(refusal({ partitions: { strategy: 'hash', choose } }).message).toContain(
    'allowed: nothing unless the strategy is "custom"',
  )
})

test('lanes are taken by their names, with their own defaults', () => {
  const { lanes, defaultLane } = plan({ lanes: { b: { priority: 1 }, a: {} } })
  expect(lanes.map(({ name, priority }) => [name, priority])).toEqual([
    ['b', 1],
    ['a', 5],
  ])
  expect(defaultLane).toBe('b')
})

test('a lane may have any name, even one that every object inherits', () => {
  const lanes = JSON.parse('{"__proto__": {"priority": 1}, "constructor": {}}')
  const planned = plan({ lanes }).lanes
  expect(planned.map(({ name, priority }) => [name, priority])).toEqual([
    ['__proto__', 1],
    ['constructor', 5],
  ])
  expect(({} as Record<string, unknown>).priority).toBeUndefined()
})

test('a manager has 1 to 256 lanes', () => {
  const lanes = (count: number) => Object.fromEntries(range(count).map((i) => [`lane${i}`, {}]))
  expect(plan({ lanes: lanes(LANE_COUNT_MAX) }).lanes).toHaveLength(LANE_COUNT_MAX)
  for (const count of [0, LANE_COUNT_MAX + 1]) {
    expect(refusal({ lanes: lanes(count) }).message).toBe(
      `QueueManager.lanes is ${count} lanes; allowed: 1 to 256 lanes`,
    )
  }
})

const MS_MAX = 2 ** 31 - 1
const NO_MS = [-1, MS_MAX + 1, Number.NaN, Number.POSITIVE_INFINITY, '5']
const NO_COUNTS = [0, -1, 1.5, Number.POSITIVE_INFINITY, '5']
const NO_RINGS = [0, 2 ** 13, 2 ** 14 + 8, 2 ** 29, 65_536.5, Number.NaN, '65536']
const NO_OBJECTS = [null, [], 'x', true, new Map(), new URL('file:///x'), Promise.resolve()]
const NO_MB = [0, -1, Number.NaN, '64', null]

test.each<[string, string, unknown[], unknown[]]>([
  ['ringBytes', 'a power of two from 16384 to 268435456', [2 ** 14, 2 ** 20, 2 ** 28], NO_RINGS],
  ['startTimeoutMs', '', [MS_MAX], [0, ...NO_MS]],
  ['broadcastTimeoutMs', '', [MS_MAX], NO_MS],
  ['closeTimeoutMs', '', [0, MS_MAX], NO_MS],
  ['drainTimeoutMs', '', [MS_MAX], NO_MS],
  ['maxPending', '', [], NO_COUNTS],
  ['maxPendingBytes', '', [], NO_COUNTS],
  ['concurrencyPerPartition', '', [], NO_COUNTS],
  ['overflow', '"wait", "reject"', [], ['drop']],
  ['overflow', 'given with a bound', [], ['reject']],
  ['partitions', '', [], NO_OBJECTS],
  ['lanes', '', [], NO_OBJECTS],
  ['resourceLimits', '', [], [...NO_OBJECTS, { maxOldGenerationSizeMB: 64 }]],
  ['resourceLimits', 'numbers above 0', [], NO_MB.map((stackSizeMb) => ({ stackSizeMb }))],
  ['env', 'an object of strings, or', [], [...NO_OBJECTS, { A: 1 }, { A: null }, Symbol('x')]],
  ['execArgv', 'an array of strings', [], ['--x', [5], ['--x', undefined]]],
  ['metrics', 'QueueMetrics', [], [{}, QueueMetrics]],
  ['allowNested', '', [], [1]],
])('%s takes what it allows and refuses the rest', (option, meant, allowed, refused) => {
  for (const value of allowed) expect(plan({ [option]: value })).toHaveProperty(option, value)
  for (const value of refused) {
    const { message } = refusal({ [option]: value })
    expect(message).toContain(`QueueManager.${option} is`)
    expect(message).toContain(`; allowed: ${meant}`)
  }
})

test.each<[says: string, partitions: object]>([
  ['count is 2 beside min; allowed: either count', { count: 2, min: 1 }],
  ['count is 2 beside idleTimeoutMs; allowed: either count', { count: 2, idleTimeoutMs: 5 }],
  ['idleTimeoutMs is 5 without min; allowed: given with min', { max: 2, idleTimeoutMs: 5 }],
  ['idleTimeoutMs is given under "hash"', { strategy: 'hash', idleTimeoutMs: 5 }],
])('options of threads that come and go must go together: %s', (says, partitions) => {
  expect(refusal({ partitions }).message).toContain(`PartitionConfig.${says}`)
})

test('bounds on what is pending and concurrency are kept', () => {
  const bounded = { maxPending: 5, maxPendingBytes: 600, overflow: 'reject' }
  expect(plan({ ...bounded, concurrencyPerPartition: 8 })).toMatchObject({
    bounds: { maxPending: 5, maxPendingBytes: 600, waitsWhenFull: false },
    concurrency: 8,
  })
})

test('the default lane is query if there is one, else the first, unless it is told', () => {
  expect(plan({ lanes: { a: {}, query: {} } }).defaultLane).toBe('query')
  expect(plan({ lanes: { a: {}, b: {} } }).defaultLane).toBe('a')
  expect(plan({ defaultLane: 'skill' }).defaultLane).toBe('skill')
  for (const defaultLane of ['nope', 'constructor']) {
    expect(refusal({ defaultLane }).message).toBe(
      `QueueManager.defaultLane is "${defaultLane}"; allowed: system, control, query, session, skill, prompt`,
    )
  }
})

test('what is meant for the threads is passed on, and nothing else', () => {
  const workerData = { a: 1 }
  const env = { A: '1' }
  const execArgv = ['--no-warnings']
  const resourceLimits = { maxOldGenerationSizeMb: 64 }
  const { worker } = plan({ workerData, env, execArgv, resourceLimits })
  expect(worker).toEqual({ workerData, env, execArgv, resourceLimits })
  expect(worker.execArgv).not.toBe(execArgv)
  expect(Object.keys(plan({}).worker)).toEqual(['workerData'])
})

test('a polluted prototype changes no plan', () => {
  const polluted = Object.prototype as Record<string, unknown>
  const before = plan({})
  Object.assign(polluted, { ringBytes: 16_384, strategy: 'hash', count: 2, priority: 9 })
  try {
    expect(plan({ lanes: { query: {} } })).toMatchObject({
      ringBytes: before.ringBytes,
      strategy: 'balanced',
      partitionCount: before.partitionCount,
    })
    expect(plan({ lanes: { query: {} } }).lanes[0]!.priority).toBe(5)
  } finally {
    for (const key of ['ringBytes', 'strategy', 'count', 'priority']) delete polluted[key]
  }
})

test('drain waits as long as a timer can, or as long as the manager says', () => {
  expect(checkOptions('drain', {}, DRAIN_RULES)).toEqual({ timeoutMs: undefined })
  checkOptions('drain', { timeoutMs: 0 }, DRAIN_RULES)
  expect(() => checkOptions('drain', { timeoutMs: -1 }, DRAIN_RULES)).toThrow('drain.timeoutMs')
})

test('every default is a value that its own rule accepts', () => {
  for (const [option, rule] of Object.entries(MANAGER_RULES)) {
    if (rule.default === undefined) continue
    expect([option, rule.accepts(rule.default)]).toEqual([option, true])
  }
})

test('a machine with more cores than a manager can have partitions gets the most there can be', () => {
  vi.stubEnv(CORES_VARIABLE, '1000')
  expect(plan({}).partitionCount).toBe(256)
})
