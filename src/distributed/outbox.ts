// Outbox: sends items to a queue, in batches and in order, and repeats calls that fail.
// Owns: the items that were not sent yet.
// One call is under way at a time: items that come meanwhile make up the next batch.

import { atTurnEnd } from '../base/async-context.ts'
import { nowMs, timers } from '../base/clock.ts'
import { Deque } from '../base/deque.ts'
import { codeOf, ERRORS } from '../base/errors.ts'
import { CALL_MAX } from './contract/engine-checks.ts'
import { backoffMs, Pause } from './contract/pause.ts'

/** With so many a call is worth it, whatever may come yet. */
const GATHERED = 64

/**
 * Part of a wait after which the next item ends it: the thread is awake then, and may have more to
 * send in this turn.
 */
const WAITED = 2 / 3

const NONE: readonly never[] = []

/** What an outbox works with. */
export interface OutboxParts<Item> {
  /** Most items of one call. Default: as many as a call of a queue takes. */
  readonly batchMax?: number
  /** Sends items, of which the answer to an earlier call may have been lost. */
  readonly send: (items: readonly Item[]) => Promise<void>
  /**
   * An item was refused for what it is: to send it again would not help. Default: that is a failure
   * like others, and the item is left, for the queue forgets or gives out by itself in time.
   */
  readonly refused?: (item: Item, error: unknown) => void
  /** A call failed; it is repeated after a while. */
  readonly failed: (error: unknown) => void
  /** Whether an item is still to be sent. Default: all are. */
  readonly isWanted?: (item: Item) => boolean
  /**
   * For how many milliseconds from now items may wait for others, so that a call carries several.
   * Asked whenever one comes, of the one that waits longest. Default: 0, until the end of the turn.
   */
  readonly patienceMs?: (oldest: Item) => number
}

/** Whether a call failed for its content, so that the same call cannot succeed later. */
export function isRefusal(error: unknown): boolean {
  const code = codeOf(error)
  return code !== undefined && !ERRORS[code].retryable
}

export class Outbox<Item> {
  readonly #parts: OutboxParts<Item>
  readonly #pause = new Pause()
  /** Waits for idleness. */
  readonly #lull = new Pause()
  readonly #waiting = new Deque<Item>()
  /** The items of the call that is under way. */
  #underWay: readonly Item[] = NONE
  #isRunning = false
  /** Set while items wait for others. */
  #gathering: NodeJS.Timeout | undefined
  #gatheringSinceMs = 0
  #isGivenUp = false

  constructor(parts: OutboxParts<Item>) {
    this.#parts = parts
  }

  /** Items that were not answered for yet. */
  get size(): number {
    return this.#waiting.length + this.#underWay.length
  }

  /** Items that were not answered for yet, the oldest first. */
  *[Symbol.iterator](): Generator<Item> {
    yield* this.#underWay
    yield* this.#waiting
  }

  /**
   * Sends an item at the end of this turn, with all others that come until then; or a little later,
   * if it may wait.
   */
  add(item: Item): void {
    this.#waiting.push(item)
    if (this.#isRunning || this.#isGivenUp || this.#mayGather()) return
    this.#isRunning = true
    atTurnEnd(this.#run)
  }

  /** Lets go of items that are not wanted any more. It costs O(items). */
  prune(): void {
    const { isWanted } = this.#parts
    if (isWanted !== undefined) this.#waiting.filter(isWanted)
  }

  /** What waits for others waits no longer. */
  hurry(): void {
    if (this.#gathering === undefined) return
    timers.clearTimeout(this.#gathering)
    this.#start()
  }

  /** Resolves once everything was answered for, or nothing is tried any more. */
  async idle(): Promise<void> {
    if (!this.#isIdle) await this.#lull.wait(Number.POSITIVE_INFINITY)
  }

  /** Tries no more: what is under way may still arrive, the rest is left. */
  giveUp(): void {
    this.#isGivenUp = true
    timers.clearTimeout(this.#gathering)
    this.#pause.end()
    if (this.#isIdle) this.#lull.end()
  }

  get #isIdle(): boolean {
    return !this.#isRunning && (this.#isGivenUp || this.#waiting.length === 0)
  }

  /** Whether what waits may wait for more; it is seen to that it is sent in time. */
  #mayGather(): boolean {
    const waiting = this.#waiting
    const mayWait = waiting.length < GATHERED
    const ms = mayWait ? (this.#parts.patienceMs?.(waiting.first!) ?? 0) : 0
    if (ms > 0 && this.#gathering === undefined) {
      this.#gatheringSinceMs = nowMs()
      this.#gathering = timers.setTimeout(this.#start, ms)
      return true
    }
    if (ms > 0 && nowMs() - this.#gatheringSinceMs < ms * WAITED) return true
    timers.clearTimeout(this.#gathering)
    this.#gathering = undefined
    return false
  }

  readonly #start = (): void => {
    this.#isRunning = true
    void this.#run()
  }

  readonly #run = async (): Promise<void> => {
    this.#gathering = undefined
    while (this.#waiting.length > 0 && !this.#isGivenUp) {
      const batch = this.#waiting.take(this.#parts.batchMax ?? CALL_MAX)
      this.#underWay = batch
      await this.#deliver(batch)
      this.#underWay = NONE
      if (this.#waiting.length > 0 && !this.#isGivenUp && this.#mayGather()) break
    }
    this.#isRunning = false
    if (this.#isIdle) this.#lull.end()
  }

  async #deliver(items: readonly Item[]): Promise<void> {
    const { send, refused, failed, isWanted } = this.#parts
    for (let failures = 1; ; failures++) {
      if (isWanted !== undefined) items = items.filter(isWanted)
      if (items.length === 0) return
      try {
        await send(items)
        return
      } catch (error) {
        const isRefused = isRefusal(error)
        // Together they may be more than a queue ever has room for.
        const isDivided = isRefused || codeOf(error) === 'CORELANE_QUEUE_FULL'
        if (isDivided && items.length > 1) {
          await this.#divide(items)
          return
        }
        if (isRefused && refused !== undefined) refused(items[0]!, error)
        else failed(error)
        if (isRefused) return
      }
      if (this.#isGivenUp) return
      await this.#pause.wait(backoffMs(failures))
      if (this.#isGivenUp) return
    }
  }

  /** One of them is refused, and the error does not say which; or they are too many. */
  async #divide(items: readonly Item[]): Promise<void> {
    const half = items.length >> 1
    await this.#deliver(items.slice(0, half))
    await this.#deliver(items.slice(half))
  }
}
