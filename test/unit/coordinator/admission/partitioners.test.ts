import { expect, test } from 'vitest'
import { createPlacer } from '../../../../src/coordinator/admission/partitioners.ts'
import { ANY_PARTITION } from '../../../../src/coordinator/command.ts'
import { isShared, type ManagerPlan, planManager } from '../../../../src/coordinator/options.ts'
import { PartitionConfig, STRATEGIES, takesKeys } from '../../../../src/model/partition-config.ts'
import { stableHash } from '../../../../src/schedule/hash.ts'
import { range } from '../../../support/range.ts'
import { lane, typesOf } from '../support/rig.ts'

const types = typesOf('add', 'burn')
const add = types.get('add')
const burn = types.get('burn')

function plan(partitions: PartitionConfig): ManagerPlan {
  return planManager({ handlers: 'handlers.js', partitions })
}

test('balanced leaves the choice open', () => {
  const place = createPlacer(plan(PartitionConfig.balanced(4)))
  for (const key of [undefined, 'k']) expect(place(lane(), add, key, 0)).toBe(ANY_PARTITION)
})

test('a single partition is the home of every command', () => {
  for (const config of [PartitionConfig.balanced(1), PartitionConfig.single()]) {
    const place = createPlacer(plan(config))
    for (const key of [undefined, 'k']) expect(place(lane(), add, key, 0)).toBe(0)
  }
})

test('exactly balanced shares one backlog, and exactly balanced and roundRobin refuse keys', () => {
  const shared = STRATEGIES.filter((strategy) => isShared({ strategy, partitionCount: 2 }))
  expect(shared).toEqual(['balanced'])
  expect(isShared({ strategy: 'balanced', partitionCount: 1 })).toBe(false)
  expect(STRATEGIES.filter((strategy) => !takesKeys(strategy))).toEqual(['balanced', 'roundRobin'])
})

test('roundRobin takes the partitions in turn, from the first', () => {
  const place = createPlacer(plan(PartitionConfig.roundRobin(3)))
  const places = range(7).map(() => place(lane(), add, undefined, 0))
  expect(places).toEqual([0, 1, 2, 0, 1, 2, 0])
  expect(createPlacer(plan(PartitionConfig.roundRobin(1)))(lane(), add, undefined, 0)).toBe(0)
})

test('each placer counts its own turns', () => {
  const [first, second] = [1, 2].map(() => createPlacer(plan(PartitionConfig.roundRobin(2))))
  first!(lane(), add, undefined, 0)
  expect(second!(lane(), add, undefined, 0)).toBe(0)
})

test('hash places a key by its stable hash, whatever the type and the lane', () => {
  const place = createPlacer(plan(PartitionConfig.hash(5)))
  for (const key of ['a', 'user:42', '日本', '\ud800']) {
    const home = stableHash(key) % 5
    expect(place(lane(0), add, key, 0)).toBe(home)
    expect(place(lane(1), burn, key, {})).toBe(home)
  }
})

test('hash places a command without a key by its type', () => {
  const place = createPlacer(plan(PartitionConfig.hash(7)))
  expect(place(lane(), add, undefined, 0)).toBe(stableHash('add') % 7)
  expect(place(lane(), burn, undefined, 0)).toBe(stableHash('burn') % 7)
})

test('a custom partitioner is told of the command, and its answer counts', () => {
  const asked: unknown[] = []
  const choose = (question: unknown) => {
    asked.push(question)
    return 2
  }
  const place = createPlacer(plan(PartitionConfig.custom(3, choose)))
  const payload = { a: 1 }
  expect(place(lane(1), burn, 'k', payload)).toBe(2)
  expect(asked).toEqual([{ lane: 'lane1', type: 'burn', key: 'k', payload, partitions: 3 }])
})

test.each([
  [3, '3'],
  [-1, '-1'],
  [1.5, '1.5'],
  [Number.NaN, 'NaN'],
  ['1', '"1"'],
  [undefined, 'undefined'],
])('a custom partitioner that answers %o is refused', (answer, shown) => {
  const place = createPlacer(plan(PartitionConfig.custom(3, () => answer as number)))
  expect(() => place(lane(), add, undefined, 0)).toThrow(
    expect.objectContaining({
      code: 'CORELANE_INVALID_PARTITION',
      message: `The custom partitioner chose ${shown} for a command of type "add"; allowed: an integer from 0 to 2`,
    }),
  )
})

test('a custom partitioner that is asynchronous is refused, and its rejection goes nowhere', async () => {
  const choose = (async () => {
    throw new Error('late')
  }) as never
  const place = createPlacer(plan(PartitionConfig.custom(2, choose)))
  expect(() => place(lane(), add, undefined, 0)).toThrow('chose a Promise')
  // An unhandled rejection would fail this file.
  await new Promise(setImmediate)
})

test('what a custom partitioner throws reaches whoever submits', () => {
  const choose = () => {
    throw new RangeError('mine')
  }
  const place = createPlacer(plan(PartitionConfig.custom(2, choose)))
  expect(() => place(lane(), add, undefined, 0)).toThrow(RangeError)
})
