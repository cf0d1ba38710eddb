// Result record: how the outcome of a command lies in the result ring.
// Thread: the partition writes, the coordinator reads.   Owns: nothing.
//
// ```
//  0    4         8           16          24
// +----+---------+-----------+-----------+ - - - - - +
// | id | reserved| startedAt | duration  | payload   |
// |    |         | ms        | ms        | 8-aligned |
// +----+---------+-----------+-----------+ - - - - - +
// ```

import type { Views } from '../memory/views.ts'

/** Bytes before the payload. */
export const RESULT_HEAD_BYTES = 24

/**
 * Writes the fields of a result.
 *
 * @param views - Memory of the ring.
 * @param offset - Start of the body, 8-aligned.
 * @param id - The command's id.
 * @param startedAtMs - When its handler was entered; 0 if it never was.
 * @param durationMs - How long it ran.
 */
export function writeResultHead(
  views: Views,
  offset: number,
  id: number,
  startedAtMs: number,
  durationMs: number,
): void {
  views.words[offset >> 2] = id
  views.floats[(offset >> 3) + 1] = startedAtMs
  views.floats[(offset >> 3) + 2] = durationMs
}

/** The id in a result record. */
export function resultId(views: Views, offset: number): number {
  return views.words[offset >> 2]!
}

/** When the handler was entered, monotonic milliseconds. */
export function resultStartedAtMs(views: Views, offset: number): number {
  return views.floats[(offset >> 3) + 1]!
}

/** How long the handler ran, in milliseconds. */
export function resultDurationMs(views: Views, offset: number): number {
  return views.floats[(offset >> 3) + 2]!
}
