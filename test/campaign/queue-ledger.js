// Queue ledger: one file that every process of the queue campaign appends to. A line is written by
// one system call, so it is whole, it outlives its process, and the order of the lines is an order
// in which things can have happened.

import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'

/** Writes lines: what, about what, by which process. */
export class QueueLedger {
  #file

  /** @param {string} path */
  constructor(path) {
    this.#file = openSync(path, 'a')
  }

  /**
   * Appends a line.
   *
   * @param {string} what
   * @param {...(string | number)} words - Without spaces.
   */
  write(what, ...words) {
    this.writeAll([[what, ...words]])
  }

  /**
   * Appends several lines at once, each an array as for `write`.
   *
   * @param {readonly (readonly (string | number)[])[]} lines
   */
  writeAll(lines) {
    if (lines.length === 0) return
    const head = `${process.pid} ${Math.round(performance.timeOrigin + performance.now())}`
    const text = lines.map(([what, ...words]) => `${what} ${head} ${words.join(' ')}\n`)
    writeSync(this.#file, text.join(''))
  }

  close() {
    closeSync(this.#file)
  }

  /**
   * Reads a ledger.
   *
   * @param {string} path
   * @returns {{ what: string, pid: number, ms: number, words: string[] }[]} In the order of the
   * file; `ms` is the time by the clock of the machine.
   */
  static read(path) {
    const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1)
    return lines.map((line) => {
      const [what, pid, ms, ...words] = line.split(' ')
      return { what, pid: Number(pid), ms: Number(ms), words }
    })
  }
}
