// Ring memory: the views over shared memory that a ring hands to the codec.

import type { RecordBytes } from '../../../../src/wire/record-bytes.ts'

/**
 * Makes memory of its own.
 *
 * @param length - In bytes; a multiple of 8.
 */
export function ringMemory(length: number): RecordBytes {
  const memory = new SharedArrayBuffer(length)
  return {
    words: new Int32Array(memory),
    bytes: Buffer.from(memory),
    floats: new Float64Array(memory),
  }
}
