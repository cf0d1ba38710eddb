// Value encoder: values as records, of a stream in a ring or each by itself, or why one is refused.
// Owns: whose record is in the arena, and the shapes that one stream has learnt.

import { Buffer } from 'node:buffer'
import { align8 } from '../base/bits.ts'
import { invariant, laneError } from '../base/errors.ts'
import { describe } from './describe.ts'
import type { RecordBytes } from './record-bytes.ts'
import { ShapeTree } from './shape-tree.ts'
import { survey } from './survey.ts'
import { type Beside, ONLY_BESIDE, TOO_LONG } from './value-tags.ts'
import { copyEncoded, encodeWith, isEncoding, release, suspend } from './value-walk.ts'

/** Longest record that stands for itself, without what lies beside it. */
const ALONE_BYTES_MAX = 2 ** 30

let owner: ValueEncoder | undefined

/** Room for a short record that stands for itself. */
const SCRATCH_BYTES = 16_384
let scratch: RecordBytes | undefined
const scratchShapes = new ShapeTree()

/** The writing end of a stream of records in a ring. */
export class ValueEncoder {
  /** Whether the encoded record makes the decoder forget its shapes. */
  resets = false
  readonly #bytesMax: number
  readonly #shapes = new ShapeTree()
  #length = 0

  /** @param bytesMax - Longest record. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /**
   * Encodes into the arena, where the record stays until the next one is encoded on this thread.
   *
   * @returns Length in bytes; -1 if it must take the side port: it is too long, or something in it
   * is more than data, or another encoding is under way on this thread.
   * @throws Whatever ended the walk if it cannot cross. Nothing has changed then.
   */
  encode(value: unknown): number {
    // A getter of the value under way may submit another command.
    if (isEncoding) return -1
    this.resets = this.#shapes.begin()
    owner = undefined
    try {
      this.#length = encodeWith(this.#shapes, value, this.#bytesMax, undefined)
    } catch (reason) {
      if (reason === TOO_LONG || reason === ONLY_BESIDE) return -1
      throw reason
    }
    owner = this
    return this.#length
  }

  /**
   * Copies the encoded record into the ring.
   *
   * @param target - Memory of the ring.
   * @param offset - Where the record starts, in bytes; a multiple of 8.
   */
  write(target: RecordBytes, offset: number): void {
    invariant(owner === this, 'a record is written before another is encoded on the thread')
    owner = undefined
    copyEncoded(target, offset, this.#length)
    this.#shapes.written()
  }

  /** The encoded record will not be written. */
  discard(): void {
    if (owner !== this) return
    owner = undefined
    release()
  }
}

/**
 * Encodes a value as a record that stands for itself.
 *
 * @param list - Takes what only a port can carry; undefined: such a value is refused.
 * @returns The record, in memory of its own.
 * @throws Whatever ended the walk if it cannot cross.
 */
export function encodeAlone(value: unknown, list: Beside | undefined): Uint8Array<ArrayBuffer> {
  // A getter of a value under way may lead here.
  const resume = isEncoding ? suspend() : undefined
  owner = undefined
  try {
    const length = encodeWith(new ShapeTree(), value, ALONE_BYTES_MAX, list)
    const target = memoryOf(length)
    copyEncoded(target, 0, length)
    return new Uint8Array(target.bytes.buffer as ArrayBuffer, 0, length)
  } finally {
    resume?.()
  }
}

/**
 * As {@link encodeAlone}, for a caller that copies the record at once: memory of its own for each
 * of many short records costs more than all else about them.
 *
 * @returns The record, which is another after the next call.
 * @throws Whatever ended the walk if it cannot cross.
 */
export function encodeBriefly(value: unknown): Buffer {
  if (isEncoding) return Buffer.from(encodeAlone(value, undefined))
  owner = undefined
  scratch ??= memoryOf(SCRATCH_BYTES)
  // They are never written to a stream, so each record has all its shapes.
  scratchShapes.begin()
  const length = encodeWith(scratchShapes, value, ALONE_BYTES_MAX, undefined)
  const target = length <= SCRATCH_BYTES ? scratch : memoryOf(length)
  copyEncoded(target, 0, length)
  return target.bytes.subarray(0, length)
}

function memoryOf(length: number): RecordBytes {
  const memory = new ArrayBuffer(align8(length))
  return {
    words: new Int32Array(memory),
    bytes: Buffer.from(memory),
    floats: new Float64Array(memory),
  }
}

/**
 * Encodes a value as a record that stands for itself, and says why if it cannot cross.
 *
 * @param role - What the value is, for the path in an error.
 * @param beside - Takes what only a port can carry; undefined: it is refused.
 * @throws SerializationError `CORELANE_UNSERIALIZABLE`.
 */
export function encodeFor(
  role: string,
  value: unknown,
  beside: Beside | undefined,
): Uint8Array<ArrayBuffer> {
  try {
    return encodeAlone(value, beside)
  } catch (reason) {
    throw refusal(value, role, reason)
  }
}

/**
 * The error for a value that could not be encoded. Looks at it once more, since only that tells the
 * place.
 *
 * @param role - What it is.
 * @param reason - What ended the encoding.
 */
export function refusal(value: unknown, role: string, reason: unknown): Error {
  try {
    survey(value, role)
  } catch (error) {
    return error as Error
  }
  let received = `a value that changes while it is read (${describe(reason)})`
  if (reason === TOO_LONG) received = 'longer than 1 GiB'
  else if (reason === ONLY_BESIDE) received = 'bound to this process'
  return laneError('CORELANE_UNSERIALIZABLE', { role, path: role, received }, reason)
}
