// Views: one stretch of memory seen as words, bytes and floats.

/** Memory that threads share. Other rooms carry it about under this name and do not look inside. */
export type SharedMemory = SharedArrayBuffer

/**
 * The same memory three ways. Offsets of record bodies are multiples of 8, so all three index it.
 */
export interface Views {
  readonly words: Int32Array<SharedArrayBuffer>
  readonly bytes: Buffer<SharedArrayBuffer>
  readonly floats: Float64Array<SharedArrayBuffer>
}

/**
 * Views over the whole of a shared buffer.
 *
 * @param memory - Its length is a multiple of 8.
 */
export function viewsOf(memory: SharedMemory): Views {
  return {
    words: new Int32Array(memory),
    bytes: Buffer.from(memory),
    floats: new Float64Array(memory),
  }
}

/** Memory of the commons: words, and 64-bit stamps in nanoseconds. */
export interface CommonsViews {
  readonly words: Int32Array<SharedArrayBuffer>
  readonly stamps: BigInt64Array<SharedArrayBuffer>
}
