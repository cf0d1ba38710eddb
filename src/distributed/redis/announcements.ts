// Announcements: results that are told to submitters, taken apart.
// Thread: main.   Owns: nothing.

import type { CommandResult } from '../contract/envelope.ts'
import { decodeResult } from './envelope-codec.ts'

/**
 * Takes an announcement apart: results, each with its length before it.
 *
 * @param bytes - From anybody who may publish.
 * @returns What could be read. The rest is found when submitters look.
 */
export function resultsOf(bytes: Buffer, maxBytes: number): CommandResult[] {
  const results: CommandResult[] = []
  for (let at = 0; at + 4 <= bytes.length; ) {
    const end = at + 4 + bytes.readUInt32BE(at)
    if (end > bytes.length) break
    try {
      results.push(decodeResult(bytes.subarray(at + 4, end), maxBytes))
    } catch {
      // Not one of ours.
    }
    at = end
  }
  return results
}

/**
 * An announcement to workers: commands came somewhere, or were kept back there for some
 * milliseconds, or workers came or went.
 */
export type Wake =
  | { readonly partition: number; readonly lane: string; readonly count: number }
  | { readonly partition: number; readonly lane: string; readonly delayMs: number }
  | 'members'

/**
 * Takes a wake apart.
 *
 * @param bytes - From anybody who may publish.
 * @returns Nothing if it is none.
 */
export function wakeOf(bytes: Buffer): Wake | undefined {
  if (bytes.length > 256) return undefined
  const text = bytes.toString('latin1')
  if (text === '!') return 'members'
  const match = /^(\+?)(\d{1,3}) ([A-Za-z0-9._-]{1,128}) (\d{1,10})$/.exec(text)
  if (match === null) return undefined
  const [partition, lane, amount] = [Number(match[2]), match[3]!, Number(match[4])]
  return match[1] === '+'
    ? { partition, lane, delayMs: amount }
    : { partition, lane, count: amount }
}
