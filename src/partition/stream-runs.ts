// Stream runs: sends the values of generators, no faster than they are consumed.
// Owns: the streams that wait for credit or for room in the result ring.
//
// A stream has CREDIT_MAX units; a value takes some of them by its size, and the coordinator gives
// them back as its consumer takes values. So a slow consumer stops the producer, and what it has
// not taken yet stays small.
//
// Between two values a stream may rest: it gives its run back to the duty cycle, and takes one
// again, in turn, once it may go on. It rests while it has no credit, and where a broadcast waits
// for handlers to come to rest. A stream whose value found no room keeps its run: nothing else
// could send a result either. In both cases its time stands still.

import { types } from 'node:util'
import { nowMs, timers } from '../base/clock.ts'
import { Deque } from '../base/deque.ts'
import { laneError } from '../base/errors.ts'
import type { PartitionSlots } from '../memory/slots.ts'
import { describe } from '../wire/describe.ts'
import { CREDIT_MAX } from '../wire/result-record.ts'
import { callUser } from './handlers.ts'
import type { Outbox } from './outbox.ts'

/** After so long a stream lets the event loop turn. */
const TURN_MS = 2

/** The run of a streaming command. */
export interface StreamRun {
  /** The command's id in its ring. */
  readonly id: number
  readonly startedAtMs: number
  /** How long it has waited for credit or room, in all. */
  pausedMs: number
  /** Whether it rests and holds no run. */
  isResting: boolean
}

/** What streams need of the duty cycle. */
export interface StreamHost {
  /** Whether streams are to rest at their next value. */
  isRestWanted(): boolean
  /** A stream rests: its run is free. */
  rested(): void
  /** A stream takes a run. */
  resumed(): void
  /** A stream waits for room. */
  stalled(): void
}

/** A stream that waits. */
interface Wait {
  readonly run: StreamRun
  readonly canGoOn: () => boolean
  readonly goOn: () => void
  /** Whether it is among those that go on in turn. */
  isReady: boolean
}

type AnyIterator = AsyncIterator<unknown> | Iterator<unknown>

/** Iterates what streaming handlers give. */
export class StreamRuns {
  readonly #slots: PartitionSlots
  readonly #outbox: Outbox
  readonly #host: StreamHost
  readonly #waits = new Set<Wait>()
  /** Those that go on once a run is free; some may have gone on since. */
  readonly #ready = new Deque<Wait>()

  /**
   * @param outbox - Sends the values.
   * @param host - The duty cycle. While streams wait it must call {@link StreamRuns.look} whenever
   * the coordinator rings.
   */
  constructor(slots: PartitionSlots, outbox: Outbox, host: StreamHost) {
    this.#slots = slots
    this.#outbox = outbox
    this.#host = host
  }

  get isWaiting(): boolean {
    return this.#waits.size > 0
  }

  /** Whether a stream may go on once a run is free. */
  get isReady(): boolean {
    return this.#ready.length > 0
  }

  /**
   * Looks which streams may go on. One that has room goes on now, and one that was aborted too: it
   * only ends.
   *
   * @returns Whether any goes on now.
   */
  look(): boolean {
    let hasResumed = false
    for (const wait of this.#waits) {
      const { run, canGoOn } = wait
      const isAborted = this.#slots.isAborted(run.id)
      if (isAborted || (!run.isResting && canGoOn())) {
        this.#resume(wait)
        hasResumed = true
      } else if (run.isResting && !wait.isReady && canGoOn()) {
        wait.isReady = true
        this.#ready.push(wait)
      }
    }
    return hasResumed
  }

  /** Lets the next stream in turn go on; false if there is none. */
  resumeNext(): boolean {
    for (;;) {
      const wait = this.#ready.shift()
      if (wait === undefined) return false
      if (!this.#waits.has(wait)) continue
      this.#resume(wait)
      return true
    }
  }

  /**
   * Sends everything that a handler gives.
   *
   * @param type - Name of the handler.
   * @param given - What it gave.
   * @returns What its generator returns in the end.
   * @throws What the generator throws; ConfigError `CORELANE_NO_STREAM`; SerializationError for a
   * value that cannot be sent; ClosedError `CORELANE_COMMAND_DROPPED` if it was ended early. Only a
   * closing manager still waits then, and must not take what came for the whole.
   */
  async run(run: StreamRun, type: string, given: unknown): Promise<unknown> {
    const { id } = run
    const iterator = iteratorOf(await given, type)
    let sent = 0
    let turnEndsMs = nowMs() + TURN_MS
    for (;;) {
      if (this.#slots.isAborted(id)) {
        await iterator.return?.()
        const reason = 'close() was called'
        throw laneError('CORELANE_COMMAND_DROPPED', { stage: 'running', reason })
      }
      const step = (await callUser(iterator.next, iterator)) as IteratorResult<unknown>
      if (step.done) return step.value
      let { value } = step
      let weight: number
      try {
        // As `for await` does with the promises of a synchronous iterator.
        if (types.isPromise(value)) value = await value
        weight = this.#outbox.sendChunk(id, value)
        while (weight === 0 && !this.#slots.isAborted(id)) {
          await this.#wait(run, false, () => this.#outbox.flush())
          if (!this.#slots.isAborted(id)) weight = this.#outbox.sendChunk(id, value)
        }
      } catch (error) {
        await endQuietly(iterator)
        throw error
      }
      sent = (sent + weight) | 0
      if (this.#isSpent(id, sent) || this.#host.isRestWanted()) {
        await this.#wait(run, true, () => !this.#isSpent(id, sent))
      } else if (nowMs() < turnEndsMs) continue
      else await new Promise((resolve) => timers.setImmediate(resolve))
      turnEndsMs = nowMs() + TURN_MS
    }
  }

  /** Whether a stream has used its credit up. */
  #isSpent(id: number, sent: number): boolean {
    return ((sent - this.#slots.creditOf(id)) | 0) >= CREDIT_MAX
  }

  async #wait(run: StreamRun, rests: boolean, canGoOn: () => boolean): Promise<void> {
    const sinceMs = nowMs()
    this.#slots.pause(run.id, sinceMs - run.startedAtMs - run.pausedMs)
    await new Promise<void>((goOn) => {
      this.#waits.add({ run, canGoOn, goOn, isReady: false })
      run.isResting = rests
      if (rests) this.#host.rested()
      else this.#host.stalled()
    })
    run.pausedMs += nowMs() - sinceMs
    this.#slots.resume(run.id, run.pausedMs)
  }

  #resume(wait: Wait): void {
    this.#waits.delete(wait)
    if (wait.run.isResting) {
      wait.run.isResting = false
      this.#host.resumed()
    }
    wait.goOn()
  }
}

/** Ends a generator whose failure is known already; as in a loop, its own comes second. */
async function endQuietly(iterator: AnyIterator): Promise<void> {
  try {
    await iterator.return?.()
  } catch {
    // The failure that led here is reported.
  }
}

function iteratorOf(given: unknown, type: string): AnyIterator {
  if (typeof given === 'object' && given !== null) {
    const source = given as Partial<AsyncIterable<unknown> & Iterable<unknown>>
    const iterator = source[Symbol.asyncIterator]?.() ?? source[Symbol.iterator]?.()
    if (iterator !== undefined) return iterator
  }
  throw laneError('CORELANE_NO_STREAM', { type, received: describe(given) })
}
