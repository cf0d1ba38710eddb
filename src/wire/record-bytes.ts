// Record bytes: the memory of a ring as codecs see it, and the fastest ways to copy to it and back.

/** The memory of a ring, three ways. Offsets of bodies are multiples of 8. */
export interface RecordBytes {
  readonly words: Int32Array
  readonly bytes: Buffer
  readonly floats: Float64Array
}

/** Strings as native code writes and reads them: one or two bytes for each code unit. */
interface TextMemory {
  latin1Write(text: string, offset: number, length: number): number
  ucs2Write(text: string, offset: number, length: number): number
  latin1Slice(start: number, end: number): string
  ucs2Slice(start: number, end: number): string
}

/** Finds a code unit that needs two bytes. */
export const TWO_BYTE: RegExp = /[\u0100-\uffff]/

/**
 * Writes a string.
 *
 * @param bytes - Memory with room for it.
 * @param at - Where its first byte goes.
 * @param isTwoByte - Whether each code unit takes two bytes.
 * @returns Bytes written.
 */
export function writeText(bytes: Buffer, at: number, text: string, isTwoByte: boolean): number {
  const memory = bytes as unknown as TextMemory
  return isTwoByte
    ? memory.ucs2Write(text, at, 2 * text.length)
    : memory.latin1Write(text, at, text.length)
}

/**
 * Reads a string.
 *
 * @param bytes - Memory that holds it.
 * @param start - Of its first byte.
 * @param end - After its last byte.
 * @param isTwoByte - Whether each code unit takes two bytes.
 */
export function readText(bytes: Buffer, start: number, end: number, isTwoByte: boolean): string {
  const memory = bytes as unknown as TextMemory
  return isTwoByte ? memory.ucs2Slice(start, end) : memory.latin1Slice(start, end)
}

// Longest record that a loop copies faster than native code.
const LOOP_BYTES_MAX = 96

/**
 * Copies an encoded record into a ring.
 *
 * @param from - Where it was encoded.
 * @param fromWords - The same memory.
 * @param start - Where it starts there, in bytes.
 * @param target - Memory of the ring.
 * @param offset - Where it goes, in bytes; a multiple of 8.
 * @param length - In bytes.
 */
export function copyRecord(
  from: Buffer,
  fromWords: Int32Array,
  start: number,
  target: RecordBytes,
  offset: number,
  length: number,
): void {
  if (length > LOOP_BYTES_MAX || (start & 3) !== 0) {
    from.copy(target.bytes, offset, start, start + length)
    return
  }
  const { words, bytes } = target
  const whole = length >> 2
  for (let at = start >> 2, to = offset >> 2, i = 0; i < whole; i++) {
    words[to + i] = fromWords[at + i]!
  }
  // The bytes after the record may be another's.
  for (let i = whole << 2; i < length; i++) bytes[offset + i] = from[start + i]!
}

/** Whether memory that Buffer makes is of this realm: in a context of node:vm it is not. */
const IS_OWN_REALM =
  Object.getPrototypeOf(Buffer.allocUnsafeSlow(1).buffer) === ArrayBuffer.prototype

/** From so many bytes on, native code copies to and from shared memory faster than V8. */
const NATIVE_BYTES_MIN = 4096

/**
 * Copies bytes into a ring.
 *
 * @param target - Memory of the ring.
 * @param offset - Where they go, in bytes.
 * @param length - Of the content, which may say otherwise; at least 1.
 */
export function copyIn(target: Buffer, offset: number, content: Uint8Array, length: number): void {
  // What fills as many bytes as it has is copied, once and by native code. `set` and `copy` of Node
  // 20 go to shared memory word by word.
  if (length >= NATIVE_BYTES_MIN) target.fill(content, offset, offset + length)
  else target.set(content, offset)
}

/**
 * Copies bytes out of a ring.
 *
 * @param bytes - Memory of the ring.
 * @param start - Of the first byte.
 * @param length - In bytes.
 * @returns Memory of their own, of this realm, and as long as they are.
 */
export function copyOut(bytes: Buffer, start: number, length: number): Uint8Array<ArrayBuffer> {
  const view = new Uint8Array(bytes.buffer, bytes.byteOffset + start, length)
  if (length >= NATIVE_BYTES_MIN && IS_OWN_REALM) {
    const { buffer } = Buffer.allocUnsafeSlow(length).fill(view)
    return new Uint8Array(buffer)
  }
  // Made from a typed array, memory is not cleared first.
  return new Uint8Array(view)
}
