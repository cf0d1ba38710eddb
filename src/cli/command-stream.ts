// Command stream: commands from a stream of lines, through lanes, to lines of results.
// Owns: the commands in flight, and with them how far the input may be read.
// Must not: hold more than its bounds, however long the input is or however slow its reader.

import type { Readable } from 'node:stream'
import type { CommandInfo, CommandOutcome } from '../index.ts'
import { type CommandDefaults, type ParsedCommand, parseCommand } from './command-parser.ts'
import { printError, toJson } from './json-value.ts'
import { type Line, LineSplitter } from './line-splitter.ts'
import type { LineWriter } from './line-writer.ts'
import { type Place, ResultOrder } from './result-order.ts'

/** In order, results that wait for an earlier one may be this many times the commands in flight. */
export const UNPRINTED_FACTOR = 4

/** Bytes that lines in flight and results that wait may have together; one line may have more. */
export const HELD_BYTES_MAX: number = 64 * 2 ** 20

/** What a stream needs to know. */
export interface StreamPlan extends CommandDefaults {
  /** Commands in flight at a time. */
  readonly inFlightMax: number
  /** Whether results come in the order of the input. */
  readonly isOrdered: boolean
  /** Whether printed errors have their stacks. */
  readonly withStack: boolean
}

/** What a stream is connected to. */
export interface StreamDoors {
  /** Runs a command; rejects if it is not accepted. */
  execute(command: ParsedCommand): Promise<CommandOutcome>
  /** Where results go. */
  readonly results: LineWriter
  /** Where complaints about lines go. */
  readonly notices: LineWriter
  /** Prints a complaint there. */
  complain(text: string): void
}

/** How far a stream is. */
export interface StreamCounts {
  readonly succeeded: number
  /** Commands that failed, and lines that were none. */
  readonly failed: number
  readonly inFlight: number
  /** Bytes of the input that are done with. */
  readonly bytes: number
}

export class CommandStream {
  readonly #plan: StreamPlan
  readonly #doors: StreamDoors
  readonly #order: ResultOrder
  #input: Readable | undefined
  #succeeded = 0
  #failed = 0
  #inFlight = 0
  #inFlightBytes = 0
  #bytes = 0
  #isStopped = false
  #isAbandoned = false
  #wake: (() => void) | undefined

  constructor(plan: StreamPlan, doors: StreamDoors) {
    this.#plan = plan
    this.#doors = doors
    this.#order = new ResultOrder(plan.isOrdered, (text) => doors.results.write(text))
  }

  get counts(): StreamCounts {
    return {
      succeeded: this.#succeeded,
      failed: this.#failed,
      inFlight: this.#inFlight,
      bytes: this.#bytes,
    }
  }

