import { expect, test } from 'vitest'
import { type CommandType, learnDuration } from '../../../src/coordinator/type-table.ts'
import { stableHash } from '../../../src/schedule/hash.ts'
import { typesOf } from './support/rig.ts'

test('types have the index of their name and its stable hash', () => {
  const table = typesOf('add', 'burn')
  expect(table.names).toEqual(['add', 'burn'])
  expect(table.get('burn')).toMatchObject({ name: 'burn', index: 1, hash: stableHash('burn') })
})

test('an unknown type is refused with the names of those that exist', () => {
  expect(() => typesOf('add', 'burn').get('brun')).toThrow(
    expect.objectContaining({
      code: 'CORELANE_UNKNOWN_TYPE',
      message: 'The handler module has no handler "brun"; handlers: add, burn',
    }),
  )
  expect(() => typesOf().get('constructor')).toThrow('has no handler "constructor"')
})

function learnt(...durationsMs: number[]): CommandType {
  const type = typesOf('x').get('x')
  for (const durationMs of durationsMs) learnDuration(type, durationMs)
  return type
}

test('an unknown type is taken for one of a millisecond', () => {
  expect(learnt().estimateUs).toBe(1000)
})

test('each run moves the estimate an eighth of the way', () => {
  expect(learnt(9).estimateUs).toBe(2000)
  expect(learnt(0.2).estimateUs).toBe(900)
})

test('the estimate comes close to what runs take, and follows a change', () => {
  const type = learnt(...new Array<number>(100).fill(3))
  expect(type.estimateUs).toBeCloseTo(3000, 1)
  for (let i = 0; i < 100; i++) learnDuration(type, 0.05)
  expect(type.estimateUs).toBeCloseTo(50, 1)
})

test('however short the runs, the estimate stays above zero', () => {
  const type = learnt(...new Array<number>(500).fill(0))
  expect(type.estimateUs).toBeGreaterThan(0)
})
