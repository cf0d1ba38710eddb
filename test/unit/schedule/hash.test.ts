// The vectors were computed outside this project: FNV-1a over UTF-8, then MurmurHash3's finalizer.
// They are part of the contract: a key keeps its partition in every process and release.

import { expect, test } from 'vitest'
import { stableHash } from '../../../src/schedule/hash.ts'

test.each([
  ['', 0xab3e7c0b],
  ['a', 0x1a80b1b3],
  ['foobar', 0x0c0da6dc],
  ['user:42', 0x23bf9c12],
  ['\u0000', 0x0578ab1b],
  ['é', 0x8e4756c7],
  ['ß', 0x81a8e440],
  ['\u07ff', 0x20696560],
  ['\u0800', 0x01dcada4],
  ['日本', 0xf004911f],
  ['\uffff', 0x59990b92],
  ['\u{10000}', 0x94f0a29a],
  ['😀', 0x3303a80a],
  ['a😀b', 0x592290ce],
  ['\u{10ffff}', 0xea2b2c93],
])('%j hashes to its vector', (text, hash) => {
  expect(stableHash(text)).toBe(hash)
})

test('what is no string is refused: numbers would all have one hash', () => {
  expect(() => stableHash(5 as never)).toThrow('stableHash')
})

test('a lone surrogate hashes as the replacement character, wherever it stands', () => {
  for (const lone of ['\ud800', '\udbff', '\udc00', '\udfff']) {
    expect(stableHash(lone)).toBe(0x47d8c63a)
    expect(stableHash(`a${lone}b`)).toBe(0xe26229c4)
  }
  // A pair in the wrong order is two lone ones.
  expect(stableHash('\udc00\ud800')).toBe(0x163565fc)
})

test.each([2, 3, 4, 7, 8, 16])('short keys spread evenly over %d partitions', (partitions) => {
  const counts = new Array<number>(partitions).fill(0)
  const keys = 16_000
  for (let key = 0; key < keys; key++) counts[stableHash(`user-${key}`) % partitions]!++
  const fair = keys / partitions
  for (const count of counts) expect(Math.abs(count - fair)).toBeLessThan(fair * 0.1)
})
