// Line writer: lines of text into a stream, batched by turn, with backpressure that can be awaited.
// Owns: the text that was not given to the stream yet.
// Must not: end the stream; stdout and stderr belong to the process.

import type { Writable } from 'node:stream'
import { timers } from '../base/clock.ts'

/** Text is handed over at the latest when there is this much of it, in UTF-16 units. */
const BATCH_LENGTH_MAX = 65_536

export class LineWriter {
  readonly #stream: Writable
  readonly #broken: (error: NodeJS.ErrnoException) => void
  readonly #prefix: string
  #batch: string[] = []
  #batchLength = 0
  #isFlushQueued = false
  #isBroken = false
  #waiters: (() => void)[] = []

  /**
   * @param stream - Where to write.
   * @param broken - Told once if nothing can be written any more; what follows is dropped.
   * @param prefix - Written before each batch.
   */
  constructor(stream: Writable, broken: (error: NodeJS.ErrnoException) => void, prefix = '') {
    this.#stream = stream
    this.#broken = broken
    this.#prefix = prefix
    stream.on('error', this.#failed)
    stream.on('drain', this.#release)
  }

  /** Whether the reader behind the stream keeps up; where not, what is written piles up. */
  get isReady(): boolean {
    return this.#isBroken || !this.#stream.writableNeedDrain
  }

  /** Writes a line, given without its newline, at the end of this turn of the event loop. */
  write(line: string): void {
    if (this.#isBroken) return
    this.#batch.push(line)
    this.#batchLength += line.length
    if (this.#batchLength >= BATCH_LENGTH_MAX) {
      this.flush()
    } else if (!this.#isFlushQueued) {
      this.#isFlushQueued = true
      timers.setImmediate(this.#flushQueued)
    }
  }

  /** Hands over what is batched. */
  flush(): void {
    if (this.#batch.length === 0) return
    const text = `${this.#prefix}${this.#batch.join('\n')}\n`
    this.#batch = []
    this.#batchLength = 0
    if (!this.#isBroken) this.#stream.write(text)
  }

  /** @returns When {@link LineWriter.isReady} may have become true. */
  ready(): Promise<void> {
    if (this.isReady) return Promise.resolve()
    return new Promise((resolve) => this.#waiters.push(resolve))
  }

  /** @returns When all that was written has left the process, or never can. */
  async finish(): Promise<void> {
    this.flush()
    if (this.#isBroken || this.#stream.writableLength === 0) return
    await new Promise<void>((resolve) => {
      this.#waiters.push(resolve)
      this.#stream.write('', () => resolve())
    })
  }

  readonly #flushQueued = (): void => {
    this.#isFlushQueued = false
    this.flush()
  }

  readonly #release = (): void => {
    const waiters = this.#waiters
    this.#waiters = []
    for (const resolve of waiters) resolve()
  }

  readonly #failed = (error: NodeJS.ErrnoException): void => {
    if (this.#isBroken) return
    this.#isBroken = true
    this.#release()
    this.#broken(error)
  }
}
