// Key chains: one at a time and in order, whatever leaves.

import { expect, test } from 'vitest'
import { KeyChains } from '../../../src/distributed/work/held.ts'

function chain(...commands: string[]): KeyChains<string> {
  const chains = new KeyChains<string>()
  for (const command of commands) chains.enter('key', command)
  return chains
}

test('the first goes at once, the others one after another', () => {
  const chains = new KeyChains<string>()
  expect(['a', 'b', 'c'].map((each) => chains.enter('key', each))).toEqual([true, false, false])
  expect(chains.enter('other', 'x')).toBe(true)
  expect(chains.waiting).toBe(2)
  expect(chains.leave('key', 'a')).toBe('b')
  expect(chains.leave('key', 'a')).toBeUndefined()
  expect(chains.waiting).toBe(1)
  expect([chains.leave('key', 'b'), chains.leave('key', 'c')]).toEqual(['c', undefined])
  expect(chains.enter('key', 'd')).toBe(true)
  expect(chains.waiting).toBe(0)
})

test('one that leaves out of turn takes those behind it along', () => {
  const chains = chain('a', 'b', 'c', 'd')
  expect(chains.cut('key', 'c')).toEqual(['d'])
  expect(chains.waiting).toBe(1)
  expect(chains.cut('key', 'c')).toEqual([])
  expect(chains.cut('key', 'a')).toEqual(['b'])
  expect(chains.waiting).toBe(0)
  expect(chains.enter('key', 'e')).toBe(true)
  expect(chains.cut('nobody', 'x')).toEqual([])
})
