// Bare ring memory: the two ends of a byte ring between two threads.
// Thread: each end belongs to one.   Owns: the writer its tail, the reader its head.
// The least that can carry commands: no slots, no lanes, no errors with classes, no side port. It is
// the baseline that tells how much of the hardware's speed a complete runtime keeps.
// @ts-check

const TAIL = 0
const HEAD = 16
/** Index of the word on which a ring's reader sleeps, if it has no bell of its own. */
const SLEEP = 32
const DATA_BYTES = 256
const HEADER_BYTES = 16

/** What a body holds. */
const Kind = { PADDING: -1, UNDEFINED: 0, NUMBER: 1, LATIN1: 2, UCS2: 3, BYTES: 4, OBJECT: 5 }

const WIDE = /[\u0100-\uffff]/

/** @typedef {import('msgpackr').Packr} Packr */
/** @typedef {import('msgpackr').Unpackr} Unpackr */
/** @typedef {{ words: Int32Array, floats: Float64Array, bytes: any, mask: number }} Views */

/**
 * Memory for a ring.
 *
 * @param {number} bytes - A power of two.
 */
export function createRing(bytes) {
  return new SharedArrayBuffer(DATA_BYTES + bytes)
}

/**
 * @param {SharedArrayBuffer} memory
 * @returns {Views}
 */
function viewsOf(memory) {
  return {
    words: new Int32Array(memory),
    floats: new Float64Array(memory),
    bytes: Buffer.from(memory),
    mask: memory.byteLength - DATA_BYTES - 1,
  }
}

/** msgpackr's classes, without its native part, which scans the whole ring for every string. */
export async function loadMsgpackr() {
  process.env.MSGPACKR_NATIVE_ACCELERATION_DISABLED = 'true'
  const { Packr, Unpackr } = await import('msgpackr')
  const options = { sequential: true, useBigIntExtension: true }
  return { packr: new Packr(options), unpackr: new Unpackr(options) }
}

/** A bell: the word on which a thread sleeps while it is 1. */
export class Bell {
  /** @param {Int32Array} words @param {number} index */
  constructor(words, index) {
    this.words = words
    this.index = index
  }

  /** Wakes the sleeper, if it sleeps. */
  ring() {
    if (Atomics.load(this.words, this.index) === 0) return
    if (Atomics.compareExchange(this.words, this.index, 1, 0) === 1) {
      Atomics.notify(this.words, this.index)
    }
  }

  /** Says that this thread is about to sleep: then it must look once more, and sleep or wake. */
  announce() {
    Atomics.store(this.words, this.index, 1)
  }

  awake() {
    Atomics.store(this.words, this.index, 0)
  }

  sleep() {
    Atomics.wait(this.words, this.index, 1)
    this.awake()
  }

  /** @returns {Promise<unknown> | undefined} Undefined if it was rung already. */
  sleepAsync() {
    const waiting = Atomics.waitAsync(this.words, this.index, 1)
    return waiting.async ? waiting.value : undefined
  }
}

/** The writing end. */
export class RingWriter {
  #views
  #packr
  #bell
  #position = 0
  #head = 0
  /** Encoded and not written yet: an encoder's stream must not lose a record. @type {any} */
  #stash

  /** @param {SharedArrayBuffer} memory @param {Packr} packr @param {Bell} [bell] */
  constructor(memory, packr, bell) {
    this.#views = viewsOf(memory)
    this.#packr = packr
    this.#bell = bell ?? new Bell(this.#views.words, SLEEP)
  }

