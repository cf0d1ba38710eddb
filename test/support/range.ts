// Range: so many of something.

/** The integers from 0 to a count, exclusive. */
export function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index)
}
