// Limits: tokens and slots that all workers of a lane share.

import { nowMs } from '../../base/clock.ts'
import type { GlobalLimits } from '../contract/distributed-queue.ts'
import type { Behind } from '../contract/leased-engine.ts'
import { type SharedRate, tokenMsMax } from '../contract/live-limits.ts'
import type { RedisEngine } from './engine.ts'
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

export function limitsIn(engine: RedisEngine): Behind<GlobalLimits> {
  const { caller, keys, plan, subscriptions } = engine
  return {
    takeTokens: async (laneId, rate, count) => {
      const { limit, windowMs } = rate
      const validMs = validityOf(rate)
      // From before they were asked for: so they have expired here when they have in Redis.
      const sentMs = nowMs()
      const [step, window] = [windowMs / limit, windowMs].map((ms) => (ms * 1000).toFixed(3))
      const [granted, waitUs] = await caller.run<[number, number]>(
        TOKENS,
        [keys.rate(laneId)],
        [step!, window!, (validMs * 1000).toFixed(0), count],
      )
      return { granted, expiresAtMs: sentMs + validMs, retryAfterMs: waitUs / 1000 }
    },
    takeSlots: async (laneId, max, holders) => {
      if (holders.length === 0) return []
      const args = [max, plan.leaseMs, ...holders]
      const has = await caller.run<number[]>(SLOTS, [keys.slots(laneId)], args)
      return holders.filter((_, i) => has[i] === 1)
    },
    releaseSlots: async (laneId, holders) => {
      if (holders.length === 0) return
      await caller.run(RELEASE_SLOTS, [keys.slots(laneId)], [keys.freed(laneId), ...holders])
    },
    onSlotFree: (laneId, listener) => subscriptions.listen(keys.freed(laneId), () => listener()),
  }
}