  /**
   * Writes a record; nobody sees it before it is published.
   *
   * @param {number} id
   * @param {number} type
   * @param {unknown} value
   * @returns Whether it fit. If not, the same record must be offered next.
   */
  write(id, type, value) {
    if (typeof value === 'number') {
      const at = this.#claim(8, id, type, Kind.NUMBER)
      if (at < 0) return false
      this.#views.floats[at >> 3] = value
      return true
    }
    if (typeof value === 'string') return this.#writeText(id, type, value)
    if (value === undefined) return this.#claim(0, id, type, Kind.UNDEFINED) >= 0
    if (value instanceof Uint8Array) return this.#writeBytes(id, type, value, Kind.BYTES)
    if (this.#stash === undefined) {
      const packed = this.#packr.pack(value)
      if (this.#writeBytes(id, type, packed, Kind.OBJECT)) return true
      this.#stash = Buffer.from(packed)
      return false
    }
    if (!this.#writeBytes(id, type, this.#stash, Kind.OBJECT)) return false
    this.#stash = undefined
    return true
  }

  /** Shows the reader all that was written, and wakes it if it sleeps. */
  publish() {
    Atomics.store(this.#views.words, TAIL, this.#position)
    this.#bell.ring()
  }

  /** @param {number} id @param {number} type @param {string} text */
  #writeText(id, type, text) {
    const isWide = WIDE.test(text)
    const length = isWide ? text.length * 2 : text.length
    const at = this.#claim(length, id, type, isWide ? Kind.UCS2 : Kind.LATIN1)
    if (at < 0) return false
    if (isWide) this.#views.bytes.ucs2Write(text, at, length)
    else this.#views.bytes.latin1Write(text, at, length)
    return true
  }

  /** @param {number} id @param {number} type @param {Uint8Array} body @param {number} kind */
  #writeBytes(id, type, body, kind) {
    const { length } = body
    const at = this.#claim(length, id, type, kind)
    if (at < 0) return false
    const { bytes } = this.#views
    if (length <= 96) for (let i = 0; i < length; i++) bytes[at + i] = body[i]
    else bytes.set(body, at)
    return true
  }

  /** @param {number} length @param {number} id @param {number} type @param {number} kind */
  #claim(length, id, type, kind) {
    const { words, mask } = this.#views
    const stride = (HEADER_BYTES + length + 7) & ~7
    const index = this.#position & mask
    const tillEnd = mask + 1 - index
    const needed = stride <= tillEnd ? stride : tillEnd + stride
    if (mask + 1 - ((this.#position - this.#head) >>> 0) < needed) {
      this.#head = Atomics.load(words, HEAD)
      if (mask + 1 - ((this.#position - this.#head) >>> 0) < needed) return -1
    }
    let at = DATA_BYTES + index
    if (stride > tillEnd) {
      words[at >> 2] = tillEnd
      words[(at >> 2) + 1] = Kind.PADDING
      at = DATA_BYTES
    }
    const word = at >> 2
    words[word] = stride
    words[word + 1] = kind
    words[word + 2] = id
    words[word + 3] = (type << 24) | length
    this.#position = (this.#position + needed) | 0
    return at + HEADER_BYTES
  }
}

/** The reading end. */
export class RingReader {
  #views
  #unpackr
  #position = 0

  /** @param {SharedArrayBuffer} memory @param {Unpackr} unpackr */
  constructor(memory, unpackr) {
    this.#views = viewsOf(memory)
    this.#unpackr = unpackr
    /** The bell on which the reader sleeps if it has no other. */
    this.bell = new Bell(this.#views.words, SLEEP)
  }

  get isEmpty() {
    return Atomics.load(this.#views.words, TAIL) === this.#position
  }

  /**
   * Takes records.
   *
   * @param {(id: number, type: number, value: any) => void} take - Called for each.
   * @param {number} limit - At most so many.
   * @returns How many it took.
   */
  read(take, limit) {
    const { words, mask } = this.#views
    const tail = Atomics.load(words, TAIL)
    let count = 0
    while (this.#position !== tail && count < limit) {
      const at = DATA_BYTES + (this.#position & mask)
      const word = at >> 2
      const stride = /** @type {number} */ (words[word])
      const kind = /** @type {number} */ (words[word + 1])
      if (kind !== Kind.PADDING) {
        const last = /** @type {number} */ (words[word + 3])
        const value = this.#decode(kind, at + HEADER_BYTES, last & 0xffffff)
        count++
        take(/** @type {number} */ (words[word + 2]), last >>> 24, value)
      }
      this.#position = (this.#position + stride) | 0
    }
    if (count > 0) Atomics.store(words, HEAD, this.#position)
    return count
  }

  /** @param {number} kind @param {number} at @param {number} length */
  #decode(kind, at, length) {
    const { floats, bytes } = this.#views
    switch (kind) {
      case Kind.NUMBER:
        return floats[at >> 3]
      case Kind.LATIN1:
        return bytes.latin1Slice(at, at + length)
      case Kind.UCS2:
        return bytes.ucs2Slice(at, at + length)
      case Kind.BYTES:
        return new Uint8Array(bytes.subarray(at, at + length))
      case Kind.OBJECT:
        return this.#unpackr.unpack(bytes.subarray(at, at + length))
      default:
        return undefined
    }
  }
}
