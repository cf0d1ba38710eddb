// Progress: a bar on stderr, or a line now and then where stderr is no terminal.
// Owns: the timer that draws.

import { nowMs, timers } from '../base/clock.ts'
import type { StreamCounts } from './command-stream.ts'

const BAR_MS = 100
/** Between two lines where stderr is no terminal: a log should not fill up with them. */
const LINE_MS = 2000
const BAR_WIDTH = 40
/** Takes what is drawn on the line away. */
export const CLEAR_LINE = '\r\x1b[K'

/** Shows how far a stream is. */
export class Progress {
  readonly #stream: NodeJS.WriteStream
  readonly #counts: () => StreamCounts
  readonly #log: (text: string) => void
  readonly #totalBytes: number | undefined
  #startedAtMs = 0
  #timer: NodeJS.Timeout | undefined

  /**
   * @param stream - Where a bar is drawn, if it is a terminal.
   * @param totalBytes - Bytes of the whole input; without it there is nothing to fill a bar with.
   * @param log - Prints a line where there is no terminal.
   */
  constructor(
    stream: NodeJS.WriteStream,
    totalBytes: number | undefined,
    counts: () => StreamCounts,
    log: (text: string) => void,
  ) {
    this.#stream = stream
    this.#counts = counts
    this.#log = log
    this.#totalBytes = totalBytes
  }

  start(): void {
    this.#startedAtMs = nowMs()
    this.#timer = timers.setInterval(() => this.#show(), this.#stream.isTTY ? BAR_MS : LINE_MS)
  }

  /** Shows the last state and leaves it there. */
  stop(): void {
    if (this.#timer === undefined) return
    timers.clearInterval(this.#timer)
    this.#timer = undefined
    this.#show()
    if (this.#stream.isTTY) this.#stream.write('\n')
  }

  #show(): void {
    const { bytes, succeeded, failed, inFlight } = this.#counts()
    const seconds = Math.max(nowMs() - this.#startedAtMs, 1) / 1000
    const share = this.#totalBytes ? Math.min(1, bytes / this.#totalBytes) : undefined
    const rate = Math.round((succeeded + failed) / seconds)
    const text = `${succeeded} done, ${failed} failed, ${inFlight} in flight, ${rate}/s`
    if (this.#stream.isTTY) {
      const line =
        share === undefined ? text : `${bar(share)} | ${text} | ${timeLeft(share, seconds)}`
      // A line that wraps could not be cleared.
      this.#stream.write(`${CLEAR_LINE}${line.slice(0, this.#stream.columns - 1)}`)
    } else {
      this.#log(share === undefined ? text : `${Math.floor(share * 100)}%, ${text}`)
    }
  }
}

function bar(share: number): string {
  const filled = Math.floor(share * BAR_WIDTH)
  const cells = '\u25a0'.repeat(filled).padEnd(BAR_WIDTH)
  return `[${cells}] ${Math.floor(share * 100)}%`
}

/** At the pace so far. */
function timeLeft(share: number, seconds: number): string {
  if (share === 0) return 'ETA unknown'
  const left = Math.round((seconds / share) * (1 - share))
  const [minutes, rest] = [Math.floor(left / 60), left % 60]
  return `ETA ${minutes > 0 ? `${minutes}m` : ''}${rest}s`
}
