// Goal: the hash that places a key never changes.
// Method: any string against FNV-1a and MurmurHash3's finalizer, written from their definitions in
// BigInt, and over the bytes of the platform's own UTF-8 encoder.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { stableHash } from '../../src/schedule/hash.ts'

const RUNS = Number(process.env.CORELANE_PROPERTY_RUNS ?? 2000)
const TIMEOUT_MS = 30_000 + RUNS * 30

const MASK = 0xffffffffn

function reference(text: string): number {
  let hash = 2166136261n
  for (const byte of new TextEncoder().encode(text)) {
    hash = ((hash ^ BigInt(byte)) * 16777619n) & MASK
  }
  hash ^= hash >> 16n
  hash = (hash * 0x85ebca6bn) & MASK
  hash ^= hash >> 13n
  hash = (hash * 0xc2b2ae35n) & MASK
  hash ^= hash >> 16n
  return Number(hash)
}

test(
  'any text, with lone surrogates or without, hashes as its UTF-8 bytes do',
  () => {
    // Around the surrogates, and anywhere.
    const near = fc.uint16Array({ min: 0xd700, max: 0xe100, maxLength: 20 })
    const texts = fc
      .tuple(near, fc.uint16Array({ maxLength: 20 }), fc.string())
      .map(([some, others, text]) => String.fromCharCode(...some, ...others) + text)
    fc.assert(
      fc.property(texts, (text) => {
        expect(stableHash(text)).toBe(reference(text))
      }),
      { numRuns: RUNS },
    )
  },
  TIMEOUT_MS,
)

test('a hash is an integer from 0 to 2^32 - 1', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const hash = stableHash(text)
      expect(hash).toBe(hash >>> 0)
    }),
  )
})
