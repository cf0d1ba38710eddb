// Progress: a bar on stderr, or a line now and then where stderr is no terminal.
// Thread: main.   Owns: the bar and the timer that feeds it.

import cliProgress from 'cli-progress'
import { nowMs, timers } from '../base/clock.ts'
import type { StreamCounts } from './command-stream.ts'

const BAR_MS = 100
/** Between two lines where stderr is no terminal: a log should not fill up with them. */
const LINE_MS = 2000
const SAVE_CURSOR = '\x1b7'
const BAR = '[{bar}] {percentage}% | {text} | ETA {eta_formatted}'

/** Shows how far a stream is. */
export class Progress {
  readonly #counts: () => StreamCounts
  readonly #bar: cliProgress.SingleBar | undefined
  readonly #say: (text: string) => void
  readonly #totalBytes: number | undefined
  #startedAtMs = 0
  #timer: NodeJS.Timeout | undefined

  /**
   * @param stream - Where a bar is drawn, if it is a terminal.
   * @param totalBytes - Bytes of the whole input; without it there is nothing to fill a bar with.
   * @param counts - Tells how far the stream is.
   * @param say - Prints a line where there is no terminal.
   */
  constructor(
    stream: NodeJS.WriteStream,
    totalBytes: number | undefined,
    counts: () => StreamCounts,
    say: (text: string) => void,
  ) {
    this.#counts = counts
    this.#say = say
    this.#totalBytes = totalBytes
    if (!stream.isTTY) return
    const format = totalBytes === undefined ? '{text}' : BAR
    const options = { stream, format, fps: 1000 / BAR_MS, forceRedraw: true, etaBuffer: 50 }
    this.#bar = new cliProgress.SingleBar(options, cliProgress.Presets.rect)
    // In the end the bar moves the cursor back to where it was saved, which is where the bar began,
    // and what follows would be written over the lines that were printed meanwhile.
    this.#bar.on('redraw-post', () => stream.write(SAVE_CURSOR))
  }

  /** Begins to show it. */
  start(): void {
    this.#startedAtMs = nowMs()
    this.#bar?.start(this.#totalBytes ?? 0, 0, { text: this.#text() })
    this.#timer = timers.setInterval(() => this.#show(), this.#bar ? BAR_MS : LINE_MS)
  }

  /** Shows the last state and leaves it there. */
  stop(): void {
    if (this.#timer === undefined) return
    timers.clearInterval(this.#timer)
    this.#timer = undefined
    this.#show()
    this.#bar?.stop()
  }

  #show(): void {
    if (this.#bar !== undefined) {
      this.#bar.update(this.#counts().bytes, { text: this.#text() })
      return
    }
    const { bytes } = this.#counts()
    const share = this.#totalBytes ? `${Math.floor((bytes / this.#totalBytes) * 100)}%, ` : ''
    this.#say(`${share}${this.#text()}`)
  }

  #text(): string {
    const { succeeded, failed, inFlight } = this.#counts()
    const seconds = (nowMs() - this.#startedAtMs) / 1000
    const rate = seconds > 0 ? Math.round((succeeded + failed) / seconds) : 0
    return `${succeeded} done, ${failed} failed, ${inFlight} in flight, ${rate}/s`
  }
}
