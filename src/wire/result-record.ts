// Result record: how the outcome of a command lies in the result ring.
// Thread: the partition writes, the coordinator reads.
//
// ```
//  0    4         8           16          24
// +----+---------+-----------+-----------+ - - - - - +
// | id | weight  | startedAt | duration  | payload   |
// |    |         | ms        | ms        | 8-aligned |
// +----+---------+-----------+-----------+ - - - - - +
// ```

import type { Views } from '../memory/views.ts'

/** Bytes before the payload. */
export const RESULT_HEAD_BYTES = 24

/** Units of a stream's values that may be on their way and not consumed. */
export const CREDIT_MAX = 1024

/** Bytes of a stream's value that take one unit. */
const UNIT_BYTES = 1024

/** The most units that a value takes. */
const UNITS_MAX = 128

/**
 * Units that a stream's value takes.
 *
 * @param bytes - Length of its payload; Infinity if it is not known.
 */
export function unitsOf(bytes: number): number {
  return Math.min(1 + Math.floor(bytes / UNIT_BYTES), UNITS_MAX)
}

/**
 * Writes the fields of a result.
 *
 * @param views - Memory of the ring.
 * @param offset - Start of the body, 8-aligned.
 * @param id - The command's id.
 * @param startedAtMs - When its handler was entered; 0 if it never was.
 * @param durationMs - How long it ran.
 * @param weight - Of a stream's value: what it takes of the stream's credit; else 0.
 */
export function writeResultHead(
  views: Views,
  offset: number,
  id: number,
  startedAtMs: number,
  durationMs: number,
  weight: number,
): void {
  views.words[offset >> 2] = id
  views.words[(offset >> 2) + 1] = weight
  views.floats[(offset >> 3) + 1] = startedAtMs
  views.floats[(offset >> 3) + 2] = durationMs
}

/** The id in a result record. */
export function resultId(views: Views, offset: number): number {
  return views.words[offset >> 2]!
}

/** What a stream's value takes of the stream's credit. */
export function resultWeight(views: Views, offset: number): number {
  return views.words[(offset >> 2) + 1]!
}

/** When the handler was entered, monotonic milliseconds. */
export function resultStartedAtMs(views: Views, offset: number): number {
  return views.floats[(offset >> 3) + 1]!
}

/** How long the handler ran, in milliseconds. */
export function resultDurationMs(views: Views, offset: number): number {
  return views.floats[(offset >> 3) + 2]!
}
