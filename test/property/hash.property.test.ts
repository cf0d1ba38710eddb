// Goal: the hash that places a key never changes.
// Method: any string against FNV-1a and MurmurHash3's finalizer, written from their definitions in
// BigInt, and over the bytes of the platform's own UTF-8 encoder.

import fc from 'fast-check'
import { expect } from 'vitest'
import { stableHash } from '../../src/schedule/hash.ts'
import { lawOf } from '../support/law.ts'

const law = lawOf(2000)

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

// Around the surrogates, and anywhere.
const near = fc.uint16Array({ min: 0xd700, max: 0xe100, maxLength: 20 })
const texts = fc
  .tuple(near, fc.uint16Array({ maxLength: 20 }), fc.string())
  .map(([some, others, text]) => String.fromCharCode(...some, ...others) + text)

law('any text, with lone surrogates or without, hashes as its UTF-8 bytes do', [texts], (text) => {
  expect(stableHash(text)).toBe(reference(text))
})
