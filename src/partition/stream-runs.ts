// Stream runs: sends the values of generators, no faster than they are consumed.
// Thread: partition.   Owns: the streams that wait for credit or for room in the result ring.
//
// A stream has CREDIT_MAX units; a value takes some of them by its size, and the coordinator gives
// them back as its consumer takes values. So a slow consumer stops the producer, and what it has
// not taken yet stays small.

import { nowMs, timers } from '../base/clock.ts'
import { laneError } from '../base/errors.ts'
import type { PartitionSlots } from '../memory/slots.ts'
import { describe } from '../wire/describe.ts'
import { CREDIT_MAX } from '../wire/result-record.ts'
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
   * @returns What its generator returns in the end; undefined if it was ended early.
   * @throws What the generator throws, or a ConfigError `CORELANE_NO_STREAM`.
   */
  async run(id: number, type: string, given: unknown): Promise<unknown> {
    const iterator = iteratorOf(await given, type)
    let sent = 0
    let turnEndsMs = nowMs() + TURN_MS
    for (;;) {
      if (this.#slots.isAborted(id)) {
        await iterator.return?.()
        return undefined
      }
      const step = await iterator.next()
      if (step.done) return step.value
      let weight = this.#outbox.sendChunk(id, step.value)
      while (weight === 0) {
        await this.#stall(() => this.#outbox.flush())
        weight = this.#outbox.sendChunk(id, step.value)
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

function iteratorOf(given: unknown, type: string): AnyIterator {
  if (typeof given === 'object' && given !== null) {
    const source = given as Partial<AsyncIterable<unknown> & Iterable<unknown>>
    const iterator = source[Symbol.asyncIterator]?.() ?? source[Symbol.iterator]?.()
    if (iterator !== undefined) return iterator
  }
  throw laneError('CORELANE_NO_STREAM', { type, received: describe(given) })
}
