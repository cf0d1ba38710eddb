// Command record: how a command lies in the command ring.
// Thread: the coordinator writes, the partition reads.
// Must not: look into the payload, whose bytes follow the fields.
//
// ```
//  0    4     6     7        8         16    20    24
// +----+-----+-----+--------+---------+-----+-----+ - - - - - - +- - - -+ - - - - - +
// | id |type |lane |attempt |sequence |rank |key, | submitted,  | key,  | payload   |
// |    |     |     |timed   |         |     |name | two bounds  | name  | 8-aligned |
// +----+-----+-----+--------+---------+-----+-----+ - - - - - - +- - - -+ - - - - - +
// ```
//
// Submitted, deadline and latest start, 8 bytes each, are there if the timed bit is set: NaN stands
// for no deadline, Infinity for a start at any time. The word at 20 holds the bytes of the key,
// which is UTF-16, and above 16 bits those of the name, which is ASCII. Where those are NUMBERED
// the name is a number of 8 bytes in front of the key.

import { align8 } from '../base/bits.ts'
import type { Views } from '../memory/views.ts'
import { ATTEMPT_MAX } from '../model/command.ts'
import { readText, writeText } from './record-bytes.ts'

const FIXED_BYTES = 24
const TIMES_BYTES = 24

const TIMED_BIT = 1 << 31
const NAME_SHIFT = 16

/** Longest name or key that is written by a loop. */
const LOOP_MAX = 32

/** Stands for the length of a name that is a number: no name is as long, its trace included. */
const NUMBERED = 0xffff

/** The fields of a command that its record carries. */
export interface CommandFields {
  readonly typeIndex: number
  readonly laneIndex: number
  /** From 1; past {@link ATTEMPT_MAX} the record says that. */
  readonly attempt: number
  readonly sequence: number
  readonly rank: number
  readonly key: string | undefined
  /** What its submitter calls it, in ASCII, or its number; undefined: its sequence number. */
  readonly name: string | number | undefined
  /** Whether the three below matter. */
  readonly isTimed: boolean
  readonly submittedAtMs: number
  readonly deadlineMs: number | undefined
  /** It must not start from then on, monotonic milliseconds; Infinity: it may at any time. */
  readonly latestStartMs: number
}

/**
 * Bytes before the payload.
 *
 * @param command - Its fields.
 */
export function commandHeadBytes({ key, name, isTimed }: CommandFields): number {
  const fixed = isTimed ? FIXED_BYTES + TIMES_BYTES : FIXED_BYTES
  if (key === undefined && name === undefined) return fixed
  const keyBytes = (key?.length ?? 0) * 2
  if (typeof name === 'number') return fixed + 8 + align8(keyBytes)
  return fixed + align8(keyBytes + (name?.length ?? 0))
}

/**
 * Writes the fields of a command.
 *
 * @param views - Memory of the ring.
 * @param offset - Start of the body, 8-aligned.
 * @param command - Its fields.
 */
export function writeCommandHead(
  views: Views,
  offset: number,
  id: number,
  command: CommandFields,
): void {
  const { words, floats, bytes } = views
  const word = offset >> 2
  const { key, name, isTimed } = command
  const keyBytes = key === undefined ? 0 : key.length * 2
  const attempt = Math.min(command.attempt, ATTEMPT_MAX)
  const meta = command.typeIndex | (command.laneIndex << 16) | (attempt << 24)
  words[word] = id
  words[word + 1] = isTimed ? meta | TIMED_BIT : meta
  floats[(offset >> 3) + 1] = command.sequence
  words[word + 4] = command.rank
  const isNumbered = typeof name === 'number'
  const nameBytes = isNumbered ? NUMBERED : name === undefined ? 0 : name.length
  words[word + 5] = keyBytes | (nameBytes << NAME_SHIFT)
  let next = offset + FIXED_BYTES
  if (isTimed) {
    floats[next >> 3] = command.submittedAtMs
    floats[(next >> 3) + 1] = command.deadlineMs ?? Number.NaN
    floats[(next >> 3) + 2] = command.latestStartMs
    next += TIMES_BYTES
  }
  if (isNumbered) {
    floats[next >> 3] = name
    next += 8
  }
  if (key !== undefined) writeKey(bytes, key, next)
  if (name !== undefined && !isNumbered) writeName(bytes, name, next + keyBytes)
}

