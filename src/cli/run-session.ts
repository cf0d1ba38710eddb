// Run session: one `corelane run`, from its start to its exit code.
// Owns: the process's standard streams and its signals while it runs.

import { fstatSync } from 'node:fs'
import { nowMs } from '../base/clock.ts'
import { type Arrival, endBySignal, exitCodeOf, isRepeated } from '../base/ending.ts'
import { EXIT_FAILED, EXIT_OK, EXIT_USAGE } from './command-line.ts'
import type { CommandRunner } from './command-runner.ts'
import { CommandStream, type StreamPlan } from './command-stream.ts'
import { failureText } from './json-value.ts'
import { LineWriter } from './line-writer.ts'
import { CLEAR_LINE, Progress } from './progress.ts'
import { type EndSignal, onSignals, openResults } from './results-apart.ts'

const STDIN = 0

export interface SessionPlan extends StreamPlan {
  /** Whether a progress bar is shown on stderr. */
  readonly showsProgress: boolean
}

/** Runs the commands of stdin once. */
export class RunSession {
  readonly #runner: CommandRunner
  readonly #stream: CommandStream
  readonly #results: LineWriter
  readonly #notices: LineWriter
  readonly #progress: Progress | undefined
  readonly #linePrefix: string
  readonly #withStack: boolean
  #interruptedBy: Arrival | undefined
  #ignoreSignals: () => void = () => {}
  #hasBroken = false

  /** @param runner - Not started yet; closed in the end. */
  constructor(runner: CommandRunner, plan: SessionPlan) {
    const { stderr } = process
    const stdout = openResults()
    this.#runner = runner
    this.#withStack = plan.withStack
    const hasBar = plan.showsProgress && stderr.isTTY
    const prefix = hasBar && stdout.isTTY ? CLEAR_LINE : ''
    this.#results = new LineWriter(stdout, (error) => this.#lostReader(error), prefix)
    // Without a stderr there is no place for notices.
    this.#notices = new LineWriter(stderr, () => {})
    this.#stream = new CommandStream(plan, {
      execute: (command) => runner.execute(command),
      results: this.#results,
      notices: this.#notices,
      complain: (text) => this.#log(text),
    })
    if (plan.showsProgress) {
      const counts = () => this.#stream.counts
      this.#progress = new Progress(stderr, inputBytes(), counts, (text) => this.#log(text))
    }
    this.#linePrefix = hasBar ? CLEAR_LINE : ''
  }

  /** @returns The exit code. */
  async run(): Promise<number> {
    this.#ignoreSignals = onSignals((name) => this.#interrupt(name))
    let isWhole = false
    try {
      try {
        await this.#runner.start((text) => this.#log(text))
      } catch (error) {
        this.#log(failureText(error, this.#withStack))
        return EXIT_USAGE
      }
      this.#progress?.start()
      isWhole = await this.#readAll()
    } finally {
      await this.#finish()
    }
    if (this.#interruptedBy !== undefined && !isWhole) {
      return exitCodeOf(this.#interruptedBy.signal)
    }
    return this.#hasBroken || this.#stream.counts.failed > 0 ? EXIT_FAILED : EXIT_OK
  }

  async #readAll(): Promise<boolean> {
    try {
      return await this.#stream.run(process.stdin)
    } catch (error) {
      this.#broke(`stdin cannot be read: ${failureText(error, this.#withStack)}`)
      return false
    }
  }

  async #finish(): Promise<void> {
    this.#progress?.stop()
    await this.#results.finish()
    try {
      await this.#runner.close()
    } catch (error) {
      this.#broke(failureText(error, this.#withStack))
    }
    this.#sumUp()
    await this.#notices.finish()
    this.#ignoreSignals()
  }

  /** Failures lie among the results; a bar has counted them already. */
  #sumUp(): void {
    const { succeeded, failed } = this.#stream.counts
    if (failed > 0 && this.#progress === undefined) this.#log(`${succeeded} done, ${failed} failed`)
  }

  #interrupt(name: EndSignal): void {
    if (isRepeated(this.#interruptedBy, name)) return
    if (this.#interruptedBy !== undefined) {
      this.#progress?.stop()
      // Even if a handler is in native code that no thread can be taken out of.
      this.#ignoreSignals()
      endBySignal(name)
    }
    this.#interruptedBy = { signal: name, atMs: nowMs() }
    const { inFlight } = this.#stream.counts
    this.#log(`${name}: finishing ${inFlight} commands in flight; a second signal ends at once`)
    this.#stream.stop()
  }

  #lostReader(error: NodeJS.ErrnoException): void {
    // A reader such as `head` has what it wants and goes: that is no failure.
    if (error.code !== 'EPIPE') this.#broke(`stdout cannot be written: ${error.message}`)
    this.#stream.abandon()
  }

  #broke(text: string): void {
    this.#hasBroken = true
    this.#log(text)
  }

  #log(text: string): void {
    this.#notices.write(`${this.#linePrefix}corelane: ${text}`)
  }
}

/** Bytes of stdin, where it is a file. */
function inputBytes(): number | undefined {
  try {
    const stat = fstatSync(STDIN)
    return stat.isFile() ? stat.size : undefined
  } catch {
    // Closed before the start: there is nothing to read.
    return undefined
  }
}
