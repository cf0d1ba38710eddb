// Local limits: tokens of a rate and slots of a concurrency, shared by the workers of a process.
// Owns: what was granted. Time is a parameter.

import { timers } from '../../base/clock.ts'
import type { TokenGrant } from '../contract/distributed-queue.ts'
import { Listeners } from '../contract/listeners.ts'
import { type LaneLimits, type SharedRate, tokenMsMax } from '../contract/live-limits.ts'

/** Tokens live a quarter of their window, this long at least. */
const TOKEN_MS_MIN = 25

/** How long a token may be used, in milliseconds. */
export function tokenMs(rate: SharedRate): number {
  return Math.min(Math.max(rate.windowMs / 4, TOKEN_MS_MIN), tokenMsMax(rate))
}

export class LocalLimits {
  /** By lane: what was set while workers run. */
  readonly live = new Map<string, LaneLimits>()
  /** By lane: the moment up to which starts are charged (theoretical arrival time of GCRA). */
  readonly #chargedUntilMs = new Map<string, number>()
  /** By lane: who has a slot, and until when. */
  readonly #slots = new Map<string, Map<string, number>>()
  /**
   * By lane: listeners for slots that were given back, in the order of their turns; each is called
   * when the call that gave them back has returned.
   */
  readonly freed = new Listeners<[]>()

  /** Sets limits of a lane, or resets those that are undefined. */
  set(laneId: string, changed: Omit<LaneLimits, 'laneId'>): void {
    const { concurrency, rate } = { ...this.live.get(laneId), ...changed }
    if (concurrency === undefined && rate === undefined) this.live.delete(laneId)
    else
      this.live.set(laneId, { laneId, ...(concurrency && { concurrency }), ...(rate && { rate }) })
  }

  /**
   * Takes tokens, by the generic cell rate algorithm with a burst of `limit`. A batch is admitted
   * as of now and charged as if it were used when it expires: whenever in between its tokens are
   * used, any interval d has at most limit + limit * d / window starts.
   */
  takeTokens(laneId: string, rate: SharedRate, count: number, nowMs: number): TokenGrant {
    const { limit, windowMs } = rate
    const spacingMs = windowMs / limit
    const toleranceMs = windowMs - spacingMs
    const validMs = tokenMs(rate)
    const knownMs = Math.max(this.#chargedUntilMs.get(laneId) ?? nowMs, nowMs)
    // Only a limit that was less before can have charged more than a whole window of this one.
    const chargedMs = Math.min(knownMs, nowMs + validMs + windowMs)
    // A millionth of a start makes up for rounding: limit * (window / limit) may miss the window.
    const room = Math.floor((toleranceMs - (chargedMs - nowMs)) / spacingMs + 1e-6) + 1
    const granted = Math.max(0, Math.min(count, room))
    const expiresAtMs = nowMs + validMs
    const untilMs = granted > 0 ? Math.max(chargedMs, expiresAtMs) + granted * spacingMs : chargedMs
    this.#chargedUntilMs.set(laneId, untilMs)
    const retryAfterMs = granted === count ? 0 : Math.max(0, untilMs - toleranceMs - nowMs)
    return { granted, expiresAtMs, retryAfterMs }
  }

  takeSlots(
    laneId: string,
    max: number,
    holders: readonly string[],
    nowMs: number,
    untilMs: number,
  ): string[] {
    const slots = this.#slots.get(laneId) ?? new Map<string, number>()
    this.#slots.set(laneId, slots)
    for (const [holder, expiresAtMs] of slots) {
      if (expiresAtMs <= nowMs) slots.delete(holder)
    }
    // Who has a slot keeps it, even if somebody is named before who wants a new one.
    const had = new Set(holders.filter((holder) => slots.has(holder)))
    return holders.filter((holder) => {
      if (!had.has(holder) && slots.size >= max) return false
      slots.set(holder, untilMs)
      return true
    })
  }

  releaseSlots(laneId: string, holders: readonly string[]): void {
    const slots = this.#slots.get(laneId)
    if (slots === undefined) return
    const before = slots.size
    for (const holder of holders) slots.delete(holder)
    const isFreed = slots.size < before
    if (slots.size === 0) this.#slots.delete(laneId)
    const listeners = isFreed ? this.freed.get(laneId) : undefined
    if (listeners === undefined) return
    for (const listener of listeners) timers.queueMicrotask(listener)
    // The first listener gets them, so the next time another is first.
    const [first] = listeners
    listeners.delete(first!)
    listeners.add(first!)
  }
}
