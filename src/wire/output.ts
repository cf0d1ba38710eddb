// Output: carries what handlers print from their thread to the streams of the process.
// Thread: the writer is a partition's, the reader the main thread's.
// Owns: the port between them.
//
// The stream that Node gives a worker sends its first chunk and keeps the rest until the main
// thread asks for it. A result does not wait for that, and a thread that dies takes the rest with
// it. Here each chunk is posted when it is printed, and the main thread reads what was posted
// before it settles a result that says so.

import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import { callListener, timers } from '../base/clock.ts'

/**
 * Characters or bytes on their way, past which a stream waits for the main thread, and so does what
 * pipes into it.
 */
const AHEAD_LENGTH_MAX = 2 ** 20

const NAMES = ['stdout', 'stderr'] as const

interface Chunk {
  readonly chunk: string | Buffer
  readonly encoding: BufferEncoding
}

interface Printed {
  readonly name: (typeof NAMES)[number]
  readonly text: string | Uint8Array
  /** Id in its ring of the command that printed it, if it was the only one that ran. */
  readonly run: number | undefined
}

/** Takes what a thread printed, before the stream does; true keeps it from the stream. */
export type OutputListener = (
  name: Printed['name'],
  text: string | Uint8Array,
  run: number | undefined,
) => boolean

/** A stream that waits. */
interface Held {
  readonly name: Printed['name']
  /** What it has posted and waits for, as it counts. */
  readonly length: number
  readonly done: () => void
}

/** Chunks as one; texts stay texts. */
function joined(chunks: readonly Chunk[]): string | Uint8Array {
  const isText = chunks.every(({ encoding }) => /^utf-?8$/i.test(encoding))
  if (isText) return chunks.map(({ chunk }) => chunk).join('')
  // A copy: a Buffer may be a view on a pool, which would be sent as a whole.
  return Uint8Array.from(
    Buffer.concat(
      chunks.map(({ chunk, encoding }) =>
        typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk,
      ),
    ),
  )
}

/** The streams of a thread. */
export class OutputWriter {
  readonly #port: MessagePort
  /** Streams that wait for the main thread to print: at most both. */
  #held: Held[] = []
  #aheadLength = 0
  #isListening = false
  #hasPrinted = false
  /** Which command prints. */
  runOf: () => number | undefined = () => undefined

  /**
   * Takes over what the thread prints.
   *
   * @param port - One end of a channel; the main thread's end belongs to an {@link OutputReader}.
   */
  constructor(port: MessagePort) {
    this.#port = port
    port.unref()
    for (const name of NAMES) {
      const stream = process[name]
      // Other runtimes give threads the streams of the process.
      if (stream.constructor.name !== 'WritableWorkerStdio') continue
      stream._writev = (chunks: Chunk[], done: () => void) => this.#print(name, chunks, done)
    }
    process.once('exit', () => this.postAll())
  }

  /** Whether something was printed since {@link OutputWriter.takePrinted} was called. */
  get hasPrinted(): boolean {
    return this.#hasPrinted
  }

  /** Answers whether something was printed, and forgets it. */
  takePrinted(): boolean {
    const hasPrinted = this.#hasPrinted
    this.#hasPrinted = false
    return hasPrinted
  }

  /**
   * Posts what streams keep because too much is on its way; their writers wait on. Calls
   * callbacks of the user's.
   */
  postAll(): void {
    this.#release(({ name, length }) => process[name].writableLength > length)
  }

  #print(name: Printed['name'], chunks: readonly Chunk[], done: () => void): void {
    const printed: Printed = { name, text: joined(chunks), run: this.runOf() }
    this.#port.postMessage(printed)
    this.#hasPrinted = true
    this.#aheadLength += printed.text.length
    const length = chunks.reduce((sum, { chunk }) => sum + chunk.length, 0)
    if (this.#isAhead()) this.#held.push({ name, length, done })
    else done()
  }

  #release(isWanted: (held: Held) => boolean): void {
    const all = this.#held
    this.#held = []
    for (const held of all) {
      if (isWanted(held)) callListener(held.done, undefined)
      else this.#held.push(held)
    }
  }

  /** Whether too much is on its way. If so, the main thread's answer releases what is held. */
  #isAhead(): boolean {
    if (this.#aheadLength <= AHEAD_LENGTH_MAX) return false
    for (;;) {
      const received = receiveMessageOnPort(this.#port)
      if (received === undefined) break
      this.#aheadLength -= received.message as number
    }
    if (this.#aheadLength <= AHEAD_LENGTH_MAX) return false
    if (!this.#isListening) {
      this.#isListening = true
      this.#port.on('message', (length: number) => {
        this.#aheadLength -= length
        if (this.#aheadLength <= AHEAD_LENGTH_MAX) this.#release(() => true)
      })
      this.#port.unref()
    }
    return true
  }
}

/** Prints what a thread has printed. */
export class OutputReader {
  readonly #port: MessagePort
  readonly #listener: OutputListener | undefined
  #unprinted: Printed[] = []
  #isTurnQueued = false
  /** What was printed and the thread has not heard of. */
  #printedLength = 0

  /**
   * @param port - One end of a channel; the thread's end belongs to an {@link OutputWriter}.
   * @param listener - Takes it first.
   */
  constructor(port: MessagePort, listener?: OutputListener) {
    this.#port = port
    this.#listener = listener
    port.on('message', (printed: Printed) => {
      this.#unprinted.push(printed)
      if (this.#isTurnQueued) return
      // Output of one turn is written at once: a pipe holds few chunks, however small.
      this.#isTurnQueued = true
      timers.setImmediate(() => this.read())
    })
    port.unref()
  }

  /** Prints what has been posted by now. */
  read(): void {
    this.#isTurnQueued = false
    for (;;) {
      const received = receiveMessageOnPort(this.#port)
      if (received === undefined) break
      this.#unprinted.push(received.message)
    }
    const all = this.#unprinted.filter((printed) => this.#isLeft(printed))
    this.#unprinted = []
    for (let start = 0; start < all.length; ) {
      const { name, text } = all[start]!
      let end = start + 1
      if (typeof text === 'string') {
        while (all[end]?.name === name && typeof all[end]!.text === 'string') end++
      }
      const texts = all.slice(start, end).map((one) => one.text)
      this.#print(name, texts.length > 1 ? texts.join('') : text)
      start = end
    }
  }

  #isLeft({ name, text, run }: Printed): boolean {
    if (this.#listener?.(name, text, run) !== true) return true
    this.#printed(text.length)
    return false
  }

  /** Prints the last that a thread has posted, which has exited. */
  close(): void {
    this.read()
    this.#port.close()
  }

  #print(name: Printed['name'], text: string | Uint8Array): void {
    // The stream is the application's; looked up each time, since it may be replaced.
    callListener((chunk) => process[name].write(chunk, () => this.#printed(chunk.length)), text)
  }

  #printed(length: number): void {
    this.#printedLength += length
    if (this.#printedLength < AHEAD_LENGTH_MAX / 2) return
    this.#port.postMessage(this.#printedLength)
    this.#printedLength = 0
  }
}
