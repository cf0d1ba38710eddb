import { expect, test } from 'vitest'
import { checkOptions } from '../../../src/base/options.ts'
import {
  PARTITION_COUNT_MAX,
  PARTITION_RULES,
  PartitionConfig,
  type PartitionOptions,
  STRATEGIES,
} from '../../../src/model/partition-config.ts'

function check(options: unknown): Readonly<PartitionOptions> {
  return checkOptions<PartitionOptions>('PartitionConfig', options, PARTITION_RULES)
}

const first = () => 0

test('each factory makes a config of its strategy', () => {
  const made = [
    [PartitionConfig.auto(), 'balanced', undefined],
    [PartitionConfig.balanced(), 'balanced', undefined],
    [PartitionConfig.balanced(2), 'balanced', 2],
    [PartitionConfig.roundRobin(3), 'roundRobin', 3],
    [PartitionConfig.roundRobin(), 'roundRobin', undefined],
    [PartitionConfig.hash(4), 'hash', 4],
    [PartitionConfig.hash(), 'hash', undefined],
    [PartitionConfig.single(), 'single', 1],
    [PartitionConfig.none(), 'single', 1],
    [PartitionConfig.custom(5, first), 'custom', 5],
  ] as const
  for (const [config, strategy, count] of made) {
    expect(config.strategy).toBe(strategy)
    expect(config.count).toBe(count)
    expect(config.choose).toBe(strategy === 'custom' ? first : undefined)
    expect(STRATEGIES).toContain(config.strategy)
  }
})

test('a config cannot be changed', () => {
  const config = PartitionConfig.hash(2)
  expect(Object.isFrozen(config)).toBe(true)
  expect(() => {
    // biome-ignore lint/suspicious/noExplicitAny: what plain JavaScript might try
    ;(config as any).count = 3
  }).toThrow(TypeError)
})

test('a config is accepted wherever its plain form is, with the same outcome', () => {
  expect({ ...check(PartitionConfig.hash(2)) }).toEqual({
    ...check({ strategy: 'hash', count: 2 }),
  })
  expect({ ...check(PartitionConfig.auto()) }).toEqual({ ...check({}) })
})

test.each([0, -1, 1.5, Number.NaN, PARTITION_COUNT_MAX + 1, Number.POSITIVE_INFINITY, '2', null])(
  'a count of %s is refused',
  (count) => {
    expect(() => check({ count })).toThrow(
      /^PartitionConfig\.count is .*; allowed: an integer from 1 to 256$/,
    )
    expect(() => check(PartitionConfig.hash(count as number))).toThrow('PartitionConfig.count is')
  },
)

test('counts from 1 to 256 are accepted', () => {
  for (const count of [1, 2, PARTITION_COUNT_MAX]) expect(check({ count }).count).toBe(count)
})

test('a strategy must be one of the names, as they are spelled', () => {
  for (const strategy of STRATEGIES) expect(check({ strategy }).strategy).toBe(strategy)
  for (const strategy of ['Balanced', 'round-robin', 'auto', '', 1, null]) {
    expect(() => check({ strategy })).toThrow('PartitionConfig.strategy is')
  }
})

test('a partitioner must be a function', () => {
  expect(check({ choose: first }).choose).toBe(first)
  for (const choose of [0, 'hash', {}, null]) {
    expect(() => check({ choose })).toThrow('PartitionConfig.choose is')
  }
})
