// Hash: the stable hash that places a key.
// It is part of the contract: the same key goes to the same partition in every process and release.

import { invalidOption } from '../base/options.ts'

const OFFSET_BASIS = 0x811c9dc5
const PRIME = 0x01000193

function fnv(hash: number, byte: number): number {
  return Math.imul(hash ^ byte, PRIME)
}

/** The finalizer of MurmurHash3: every bit of FNV's result reaches the low bits. */
function avalanche(hash: number): number {
  let mixed = hash ^ (hash >>> 16)
  mixed = Math.imul(mixed, 0x85ebca6b)
  mixed ^= mixed >>> 13
  mixed = Math.imul(mixed, 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}

/**
 * Hashes a text: FNV-1a of 32 bits (Fowler, Noll, Vo) over its UTF-8 bytes, then the finalizer of
 * MurmurHash3 (A. Appleby), since FNV alone spreads short keys badly over few partitions.
 * A lone surrogate counts as U+FFFD, as in every UTF-8 encoder.
 *
 * @param text - Any string.
 * @returns An integer from 0 to 2^32 - 1.
 * @throws ConfigError `CORELANE_INVALID_OPTION` if it is no string.
 */
export function stableHash(text: string): number {
  // All numbers would have one hash.
  if (typeof text !== 'string') throw invalidOption('stableHash', typeof text, 'a string')
  let hash = OFFSET_BASIS
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 0x80) {
      hash = fnv(hash, unit)
      continue
    }
    const point = text.codePointAt(i)!
    if (point > 0xffff) i++
    hash = hashPoint(hash, point >= 0xd800 && point <= 0xdfff ? 0xfffd : point)
  }
  return avalanche(hash)
}

function hashPoint(hash: number, point: number): number {
  if (point < 0x800) return fnv(fnv(hash, 0xc0 | (point >> 6)), 0x80 | (point & 0x3f))
  const low = (h: number) => fnv(fnv(h, 0x80 | ((point >> 6) & 0x3f)), 0x80 | (point & 0x3f))
  if (point < 0x10000) return low(fnv(hash, 0xe0 | (point >> 12)))
  return low(fnv(fnv(hash, 0xf0 | (point >> 18)), 0x80 | ((point >> 12) & 0x3f)))
}
