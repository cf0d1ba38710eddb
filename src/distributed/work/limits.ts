// Limits: where commands of a lane wait for permits and places that all workers share.
// Thread: main.   Owns: those that wait, and the names of its places.

import { TURN_END } from '../../base/bounds.ts'
import { nowMs } from '../../base/clock.ts'
import type { LeasedQueue } from '../contract/distributed-queue.ts'
import { Outbox } from '../outbox.ts'
import { backoffMs, Pause } from '../pause.ts'
import type { HeldCommand } from './held.ts'
import type { WorkerLane } from './lanes.ts'

/** How long it waits before it asks again for places, if the queue tells of those that are free. */
const PLACE_POLL_MS = 1000

/** The same where the queue does not tell. */
const UNTOLD_POLL_MS = 25

/** Several that are told of places ask for the same; none asks again sooner than this. */
const PLACE_GAP_MS = 5

/** Part of a permit's time that is not used, so that a late timer does no harm. */
const PERMIT_MARGIN = 0.2

const PERMIT_MARGIN_MS_MIN = 2

const BATCH_MAX = 1024

/** What a desk works with. */
export interface LaneDeskParts {
  readonly queue: LeasedQueue
  readonly lane: WorkerLane
  /** No other desk of any worker has this name. */
  readonly name: string
  /** How many commands can be expected to start within so many milliseconds. */
  readonly startsWithin: (ms: number) => number
  /** Takes a command that may start now. */
  readonly submit: (held: HeldCommand) => void
  /** A call failed; it is repeated. */
  readonly failed: (error: unknown) => void
}

/** Lets commands of one lane start as their limits allow. */
export class LaneDesk {
  readonly #parts: LaneDeskParts
  readonly #pause = new Pause()
  readonly #dropped: Outbox<string>
  readonly #placed = new Set<HeldCommand>()
  #waiting: HeldCommand[] = []
  #isServing = false
  #isClosed = false
  /** Ends the news of places that are free, if the queue tells of them. */
  #unlisten: (() => void) | undefined
  /** Whether there was such news since it asked last. */
  #hasNews = false
  /** Whether it was given fewer places than it asked for. */
  #isFull = false
  #places = 0
  /** How long the last permits could be used. */
  #horizonMs = 0

