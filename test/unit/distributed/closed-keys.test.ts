// Closed keys: a key opens only when everything of it that left is back, and the answer that may
// have been given before that is in.

import { expect, test } from 'vitest'
import { ClosedKeys } from '../../../src/distributed/work/held.ts'

test('a key is closed from when something of it leaves until it is back', () => {
  const keys = new ClosedKeys()
  expect(keys.has('a')).toBe(false)
  keys.close('a')
  expect([keys.has('a'), keys.has('b')]).toEqual([true, false])
  keys.answered('a')
  expect(keys.has('a')).toBe(false)
})

test('it stays closed until all of it is back', () => {
  const keys = new ClosedKeys()
  keys.close('a')
  keys.close('a')
  keys.answered('a')
  expect(keys.has('a')).toBe(true)
  keys.answered('a')
  expect(keys.has('a')).toBe(false)
})

test('what came back while the queue was asked opens its key once the answer is in', () => {
  const keys = new ClosedKeys()
  keys.close('a')
  keys.asking()
  keys.answered('a')
  // The answer may have been given before: it may hold something younger and not the older one.
  expect(keys.has('a')).toBe(true)
  keys.asked()
  expect(keys.has('a')).toBe(false)
})

test('what leaves out of that answer keeps its key closed beyond it', () => {
  const keys = new ClosedKeys()
  keys.close('a')
  keys.asking()
  keys.answered('a')
  keys.close('a')
  keys.asked()
  expect(keys.has('a')).toBe(true)
  keys.answered('a')
  expect(keys.has('a')).toBe(false)
})
