// Stream reader: the caller's end of a streaming command.
// Owns: the values that arrived and were not taken yet; credit bounds them.

import { Deque } from '../../base/deque.ts'
import { CREDIT_MAX } from '../../wire/result-record.ts'
import type { StreamSink, StreamSource } from '../command-extras.ts'

/** Units are given back to the producer in lots, each of which may cost it a wake. */
const LOT_UNITS: number = CREDIT_MAX / 2

/** Why a command ends whose reader was left: it is no failure. */
export const LEFT: unique symbol = Symbol('left early') as never

interface Arrived {
  readonly value: unknown
  readonly weight: number
}

interface Reader {
  readonly resolve: (result: IteratorResult<unknown>) => void
  readonly reject: (error: unknown) => void
}

/** Values of a generator in another thread, in order. Leaving the loop ends the generator. */
export class StreamReader implements AsyncGenerator<unknown, unknown, undefined>, StreamSink {
  readonly #submit: (reader: StreamReader) => Promise<unknown>
  readonly #arrived = new Deque<Arrived>()
  readonly #readers = new Deque<Reader>()
  #source: StreamSource | undefined
  #isSubmitted = false
  #consumed = 0
  #granted = 0
  #end: { readonly isFailure: boolean; readonly value: unknown } | undefined

  /**
   * @param submit - Submits the command; called when the first value is asked for.
   */
  constructor(submit: (reader: StreamReader) => Promise<unknown>) {
    this.#submit = submit
  }

  /**
   * Takes the command that was submitted.
   *
   * @internal
   */
  attach(source: StreamSource): void {
    this.#source = source
    // It was left before its command was accepted, or while its payload was read.
    if (this.#end !== undefined) source.abort(LEFT)
  }

  /**
   * Takes a value from the producer.
   *
   * @param weight - Units of credit that it took.
   * @internal
   */
  push(value: unknown, weight: number): void {
    const reader = this.#readers.shift()
    if (reader === undefined) {
      this.#arrived.push({ value, weight })
      return
    }
    this.#took(weight)
    reader.resolve({ value, done: false })
  }

  next(): Promise<IteratorResult<unknown>> {
    const arrived = this.#arrived.shift()
    if (arrived !== undefined) {
      this.#took(arrived.weight)
      return Promise.resolve({ value: arrived.value, done: false })
    }
    return new Promise((resolve, reject) => {
      this.#readers.push({ resolve, reject })
      if (this.#end !== undefined) this.#settleReaders()
      else this.#begin()
    })
  }

  return(value?: unknown): Promise<IteratorResult<unknown>> {
    const wasOpen = this.#end === undefined
    this.#end = { isFailure: false, value: undefined }
    this.#arrived.clear()
    this.#settleReaders()
    if (wasOpen) this.#source?.abort(LEFT)
    return Promise.resolve({ value, done: true })
  }

  async throw(error: unknown): Promise<IteratorResult<unknown>> {
    await this.return()
    throw error
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return()
  }

  #begin(): void {
    if (this.#isSubmitted) return
    this.#isSubmitted = true
    this.#submit(this).then(
      (value) => this.#ended(false, value),
      (error) => this.#ended(true, error),
    )
  }

  /** What has arrived can still be taken. */
  #ended(isFailure: boolean, value: unknown): void {
    this.#end ??= { isFailure, value }
    if (this.#arrived.length === 0) this.#settleReaders()
  }

  #took(weight: number): void {
    this.#consumed = (this.#consumed + weight) | 0
    if (this.#end !== undefined || ((this.#consumed - this.#granted) | 0) < LOT_UNITS) return
    this.#granted = this.#consumed
    this.#source!.grant(this.#consumed)
  }

  /** The first reader gets the end or the failure of the stream; all others get `done`. */
  #settleReaders(): void {
    for (;;) {
      const reader = this.#readers.shift()
      if (reader === undefined) return
      const { isFailure, value } = this.#end!
      this.#end = { isFailure: false, value: undefined }
      if (isFailure) reader.reject(value)
      else reader.resolve({ value, done: true })
    }
  }
}
