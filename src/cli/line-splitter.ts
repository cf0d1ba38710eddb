// Line splitter: chunks of bytes to lines of text, in bounded memory.
// Owns: the bytes of the line that is not finished yet.
// It works on bytes, since a chunk may end inside a character; a newline byte is never part of one.

import { isUtf8 } from 'node:buffer'

const NEWLINE = 0x0a
const BYTE_ORDER_MARK = /^\uFEFF/

/** Why a line has no text. */
export type LineFault = 'too long' | 'not UTF-8'

/** A line without its newline. */
export interface Line {
  /** 1 for the first line of the input. */
  readonly number: number
  /** The text; empty where there is a fault. */
  readonly text: string
  /** Bytes of the input that it took, newline included. */
  readonly bytes: number
  /** What is wrong with it, if anything. */
  readonly fault: LineFault | undefined
}

/** Splits a stream of bytes at its newlines. */
export class LineSplitter {
  readonly #lineBytesMax: number
  #parts: Buffer[] = []
  /** Bytes of the unfinished line, those that were dropped included. */
  #bytes = 0
  #number = 0

  /** @param lineBytesMax - Longest line. Of a longer one no more than this is ever held. */
  constructor(lineBytesMax: number) {
    this.#lineBytesMax = lineBytesMax
  }

  /** Takes a chunk and yields the lines that it finishes, as they are asked for. */
  *push(chunk: Buffer): Generator<Line, void, undefined> {
    let start = 0
    for (;;) {
      const end = chunk.indexOf(NEWLINE, start)
      if (end === -1) break
      this.#hold(chunk.subarray(start, end))
      start = end + 1
      this.#bytes++
      yield this.#finish(true)
    }
    if (start < chunk.length) this.#hold(chunk.subarray(start))
  }

  /** The last line, if the input did not end with a newline. */
  end(): Line | undefined {
    return this.#bytes === 0 ? undefined : this.#finish(false)
  }

  #hold(part: Buffer): void {
    this.#bytes += part.length
    if (this.#bytes > this.#lineBytesMax) this.#parts = []
    else this.#parts.push(part)
  }

  #finish(hasNewline: boolean): Line {
    const bytes = this.#bytes
    const parts = this.#parts
    this.#bytes = 0
    this.#parts = []
    const number = ++this.#number
    if (bytes - (hasNewline ? 1 : 0) > this.#lineBytesMax) {
      return { number, text: '', bytes, fault: 'too long' }
    }
    const whole = parts.length === 1 ? parts[0]! : Buffer.concat(parts)
    // A decoder would put replacement characters there without a word.
    if (!isUtf8(whole)) return { number, text: '', bytes, fault: 'not UTF-8' }
    const text = whole.toString('utf8')
    const own = number === 1 ? text.replace(BYTE_ORDER_MARK, '') : text
    return { number, text: own, bytes, fault: undefined }
  }
}
