// Streams: reads them with every wait bounded. The words are those of test/fixtures/streams.js.

import { PartitionConfig, type QueueManagerOptions } from 'corelane'
import { beforeEach } from 'vitest'
import { within } from '../../support/deadline.ts'
import { open, share } from '../../support/managers.ts'

const MADE = 0
const ENDED = 1
const OPEN = 2

/** How a stream went. */
export interface Course {
  readonly values: unknown[]
  /** What it failed with; undefined if it did not. */
  readonly error: unknown
}

/** Everything a stream gives. */
export function collect(stream: AsyncIterable<unknown>, what = 'a stream'): Promise<unknown[]> {
  const read = async () => {
    const values: unknown[] = []
    for await (const value of stream) values.push(value)
    return values
  }
  return within(read(), what)
}

/** What generators tell of themselves while they run. */
export class StreamWords {
  /** For the manager. */
  readonly options: { readonly workerData: { readonly words: SharedArrayBuffer } }
  readonly #words: Int32Array<SharedArrayBuffer>

  constructor() {
    this.options = { workerData: { words: new SharedArrayBuffer(32) } }
    this.#words = new Int32Array(this.options.workerData.words)
  }

  /** Counts anew. */
  clear(): void {
    this.#words.fill(0)
  }

  /** Values that generators made. */
  get made(): number {
    return Atomics.load(this.#words, MADE)
  }

  /** Generators whose finally ran. */
  get ended(): number {
    return Atomics.load(this.#words, ENDED)
  }

  /** Generators that have begun and not ended. */
  get open(): number {
    return Atomics.load(this.#words, OPEN)
  }

  /** Everything a stream gives, and how it fails. */
  async drain(stream: AsyncIterable<unknown>): Promise<Course> {
    const values: unknown[] = []
    const read = async () => {
      for await (const value of stream) values.push(value)
    }
    try {
      await within(read(), 'a stream')
      return { values, error: undefined }
    } catch (error) {
      return { values, error }
    }
  }
}

/** A manager with one partition, unless the options say otherwise, and the words of its streams. */
export async function openStreams(options: QueueManagerOptions = {}) {
  const words = new StreamWords()
  const partitions = PartitionConfig.single()
  const manager = await open('streams.js', { partitions, ...words.options, ...options })
  return { words, manager }
}

/** The same for all tests of a file that leave it as it was; the words count from each test on. */
export function shareStreams() {
  const words = new StreamWords()
  const partitions = PartitionConfig.single()
  const manager = share('streams.js', { partitions, ...words.options })
  beforeEach(() => words.clear())
  return { words, manager }
}
