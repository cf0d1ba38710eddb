// Bench handlers: the work on which strategies are compared if the user gives none.
// Thread: partition.

/**
 * Burns a fixed amount of work, not of time: time would pass while the thread waits for a core.
 *
 * @param iterations - How much.
 * @returns Depends on every iteration.
 */
export function work(iterations: number): number {
  let hash = iterations | 0
  for (let i = 0; i < iterations; i++) hash = Math.imul(hash ^ i, 0x01000193)
  return hash
}
