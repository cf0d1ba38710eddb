import { expect, test } from 'vitest'
import { openCountOf } from '../../../src/coordinator/lane-table.ts'
import { laneTable } from './support/rig.ts'

test('lanes have indices in the order they were given, and are found by name', () => {
  const table = laneTable({ b: { priority: 0 }, a: { priority: 1 }, c: {} })
  expect(table.all.map(({ name, index, plan }) => [name, index, plan.priority])).toEqual([
    ['b', 0, 0],
    ['a', 1, 1],
    ['c', 2, 5],
  ])
  expect(table.get('a')).toBe(table.all[1])
})

test('an unknown lane is refused with the names of those that exist', () => {
  expect(() => laneTable({ a: {}, b: {} }).get('z')).toThrow(
    expect.objectContaining({
      code: 'CORELANE_UNKNOWN_LANE',
      message: 'There is no lane "z"; lanes: a, b',
    }),
  )
})

test('names that every object inherits are no lanes, unless they were given', () => {
  for (const name of ['constructor', 'toString', '__proto__']) {
    expect(() => laneTable({ a: {} }).get(name)).toThrow('There is no lane')
  }
  expect(laneTable({ constructor: {} }).get('constructor').index).toBe(0)
})

test('it knows what threads must be asked for, and what time does to commands', () => {
  const table = laneTable(
    {
      plain: {},
      wide: { maxConcurrency: 4 },
      narrow: { maxConcurrency: 3 },
      promised: { minConcurrency: 1 },
      rated: { rateLimit: { limit: 1 } },
      boosted: { priorityBoost: { deadlineMs: 5 } },
    },
    4,
  )
  const gated = table.all.filter(({ isGated }) => isGated).map(({ name }) => name)
  const limited = table.all.filter(({ isLimited }) => isLimited).map(({ name }) => name)
  const timed = table.all.filter(({ isTimed }) => isTimed).map(({ name }) => name)
  expect(gated).toEqual(['wide', 'narrow', 'promised', 'rated'])
  expect(limited).toEqual(['narrow', 'rated'])
  expect(timed).toEqual(['boosted'])
  expect(table.all.map(({ slots }) => slots)).toEqual([0, 4, 3, 0, 0, 0])
})

test('open commands are those submitted and neither completed nor failed, over all lanes', () => {
  const table = laneTable({ a: {}, b: {} })
  expect([table.openCount, table.pendingBytes]).toEqual([0, 0])
  Object.assign(table.get('a'), { submitted: 5, completed: 2, failed: 1, pendingBytes: 10 })
  Object.assign(table.get('b'), { submitted: 3, completed: 0, failed: 0, pendingBytes: 5 })
  expect([table.openCount, table.pendingBytes]).toEqual([5, 15])
  expect(openCountOf(table.get('a'))).toBe(2)
})
