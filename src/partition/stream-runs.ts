// Stream runs: sends the values of generators, no faster than they are consumed.
// Thread: partition.   Owns: the streams that wait for credit or for room in the result ring.
//
// A stream has CREDIT_MAX units; a value takes some of them by its size, and the coordinator gives
// them back as its consumer takes values. So a slow consumer stops the producer, and what it has
// not taken yet stays small.

import { types } from 'node:util'
import { nowMs, timers } from '../base/clock.ts'
import { laneError } from '../base/errors.ts'
import type { PartitionSlots } from '../memory/slots.ts'
import { describe } from '../wire/describe.ts'
import { CREDIT_MAX } from '../wire/result-record.ts'
import { callUser } from './handlers.ts'
import type { Outbox } from './outbox.ts'

/** After so long a stream lets the event loop turn. */
const TURN_MS = 2

/** A stream that waits. */
interface Stall {
  readonly canGoOn: () => boolean
  readonly goOn: () => void
}

type AnyIterator = AsyncIterator<unknown> | Iterator<unknown>

/** Iterates what streaming handlers give. */
export class StreamRuns {
  readonly #slots: PartitionSlots
  readonly #outbox: Outbox
  readonly #onStall: () => void
  #stalls: Stall[] = []

  /**
   * @param slots - The partition's.
   * @param outbox - Sends the values.
   * @param onStall - Called when a stream has begun to wait: {@link StreamRuns.resume} must be
   * called whenever the coordinator rings from then on.
   */
  constructor(slots: PartitionSlots, outbox: Outbox, onStall: () => void) {
    this.#slots = slots
    this.#outbox = outbox
    this.#onStall = onStall
  }

  /** Whether a stream waits. */
  get isStalled(): boolean {
    return this.#stalls.length > 0
  }

  /** Lets streams go on that can; whether any does. */
  resume(): boolean {
    if (this.#stalls.length === 0) return false
    const stalls = this.#stalls
    this.#stalls = stalls.filter(({ canGoOn }) => !canGoOn())
    if (this.#stalls.length === stalls.length) return false
    for (const stall of stalls) if (!this.#stalls.includes(stall)) stall.goOn()
    return true
  }

  /**
   * Sends everything that a handler gives.
   *
   * @param id - The command's id in its ring.
   * @param type - Name of the handler.
   * @param given - What it gave.
   * @returns What its generator returns in the end.
   * @throws What the generator throws; ConfigError `CORELANE_NO_STREAM`; SerializationError for a
   * value that cannot be sent; ClosedError `CORELANE_COMMAND_DROPPED` if it was ended early. Only a
   * closing manager still waits then, and must not take what came for the whole.
   */
  async run(id: number, type: string, given: unknown): Promise<unknown> {
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
          await this.#stall(() => this.#slots.isAborted(id) || this.#outbox.flush())
          if (!this.#slots.isAborted(id)) weight = this.#outbox.sendChunk(id, value)
        }
      } catch (error) {
        await endQuietly(iterator)
        throw error
      }
      sent = (sent + weight) | 0
      if (this.#isSpent(id, sent)) {
        await this.#stall(() => !this.#isSpent(id, sent) || this.#slots.isAborted(id))
      } else if (nowMs() < turnEndsMs) continue
      else await new Promise((resolve) => timers.setImmediate(resolve))
      turnEndsMs = nowMs() + TURN_MS
    }
  }

  /** Whether a stream has used its credit up. */
  #isSpent(id: number, sent: number): boolean {
    return ((sent - this.#slots.creditOf(id)) | 0) >= CREDIT_MAX
  }

  #stall(canGoOn: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#stalls.push({ canGoOn, goOn: resolve })
      this.#onStall()
    })
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
