// Limits: tokens and slots that all workers of a lane share.

import { nowMs } from '../../base/clock.ts'
import type { GlobalLimits, TokenGrant } from '../contract/distributed-queue.ts'
import { type SharedRate, tokenMsMax } from '../contract/live-limits.ts'
import { RedisPart } from './engine.ts'
import { RELEASE_SLOTS } from './scripts/release-slots.ts'
import { SLOTS } from './scripts/slots.ts'
import { TOKENS } from './scripts/tokens.ts'

const VALID_MS_MIN = 20

/**
 * How long tokens are valid, in milliseconds. Long enough to be used over a network, and short
 * against what it costs: an idle limit loses as many tokens as flow in meanwhile.
 */
export function validityOf(rate: SharedRate): number {
  const { limit, windowMs } = rate
  const affordable = Math.max(windowMs / 40, (windowMs - windowMs / limit) / 4)
  return Math.min(tokenMsMax(rate), Math.max(VALID_MS_MIN, affordable))
}

export class RedisLimits extends RedisPart implements GlobalLimits {
  async takeTokens(laneId: string, rate: SharedRate, count: number): Promise<TokenGrant> {
    const { limit, windowMs } = rate
    const validMs = validityOf(rate)
    // From before they were asked for: so they have expired here when they have in Redis.
    const sentMs = nowMs()
    const { caller, keys } = this.engine
    const [step, window] = [windowMs / limit, windowMs].map((ms) => (ms * 1000).toFixed(3))
    const [granted, waitUs] = await caller.run<[number, number]>(
      TOKENS,
      [keys.rate(laneId)],
      [step!, window!, (validMs * 1000).toFixed(0), count],
    )
    return { granted, expiresAtMs: sentMs + validMs, retryAfterMs: waitUs / 1000 }
  }

  async takeSlots(laneId: string, max: number, holders: readonly string[]): Promise<string[]> {
    if (holders.length === 0) return []
    const { caller, keys, plan } = this.engine
    const args = [max, plan.leaseMs, ...holders]
    const has = await caller.run<number[]>(SLOTS, [keys.slots(laneId)], args)
    return holders.filter((_, i) => has[i] === 1)
  }

  async releaseSlots(laneId: string, holders: readonly string[]): Promise<void> {
    if (holders.length === 0) return
    const { caller, keys } = this.engine
    await caller.run(RELEASE_SLOTS, [keys.slots(laneId)], [keys.freed(laneId), ...holders])
  }

  onSlotFree(laneId: string, listener: () => void): () => void {
    const { keys, subscriptions } = this.engine
    return subscriptions.listen(keys.freed(laneId), () => listener())
  }
}