  constructor(parts: LaneDeskParts) {
    const { queue, lane, name, failed } = parts
    this.#parts = parts
    this.#dropped = new Outbox<string>({
      owner: name,
      batchMax: BATCH_MAX,
      send: (names) => queue.limits.dropPlaces(lane.plan.name, names),
      // It expires then.
      refused: (_, error) => failed(error),
      failed,
    })
  }

  /**
   * Lets a command wait for its permit and its place.
   *
   * @param held - The command.
   */
  add(held: HeldCommand): void {
    this.#waiting.push(held)
    void this.#serve()
  }

  /**
   * Takes a command back that could not start while its permit was good: it goes before the others.
   *
   * @param held - The command.
   */
  putBack(held: HeldCommand): void {
    held.permitUntilMs = 0
    this.#waiting.unshift(held)
    void this.#serve()
  }

  /**
   * Lets a command wait no more.
   *
   * @param held - The command.
   */
  remove(held: HeldCommand): void {
    const index = this.#waiting.indexOf(held)
    if (index !== -1) this.#waiting.splice(index, 1)
  }

  /**
   * A command has ended here; its place is free.
   *
   * @param held - The command.
   * @param isOurs - Whether it ended by itself. One whose lease was given up may run on for a
   * moment: its place expires.
   */
  ended(held: HeldCommand, isOurs: boolean): void {
    if (held.place === undefined) return
    this.#placed.delete(held)
    if (isOurs) this.#dropped.add(held.place)
    held.place = undefined
    // Where the queue tells of free places, it tells of this one too, and in turn.
    if (this.#unlisten === undefined) this.#pause.end()
  }

  /** Keeps the places of what runs; to be called every third of a lease. */
  async keep(): Promise<void> {
    const { queue, lane, failed } = this.#parts
    if (this.#placed.size === 0 || lane.places === undefined) return
    const names = [...this.#placed].map(({ place }) => place!)
    try {
      await queue.limits.takePlaces(lane.plan.name, lane.places, names)
    } catch (error) {
      failed(error)
    }
  }

  /** Lets nothing start any more. Resolves when the places were given back, or cannot be. */
  async close(): Promise<void> {
    this.#waiting = []
    this.#end()
    await this.#dropped.idle()
  }

  /** Tries no more. */
  giveUp(): void {
    this.#end()
    this.#dropped.giveUp()
  }

  #end(): void {
    this.#isClosed = true
    this.#unlisten?.()
    this.#pause.end()
  }

  async #serve(): Promise<void> {
    if (this.#isServing) return
    this.#isServing = true
    await TURN_END
    for (let failures = 0; this.#waiting.length > 0 && !this.#isClosed; ) {
      try {
        const askedAtMs = nowMs()
        this.#hasNews = false
        const waitMs = await this.#start(await this.#place())
        failures = 0
        await this.#rest(waitMs, askedAtMs)
      } catch (error) {
        this.#parts.failed(error)
        if (!this.#isClosed) await this.#pause.wait(backoffMs(++failures, this.#parts.name))
      }
    }
    this.#isServing = false
  }

  /** Waits until what is left is worth another try. */
  async #rest(permitMs: number, askedAtMs: number): Promise<void> {
    if (!this.#isFull) {
      if (permitMs > 0 && !this.#isClosed) await this.#pause.wait(permitMs)
      return
    }
    const isTold = this.#unlisten !== undefined
    const pollMs = isTold ? PLACE_POLL_MS : UNTOLD_POLL_MS
    if (!this.#hasNews && !this.#isClosed) await this.#pause.wait(pollMs)
    const gapMs = Math.ceil(PLACE_GAP_MS - (nowMs() - askedAtMs))
    if (gapMs > 0 && !this.#isClosed) await this.#pause.wait(gapMs)
  }

  /** Places may be free. */
  readonly #onPlaceFree = (): void => {
    this.#hasNews = true
    this.#pause.end()
  }

  /** Those that have a place, or need none; as many as are worth a permit now. */
  async #place(): Promise<readonly HeldCommand[]> {
    const { lane, startsWithin, queue, name } = this.#parts
    const count = Math.max(1, Math.ceil(startsWithin(this.#horizonMs / 2)))
    const candidates = this.#waiting.slice(0, Math.min(count, BATCH_MAX))
    this.#isFull = false
    if (lane.places === undefined) return candidates
    this.#unlisten ??= queue.limits.onPlaceFree?.(lane.plan.name, this.#onPlaceFree)
    const names = new Map<string, HeldCommand>()
    for (const held of candidates) {
      if (held.place === undefined) names.set(`${name}.${this.#places++}`, held)
    }
    if (names.size > 0) {
      const taken = await queue.limits.takePlaces(lane.plan.name, lane.places, [...names.keys()])
      this.#isFull = taken.length < names.size
      for (const place of taken) {
        const held = names.get(place)
        if (held === undefined) continue
        held.place = place
        this.#placed.add(held)
        // It may have been taken away meanwhile.
        if (!this.#waiting.includes(held)) this.ended(held, true)
      }
    }
    return candidates.filter(({ place }) => place !== undefined)
  }

  /** Starts what may start; answers how long to wait before the rest is worth a try. */
  async #start(placed: readonly HeldCommand[]): Promise<number> {
    const { lane, queue } = this.#parts
    if (placed.length === 0) return 0
    if (lane.rate === undefined) {
      for (const held of placed) this.#submit(held, 0)
      return 0
    }
    const askedAtMs = nowMs()
    const permits = await queue.limits.takePermits(lane.plan.name, lane.rate, placed.length)
    this.#horizonMs = Math.max(0, permits.expiresAtMs - askedAtMs)
    const marginMs = Math.max(PERMIT_MARGIN_MS_MIN, this.#horizonMs * PERMIT_MARGIN)
    let left = permits.granted
    for (const held of placed) {
      if (left === 0) break
      if (this.#submit(held, permits.expiresAtMs - marginMs)) left--
    }
    return permits.granted >= placed.length ? 0 : Math.max(1, permits.retryAfterMs)
  }

  #submit(held: HeldCommand, permitUntilMs: number): boolean {
    const index = this.#waiting.indexOf(held)
    if (index === -1) return false
    this.#waiting.splice(index, 1)
    held.permitUntilMs = permitUntilMs
    this.#parts.submit(held)
    return true
  }
}