/** Writes UTF-16. For a short key a loop costs half of a call into native code. */
function writeKey(bytes: Buffer, key: string, at: number): void {
  if (key.length > LOOP_MAX) writeText(bytes, at, key, true)
  else {
    for (let i = 0; i < key.length; i++) {
      const unit = key.charCodeAt(i)
      bytes[at + 2 * i] = unit
      bytes[at + 2 * i + 1] = unit >> 8
    }
  }
}

/** Writes ASCII, as {@link writeKey} does. */
function writeName(bytes: Buffer, name: string, at: number): void {
  if (name.length > LOOP_MAX) writeText(bytes, at, name, false)
  else for (let i = 0; i < name.length; i++) bytes[at + i] = name.charCodeAt(i)
}

/** The id in a command record. */
export function commandId(views: Views, offset: number): number {
  return views.words[offset >> 2]!
}

/** Reads the fields of one command after another; an instance is reused for many records. */
export class CommandHead implements CommandFields {
  id = 0
  typeIndex = 0
  laneIndex = 0
  attempt = 0
  // Not 0: a field that is made for small integers changes the class when a double comes, and all
  // code that was compiled for it is thrown away.
  sequence: number = Number.NaN
  rank = 0
  key: string | undefined = undefined
  name: string | number | undefined = undefined
  isTimed = false
  submittedAtMs: number = Number.NaN
  deadlineMs: number | undefined = undefined
  latestStartMs: number = Number.POSITIVE_INFINITY
  payloadOffset = 0
  payloadLength = 0

  /**
   * Takes over the fields of a record.
   *
   * @param views - Memory of the ring.
   * @param offset - Start of the body.
   * @param length - Bytes of the body.
   */
  read(views: Views, offset: number, length: number): void {
    const { words, floats, bytes } = views
    const word = offset >> 2
    const meta = words[word + 1]!
    const texts = words[word + 5]!
    const keyBytes = texts & 0xffff
    let nameBytes = texts >>> NAME_SHIFT
    let next = offset + FIXED_BYTES
    this.id = words[word]!
    this.typeIndex = meta & 0xffff
    this.laneIndex = (meta >>> 16) & 0xff
    this.attempt = (meta >>> 24) & ATTEMPT_MAX
    this.sequence = floats[(offset >> 3) + 1]!
    this.rank = words[word + 4]!
    this.isTimed = (meta & TIMED_BIT) !== 0
    this.submittedAtMs = 0
    this.deadlineMs = undefined
    this.latestStartMs = Number.POSITIVE_INFINITY
    if (this.isTimed) {
      const deadlineMs = floats[(next >> 3) + 1]!
      this.submittedAtMs = floats[next >> 3]!
      this.deadlineMs = Number.isNaN(deadlineMs) ? undefined : deadlineMs
      this.latestStartMs = floats[(next >> 3) + 2]!
      next += TIMES_BYTES
    }
    this.name = undefined
    if (nameBytes === NUMBERED) {
      this.name = floats[next >> 3]!
      nameBytes = 0
      next += 8
    }
    this.key = keyBytes === 0 ? undefined : readText(bytes, next, next + keyBytes, true)
    const nameAt = next + keyBytes
    if (nameBytes > 0) this.name = readText(bytes, nameAt, nameAt + nameBytes, false)
    this.payloadOffset = next + align8(keyBytes + nameBytes)
    this.payloadLength = offset + length - this.payloadOffset
  }
}
