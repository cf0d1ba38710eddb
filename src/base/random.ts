// Random: numbers that are the same for the same seed, and names that are never the same.

/**
 * Numbers from 0 to below 1: Mulberry32 (T. Ettinger).
 *
 * @param seed - Any integer.
 */
export function randomFrom(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * A name that nothing else has: 96 random bits as 16 portable characters. Node loads its module
 * when the first is made, since that takes a millisecond of a start.
 */
export function uniqueName(): string {
  return process.getBuiltinModule('node:crypto').randomBytes(12).toString('base64url')
}