  /**
   * Runs every command of an input.
   *
   * @param input - A stream of bytes.
   * @returns When all that was read is printed: whether the input was read to its end.
   * @throws What the input fails with, after what was read is printed.
   */
  async run(input: Readable): Promise<boolean> {
    this.#input = input
    try {
      return await this.#read(input)
    } finally {
      while (this.#inFlight > 0 && !this.#isAbandoned) await this.#settled()
    }
  }

  /** Reads no further; what is in flight goes on. */
  stop(): void {
    this.#isStopped = true
    this.#input?.destroy()
    this.#wake?.()
  }

  /** Reads no further and waits for nothing: the results are not wanted any more. */
  abandon(): void {
    this.#isAbandoned = true
    this.stop()
  }

  async #read(input: Readable): Promise<boolean> {
    if (this.#isStopped) return false
    const splitter = new LineSplitter(this.#plan.lineBytesMax)
    try {
      for await (const chunk of input as AsyncIterable<Buffer>) {
        for (const line of splitter.push(chunk)) {
          if (!this.#hasRoom) await this.#room()
          if (this.#isStopped) return false
          this.#take(line)
        }
      }
    } catch (error) {
      // Destroying the input, as `stop` does, ends the loop with an error of its own.
      if (this.#isStopped) return false
      throw error
    }
    // An input that was destroyed while it was not read just ends.
    if (this.#isStopped) return false
    const last = splitter.end()
    if (last !== undefined) this.#take(last)
    return true
  }

  get #hasRoom(): boolean {
    const { inFlightMax } = this.#plan
    const { early, earlyLength } = this.#order
    return (
      this.#inFlight < inFlightMax &&
      early < inFlightMax * UNPRINTED_FACTOR &&
      this.#inFlightBytes + earlyLength < HELD_BYTES_MAX &&
      this.#doors.results.isReady &&
      this.#doors.notices.isReady
    )
  }

  async #room(): Promise<void> {
    const { results, notices } = this.#doors
    while (!this.#hasRoom && !this.#isStopped) {
      if (!results.isReady) await results.ready()
      else if (!notices.isReady) await notices.ready()
      else await this.#settled()
    }
  }

  #settled(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }

  #take(line: Line): void {
    if (line.fault === undefined && !/\S/.test(line.text)) {
      this.#bytes += line.bytes
      return
    }
    const place = this.#order.take()
    const command = parseCommand(line, this.#plan)
    if ('refusal' in command) {
      this.#refuse(place, line.number, command.id, command.refusal)
      this.#bytes += line.bytes
      return
    }
    this.#inFlight++
    this.#inFlightBytes += line.bytes
    this.#doors.execute(command).then(
      (outcome) => {
        if (this.#land(line.bytes)) this.#print(place, command.id, outcome)
      },
      (refusal: unknown) => {
        if (this.#land(line.bytes)) this.#refuse(place, line.number, command.id, refusal)
      },
    )
  }

  /** @returns Whether anybody still wants to know. */
  #land(bytes: number): boolean {
    this.#inFlight--
    this.#inFlightBytes -= bytes
    this.#bytes += bytes
    this.#wake?.()
    return !this.#isAbandoned
  }

  #refuse(place: Place, line: number, id: string | number | null, refusal: unknown): void {
    this.#failed++
    const error = this.#errorText(refusal)
    const text = `{"id":${JSON.stringify(id)},"line":${line},"ok":false,"error":${error}}`
    this.#order.fill(place, text)
    const message = (refusal as Error).message
    this.#doors.complain(message.startsWith('line ') ? message : `line ${line}: ${message}`)
  }

  #print(place: Place, id: string | number, outcome: CommandOutcome): void {
    const tail = infoText(outcome.info)
    let text: string | undefined
    let failure: unknown
    if (!outcome.ok) failure = outcome.error
    else {
      try {
        text = `{"id":${JSON.stringify(id)},"ok":true,"value":${toJson(outcome.value)}${tail}}`
      } catch (error) {
        // The command has run, but its value cannot be shown; that must not pass for success.
        failure = new TypeError('The result cannot be written as JSON', { cause: error })
      }
    }
    if (text === undefined) {
      this.#failed++
      text = `{"id":${JSON.stringify(id)},"ok":false,"error":${this.#errorText(failure)}${tail}}`
    } else this.#succeeded++
    this.#order.fill(place, text)
  }

  #errorText(thrown: unknown): string {
    const printed = printError(thrown, this.#plan.withStack)
    try {
      return toJson(printed)
    } catch {
      // Something thrown that is no error may hold itself.
      return toJson({ name: printed.name, message: printed.message })
    }
  }
}

function infoText({ partition, startedAtMs, durationMs }: CommandInfo): string {
  // A command that never was on a partition, or never started, has no number to show.
  const where = partition < 0 ? '' : `,"partition":${partition}`
  // A run on another machine has no start on the clock of this one, but it has a length.
  const hasRun = startedAtMs !== undefined || durationMs > 0
  return hasRun ? `${where},"durationMs":${round(durationMs)}` : where
}

/** To a microsecond: more digits are noise. */
function round(ms: number): number {
  return Math.round(ms * 1000) / 1000
}
