// Bits: arithmetic on sizes and on positions that wrap at 2^32.

/**
 * Whether a number is a power of two.
 *
 * @param value - A positive integer below 2^31.
 */
export function isPowerOfTwo(value: number): boolean {
  return value > 0 && (value & (value - 1)) === 0
}

/**
 * Rounds up to a multiple of 8, the alignment of every record.
 *
 * @param bytes - Zero or more, below 2^31 - 8.
 */
export function align8(bytes: number): number {
  return (bytes + 7) & ~7
}

/**
 * How far `later` is ahead of `earlier`, both Int32 positions that wrap at 2^32.
 *
 * @returns Bytes from 0 to 2^31 - 1, given that the true distance is in that range.
 */
export function distance(later: number, earlier: number): number {
  return (later - earlier) | 0
}
