// Command record: how a command lies in the command ring.
// Thread: the coordinator writes, the partition reads.   Owns: nothing.
// Must not: look into the payload, whose bytes follow the fields.
//
// ```
//  0    4     6     7        8         16    20    24
// +----+-----+-----+--------+---------+-----+-----+ - - - -+ - - - - - +
// | id |type |lane |attempt |sequence |rank |key  | key    | payload   |
// |    |     |     |        |         |     |bytes| UTF-16 | 8-aligned |
// +----+-----+-----+--------+---------+-----+-----+ - - - -+ - - - - - +
// ```

import { align8 } from '../base/bits.ts'
import type { Views } from '../memory/views.ts'
import { type PayloadKindValue, packKind } from './record-kind.ts'

const FIXED_BYTES = 24

/** The fields of a command that its record carries. */
export interface CommandFields {
  readonly typeIndex: number
  readonly laneIndex: number
  readonly attempt: number
  readonly sequence: number
  readonly rank: number
  readonly key: string | undefined
}

/**
 * Bytes before the payload.
 *
 * @param key - The command's key.
 */
export function commandHeadBytes(key: string | undefined): number {
  return key === undefined ? FIXED_BYTES : FIXED_BYTES + align8(key.length * 2)
}

/**
 * Writes the fields of a command.
 *
 * @param views - Memory of the ring.
 * @param offset - Start of the body, 8-aligned.
 * @param id - Its id.
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
  const { key } = command
  words[word] = id
  words[word + 1] = command.typeIndex | (command.laneIndex << 16) | (command.attempt << 24)
  floats[(offset >> 3) + 1] = command.sequence
  words[word + 4] = command.rank
  if (key === undefined) {
    words[word + 5] = 0
    return
  }
  words[word + 5] = key.length * 2
  bytes.write(key, offset + FIXED_BYTES, 'utf16le')
}

/** Reads the fields of one command after another; an instance is reused for every record. */
export class CommandHead implements CommandFields {
  id = 0
  typeIndex = 0
  laneIndex = 0
  attempt = 0
  sequence = 0
  rank = 0
  key: string | undefined = undefined
  /** Byte offset of the payload. */
  payloadOffset = 0
  /** Bytes of the payload. */
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
    const keyBytes = words[word + 5]!
    const start = offset + FIXED_BYTES
    this.id = words[word]!
    this.typeIndex = meta & 0xffff
    this.laneIndex = (meta >>> 16) & 0xff
    this.attempt = meta >>> 24
    this.sequence = floats[(offset >> 3) + 1]!
    this.rank = words[word + 4]!
    this.key = keyBytes === 0 ? undefined : bytes.toString('utf16le', start, start + keyBytes)
    this.payloadOffset = start + align8(keyBytes)
    this.payloadLength = offset + length - this.payloadOffset
  }
}

/**
 * The record's kind.
 *
 * @param payloadKind - How the payload is encoded.
 * @param resets - Whether the payload's decoder must start afresh before it.
 */
export function commandKind(payloadKind: PayloadKindValue, resets: boolean): number {
  return packKind(0, payloadKind, resets)
}
