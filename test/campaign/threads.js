// Threads: counts those of this process, and ends the process if its main thread hangs.

import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'

const BEAT_MS = 500

/** Counts every thread from its making to its exit. */
export class ThreadCount {
  made = 0
  living = 0

  constructor() {
    process.on('worker', (worker) => {
      this.made++
      this.living++
      worker.once('exit', () => {
        this.living--
      })
    })
  }
}

// Its own timers go on while the main thread is blocked, and a signal ends both.
const WATCHDOG = `
  const { workerData: { words, limitMs } } = require('node:worker_threads')
  const cells = new Int32Array(words)
  let seen = 0
  let sinceMs = performance.now()
  setInterval(() => {
    const beat = Atomics.load(cells, 0)
    if (beat !== seen) {
      seen = beat
      sinceMs = performance.now()
    } else if (performance.now() - sinceMs > limitMs) {
      require('node:fs').writeSync(2, 'FAIL: the main thread hangs, in round ' + cells[1] + '\\n')
      process.kill(process.pid, 'SIGKILL')
    }
  }, ${BEAT_MS})`

/** Ends the process if its main thread does not turn its event loop for so long. */
export class Watchdog {
  #cells = new Int32Array(new SharedArrayBuffer(8))
  #worker
  #timer

  constructor(limitMs) {
    const workerData = { words: this.#cells.buffer, limitMs }
    this.#worker = new Worker(WATCHDOG, { eval: true, workerData })
    this.#worker.unref()
    this.#timer = setInterval(() => Atomics.add(this.#cells, 0, 1), BEAT_MS).unref()
  }

  /** Notes where the campaign is. */
  set round(number) {
    Atomics.store(this.#cells, 1, number)
  }

  async end() {
    clearInterval(this.#timer)
    await this.#worker.terminate()
  }
}

/** Gives what a promise gives, or throws once the limit is over. */
export async function within(promise, what, ms) {
  const ended = new AbortController()
  const late = sleep(ms, undefined, { signal: ended.signal }).then(() => {
    throw new Error(`${what}: not within ${ms} ms`)
  })
  late.catch(() => {})
  try {
    return await Promise.race([promise, late])
  } finally {
    ended.abort()
  }
}

/** Waits until something holds; tells whether it came to. */
export async function comesTrue(holds, ms) {
  for (const end = performance.now() + ms; !holds(); ) {
    if (performance.now() > end) return false
    await sleep(2)
  }
  return true
}
